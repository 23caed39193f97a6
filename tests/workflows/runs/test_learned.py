"""What a run may start from: never weights that know what is held out now."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import ArtifactError, PolicyError
from llmseg_cli.workflows.runs.learned import refuse_learned

NAMES = ("a", "b", "c", "d", "e")


def split(**roles: tuple[str, ...]) -> Split:
    empty: dict[str, Any] = dict.fromkeys(("labeled", "unlabeled", "validation", "test"), ())
    images = {name: f"digest of {name}" for name in NAMES}
    return Split(**{**empty, **roles}, seed=0, images=images, groups={})


@dataclass
class _Run:
    folder: Path
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, method: str) -> Path:
        config = RunConfig(
            command="train-semi",
            method=method,
            model="vnet",
            settings={"patch": [16, 16]},
            unlabeled_batch=2,
            seed=0,
            in_channels=1,
            classes=("background", "organ"),
            preprocessing={"spacing": [0.0], "normalize": "none"},
            networks=("first",),
            answer="first",
        )
        config.save(self.folder / "config.yaml")
        split(**self.roles).save(self.folder / "split.json")
        (self.folder / "model.safetensors").write_bytes(b"weights")
        return self.folder


@pytest.fixture
def before(tmp_path) -> _Run:
    return _Run(tmp_path, {"labeled": ("a",), "unlabeled": ("b",), "test": ("c",)})


@pytest.mark.parametrize("role", ["test", "validation"])
@pytest.mark.parametrize("case", ["a", "b"])
def test_cases_that_were_learned_are_refused(before, role, case):
    with pytest.raises(PolicyError, match=rf"has learned from 1 .*\({case}\)"):
        refuse_learned(before.of("usl"), split(labeled=("d",), **{role: (case,)}))


def test_a_case_is_known_by_its_image_under_any_name(before):
    renamed = split(labeled=("d",), test=("e",))
    renamed.images["e"] = renamed.images["a"]
    with pytest.raises(PolicyError, match="same split"):
        refuse_learned(before.of("supervised"), renamed)


def test_a_supervised_run_has_not_seen_its_unlabeled_cases(before):
    refuse_learned(before.of("supervised"), split(labeled=("a",), test=("b", "c")))


def test_the_same_split_serves(before):
    refuse_learned(before.of("usl"), split(**before.roles))


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(ArtifactError, match=r"no model\.safetensors.*--resume"):
        refuse_learned(tmp_path, split())
