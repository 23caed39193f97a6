"""The table of embedded weights, and where they lie."""

import re

import pytest

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.weights.embedded import (
    WEIGHTS,
    is_fetched,
    path_of,
    verify,
    weights_folder,
)


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=list(WEIGHTS))
def test_each_is_pinned_and_licensed(weights):
    assert re.fullmatch(r"[\w.-]+==\d+\.\d+(\.\d+)?", weights.requirement)
    assert weights.licence
    assert weights.origin.startswith("https://")
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in weights.files.values())
    assert weights.root.endswith("/")
    assert weights.entry in ("", *weights.files)


def test_absent_ones_name_the_command(tmp_path):
    with pytest.raises(WeightsError, match="llmseg weights fetch minilm") as raised:
        path_of("minilm", cache=tmp_path)
    assert str(tmp_path / "weights" / "minilm") in str(raised.value)
    assert not is_fetched("minilm", cache=tmp_path)


def test_an_incomplete_folder_counts_as_absent(tmp_path):
    folder = weights_folder("minilm", cache=tmp_path)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    with pytest.raises(WeightsError):
        verify("minilm", cache=tmp_path)


def test_names_are_corrected():
    with pytest.raises(UsageError, match="Did you mean 'smollm2'"):
        path_of("smolm2")


@pytest.mark.weights
def test_the_fetched_ones_are_as_pinned(weights_cache):
    for name in ("smollm2", "minilm"):
        assert verify(name, cache=weights_cache) == WEIGHTS[name].files
    folder = weights_folder("minilm", cache=weights_cache)
    sizes = [(folder / name).stat().st_size for name in WEIGHTS["minilm"].files]
    assert sum(sizes) == WEIGHTS["minilm"].size
