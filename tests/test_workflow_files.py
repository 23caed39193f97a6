"""Files of other programs in `examples/cluster`: their llmseg lines are read, their parts fit.

Snakemake, DVC, submitit, Docker and Apptainer are no part of this environment; what was seen with
the real ones stands in `examples/cluster/README.md`.
"""

import importlib.util
import itertools
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_examples import PROGRAM, ROOT, unknown_flags
from training_cli import invoke

CLUSTER = ROOT / "examples" / "cluster"
FILLED = {  # what Snakemake puts in place of names in braces
    "{DATA}": "scans",
    "{TEST}": "0.2",
    "{TRAIN}": "--steps 3",
    "{wildcards.labels}": "8",
    "{wildcards.seed}": "0",
    "{wildcards.method}": "usl",
    "{params.scores}": "--scores one.json --scores two.json",
}


def read_by_its_command(words: list[str]) -> None:
    """The options of a llmseg line exist, and take what stands there."""
    assert not unknown_flags(words)
    if any(one.name == "config" for one in PROGRAM.commands[words[0]].params):
        result = invoke("config", "show", *words)
        assert result.exit_code == 0, result.stderr


def lines_of_snakefile() -> list[list[str]]:
    text = (CLUSTER / "Snakefile").read_text()
    for name, value in FILLED.items():
        text = text.replace(name, value)
    text = re.sub(r"\$\(dirname \{[\w.]+\}\)", "folder", text)
    text = re.sub(r"\{(input|output)[\w.]*\}", "file.json", text)
    return [shlex.split(line) for line in re.findall(r'^ +"llmseg (.*)"$', text, re.MULTILINE)]


def test_every_rule_of_the_snakefile_is_a_command_that_exists(quiet_place):
    lines = lines_of_snakefile()
    assert [words[0] for words in lines] == [
        "check", "split", "train-sup", "train-semi", "predict", "score", "paper",
    ]  # fmt: skip
    for words in lines:
        assert not re.search(r"[{}]", " ".join(words))
        read_by_its_command(words)


@pytest.mark.skipif(shutil.which("snakemake") is None, reason="no snakemake here")
def test_snakemake_plans_every_combination(tmp_path):
    words = ["snakemake", "-n", "-s", str(CLUSTER / "Snakefile"), "--config", "labels=8,16"]
    words += ["seeds=0,1", "methods=supervised,usl,mean-teacher"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    count = dict(re.findall(r"^(train_\w+) +(\d+)$", done.stdout, re.MULTILINE))
    assert count == {"train_sup": "4", "train_semi": "8"}


def stages() -> Iterator[tuple[str, dict[str, Any]]]:
    """The stages of DVC for two of each list, names in their place."""
    text = (CLUSTER / "dvc.yaml").read_text()
    values = yaml.safe_load((CLUSTER / "params.yaml").read_text())
    values |= {"labels": [8, 16], "seeds": [0, 1], "methods": ["usl", "mean-teacher"]}
    for name in ("data", "run", "test", "train"):
        text = text.replace(f"${{{name}}}", str(values[name]))
    for name, stage in yaml.safe_load(text)["stages"].items():
        axes = {key: values[of.strip("${}")] for key, of in stage.pop("matrix", {}).items()}
        for chosen in itertools.product(*axes.values()):
            filled = yaml.safe_dump(stage, width=10_000)
            for key, value in zip(axes, chosen, strict=True):
                filled = filled.replace(f"${{item.{key}}}", str(value))
            assert "${" not in filled, filled
            yield f"{name}-{'-'.join(map(str, chosen))}", yaml.safe_load(filled)


def outs(stage: dict[str, Any]) -> list[str]:
    made = (*stage.get("outs", ()), *stage.get("metrics", ()))
    return [out if isinstance(out, str) else next(iter(out)) for out in made]


def test_every_stage_of_dvc_is_a_command_that_exists_and_writes_its_outs(quiet_place):
    for name, stage in stages():
        words = shlex.split(stage["cmd"].split("llmseg ", 1)[1])
        read_by_its_command(words)
        assert outs(stage) == [words[words.index("-o") + 1]], name


def test_stages_of_dvc_hang_together():
    made = [out for _, stage in stages() for out in outs(stage)]
    assert len(made) == len(set(made))
    for name, stage in stages():
        for needed in stage["deps"]:
            assert needed == "scans" or needed in made, name
            assert needed in stage["cmd"] or "check" in needed, name


@pytest.fixture
def submit(monkeypatch) -> types.ModuleType:
    """`submit.py`, with a submitit that does no more than it relies on."""
    helpers = types.ModuleType("submitit.helpers")
    helpers.DelayedSubmission = lambda task: task
    monkeypatch.setitem(sys.modules, "submitit", types.ModuleType("submitit"))
    monkeypatch.setitem(sys.modules, "submitit.helpers", helpers)
    place = importlib.util.spec_from_file_location("submit", CLUSTER / "submit.py")
    found = importlib.util.module_from_spec(place)
    place.loader.exec_module(found)
    return found


SLEEPER = """import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: os._exit({code}))
os.kill(os.getppid(), signal.SIGUSR2)
signal.pause()
"""


@pytest.mark.parametrize("code", [75, 6])
def test_before_its_time_limit_a_job_saves_and_comes_again(submit, code, monkeypatch, tmp_path):
    """The signal comes while the command is waited for, as submitit's does, in the same thread."""
    (tmp_path / "llmseg_cli.py").write_text(SLEEPER.format(code=code))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    command = submit.Command(["train-sup", "--resume"])
    found = []

    def hear(number: int, frame: object) -> None:
        found.append(command.checkpoint())
        raise InterruptedError

    before = signal.signal(signal.SIGUSR2, hear)
    try:
        with pytest.raises(InterruptedError if code == submit.SAVED else RuntimeError) as caught:
            command()
    finally:
        signal.signal(signal.SIGUSR2, before)
    if code == submit.SAVED:
        assert [one.words for one in found] == [["train-sup", "--resume"]]
    else:
        assert str(caught.value) == "llmseg train-sup --resume ended with 6"


def test_a_job_that_fails_says_with_what(submit):
    assert submit.Command(["--version"])() == "llmseg --version"
    with pytest.raises(RuntimeError, match="llmseg check --data nowhere ended with 3"):
        submit.Command(["check", "--data", "nowhere"])()


def test_images_install_what_there_is():
    docker, apptainer = ((CLUSTER / name).read_text() for name in ("Dockerfile", "llmseg.def"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    copied = re.findall(r"^COPY (.*) \S+$", docker, re.MULTILINE)
    assert [Path(ROOT / name).exists() for line in copied for name in line.split()] == [True] * 5
    assert sorted(" ".join(copied).split()) == sorted(
        re.findall(r"^ +(\S+) /src/\S+$", apptainer, re.MULTILINE)
    )
    for text in (docker, apptainer):
        (chosen,) = re.findall(r"'\.\[(.*)\]'", text)
        assert {*chosen.split(",")} <= {*project["optional-dependencies"]}
        for words in re.findall(r"llmseg (weights \w+|--version)", text):
            read = words.split()
            assert read == ["--version"] or not unknown_flags(read)
