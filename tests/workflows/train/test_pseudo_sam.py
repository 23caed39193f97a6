"""A small random Segment Anything in training: mined before, at once, and again and again."""

import json
from pathlib import Path

import pytest
import yaml
from tiny_sam import write_sam
from training_cli import invoke, log_lines, train, weights

pytestmark = pytest.mark.usefixtures("quiet_place")

FLAT = ("--patch", "16,16", "--spacing", "0")


@pytest.fixture(scope="module")
def sam(tmp_path_factory) -> tuple[str, str]:
    """The words that name the model."""
    return "--sam", f"transformers:{write_sam(tmp_path_factory.mktemp('sam') / 'tiny')}"


@pytest.fixture(scope="module")
def start(toy_data, toy_split, tmp_path_factory) -> Path:
    """A run that predicts something; do not change it."""
    output = tmp_path_factory.mktemp("start") / "run"
    words = (*FLAT, "--split", toy_split, "--cache", output.parent / "cache")
    train("supervised", toy_data, output, *words, "--learning-rate", "0.05", steps=30)
    return output


def test_mined_before(toy_data, toy_split, quiet_place, sam, start):
    """Masks of `mine-sam` equal those of a run that mines from the same weights at once."""
    words = ("--data", toy_data, "--split", toy_split)
    mined = invoke("mine-sam", "--run", start, *words, *sam, "-o", quiet_place / "masks")
    assert mined.exit_code == 0, mined.output
    words = (*FLAT, "--split", toy_split, "--init", start)
    ready, once = quiet_place / "ready", quiet_place / "once"
    train("sam-mining", toy_data, ready, *words, "--pseudo", quiet_place / "masks", steps=2)
    train("sam-mining", toy_data, once, *words, *sam, steps=2)
    for mask in (once / "pseudo" / "step-000000").glob("*.nii.gz"):
        assert mask.read_bytes() == (quiet_place / "masks" / mask.name).read_bytes()
    assert weights(ready) == weights(once)
    manifest = json.loads((ready / "run.json").read_text())
    masks = list((quiet_place / "masks").glob("*.nii.gz"))
    assert manifest["counts"]["pseudo_labeled"] == len(masks) > 0


def test_mined_again_from_cached_embeddings(toy_data, toy_split, quiet_place, sam, start):
    run = quiet_place / "run"
    words = (*FLAT, "--split", toy_split, "--init", start, *sam, "--schedule", "continuous")
    words = (*words, "--every", "1", "--min-iou", "0.01")
    train("sam-mining", toy_data, run, *words, steps=3)
    first, *later = (line for line in log_lines(run) if "pseudo_masks" in line)
    assert first["embeddings_made"] > 0
    assert later[-1]["embeddings_made"] <= first["embeddings_made"] + 10  # slices not asked before
    assert later[-1]["embeddings_cached"] > 0
    made_by = yaml.safe_load((run / "config.yaml").read_text())["pseudo"]["made_by"]
    assert made_by["miner"] == "sam"
    assert made_by["rules"]["min_iou"] == 0.01
    assert made_by["weights"].startswith("sha256:")
    words = (*words, "--resume", "--min-iou", "0.5")
    result = train("sam-mining", toy_data, run, *words, steps=3, code=2)
    assert "pseudo.made_by.rules.min_iou was 0.01, now 0.5" in result.stderr
