"""The file of a plan: read back by the commands, whatever its data is called."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from planned import CPU, GPU, MRI

from llmseg_cli.planning.fingerprint import Choice
from llmseg_cli.planning.recommended import recommend
from llmseg_cli.workflows.plan.document import write_plan

STEPS = {"train-sup": Choice(300, "what fits"), "train-semi": Choice(90, "what fits, too")}


def plan_of(data: str = "scans", *, label_map=(), ignore_label=None, names=None, power=CPU) -> str:
    scans = MRI if names is None else replace(MRI, classes=dict(enumerate(names, start=1)))
    found = recommend(scans, power)
    return write_plan(Path(data), tuple(label_map), ignore_label, found, STEPS)


def test_every_setting_stands_below_its_reason():
    text = plan_of()
    assert yaml.safe_load(text) == {
        "data": "scans",
        "patch": "32,48,32",
        "spacing": 0,
        "batch": 2,
        "normalize": "zscore",
        "augment": "standard",
        "model": "unet",
        "model-option": {"filters": 16, "dropout": 0, "normalization": "instance"},
        "optimizer": "adam",
        "train-sup": {"steps": 300},
        "train-semi": {"method": "self-training", "steps": 90, "every": 30},
    }
    lines = text.splitlines()
    names = ("patch", "spacing", "batch", "normalize", "augment", "model", "model-option")
    for name in (*names, "optimizer"):
        (place,) = (n for n, line in enumerate(lines) if line.startswith(f"{name}: "))
        assert lines[place - 1].startswith("# "), name
    assert "30 scans, 6 with a label map that may be used (anterior, posterior)" in " ".join(
        line.removeprefix("# ") for line in lines
    )
    assert "  # What fits, too.\n  steps: 90\n" in text
    assert all(len(line) <= 88 for line in lines)


def test_the_machine_is_told():
    assert "2 processors, 8 GiB of memory and no GPU" in plan_of().replace("\n# ", " ")
    assert "H200 with 140 GB" in plan_of(power=GPU).replace("\n# ", " ")


def test_how_label_maps_are_read_stays():
    found = yaml.safe_load(plan_of(label_map=("255:1", "7:2"), ignore_label=50))
    assert found["label-map"] == ["255:1", "7:2"]
    assert found["ignore-label"] == 50


@pytest.mark.parametrize(
    "name",
    [
        'pol "yps" ü',
        "it's: {here} # and [there]",
        "a\nb: c",
        "tab\there",
        "back\\slash",
        "\u2028line",
        "\x85next",
        "\x7fdelete",
        "😀",
        "no",
        "123",
        " spaces ",
        "x" * 300,
    ],
)
def test_odd_names_of_folders_and_classes(name):
    text = plan_of(name, names=[name, "second"])
    found = yaml.safe_load(text)
    assert Path(found["data"]) == Path(name)
    assert found.keys() == yaml.safe_load(plan_of()).keys()
    assert found["patch"] == "32,48,32"
