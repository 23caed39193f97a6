"""TransUNet from training to masks, and with the block of a language model on demand."""

import nibabel as nib
import numpy as np
import pytest
from tiny_data import write_nifti
from tiny_models import write_llama
from training_cli import invoke, write_split

from llmseg_cli.artifacts.run_config import RunConfig

SMALL = tuple(
    word
    for option in ("filters=4", "width=16", "depth=1", "heads=2", "positions=2")
    for word in ("--model-option", option)
)


@pytest.mark.parametrize("block", [(), ("--llm-block", "pretrained")])
def test_it_trains_and_predicts_scans_of_other_sizes(toy_data, tmp_path, block):
    split = write_split(tmp_path / "split.json", toy_data)
    if block:
        block = (*block, "--llm-model", write_llama(tmp_path / "llama"))
    done = invoke(
        *("train-semi", "--method", "cross-pseudo-supervision", "--data", toy_data),
        *("--split", split, "--model", "transunet", *SMALL, *block, "--steps", "2"),
        *("--patch", "32,16,16", "-o", tmp_path / "run"),
    )
    assert done.exit_code == 0, done.output
    assert bool(RunConfig.load(tmp_path / "run" / "config.yaml").llm_block) == bool(block)
    scan = np.random.default_rng(0).normal(size=(23, 37, 9)).astype(np.float32)
    image = write_nifti(tmp_path / "scan.nii.gz", scan)
    done = invoke("predict", "--run", tmp_path / "run", "--images", image, "-o", tmp_path / "masks")
    assert done.exit_code == 0, done.output
    (mask,) = (tmp_path / "masks").rglob("*.nii.gz")
    assert nib.load(mask).shape == scan.shape


def test_layers_of_a_block_without_a_block_are_refused(toy_data, tmp_path):
    words = ("--data", toy_data, "--labeled", "2", "-o", tmp_path / "run", "--patch", "32,16,16")
    done = invoke("train-sup", *words, "--model", "transunet", *SMALL, "--llm-layers", "0")
    assert done.exit_code == 2
    assert "has no block of a language model. Name one with --llm-block." in done.output
