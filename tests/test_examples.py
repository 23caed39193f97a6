"""The examples and the demo call commands as they are, and the examples run on a few tiny cases."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from llmseg_on_path import llmseg_on_path

from llmseg_cli.cli import app

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PROGRAM: Any = typer.main.get_command(app)
SETTINGS = {
    "TARGET": "brain tissue",
    "MODALITY": "T1-weighted MRI",
    "CLASSES": "grey matter;white matter",
    "LABELED": "3",
    "TEST": "2",
    "TRAIN": "--steps 3 --patch 16,16,16 --model vnet --model-option filters=4 --device cpu",
}
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def words_of_dry_run(*arguments: str) -> list[list[str]]:
    """The llmseg commands that make would run."""
    done = subprocess.run(
        ["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    text = done.stdout.replace("\\\n", " ")
    found = re.findall(r"(?:^|; +)llmseg (.*)$", text, flags=re.MULTILINE)
    return [shlex.split(line) for line in found]


def words_of_script(path: Path) -> list[list[str]]:
    """The llmseg commands of a shell script, as written."""
    return words_of_text(path.read_text(encoding="utf-8"))


def words_of_text(script: str) -> list[list[str]]:
    """The same of its text."""
    text = re.sub(r"(^| )# .*$", "", script, flags=re.MULTILINE)
    found = re.findall(r"llmseg ((?:[^|\n\\]|\\\n)+)", text)
    return [shlex.split(line.replace("\\\n", " ")) for line in found]


def unknown_flags(words: list[str]) -> set[str]:
    command = PROGRAM.commands[words[0]]
    if hasattr(command, "commands"):
        command = command.commands[words[1]]
    known = {flag for p in command.params for flag in (*p.opts, *p.secondary_opts)}
    flags = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    return flags - known


@needs_make
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("demo",), {"demo-data", "auto", "score", "report"}),
        (
            ("demo-compared",),
            {"demo-data", "auto", "train-sup", "predict", "score", "report"},
        ),
        (
            ("-f", "examples/Makefile", "DATA=scans", "CLASSES=a b;c"),
            {"check", "describe", "embed", "split", "train-sup", "train-semi", "predict"},
        ),
    ],
    ids=["demo", "demo-compared", "examples"],
)
def test_make_calls_commands_with_options_that_exist(arguments, expected, tmp_path):
    commands = words_of_dry_run(*arguments, "-B", f"DEMO={tmp_path}", f"RUN={tmp_path}")
    assert {words[0] for words in commands} >= expected
    assert [words for words in commands if unknown_flags(words)] == []


@needs_make
def test_the_demo_compares_with_what_auto_trained(tmp_path):
    """The method and its time are those that auto wrote down."""
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "commands.sh").write_text(
        "llmseg train-sup --budget 30s -o result/supervised --resume\n"
        "llmseg train-semi --method usl --init x --budget 47s --seed 0 -o result/usl --resume\n"
    )
    commands = words_of_dry_run("demo", "-B", f"DEMO={tmp_path}")
    (control,) = (words for words in commands if words[0] == "train-sup")
    assert control[control.index("--budget") + 1] == "47s"
    predicting = [words for words in commands if words[0] == "predict"]
    assert {words[words.index("--run") + 1] for words in predicting} == {
        str(tmp_path / "without"),
        str(tmp_path / "result" / "usl"),
    }


def test_the_script_calls_commands_with_options_that_exist():
    commands = words_of_script(EXAMPLES / "pipeline.sh")
    used = [words[0] for words in commands]
    assert used == [
        "check", "split", "describe", "embed", "train-sup", "train-semi", "predict", "score",
    ]  # fmt: skip
    assert [words for words in commands if unknown_flags(words)] == []


def test_the_script_for_a_card_calls_commands_with_options_that_exist():
    """It was tried on a CPU as a whole; on a card it was never run."""
    script = EXAMPLES / "benchmarks" / "on_a_gpu.sh"
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text(encoding="utf-8").replace("-m llmseg_cli ", "llmseg ")
    commands = words_of_text(text)
    assert [words[0] for words in commands] == [
        "doctor", "bench", "split", "train-semi", "predict", "score",
    ]  # fmt: skip
    assert [words for words in commands if unknown_flags(words)] == []


def test_the_script_for_a_card_begins_nothing_after_its_time_and_still_brings_a_file(tmp_path):
    (tmp_path / "data").mkdir()
    script = EXAMPLES / "benchmarks" / "on_a_gpu.sh"
    ended = subprocess.run(
        ["bash", script, tmp_path / "data", tmp_path / "out"],
        env=os.environ | {"TOTAL_S": "0", "DEVICE": "cpu"},
        capture_output=True,
        check=False,
    )
    found = json.loads((tmp_path / "out" / "on-a-gpu.json").read_text(encoding="utf-8"))
    assert ended.returncode == 1
    assert {name: part["exit_code"] for name, part in found["parts"].items()} == dict.fromkeys(
        ("doctor", "suite", "bench", "split", "train", "predict", "score"), 124
    )
    assert (found["device"], found["tests"], found["dice"]) == ("cpu", None, None)


def environment(*first: Path) -> dict[str, str]:
    """The environment with this test's llmseg first, and with `SETTINGS`."""
    path = os.pathsep.join(map(str, (*first, Path(sys.executable).parent, os.environ["PATH"])))
    return os.environ | {"PATH": path, "OMP_NUM_THREADS": "2"} | SETTINGS


def check_scores(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    assert scores["counts"]["ok"] == 2
    assert scores["comparison"]["paired"]["dice"]["difference"] is not None
    assert 0 <= scores["metrics"]["dice"]["mean"] <= 1


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Iterator[Path]:
    """A folder with the program, which starts at once."""
    with llmseg_on_path(tmp_path_factory.mktemp("program")) as folder:
        yield folder


@pytest.mark.slow
@pytest.mark.weights
class TestOnTinyCases:
    @needs_make
    def test_makefile(self, toy_data, tmp_path, program):
        def make(*more: str) -> str:
            command = ["make", "-f", str(EXAMPLES / "Makefile"), f"DATA={toy_data}", *more]
            done = subprocess.run(
                command, cwd=tmp_path, env=environment(program), capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert "llmseg train-semi" in make("RUN=out")
        check_scores(tmp_path / "out")
        assert "llmseg" not in make("RUN=out"), "everything was made already"
        (tmp_path / "out" / "usl-masks" / "run.json").unlink()
        again = make("RUN=out")
        assert "llmseg predict" in again
        assert "llmseg train" not in again

    @pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
    def test_script(self, toy_data, tmp_path, program):
        command = ["bash", str(EXAMPLES / "pipeline.sh"), str(toy_data), str(tmp_path / "out")]
        for _ in range(2):  # the second run finds everything and goes through
            done = subprocess.run(command, env=environment(program), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            check_scores(tmp_path / "out")


@pytest.mark.slow
def test_the_benchmark_of_one_scan_measures_both_ways_to_answer(toy_data):
    scan = next((toy_data / "images").iterdir())
    command = [sys.executable, str(EXAMPLES / "benchmarks" / "predict_scan.py"), str(scan)]
    done = subprocess.run(
        [*command, "--patch", "16,16,16", "--rounds", "1"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(one network|mean of two) +\d+\.\d\d s .*\d MB$", done.stdout, re.M) == [
        "one network",
        "mean of two",
    ]
