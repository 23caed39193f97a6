"""Masks that are all empty, and classes that are in none of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import random_image, write_nifti
from tiny_runs import run_config, write_run

from llmseg_cli.workflows.predict import opening
from llmseg_cli.workflows.predict.absent_classes import absence_warnings, classes_in
from llmseg_cli.workflows.predict.run import run
from llmseg_cli.workflows.runs.run_folder import OpenRun

NAMES = ("background", "anterior", "posterior", "3")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("shape", [(7, 5, 4), (9, 8), (1, 1, 1)])
def test_the_classes_of_a_mask_are_those_that_a_set_finds(dtype, shape):
    draw = np.random.default_rng(0)
    for highest in (0, 1, 2, 9):
        labels = draw.integers(0, highest + 1, shape).astype(dtype)
        assert classes_in(labels) == tuple(sorted(set(labels.ravel().tolist()) - {0}))


def test_the_mask_may_be_a_view():
    labels = np.zeros((4, 6, 5), np.uint8)
    labels[3, 5, 4] = 2
    assert classes_in(labels.transpose(2, 0, 1)) == (2,)
    assert classes_in(labels[:, :5]) == ()


@pytest.mark.parametrize(
    ("masks", "told"),
    [
        ([(), (), ()], ["3 of 3 masks are empty"]),
        ([(), ()], []),  # too few to say
        ([(1, 2, 3), (), ()], []),
        ([(1,), (), (1, 3)], ["Class 2 (posterior) is in none of the 3 masks"]),
        ([(2,), (2,), (2,)], ["Classes 1 (anterior), 3 are in none of the 3 masks"]),
        ([], []),
    ],
)
def test_what_is_told_of_many_masks(masks, told):
    found = absence_warnings(masks, NAMES, Path("runs/a"))
    assert [one[: len(start)] for one, start in zip(found, told, strict=True)] == told
    if "empty" in "".join(told):
        assert "runs/a/log.jsonl" in found[0]
        assert "--steps" in found[0]


class Blank(torch.nn.Module):
    """Background, whatever it sees."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.ones_like(image[:, :1]), torch.zeros_like(image[:, :1])], dim=1)


def test_empty_masks_are_told_also_where_they_were_made_before(tmp_path: Path, monkeypatch):
    config = run_config()
    opened = OpenRun(config, {"first": Blank()}, torch.device("cpu"), torch.float32)
    monkeypatch.setattr(opening, "open_run", lambda folder, **options: opened)
    write_run(tmp_path / "run", config)
    for case in "abc":
        write_nifti(tmp_path / "images" / f"{case}.nii.gz", random_image((9, 8, 7)))
    words = {"images": [tmp_path / "images"], "out": tmp_path / "out"}
    made = run(tmp_path / "run", **words)
    assert [case.classes for case in made.cases] == [()] * 3
    again = run(tmp_path / "run", **words, resume=True)
    assert [(case.status, case.classes) for case in again.cases] == [("skipped", ())] * 3
    for one in (made, again):
        assert any("3 of 3 masks are empty" in warning for warning in one.warnings)
