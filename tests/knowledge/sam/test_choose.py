"""What each name opens, and what a name that opens nothing is told."""

import hashlib
import json

import pytest
import torch
from tiny_sam import write_sam

from llmseg_cli.choices import SAM_NAMES
from llmseg_cli.errors import ExitCode, UsageError, WeightsError
from llmseg_cli.knowledge.sam.choose import open_segmenter
from llmseg_cli.knowledge.sam.huggingface import TransformersSam
from llmseg_cli.knowledge.weights.embedded import WEIGHTS, weights_folder

CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


@pytest.mark.parametrize(
    ("name", "near"),
    [("lite-medsm", "lite-medsam"), ("vit-b", "vit_b:PATH"), ("lite-medsam:x", "lite-medsam")],
)
def test_an_unknown_name_is_corrected(name, near):
    with pytest.raises(UsageError, match=f"Unknown SAM model '{name}'. Did you mean '{near}'"):
        open_segmenter(name, **CPU)


@pytest.mark.parametrize(
    "name", sorted({f"{one.split(':')[0]}:" for one in SAM_NAMES if ":" in one})
)
def test_a_name_without_its_place_says_what_is_missing(name):
    for said in (name, name.removesuffix(":")):
        with pytest.raises(UsageError, match=f"'{said}' does not say where.*expected {name}PATH"):
            open_segmenter(said, **CPU)


def test_a_checkpoint_that_is_not_there(tmp_path):
    with pytest.raises(WeightsError, match=f"no file {tmp_path}/sam.pth"):
        open_segmenter(f"vit_b:{tmp_path}/sam.pth", **CPU)


def test_missing_weights_name_the_command_that_fetches_them(tmp_path):
    with pytest.raises(WeightsError, match="Run 'llmseg weights fetch lite-medsam'") as caught:
        open_segmenter("lite-medsam", cache=tmp_path, **CPU)
    assert caught.value.exit_code == ExitCode.WEIGHTS == 7


def test_altered_weights_are_refused(tmp_path):
    folder = weights_folder("lite-medsam", cache=tmp_path)
    folder.mkdir(parents=True)
    (folder / "lite_medsam.pth").write_bytes(b"altered")
    with pytest.raises(WeightsError, match=r"expected 79d8.*'llmseg weights fetch lite-medsam'"):
        open_segmenter("lite-medsam", cache=tmp_path, **CPU)


@pytest.mark.weights
def test_lite_medsam_carries_its_published_digest(weights_cache):
    segmenter = open_segmenter("lite-medsam", cache=weights_cache, **CPU)
    assert segmenter.digest == f"sha256:{WEIGHTS['lite-medsam'].files['lite_medsam.pth']}"
    assert (segmenter.name, segmenter.low_side, segmenter.framing.side) == ("lite-medsam", 256, 256)


def test_a_folder_of_transformers(tmp_path):
    folder = write_sam(tmp_path / "mine")
    segmenter = open_segmenter(f"transformers:{folder}", **CPU)
    read = ("config.json", "model.safetensors", "processor_config.json")
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in read}
    listed = json.dumps(digests, sort_keys=True, separators=(",", ":"))
    assert segmenter.digest == f"sha256:{hashlib.sha256(listed.encode()).hexdigest()}"
    assert segmenter.name == "transformers:mine"
    assert type(segmenter) is TransformersSam


def test_a_hub_model_comes_from_the_cache_alone_while_offline(tmp_path, monkeypatch):
    monkeypatch.setattr("llmseg_cli.knowledge.weights.hub.fetch_hub", None)
    with pytest.raises(WeightsError, match="--offline forbids to fetch it"):
        open_segmenter("transformers:owner/sam", cache=tmp_path, offline=True, **CPU)


def test_a_folder_that_is_not_there():
    with pytest.raises(UsageError, match="expected the folder of a model"):
        open_segmenter("transformers:/nowhere/sam", **CPU)
