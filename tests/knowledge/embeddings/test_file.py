"""Round trip and refusals of `embeddings.safetensors`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from llmseg_cli.errors import ArtifactError
from llmseg_cli.knowledge.embeddings.file import Embeddings, load_embeddings, save_embeddings


def _embeddings() -> Embeddings:
    rng = np.random.default_rng(3)
    texts, length, width = 3, 5, 7
    return Embeddings(
        target="hippocampus",
        class_names=("anterior", "anterior", "posterior"),
        texts=("the head", "the head — again", "body and tail"),
        token_ids=rng.integers(0, 30000, (texts, length)),
        mask=rng.random((texts, length)) > 0.3,
        tokens=rng.normal(size=(texts, length, width)).astype(np.float32),
        pooled=rng.normal(size=(texts, width)).astype(np.float32),
        encoder="minilm",
        metadata={"encoder_digest": "sha256:00", "descriptions_digest": "sha256:11"},
    )


def test_a_round_trip_keeps_everything(tmp_path: Path) -> None:
    written = _embeddings()
    save_embeddings(tmp_path / "e.safetensors", written)

    read = load_embeddings(tmp_path / "e.safetensors")

    for name in ("token_ids", "mask", "tokens", "pooled"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    assert (read.target, read.texts, read.encoder) == (
        written.target,
        written.texts,
        written.encoder,
    )
    assert (read.class_names, read.metadata) == (written.class_names, written.metadata)
    assert [path.name for path in tmp_path.iterdir()] == ["e.safetensors"]


def test_texts_of_cases_have_a_schema_of_their_own(tmp_path: Path) -> None:
    given = replace(
        _embeddings(),
        class_names=("a", "a", "a"),
        case_ids=("x", "y", "y"),
        images={"x": "00", "y": "11"},
    )
    save_embeddings(tmp_path / "e.safetensors", given)
    with safe_open(tmp_path / "e.safetensors", framework="numpy") as stream:
        assert stream.metadata()["schema"] == "llmseg/embeddings/2"
    read = load_embeddings(tmp_path / "e.safetensors")
    assert (read.case_ids, read.images, read.cases) == (given.case_ids, given.images, ("x", "y"))
    with pytest.raises(ValueError, match="3 texts, 2 names of cases"):
        replace(given, case_ids=("x", "y"))
    with pytest.raises(ValueError, match="1 images"):
        replace(given, images={"x": "00"})


def test_classes_and_their_rows() -> None:
    found = _embeddings()
    assert found.classes == ("anterior", "posterior")
    assert (found.rows("anterior"), found.rows("posterior"), found.rows("other")) == (
        [0, 1],
        [2],
        [],
    )


def test_a_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"No such file.*llmseg embed"):
        load_embeddings(tmp_path / "e.safetensors")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    save_embeddings(path, _embeddings())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="not readable"):
        load_embeddings(path)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    save_file({"x": np.zeros(1)}, tmp_path / "e.safetensors", metadata={"schema": "other/1"})
    with pytest.raises(ArtifactError, match=r"'other/1', expected 'llmseg/embeddings/1'"):
        load_embeddings(tmp_path / "e.safetensors")


def test_a_missing_tensor_is_refused(tmp_path: Path) -> None:
    metadata = {"schema": "llmseg/embeddings/1"}
    save_file({"mask": np.zeros((1, 2), bool)}, tmp_path / "e.safetensors", metadata=metadata)
    with pytest.raises(ArtifactError, match="token_ids"):
        load_embeddings(tmp_path / "e.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": ("one",)}, "1 texts, 3 class names"),
        ({"pooled": np.zeros((3, 6), np.float32)}, r"pooled is \(3, 6\), expected \(3, 7\)"),
        ({"mask": np.zeros((3, 4), bool)}, r"mask is \(3, 4\)"),
        ({"token_ids": np.zeros((3, 5), np.int32)}, "token_ids is int32"),
        ({"metadata": {"schema": "x"}}, "metadata may not have schema"),
    ],
)
def test_what_does_not_fit_together_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(_embeddings(), **change)  # type: ignore[arg-type]


def _written(path: Path, **changes: object) -> Path:
    """Embeddings whose tensors or metadata are others; None leaves one out."""
    save_embeddings(path, _embeddings())
    with safe_open(path, framework="numpy") as stream:
        metadata = dict(stream.metadata())
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    for name, value in changes.items():
        held = metadata if name in metadata else tensors
        if value is None:
            del held[name]
        else:
            held[name] = value
    save_file(tensors, path, metadata=metadata)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"texts": "not JSON"},
        {"texts": "null"},
        {"texts": "7"},
        {"texts": '["a", 1, null]'},
        {"texts": '"abc"'},
        {"texts": "[" * 5000},
        {"texts": '["a", "b", "\\ud800"]'},
        {"class_names": '{"a": 1, "b": 2, "c": 3}'},
        {"class_names": '["a"]'},
        {"class_names": None},
        {"target": None},
        {"encoder": None},
        {"schema": "llmseg/embeddings/9"},
        {"tokens": None},
        {"tokens": np.zeros((3, 5, 7), np.float16)},
        {"tokens": np.zeros((3, 4, 7), np.float32)},
        {"pooled": np.full((3, 7), np.nan, np.float32)},
        {"pooled": np.array(1, np.float32)},
        {"token_ids": np.full((3, 5), -1)},
    ],
)
def test_metadata_and_tensors_of_another_kind(tmp_path: Path, changes: dict[str, object]) -> None:
    path = _written(tmp_path / "e.safetensors", **changes)
    with pytest.raises(ArtifactError, match="llmseg embed"):
        load_embeddings(path)
