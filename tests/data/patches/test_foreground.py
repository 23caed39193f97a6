"""The table of voxels that patches are centered on, and that patches see what is known."""

from pathlib import Path

import numpy as np
import pytest

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS
from llmseg_cli.data.patches.cache import PreparedCase
from llmseg_cli.data.patches.foreground import (
    draw_foreground,
    draw_known,
    foreground_table,
    is_unknown,
    lost_in,
    values_in,
)
from llmseg_cli.data.patches.sampling import PatchSampler

SHAPE = (20, 18, 16)


def sparse(slices=(5, 12)) -> np.ndarray:
    """A label map of which only some slices are annotated."""
    labels = np.full(SHAPE, UNKNOWN, np.uint8)
    for index in slices:
        labels[:, :, index] = 0
        labels[3:6, 3:6, index] = 1
    return labels


def test_rows_are_voxels_of_their_value():
    labels = sparse()
    table = foreground_table(labels, {1, UNKNOWN}, has_unknown=True)
    for value, *place in table:
        found = labels[tuple(place)]
        assert found != UNKNOWN if value == 0 else found == value
    assert (table[:, 0] == 0).sum() == (labels != UNKNOWN).sum()
    assert values_in(table) == {1, UNKNOWN}
    assert lost_in(table) == set()


def test_where_all_is_known_there_is_the_foreground_alone():
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:4] = 2
    for has_unknown in (False, True):
        table = foreground_table(labels, {2}, has_unknown=has_unknown)
        assert set(table[:, 0].tolist()) == {2}
        assert draw_known(table, np.random.default_rng(0)) is None


def test_a_lost_class_is_noted_and_never_drawn():
    labels = sparse()
    table = foreground_table(labels, {1, 3, 7, UNKNOWN}, has_unknown=True)
    assert lost_in(table) == {3, 7}
    assert values_in(table) == {1, UNKNOWN}
    random = np.random.default_rng(0)
    drawn = [tuple(draw_foreground(table, random)) for _ in range(50)]
    assert {labels[place] for place in drawn} == {1}


def test_nothing_known():
    table = foreground_table(np.full(SHAPE, UNKNOWN, np.uint8), {UNKNOWN}, has_unknown=True)
    assert is_unknown(table)
    assert not is_unknown(foreground_table(sparse(), {1}, has_unknown=True))
    random = np.random.default_rng(0)
    assert draw_foreground(table, random) is None
    assert draw_known(table, random) is None


def make_sampler(folder: Path, labels: np.ndarray, patch: tuple[int, ...], **options):
    paths = [folder / f"{name}.npy" for name in ("image", "labels", "voxels")]
    np.save(paths[0], np.random.default_rng(0).random((1, *SHAPE), np.float32))
    np.save(paths[1], labels)
    np.save(paths[2], foreground_table(labels, has_unknown=True))
    settings = {"batch": 1, "seed": 0, "stream": 0, "augmentation": AUGMENTATIONS["none"]}
    return PatchSampler([PreparedCase("a", *paths)], patch=patch, **settings, **options)


@pytest.mark.parametrize("patch", [(8, 8), (8, 8, 1), (6, 6, 4), (20, 18, 16)])
@pytest.mark.parametrize("foreground", [0.0, 0.5, 1.0])
def test_every_patch_has_a_known_voxel(tmp_path: Path, patch, foreground) -> None:
    labels = sparse()
    made = make_sampler(tmp_path, labels, patch, foreground=foreground, prefer_known=True)
    patches = [made.patch_at(position)[1] for position in range(60)]
    assert all((found != UNKNOWN).any() for found in patches)
    assert any((found == 0).any() for found in patches)
    if foreground:
        assert any((found == 1).any() for found in patches)


def test_known_voxels_are_drawn_alike(tmp_path: Path) -> None:
    """Both annotated slices come, and in the share of their voxels."""
    labels = sparse(slices=(2, 9))
    made = make_sampler(tmp_path, labels, (8, 8), prefer_known=True)
    table = np.load(tmp_path / "voxels.npy")
    random = np.random.default_rng(1)
    slices = [int(draw_known(table, random)[2]) for _ in range(400)]
    assert set(slices) == {2, 9}
    assert 0.4 < np.mean(np.array(slices) == 2) < 0.6
    assert made.patch_at(0)[1].shape == (8, 8, 1)


def test_unless_it_is_preferred_a_patch_lies_anywhere(tmp_path: Path) -> None:
    """Pseudo-labels, most of which may be unknown, do not choose where unlabeled patches lie."""
    made = make_sampler(tmp_path, sparse(), (8, 8))
    patches = [made.patch_at(position)[1] for position in range(40)]
    assert any((found == UNKNOWN).all() for found in patches)


def test_a_case_of_which_nothing_is_known_is_sampled_anywhere(tmp_path: Path) -> None:
    made = make_sampler(
        tmp_path, np.full(SHAPE, UNKNOWN, np.uint8), (8, 8, 8), foreground=0.5, prefer_known=True
    )
    assert all((made.patch_at(position)[1] == UNKNOWN).all() for position in range(5))
