"""Scores beside an ignore label: against numpy over the known voxels, and what is said of them."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.errors import UsageError
from llmseg_cli.metrics.scoring import score_pair
from llmseg_cli.workflows.score.planned import ScoreOptions
from llmseg_cli.workflows.score.run import run

SHAPE, SPACING = (14, 12, 9), (1.0, 1.5, 2.0)
IGNORE = 7


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a reference of two classes, of which a corner is unknown."""
    random = np.random.default_rng(seed)
    maps = []
    for _ in range(2):
        labels = np.zeros(SHAPE, np.uint8)
        for value in (1, 2):
            x, y, z = random.integers(0, 5, 3)
            labels[x + 2 : x + 7, y + 1 : y + 6, z : z + 4] = value
        maps.append(labels)
    maps[1][5:9, :, 2:7] = IGNORE
    return maps[0], maps[1]


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*SPACING, 1])), path)


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    for seed in range(3):
        prediction, reference = pair(seed)
        write(tmp_path / "pred" / f"c{seed}.nii.gz", prediction)
        write(tmp_path / "data/labels" / f"c{seed}.nii.gz", reference)
        noise = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
        write(tmp_path / "data/images" / f"c{seed}.nii.gz", noise)
    return tmp_path / "pred", tmp_path / "data"


def name_it(data: Path, value: int = IGNORE) -> None:
    names = {"background": 0, "a": 1, "b": 2, "ignore": value}
    (data / "dataset.json").write_text(json.dumps({"labels": names}))


def scored(folders, **options):
    found = run(*folders, options=ScoreOptions(draws=0, **options)).scores
    json.dumps(found.to_dict(), allow_nan=False)
    return found


def surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def test_every_number_is_that_of_the_known_voxels(folders):
    name_it(folders[1])
    found = scored(folders)
    assert found.classes == {"1": "a", "2": "b"}
    for seed, case in enumerate(found.cases):
        prediction, reference = pair(seed)
        known = reference != IGNORE
        assert case["ignored"] == (~known).sum()
        for value in (1, 2):
            p, r = (prediction == value) & known, (reference == value) & known
            values = case["classes"][str(value)]
            both = (p & r).sum()
            assert values["dice"] == pytest.approx(2 * both / (p.sum() + r.sum()))
            assert values["jaccard"] == pytest.approx(both / (p | r).sum())
            assert values["sensitivity"] == pytest.approx(both / r.sum())
            outside = known & ~r
            assert values["specificity"] == pytest.approx((outside & ~p).sum() / outside.sum())
            assert values["prediction_volume_ml"] == pytest.approx(p.sum() * 3 / 1000)
            assert values["reference_volume_ml"] == pytest.approx(r.sum() * 3 / 1000)
            to_r = ndimage.distance_transform_edt(~surface(r), SPACING)[surface(p)]
            to_p = ndimage.distance_transform_edt(~surface(p), SPACING)[surface(r)]
            expected = np.percentile(np.concatenate([to_r, to_p]), 95)
            assert values["hd95_mm"] == pytest.approx(expected, abs=1e-6)
            assert values["asd_mm"] == pytest.approx(to_r.mean(), abs=1e-6)


def test_it_is_said_in_the_signature_the_definition_and_the_document(folders):
    plain = scored((folders[0], folders[0]))
    assert plain.ignore is None
    assert all("ignore" not in one["signature"] for one in plain.metrics.values())
    name_it(folders[1])
    found = scored(folders)
    for metric in found.metrics.values():
        assert f"|ignore:{IGNORE}|" in metric["signature"]
        assert f"|ignore:{IGNORE}|" in metric["classes"]["1"]["signature"]
        assert f"ignore label {IGNORE} are in neither P nor R nor the image" in metric["definition"]
    assert found.ignore["label"] == IGNORE
    assert found.ignore["voxels"] == sum((pair(s)[1] == IGNORE).sum() for s in range(3))
    assert "the cut is a surface" in found.ignore["treatment"]


def test_what_is_predicted_where_nothing_is_known_changes_nothing(folders):
    before = scored(folders, ignore_label=IGNORE)
    for seed in range(3):
        prediction, reference = pair(seed)
        write(
            folders[0] / f"c{seed}.nii.gz",
            np.where(reference == IGNORE, 2 - seed % 2, prediction).astype(np.uint8),
        )
    after = scored(folders, ignore_label=IGNORE)
    assert after.metrics == before.metrics


def test_the_run_that_predicted_knows_it_too(folders):
    manifest = Manifest("predict")
    manifest.details = {"ignore_label": IGNORE}
    outputs = tuple(path.name for path in folders[0].iterdir())
    manifest.write(folders[0], outputs=outputs)
    assert scored(folders).metrics == scored(folders, ignore_label=IGNORE).metrics
    assert scored(folders).ignore["label"] == IGNORE
    assert scored(folders, ignore_label=255).ignore["label"] == 255  # as asked


def test_a_contradiction_is_refused(folders):
    name_it(folders[1])
    with pytest.raises(UsageError, match=f"names {IGNORE} as its ignore label"):
        scored(folders, ignore_label=255)


def test_a_reference_of_which_nothing_is_known_has_no_score(folders):
    write(folders[1] / "labels" / "c1.nii.gz", np.full(SHAPE, IGNORE, np.uint8))
    found = scored(folders, ignore_label=IGNORE)
    assert found.status == "partial"
    assert "every voxel has the ignore label 7" in found.failed["c1"]


def test_a_prediction_with_the_ignore_label_has_no_score(folders):
    prediction, reference = pair(1)
    write(folders[0] / "c1.nii.gz", np.where(reference == IGNORE, IGNORE, prediction))
    found = scored(folders, ignore_label=IGNORE)
    assert "--pred-label-map, such as 7:0" in found.failed["c1"]
    assert scored(folders, ignore_label=IGNORE, prediction_label_map={7: 0}).status == "ok"


def test_a_255_that_no_prediction_has_is_asked_about(folders):
    for seed in range(3):
        reference = pair(seed)[1]
        write(
            folders[1] / "labels" / f"c{seed}.nii.gz",
            np.where(reference == IGNORE, 255, reference).astype(np.uint8),
        )
    (warning,) = (text for text in scored(folders).warnings if "255" in text and "If" in text)
    assert "pass --ignore-label 255" in warning
    assert not any("--ignore-label" in text for text in scored(folders, ignore_label=255).warnings)


def test_known_everywhere_is_the_score_without():
    prediction, reference = pair(0)
    reference = np.where(reference == IGNORE, 0, reference)
    settings = {"classes": (1, 2), "spacing_mm": SPACING}
    found = score_pair(prediction, reference, **settings, known=np.ones(SHAPE, bool))
    assert found == score_pair(prediction, reference, **settings)
    with pytest.raises(ValueError, match="shapes differ"):
        score_pair(prediction, reference, **settings, known=np.ones((2, 2, 2), bool))


def test_values_that_no_reference_holds_are_told(folders):
    found = scored(folders, ignore_label=77, label_map={9: 1})
    said = "counts for nothing. They hold"
    assert [w.partition(":")[0] for w in found.warnings if said in w] == [
        "--label-map 9",
        "--ignore-label 77",
    ]
    assert not [w for w in scored(folders, ignore_label=IGNORE).warnings if said in w]
