"""Every command line of the README and of the guide works as it stands.

All of them are read by their command, with all that it refuses (`config show`). Those of blocks run
then in a folder with scans, a split and runs: whole where that is a matter of a second, else with
`--dry-run`; those of `PARSED` alone are read and no more, for they train, fetch or measure.
"""

import re
import shutil
import subprocess
import tomllib
from contextlib import chdir
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main
from guide_lines import PAGES, ROOT, Line, commands_of, lines_of
from tiny_data import toy_text
from training_cli import invoke, write_split

from llmseg_cli.cli import app
from llmseg_cli.knowledge.embeddings.file import save_embeddings
from llmseg_cli.workflows.predict import cost as predict_cost

PROGRAM: Any = typer.main.get_command(app)
LINES = [line for page in PAGES for line in lines_of(page)]
OURS = [line for line in LINES if line.words[0] == "llmseg"]
DRY, WHOLE, PARSED = ("--dry-run",), (), None
HOW = {
    "auto": PARSED,  # trains; tests/workflows/auto runs it
    "bench": PARSED,  # measures
    "cache build": WHOLE,
    "cache ls": WHOLE,
    "calibrate": ("--force",),  # the reader's run has temperatures, for lines of predict
    "check": WHOLE,
    "completion": WHOLE,
    "config show": WHOLE,
    "convert": WHOLE,
    "demo-data": PARSED,  # needs the template
    "describe": DRY,
    "doctor": PARSED,  # judges this machine
    "embed": PARSED,  # needs an encoder
    "export": PARSED,  # traces networks; tests/workflows/export runs it
    "ensemble": PARSED,  # needs masks; tests/workflows/ensemble/test_run.py runs it
    "explain": PARSED,  # of a language model, and of runs with a class liver
    "guide": WHOLE,
    "mine-sam": PARSED,  # needs Segment Anything
    "paper": WHOLE,
    "plan": WHOLE,
    "predict": DRY,
    "recipe list": WHOLE,
    "recipe show": WHOLE,
    "report": WHOLE,
    "score": WHOLE,
    "split": WHOLE,
    "suggest": WHOLE,
    "train-semi": DRY,
    "train-sup": DRY,
    "weights fetch": PARSED,  # needs the network
    "weights list": WHOLE,
    "weights path": PARSED,  # of fetched weights
    "weights verify": PARSED,
}
SETS = ("folds", "runs/sup", "runs/three", "sup-masks", "semi-masks", "three")
NEEDS = {
    *SETS,
    "--cross-validation",
    "shuffled",
    "medvisionllama",
    "medvisionllama-cpu",
    "sam-mining",
    "efficientnet-lite0",
    "--viewer",  # niivue, which was fetched
    "--mlflow",  # a server
    "texts.safetensors",  # of cases, which needs a text encoder
    "anchor",  # of a run of diffusion
}
"""What is in lines that are parsed alone: folds, sets of runs, models that need their weights."""


def name_of(words: tuple[str, ...]) -> str:
    """The command's words, such as `weights list`."""
    found = PROGRAM.commands[words[1]]
    return " ".join(words[1:3] if hasattr(found, "commands") else words[1:2])


def test_lines_are_found():
    assert len(OURS) > 100
    assert {line.page for line in OURS if line.is_whole} >= {
        *("README.md", "first-steps.md", "methods.md", "mining.md", "folds.md", "slurm.md")
    }


def test_it_is_said_of_every_command_how_its_lines_are_tested():
    assert {name_of(line.words) for line in OURS if line.is_whole} <= set(HOW)


@pytest.mark.parametrize("line", OURS, ids=str)
def test_a_line_is_read_by_its_command(line: Line, quiet_place: Path):
    """Its options exist, and are not refused for what they say."""
    Path("mine.yaml").write_text("steps: 5\n")
    words = list(line.words[1:])
    found = PROGRAM.commands[words[0]]
    inner = found.commands.get(words[1]) if hasattr(found, "commands") else found
    if any(word in ("--help", "--help-all", "--version") for word in words):
        assert invoke(*words).exit_code == 0
    elif inner is not None and any(one.name == "config" for one in inner.params):
        result = invoke("config", "show", *words)
        assert result.exit_code == 0, result.stderr
        needed = re.findall(r"^(\S+) +- +needed", result.stdout, re.MULTILINE)
        assert not (line.is_whole and needed)
    elif inner is not None and words[-1] != found.name:
        assert invoke(*words).exit_code == 0


MASKS = {
    "masks": ("toy06", "toy07"),  # the test cases of the toy split, true to the voxel
    "other-masks": ("toy06", "toy07"),
    "supervised-validation": ("toy05",),
    "semi-validation": ("toy05",),
    "masks-validation": ("toy05",),
    "masks-union": ("toy05",),
    "pseudo": ("toy03", "toy04"),
}


@pytest.fixture(scope="session")
def template(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder: scans with a split, runs, masks and texts."""
    place = tmp_path_factory.mktemp("reader")
    first = min((toy_data / "images").iterdir())
    for name, target in (
        *((name, toy_data) for name in ("scans", "new-scans", "nuclei", "discs")),
        ("nuclei-kinds", toy_data / "labels"),
        *(("scan.nii.gz", first), ("new.nii.gz", first)),
    ):
        (place / name).symlink_to(target)
    write_split(place / "split.json", toy_data)
    write_run(place)
    for name, cases in MASKS.items():
        (place / name).mkdir()
        for case in cases:
            file = f"{case}.nii.gz"
            (place / name / file).symlink_to(toy_data / "labels" / file)
    write_scores(place)
    save_embeddings(place / "embeddings.safetensors", toy_text(0))
    (place / "my-texts.txt").write_text("A dark chamber.\n")
    (place / "llmseg.yaml").write_text("data: scans\n")  # as of a plan
    (place / "mine.yaml").write_text("steps: 5\npatch: 16,16,32\n")
    return place


def write_run(place: Path) -> None:
    """Train `runs/supervised` for a moment, and let it stand for the runs of other names."""
    run = place / "runs" / "supervised"
    words = ["train-sup", "--data", "scans", "--split", "split.json", "--device", "cpu"]
    with chdir(place):
        done = invoke(*words, "--steps", "2", "-o", "runs/supervised")
        found = invoke("calibrate", "runs/supervised", "--data", "scans", "--device", "cpu")
    assert done.exit_code == found.exit_code == 0, done.stderr + found.stderr
    for name in ("runs/usl", "runs/semi", "runs/fused", "result/supervised"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).symlink_to(run)


def write_scores(place: Path) -> None:
    """Score `masks`, and let that stand for the scores of other names."""
    words = ["score", "--pred", "masks", "--ref", "scans", "--split", "split.json"]
    with chdir(place):
        done = invoke(*words, "--subset", "test", "-o", "scores.json")
    assert done.exit_code == 0, done.stderr
    for name in ("scores.csv", "split.looks.jsonl"):  # a reader's own are not there yet
        (place / name).unlink()
    for name in ("semi-scores.json", "supervised-scores.json"):
        shutil.copyfile(place / "scores.json", place / name)


@pytest.fixture
def place(template: Path, quiet_place: Path) -> Path:
    """A copy of it, in which the test is."""
    shutil.copytree(template, quiet_place, symlinks=True, dirs_exist_ok=True)
    return quiet_place


def way_of(line: Line) -> tuple[str, ...] | None:
    """Words to add, or None for a line that is parsed alone."""
    reads = [word for before, word in pairwise(line.words) if before != "-o"]
    if any(word in NEEDS or word.startswith("runs/three/") for word in reads):
        return PARSED
    return HOW[name_of(line.words)]


@pytest.mark.parametrize(
    "line", [one for one in OURS if one.is_whole and way_of(one) is not None], ids=str
)
def test_a_line_of_a_block_runs(line: Line, place: Path, monkeypatch: pytest.MonkeyPatch):
    # A reader's process is new; this one has run thousands of tests, and holds what they freed.
    monkeypatch.setattr(predict_cost, "resident_bytes", lambda: 600 * 2**20)
    words = list(line.words[1:])
    if "--group-by" in words:
        name_after_patients(place / "scans")
    if "-o" in words and "--steps" not in words:  # a reader's own is not there yet
        remove(Path(words[words.index("-o") + 1]))
    elif words[0] == "plan":
        remove(Path("llmseg.yaml"))
    result = invoke(*words, *(way_of(line) or ()))
    assert result.exit_code == 0, result.stderr


def name_after_patients(scans: Path) -> None:
    """The same scans under names such as patient001_a."""
    found = scans.resolve()
    scans.unlink()
    for kind in ("images", "labels"):
        (scans / kind).mkdir(parents=True)
        for path in (found / kind).iterdir():
            number = int(path.name[3:5])
            name = f"patient{number // 2:03d}_{'ab'[number % 2]}.nii.gz"
            (scans / kind / name).symlink_to(path)


def remove(path: Path) -> None:
    """A file, a folder or a link, if it is there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def test_a_stale_option_would_fail(quiet_place: Path):
    (words,) = commands_of("llmseg train-sup scans --stepz 5  # so many")
    result = invoke("config", "show", *words[1:])
    assert result.exit_code == 2
    assert "No such option: --stepz" in result.stderr


def test_words_of_a_shell_are_understood():
    line = "A=1 llmseg split 'a b' -o x.json && make y > log | llmseg embed - &"
    assert list(commands_of(line)) == [
        ("llmseg", "split", "a b", "-o", "x.json"),
        ("make", "y"),
        ("llmseg", "embed", "-"),
    ]


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
@pytest.mark.parametrize("line", [one for one in LINES if one.words[0] == "make"], ids=str)
def test_a_target_of_make_exists(line: Line):
    subprocess.run([*line.words, "-n"], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize("line", [one for one in LINES if one.words[0] == "python"], ids=str)
def test_a_script_has_its_options(line: Line):
    if line.words[1:3] == ("-m", "pip"):  # an extra that is named is one
        name, _, extra = line.words[-1].rstrip("]").partition("[")
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert name == project["name"]
        assert extra in project["optional-dependencies"]
        return
    text = (ROOT / line.words[1]).read_text(encoding="utf-8")
    for word in line.words[2:]:
        assert not word.startswith("--") or f'"{word}"' in text, word
