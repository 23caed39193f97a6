"""Networks of the field from training to masks of scans of other sizes."""

import nibabel as nib
import numpy as np
import pytest
from tiny_data import write_nifti
from training_cli import invoke, write_split

SMALL = {
    "medt": ("filters=4", "positions=8", "local_filters=4"),
    "cascade": ("filters=4",),
    "merit": ("filters=4",),
    "catformer": ("filters=4", "width=12", "heads=2", "layers=1", "iterations=2"),
    "unetpp": ("filters=4", "depth=2", "local_global=true"),
    "seunet-trans": ("filters=4", "width=16", "layers=1", "heads=2"),
}


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize("patch", ["32,16,16", "32,16"])
def test_it_trains_and_predicts_scans_of_other_sizes(toy_data, tmp_path, patch, model):
    options = [word for option in SMALL[model] for word in ("--model-option", option)]
    split = write_split(tmp_path / "split.json", toy_data)
    done = invoke(
        *("train-semi", "--method", "cross-pseudo-supervision", "--data", toy_data),
        *("--split", split, "--model", model, *options, "--steps", "2"),
        *("--patch", patch, "-o", tmp_path / "run"),
    )
    assert done.exit_code == 0, done.output
    scan = np.random.default_rng(0).normal(size=(23, 37, 9)).astype(np.float32)
    image = write_nifti(tmp_path / "scan.nii.gz", scan)
    done = invoke("predict", "--run", tmp_path / "run", "--images", image, "-o", tmp_path / "masks")
    assert done.exit_code == 0, done.output
    (mask,) = (tmp_path / "masks").rglob("*.nii.gz")
    assert nib.load(mask).shape == scan.shape
