"""Run folders that are opened, and those that cannot be."""

import pytest
import torch
from tiny_runs import run_config, write_run

from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.workflows.runs.run_folder import open_run


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_mean_is_of_the_networks(tmp_path, image):
    networks = write_run(tmp_path / "run", run_config(answer="mean"))
    found = open_run(tmp_path / "run", device="cpu", precision="fp32").probabilities(image)
    with torch.inference_mode():
        expected = torch.stack([n.eval()(image).softmax(1) for n in networks.values()]).mean(0)
    torch.testing.assert_close(found, expected)


def test_the_recorded_network_answers_unless_another_is_named(tmp_path, image):
    networks = write_run(tmp_path / "run", run_config(answer="first"))
    for name in (None, "second"):
        opened = open_run(tmp_path / "run", device="cpu", precision="fp32", network=name)
        with torch.inference_mode():
            expected = networks[name or "first"].eval()(image).softmax(1)
        torch.testing.assert_close(opened.probabilities(image), expected)
        assert not opened.networks[name or "first"].training


def test_preprocessing_is_that_of_training(tmp_path):
    spacing = {"spacing": [1.0, 1.0, 2.5], "normalize": "window:-125:275"}
    write_run(tmp_path / "run", run_config(preprocessing=spacing))
    opened = open_run(tmp_path / "run")
    assert opened.preprocessing.spacing == (1.0, 1.0, 2.5)
    assert opened.preprocessing.normalize == "window:-125:275"


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ArtifactError, match="There is no run folder"):
        open_run(tmp_path / "run")


def test_a_run_that_is_not_finished(tmp_path):
    write_run(tmp_path / "run", run_config())
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match="--resume"):
        open_run(tmp_path / "run")


def test_a_run_without_a_best_checkpoint(tmp_path):
    write_run(tmp_path / "run", run_config())
    with pytest.raises(ArtifactError, match=r"no best\.safetensors: its split has no validation"):
        open_run(tmp_path / "run", checkpoint="best")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "third"}, "Unknown network of this run 'third'"),
        ({"checkpoint": "bset"}, "Did you mean 'best'"),
        ({"device": "tpu"}, "expected auto, cpu, cuda"),
    ],
)
def test_what_it_does_not_have(tmp_path, options, message):
    write_run(tmp_path / "run", run_config())
    with pytest.raises(UsageError, match=message):
        open_run(tmp_path / "run", **options)


def test_weights_of_another_architecture(tmp_path):
    write_run(tmp_path / "run", run_config())
    write_run(tmp_path / "other", run_config(model_options={"filters": 3}))
    weights = (tmp_path / "other" / "model.safetensors").read_bytes()
    (tmp_path / "run" / "model.safetensors").write_bytes(weights)
    with pytest.raises(ArtifactError, match="another architecture"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize(
    "options",
    [
        {"filters": 65535},  # would take 5 PB; nothing is allocated to find out
        {"filters": 10**12},
        {"filters": "2"},
        {"filters": [2]},
        {"filters": -1},
        {"fliters": 2},
        {"dropout": float("nan")},
        {"normalization": "other"},
        {"encoder": 5},
        {"dimensions": 7},
    ],
)
def test_settings_that_no_network_is_built_of(tmp_path, options):
    write_run(tmp_path / "run", run_config())
    run_config(model_options=options).save(tmp_path / "run" / "config.yaml")
    with pytest.raises(ArtifactError):
        open_run(tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "vent"},
        {"answer": "third"},
        {"networks": ("third",), "answer": "third"},
        {"in_channels": 3},
        {"in_channels": 1 << 31},
        {"classes": ("background", "a", "b")},
        {"image_encoder": {"name": "n", "digest": "d", "config": {"model_type": "none"}}},
        {"image_encoder": {"name": "n", "digest": "d", "config": {}}},
        {
            "text": {
                "fusion": "token-map",
                "embeddings": "0",
                "token_shape": [1 << 40, 1 << 20, 9],
                "pooled_shape": [-1],
            }
        },
        {
            "llm_block": {
                "kind": "mlp",
                "source": "s",
                "name": "n",
                "digest": "d",
                "layers": [1],
                "sizes": {"width": "wide"},
                "embedded": True,
            }
        },
    ],
)
def test_records_that_no_network_is_built_of(tmp_path, changes):
    write_run(tmp_path / "run", run_config())
    run_config(**changes).save(tmp_path / "run" / "config.yaml")
    with pytest.raises((ArtifactError, UsageError)):
        open_run(tmp_path / "run", device="cpu")
