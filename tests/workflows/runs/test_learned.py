"""What a run may start from: never weights that know what is held out now."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from llmseg_cli.artifacts.learned import Learned
from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import ArtifactError, PolicyError
from llmseg_cli.workflows.runs.learned import (
    learned_by,
    learned_with,
    refuse_answers,
    refuse_learned,
)

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


def test_what_a_run_inherits_is_remembered(before, tmp_path):
    """A learns a and b; B starts from A, C from B: none of them is asked about a or b."""
    first = before.of("usl")
    second = tmp_path / "second"
    second.mkdir()
    roles = {"labeled": ("c",), "unlabeled": ("d",), "validation": ("e",)}
    inherited = learned_with(split(**roles), "supervised", init=first, masks=None)
    assert inherited.trained == tuple(f"digest of {name}" for name in "abc")
    assert inherited.chose == ("digest of e",)
    _Run(second, roles).of("supervised")
    inherited.save(second / "learned.json")
    for case in ("a", "b", "c"):
        with pytest.raises(PolicyError, match=rf"has learned from 1 .*\({case}\)"):
            learned_with(split(labeled=("d",), test=(case,)), "usl", init=second, masks=None)
    third = learned_with(split(labeled=("d",), test=("e",)), "usl", init=second, masks=None)
    assert third.trained == tuple(f"digest of {name}" for name in "abcd")


@pytest.mark.parametrize("run_is_old", [True, False])
@pytest.mark.parametrize("split_is_old", [True, False])
def test_an_image_is_known_by_the_digests_of_earlier_versions(before, run_is_old, split_is_old):
    """Earlier versions gave HDF5 other digests; what was learned then is not free now."""
    old = {name: f"earlier digest of {name}" for name in NAMES}

    def made(is_old: bool, **roles: tuple[str, ...]) -> Split:
        return replace(split(**roles), **({"images": old} if is_old else {"former": old}))

    run = before.of("usl")
    made(run_is_old, **before.roles).save(run / "split.json")
    with pytest.raises(PolicyError, match=r"has learned from 1 .*\(a\)"):
        refuse_learned(run, made(split_is_old, labeled=("d",), test=("a",)))
    refuse_learned(run, made(split_is_old, labeled=("d",), test=("e",)))


def test_masks_bring_along_what_their_run_has_learned(before, tmp_path):
    maker = learned_by(before.of("usl"))
    masks = tmp_path / "pseudo"
    masks.mkdir()
    roles = {"labeled": ("c",), "unlabeled": ("d",)}
    assert learned_with(split(**roles), "sam-mining", init=None, masks=masks).trained == (
        "digest of c",
        "digest of d",
    )  # masks of others say nothing of where they come from
    manifest = Manifest("mine-sam")
    manifest.details = maker.known({"d": {"digest of d"}}, "final")
    manifest.write(masks)
    found = learned_with(split(**roles), "sam-mining", init=None, masks=masks)
    assert found.trained == tuple(f"digest of {name}" for name in "abcd")
    with pytest.raises(PolicyError, match=r"--pseudo .*pseudo: the run that made it has learned"):
        learned_with(split(**roles, test=("a",)), "sam-mining", init=None, masks=masks)


def test_which_masks_are_of_cases_that_are_known():
    learned = Learned(split="", trained=("1", "2"), chose=("3",))
    images = {"a": {"1"}, "b": {"3"}, "c": {"4"}, "d": {"7", "2"}}
    final, best = (learned.known(images, checkpoint) for checkpoint in ("final", "best"))
    assert final["training_cases"] == best["training_cases"] == ["a", "d"]
    assert (final["choosing_cases"], best["choosing_cases"]) == ([], ["b"])
    recorded = json.loads(json.dumps(best["learned"]))
    assert Learned.from_dict(recorded, name="run.json") == learned


class _Gone(tuple[str, ...]):
    """Cases that count how often they are gone through."""

    times = 0

    def __iter__(self):
        _Gone.times += 1
        return super().__iter__()

    def __contains__(self, case):
        _Gone.times += 1
        return super().__contains__(case)


@pytest.mark.parametrize("cases", [2, 50])
def test_roles_are_gone_through_as_often_for_many_cases(monkeypatch, cases):
    monkeypatch.setattr(_Gone, "times", 0)
    names = _Gone(f"case{number}" for number in range(cases))
    images = {name: f"digest of {name}" for name in names}
    whole = replace(split(), test=names, validation=_Gone(), images=images)
    _Gone.times = 0
    refuse_answers(Path("run"), Learned(split="", trained=()), whole, [*images], checkpoint="final")
    assert _Gone.times == 2
