"""Words in, one call, words out; exit codes; once with a real, if small, Segment Anything."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_mining import (
    UNLABELED,
    Drawing,
    pixels,
    use,
    write_bright_run,
    write_pictures,
    write_split,
)
from tiny_sam import write_sam
from training_cli import invoke

from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.errors import PartialError
from llmseg_cli.workflows.mine import run as workflow
from llmseg_cli.workflows.mine.cases import MinedCase
from llmseg_cli.workflows.mine.run import MinedFolder

CASES = (
    MinedCase("a", "ok", "a.png", ({"class": 1},)),
    MinedCase("b", "kept", "b.png"),
    MinedCase("c", "dropped"),
    MinedCase("d", "no-prompt"),
)
DONE = MinedFolder(Path("pseudo"), CASES, hits=3, misses=2)
NEEDED = ("--run", "runs/a", "--data", "scans", "--split", "s.json")


@pytest.fixture
def call(monkeypatch, quiet_place, names_alone):
    """Runs the command with a workflow that only listens; gives the result and its arguments."""

    def make(*words: str, outcome=DONE):
        heard = {}

        def run(folder, *, on_case, progress, **values):
            heard.update(values, run=folder)
            on_case(MinedCase("e", "failed", reason="e.png: not a whole picture."))
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(workflow, "run", run)
        return invoke("mine-sam", *NEEDED, *words), heard

    return make


def test_defaults(call, cache):
    result, heard = call()
    assert (result.exit_code, result.stdout) == (0, "")
    expected = {
        "run": Path("runs/a"),
        "data": Path("scans"),
        "split": Path("s.json"),
        "out": Path("pseudo"),
        "settings": MiningSettings(),
        "cache": cache,
        "subset": "unlabeled",
        "overlays": 8,
        "device": "auto",
        **dict.fromkeys(("offline", "resume", "force", "dry_run"), False),
    }
    assert {name: heard[name] for name in expected} == expected


def test_what_follows_depends_on_whose_masks_they_are(call):
    said = call()[0].stderr
    roles = "--data scans --split s.json --method sam-mining --pseudo pseudo"
    assert f"Next: llmseg train-semi {roles} -o runs/mined" in said
    said = call("--subset", "validation")[0].stderr
    assert "Next: llmseg score --pred pseudo --ref scans --split s.json" in said
    assert "Next:" not in call("--dry-run")[0].stderr


def test_every_word_arrives(call):
    result, heard = call(
        *("-o", "masks", "--subset", "test", "--overlays", "0", "--device", "cpu", "--offline"),
        *("--resume", "--force", "-n", "--cache", "kept", "--sam", "vit_b:sam.pth"),
        *("--prompts", "box,points", "--box-margin", "0,0.5", "--positive-points", "2"),
        *("--negative-points", "3", "--confident", "0.8", "--threshold", "0.4"),
        *("--smallest-component", "0.01", "--refine", "1", "--mirror", "--slice-axis", "x"),
        *("--largest-component", "--min-iou", "0.7", "--min-stability", "0.6"),
        *(
            "--min-agreement",
            "0.5",
            "--max-area-ratio",
            "2",
            "--sam-precision",
            "fp32",
            "--masks",
            "network",
        ),
    )
    assert result.exit_code == 0, result.stderr
    assert (heard["out"], heard["subset"], heard["overlays"]) == (Path("masks"), "test", 0)
    assert (heard["device"], heard["cache"]) == ("cpu", Path("kept"))
    assert [heard[name] for name in ("offline", "resume", "force", "dry_run")] == [True] * 4
    assert heard["settings"] == MiningSettings(
        sam="vit_b:sam.pth",
        prompts=("box", "points"),
        box_margin=(0.0, 0.5),
        positive_points=2,
        negative_points=3,
        confident=0.8,
        threshold="0.4",
        smallest_component=0.01,
        refine=1,
        mirror=True,
        slice_axis="x",
        largest_component=True,
        min_iou=0.7,
        min_stability=0.6,
        min_agreement=0.5,
        max_area_ratio=2.0,
        masks="network",
        sam_precision="fp32",
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("box-margin: []", "expected numbers separated by commas"),
        ("box-margin: [-0.1]", "expected numbers of 0 or more"),
        ("box-margin: wide", "expected numbers separated by commas"),
    ],
)
def test_wrong_margins_of_the_configuration(call, line, message):
    Path("llmseg.yaml").write_text(f"mine-sam:\n  {line}\n")
    result, heard = call()
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not heard


def test_a_list_in_the_configuration(call):
    Path("llmseg.yaml").write_text("mine-sam:\n  prompts: [box, points]\n  box-margin: [0, 0.25]\n")
    result, heard = call()
    assert result.exit_code == 0, result.stderr
    assert (heard["settings"].prompts, heard["settings"].box_margin) == (
        ("box", "points"),
        (0, 0.25),
    )


def test_what_was_mined_is_told(call):
    result, _ = call("--verbose")
    assert "Warning: e failed: e.png: not a whole picture." in result.stderr
    assert (
        "pseudo: 2 masks of 4 cases, 1 dropped by filters, 1 without prediction; "
        "2 images encoded, 3 found in the cache."
    ) in result.stderr


def test_a_dry_run_says_how_many(call):
    planned = MinedFolder(Path("pseudo"), tuple(MinedCase(c, "planned") for c in "abc"))
    result, _ = call("-n", outcome=planned)
    assert "3 cases would be mined into pseudo." in result.stderr


def test_json_is_one_document_also_where_cases_failed(call):
    result, _ = call("--json", "-q")
    document = json.loads(result.stdout)
    assert document["counts"] == DONE.counts
    assert [case["case"] for case in document["cases"]] == list("abcd")
    assert result.stderr == ""
    error = PartialError("1 of 4 cases failed")
    error.report = DONE.to_dict()
    result, _ = call("--json", outcome=error)
    assert result.exit_code == 5
    assert json.loads(result.stdout) == document
    assert "1 of 4 cases failed" in result.stderr


# The workflow itself


@pytest.fixture
def folder(quiet_place, monkeypatch) -> Path:
    """Data, split and run in the working folder."""
    write_pictures(Path("data"))
    split = write_split(Path("split.json"), Path("data"))
    return write_bright_run(Path("run"), split, monkeypatch)


def mine(*words: str, code: int = 0):
    needed = {"--run": "run", "--data": "data", "--split": "split.json", "--device": "cpu"}
    missing = [w for pair in needed.items() if pair[0] not in words for w in pair]
    result = invoke("mine-sam", *missing, *words)
    assert result.exit_code == code, f"{result.output}{result.exception!r}"
    return result


def test_no_run_folder(folder):
    assert "--run absent: there is no such folder" in mine("--run", "absent", code=2).stderr


def test_an_unknown_sam_is_corrected(folder):
    said = mine("--sam", "lite-medsm", code=2).stderr
    assert "Unknown SAM model 'lite-medsm'. Did you mean 'lite-medsam'?" in said
    assert not Path("pseudo").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lite-medsam", "Run 'llmseg weights fetch lite-medsam'"),
        ("transformers:owner/sam", "--offline forbids to fetch it"),
        ("vit_b:absent.pth", "There is no file absent.pth"),
    ],
)
def test_missing_weights_offline(folder, name, message):
    assert message in mine("--sam", name, "--offline", code=7).stderr
    assert not Path("pseudo").exists()


def test_a_checkpoint_of_another_size(folder):
    bias = {"image_encoder.patch_embed.proj.bias": torch.zeros(1024)}
    torch.save(bias, "sam.pth")
    said = mine("--sam", "vit_b:sam.pth", code=7).stderr
    assert "sam.pth holds a vit_l, not a vit_b. Pass --sam vit_l:sam.pth" in said
    assert not Path("pseudo").exists()


def test_refusals_are_exit_4_and_an_empty_prediction_5(folder, monkeypatch):
    use(Drawing(), monkeypatch)
    assert "None of 4 cases" in mine("--threshold", "1", code=5).stderr
    write_split(Path("other.json"), Path("data"), labeled=(), test=("l0", "t0"))
    assert "has learned from 1 test" in mine("--split", "other.json", "--force", code=4).stderr
    Image.fromarray(pixels(9)).save("data/images/u0.png")
    assert "1 changed (u0)" in mine("--force", code=4).stderr


@pytest.mark.slow
def test_a_small_segment_anything_of_transformers(folder, cache):
    """Other sizes than its square, smaller than a patch, and the second time from the cache."""
    Image.fromarray(pixels(1)[:30, :20]).save("data/images/u1.png")
    small = np.full((5, 4), 10, np.uint8)
    small[1:4, 1:3] = 200
    Image.fromarray(small).save("data/images/u2.png")
    write_split(Path("split.json"), Path("data"))
    write_sam(Path("sam"))
    words = ("--sam", "transformers:sam", "--sam-precision", "fp32", "--offline", "--json")
    words = (*words, "--prompts", "box,points", "--smallest-component", "0")
    document = json.loads(mine(*words, "--subset", "all").stdout)
    assert document["counts"]["embeddings_made"] == 6
    for case in (*UNLABELED, "l0", "t0"):
        image, mask = (
            np.asarray(Image.open(f"{folder}/{case}.png")) for folder in ("data/images", "pseudo")
        )
        assert image.shape == mask.shape
    again = json.loads(mine(*words, "--subset", "all", "-o", "again", "--refine", "1").stdout)
    assert (again["counts"]["embeddings_made"], again["counts"]["embeddings_cached"]) == (0, 6)
    for case in again["cases"]:
        for line in case["findings"]:
            assert 0 <= line["stability"] <= 1
            assert 0 <= line["agreement"] <= 1
    assert load_manifest(Path("again"))["details"]["sam"] == "transformers:sam"
