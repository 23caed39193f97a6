"""Prepared cases kept in other ways: which key, which file, and the same batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import write_nifti

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.choices import CACHE_FORMATS
from llmseg_cli.data.cases import Case, find_cases, image_digest
from llmseg_cli.data.patches import cache as module
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS
from llmseg_cli.data.patches.cache import PreparedCase, name_of, prepare_image, prepare_labels
from llmseg_cli.data.patches.mapped import open_stored
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.data.patches.sampling import PatchSampler
from llmseg_cli.errors import DataError

AS_IT_IS = Preprocessing()
FILES = {"float32": "image.npy", "float16": "image.npy", "blocks": "image.blocks"}


@pytest.fixture
def case(toy_data: Path) -> Case:
    return find_cases(toy_data).case("toy01")


def prepared(case: Case, cache: Path, form: str, preprocessing=AS_IT_IS) -> PreparedCase:
    image = prepare_image(case, image_digest(case), preprocessing, cache, form=form)
    return prepare_labels(case, image, preprocessing, {}, form=form)


def batches(cases: list[PreparedCase], **options) -> list[tuple[torch.Tensor, torch.Tensor]]:
    known = {
        "patch": (12, 11, 9),
        "batch": 4,
        "seed": 3,
        "stream": 0,
        "augmentation": AUGMENTATIONS["standard"],
        "foreground": 0.5,
    }
    sampler = PatchSampler(cases, **(known | options))
    return [sampler.batch(step) for step in range(4)]


def test_all_names_are_known_here():
    assert set(FILES) == set(CACHE_FORMATS) == set(module.IMAGES)


def test_float32_lies_where_it_always_did(case, tmp_path):
    found = prepared(case, tmp_path, "float32")
    key = {"version": module.VERSION, "image": image_digest(case), **AS_IT_IS.to_dict()}
    assert found.image == tmp_path / "cases" / sha256_json(key)[:32] / "image.npy"
    assert found == prepare_labels(
        case, prepare_image(case, image_digest(case), AS_IT_IS, tmp_path), AS_IT_IS, {}
    )


def test_each_format_has_a_folder_of_its_own(case, tmp_path):
    found = {form: prepared(case, tmp_path, form) for form in FILES}
    assert {form: one.image.name for form, one in found.items()} == FILES
    assert len({one.image.parent for one in found.values()}) == len(FILES)
    assert len({name_of(one.labels) for one in found.values()}) == 1


@pytest.mark.parametrize("form", FILES)
def test_nothing_is_made_twice(case, tmp_path, monkeypatch, form):
    first = prepared(case, tmp_path, form)
    monkeypatch.setattr(module, "load_image", None)
    monkeypatch.setattr(module, "load_label_map", None)
    assert prepared(case, tmp_path, form) == first


@pytest.mark.parametrize("form", ["float16", "blocks"])
@pytest.mark.parametrize("size", [0, 60, -1])
def test_what_was_cut_off_is_prepared_again(case, tmp_path, caplog, form, size):
    found = prepared(case, tmp_path, form)
    for path in (found.image, found.labels):
        whole = path.read_bytes()
        path.write_bytes(whole[:size])
        assert prepared(case, tmp_path, form) == found
        assert path.read_bytes() == whole
    assert "case toy01: prepared again" in caplog.text


@pytest.mark.parametrize("preprocessing", [AS_IT_IS, Preprocessing((1.7, 1.0, 2.0), "minmax")])
@pytest.mark.parametrize("shape", [{}, {"patch": (10, 12), "slices": 3}], ids=["3D", "2D"])
def test_batches_of_blocks_are_those_of_float32_to_the_bit(
    toy_data, tmp_path, preprocessing, shape
):
    cases = find_cases(toy_data).cases[:3]
    found = [
        batches([prepared(case, tmp_path, form, preprocessing) for case in cases], **shape)
        for form in ("float32", "blocks")
    ]
    for (image, target), (same_image, same_target) in zip(*found, strict=True):
        assert torch.equal(image.view(torch.int32), same_image.view(torch.int32))
        assert torch.equal(target, same_target)


def test_batches_of_float16_are_rounded_and_no_more(toy_data, tmp_path):
    cases = find_cases(toy_data).cases[:3]
    plain = {"augmentation": AUGMENTATIONS["none"]}
    whole, half = (
        batches([prepared(case, tmp_path, form) for case in cases], **plain)
        for form in ("float32", "float16")
    )
    for (image, target), (rounded, same_target) in zip(whole, half, strict=True):
        assert rounded.dtype == torch.float32
        assert torch.equal(image.half().float(), rounded)
        assert torch.equal(target, same_target)


def test_float16_refuses_a_case_by_its_name(tmp_path):
    random = np.random.default_rng(0)
    write_nifti(tmp_path / "far.nii.gz", random.normal(30_000, 10, (9, 8, 7)).astype(np.float32))
    case = Case("far", (tmp_path / "far.nii.gz",), None)
    own = replace(AS_IT_IS, normalize="none")
    with pytest.raises(DataError, match=r"case far: --cache-format float16 .* blocks"):
        prepare_image(case, "0" * 64, own, tmp_path / "cache", form="float16")
    assert not list((tmp_path / "cache").rglob("image*"))
    kept = prepare_image(case, "0" * 64, own, tmp_path / "cache", form="blocks")
    assert np.asarray(open_stored(kept.image)).dtype == np.float32
