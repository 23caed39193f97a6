"""A run folder is replaced as far as a run made it; what lies beside stays."""

from pathlib import Path

import pytest
from pseudo_runs import write_masks
from tiny_runs import run_config
from training_cli import invoke

from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.artifacts.learned import Learned
from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import ArtifactError
from llmseg_cli.workflows.train.folder import claim, remove_prepared

SPLIT = Split(labeled=("a",), unlabeled=(), validation=(), test=(), seed=0, images={}, groups={})
SEEN = Learned(split=SPLIT.digest, trained=())
KEY = "0123456789abcdef" * 2


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def write_round(run: Path, name: str = "step-000004") -> None:
    journal = Journal(run / "pseudo" / name, resume=False)
    (journal.folder / "toy03.nii.gz").write_text("mask")
    journal.add("toy03", "toy03.nii.gz", image="", made_by="")
    (journal.folder / "qc.csv").write_text("case\n")


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("content")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has mined, and was stopped."""
    folder = tmp_path / "run"
    claim(folder, run_config(), SPLIT, SEEN, resume=False)
    write_round(folder)
    for name in ("model.safetensors", "state.ckpt", f"prepared/4/toy03/labels-{KEY}.npy"):
        write(folder / name)
    return folder


def test_what_the_run_made_goes(run: Path):
    claim(run, run_config(), SPLIT, SEEN, resume=False)
    assert files(run) == {"config.yaml", "learned.json", "split.json"}
    assert not (run / "pseudo").exists()
    assert not (run / "prepared").exists()


@pytest.mark.parametrize(
    "mine",
    [
        "pseudo/toy03.nii.gz",  # of 'llmseg mine-sam -o run/pseudo'
        "pseudo/cases.jsonl",
        "pseudo/step-000004/corrected.nii.gz",
        "pseudo/step-by-step/toy03.nii.gz",
        "prepared/notes.txt",
        "prepared/4/toy03/notes.npy",
        f"prepared/mine/toy03/labels-{KEY}.npy",
        "notes.txt",
    ],
)
def test_what_lies_beside_stays(run: Path, mine: str):
    write(run / mine)
    claim(run, run_config(), SPLIT, SEEN, resume=False)
    assert files(run) == {"config.yaml", "learned.json", "split.json", mine}


def test_a_mask_that_somebody_corrected_stays(run: Path):
    mask = sorted((run / "pseudo" / "step-000004").glob("*.nii.gz"))[0]
    mask.write_bytes(b"corrected by hand")
    claim(run, run_config(), SPLIT, SEEN, resume=False)
    assert files(run) == {
        *("config.yaml", "learned.json", "split.json"),
        str(mask.relative_to(run)),
    }


def test_a_folder_without_a_run_keeps_everything(tmp_path: Path):
    for name in ("pseudo/step-000004/a.nii.gz", f"prepared/4/a/labels-{KEY}.npy", ".tmp-1-mine"):
        write(tmp_path / name)
    before = files(tmp_path)
    claim(tmp_path, run_config(), SPLIT, SEEN, resume=False)
    assert files(tmp_path) == before | {"config.yaml", "learned.json", "split.json"}


@pytest.mark.parametrize("name", ["pseudo", "prepared", "tensorboard"])
@pytest.mark.parametrize("resume", [True, False])
def test_links_that_lead_elsewhere_are_refused(tmp_path: Path, name: str, resume: bool):
    (tmp_path / "elsewhere" / "4" / "a").mkdir(parents=True)
    write(tmp_path / "elsewhere" / "4" / "a" / f"labels-{KEY}.npy")
    claim(tmp_path / "run", run_config(), SPLIT, SEEN, resume=False)
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="is a link to"):
        claim(tmp_path / "run", run_config(), SPLIT, SEEN, resume=resume)
    assert len(files(tmp_path / "elsewhere")) == 1


def test_links_within_are_not_followed(run: Path, tmp_path: Path):
    other = tmp_path / "other"
    write(other / "toy03" / f"labels-{KEY}.npy")
    write_round(other, "step-000008")
    before = files(other)
    (run / "prepared" / "8").symlink_to(other)
    (run / "pseudo" / "step-000008").symlink_to(other / "pseudo" / "step-000008")
    claim(run, run_config(), SPLIT, SEEN, resume=False)
    assert files(other) == before


def test_one_round_may_stay(run: Path):
    write(run / "prepared" / "8" / "toy03" / f"voxels-{KEY}.npy")
    remove_prepared(run, but="8")
    assert {name for name in files(run) if name.startswith("prepared")} == {
        f"prepared/8/toy03/voxels-{KEY}.npy"
    }


def test_a_folder_of_others_is_not_replaced(toy_data, toy_split, quiet_place):
    out = quiet_place / "mine"
    write_masks(out / "pseudo")
    before = files(out)
    words = ("train-sup", "--data", toy_data, "--split", toy_split, "-o", out, "--force")
    result = invoke(*words)
    assert result.exit_code == 2
    assert "was not written by llmseg (it holds pseudo)" in result.stderr
    assert files(out) == before
