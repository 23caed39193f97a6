"""Light commands come at once: nothing heavy is loaded for them, nor any other command."""

import json
import os
import shlex
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from llmseg_cli.cli import COMMANDS, app

HEAVY = {
    "torch",
    "numpy",
    "monai",
    "torchio",
    "transformers",
    "nibabel",
    "scipy",
    "PIL",
    "SimpleITK",
}
RUN = """
import json, sys
from llmseg_cli.cli import main
sys.argv = ["llmseg", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit:
    pass
sys.stderr.write("\\n" + json.dumps(sorted(sys.modules)))
"""


def loaded_by(arguments: list[str], **environment: str) -> tuple[set[str], str]:
    """Modules that a run of llmseg has loaded when it ends, and its stdout."""
    modules, done = run_here(arguments, **environment)
    return modules, done.stdout


def run_here(
    arguments: list[str], **environment: str
) -> tuple[set[str], "subprocess.CompletedProcess[str]"]:
    """Modules that a run of llmseg has loaded when it ends, and what it said."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1])), done


@pytest.mark.parametrize(
    "arguments", [[], *([name] for name in COMMANDS)], ids=lambda a: " ".join(a)
)
def test_help_loads_nothing_heavy(arguments):
    modules, stdout = loaded_by([*arguments, "--help"])
    assert "Usage: llmseg" in stdout
    assert modules & HEAVY == set()


@pytest.mark.parametrize("words", [["guide"], ["guide", "slurm"], ["guide", "train-sup"]])
def test_the_guide_loads_nothing_heavy(words):
    modules, stdout = loaded_by(words)
    assert stdout.startswith("# ")
    assert modules & HEAVY == set()


@pytest.mark.parametrize("line", ["llmseg ", "llmseg train-semi --method ", "llmseg score --"])
def test_completion_loads_nothing_heavy(line):
    modules, _ = loaded_by(
        [],
        _LLMSEG_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(line.split(" ")) - 1),
    )
    assert modules & HEAVY == set()


def test_completing_a_command_loads_none_of_them():
    words = {"COMP_WORDS": "llmseg ", "COMP_CWORD": "1"}
    modules, stdout = loaded_by([], _LLMSEG_COMPLETE="complete_bash", **words)
    assert stdout.split() == list(COMMANDS)
    assert not [*filter(is_of_command, modules)]


def test_help_loads_few_modules():
    """200 of Python's and typer's own, 19 of them ours; rich would add 140, numpy 180."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "llmseg_cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    ours = [name for name in names if name.split(".")[0] == "llmseg_cli"]
    assert len(names) < 260
    assert 10 < len(ours) < 24


LATE = HEAVY - {"numpy", "nibabel", "scipy", "PIL"} | {"scipy.stats", "scipy.ndimage"}  # of scans


def is_of_command(module: str) -> bool:
    """Whether a module holds a command, rather than what they share."""
    return module.startswith("llmseg_cli.commands.") and "._" not in module


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("--version", ""),
        ("completion bash", "completion"),
        ("cache ls", "cache"),
        ("weights list", "weights"),
        ("describe --target heart --llm library -o -", "describe"),
    ],
)
def test_a_line_without_scans_loads_its_own_command_alone(line, command, tmp_path):
    modules, done = run_here(shlex.split(line), LLMSEG_CACHE=str(tmp_path))
    assert done.stdout
    assert modules & HEAVY == set()
    own = {f"llmseg_cli.commands.{command}"} if command else set()
    assert set(filter(is_of_command, modules)) == own
    assert "rich" not in modules or command == "describe"  # which says more on stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("check --data {data}", "8 cases, no fault."),
        ("split --data {data} --labeled 2 -o new.json", "8 cases, sha256"),
        ("split --data {data} --labeled 2 -o new.json --dry-run", "Dry run: nothing written."),
    ],
)
def test_looking_at_scans_needs_no_torch(line, said, toy_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    modules, done = run_here(shlex.split(line.format(data=toy_data)))
    assert said in done.stderr
    assert modules & LATE == set()


def test_a_score_needs_statistics_where_results_are_compared_alone(toy_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = min((toy_data / "labels").iterdir())
    alone = ["score", "--pred", str(first), "--ref", str(first), "--json"]
    modules, done = run_here(alone)
    assert json.loads(done.stdout)["metrics"]["dice"]["mean"] == 1
    assert modules & {"torch", "scipy.stats"} == set()
    moved = nib.load(first)
    nib.save(nib.Nifti1Image(np.roll(np.asarray(moved.dataobj), 1), moved.affine), "moved.nii.gz")
    words = [*alone, "--compare", "moved.nii.gz"]
    modules, done = run_here(words)
    assert "comparison" in json.loads(done.stdout)
    assert "torch" not in modules
    assert "scipy.stats" in modules


TRAIN = "--data {data} --split {split} -o new --dry-run"
REFUSED = [
    ("train-sup --data {data} --labeled 2 -o taken", "taken exists"),
    ("train-semi --data {data} --labeled 2 -o taken", "taken exists"),
    ("train-semi --data {data} --labeled 2 --seeds 2 -o taken", "taken exists"),
    ("mine-sam --data {data} --run run --split {split} -o taken", "taken exists"),
    ("predict --run run --images {data} -o taken", "taken exists"),
    ("explain --run run --images {data} -o taken", "taken exists"),
    ("demo-data -o taken", "taken exists"),
    ("embed texts.yaml -o {split}", "exists. Choose another -o"),
    ("score --pred pred --ref {data} -o {split}", "exists. Choose another -o"),
    ("bench distances -o {split}", "exists. Choose another -o"),
    ("bench distnces", "Did you mean 'distances'"),
    ("embed texts.yaml -o new.safetensors", "texts.yaml: there is no such file"),
    ("embed {split} --max-length many -o new.safetensors", "expected auto or a whole number"),
    (f"train-sup {TRAIN} --model vnett", "Did you mean 'vnet'"),
    (f"train-semi {TRAIN} --method uls", "Did you mean 'usl'"),
    (f"train-semi {TRAIN} --labeled 1", "--labeled 1 contradicts "),
    (f"train-semi {TRAIN} --optimizer sdg", "Unknown optimizer 'sdg'"),
    (f"train-sup {TRAIN} --normalize zcore", "Unknown normalization 'zcore'"),
    (f"train-sup {TRAIN} --normalize window:2:1", "expected window:LOW:HIGH"),
    (f"train-sup {TRAIN} --device gpu", "expected auto, cpu, cuda or cuda:N"),
    (f"train-sup {TRAIN} --init norun", "--init norun: there is no such file or folder"),
    (f"train-semi {TRAIN} --text no.safetensors", "--text no.safetensors: there is no such file"),
    (f"train-semi {TRAIN} --pseudo nowhere", "--pseudo nowhere: there is no such folder"),
    (
        "train-sup --data {data} --split no.json -o new --dry-run",
        "--split no.json: there is no such",
    ),
    ("train-sup --data nodata --split {split} -o new --dry-run", "--data nodata: there is no"),
    ("train-sup --data {data} -o new --resume --force", "Pass one of them"),
    (
        "mine-sam --data {data} --run norun --split {split} -o new -n",
        "--run norun: there is no such",
    ),
    ("mine-sam --data nodata --run run --split {split} -o new -n", "--data nodata: there is no"),
    ("predict --run norun --data {data} -o new --dry-run", "--run norun: there is no such folder"),
    ("predict --run run --images no.nii.gz -o new --dry-run", "--images no.nii.gz: there is no"),
    ("predict --run run -o new --dry-run", "What to predict?"),
    ("predict --run run --data {data} --subset test -o new -n", "Pass --split FILE with it"),
    ("explain --run run -o new", "What to predict?"),
]


@pytest.mark.parametrize(("line", "said"), REFUSED, ids=[line for line, _ in REFUSED])
def test_a_refusal_needs_no_torch(line, said, toy_data, toy_split, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("taken", "run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
    modules, done = run_here(shlex.split(line.format(data=toy_data, split=toy_split)))
    assert said in done.stderr
    assert done.stdout == ""
    assert modules & LATE == set()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "taken"]


def test_a_file_of_settings_knows_the_options_of_all_commands(tmp_path, monkeypatch):
    """They are imported for it, and only then."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llmseg.yaml").write_text("overlap: 0.7\nbeta: 1\n")
    modules, done = run_here(["cache", "ls"], COLUMNS="200")
    assert "llmseg.yaml:2: Unknown option 'beta'" in done.stderr
    assert "overlap" not in done.stderr  # it is one of predict
    assert {target.partition(":")[0] for target in COMMANDS.values()} <= modules
    assert modules & HEAVY == set()


def test_the_help_of_the_program_says_what_commands_do_and_loads_none():
    modules, done = run_here(["--help"])
    assert set(filter(is_of_command, modules)) == set()
    words = " ".join(done.stdout.split())
    for name in COMMANDS:
        own = CliRunner().invoke(app, [name, "--help"]).stdout.split("\n\n")[1]
        assert f" {name} {' '.join(own.split())} " in words


def test_an_unknown_command_is_corrected_and_loads_none():
    modules, done = run_here(["chek"], COLUMNS="200")
    assert "No such command 'chek'. Did you mean 'check', 'cache'?" in done.stderr
    assert set(filter(is_of_command, modules)) == set()
