"""Every document that llmseg writes, with each of its values exchanged: no error but ours."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_runs import run_config

from llmseg_cli.artifacts.descriptions import Description, Descriptions, Writer
from llmseg_cli.artifacts.journal import JOURNAL, Journal
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest, load_manifest
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.split import Split
from llmseg_cli.errors import ArtifactError, LlmsegError

OTHERS = (None, True, 7, -1.5, float("inf"), "text", "", [], [[1]], {}, {"a": {"b": []}})
SPLIT = Split(
    labeled=("a",),
    unlabeled=("b",),
    validation=(),
    test=("c",),
    seed=3,
    images={"a": "1", "b": "2", "c": "3"},
    groups={"a": "p"},
)
TEXTS = Descriptions(
    target="heart",
    modality="MRI",
    reviewed=True,
    classes={"left": (Description(text="A ring.", source="m", seed=1),)},
    written_by=Writer(provider="hand", model="me", sampling={"top_p": 0.9}),
)
RUN = run_config(
    text={"fusion": "token-map", "embeddings": "0", "token_shape": [1], "pooled_shape": [1]},
    llm_block={
        "kind": "mlp", "source": "s", "name": "n", "digest": "d", "layers": [1],
        "sizes": {"width": 4}, "embedded": False,
    },
)  # fmt: skip
DOCUMENTS = {"split": SPLIT, "descriptions": TEXTS, "config": RUN}


def places(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """The ways to all values within a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, *path, key)


def exchanged(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(content)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


def without(content: Any, path: tuple[Any, ...]) -> Any:
    changed = copy.deepcopy(content)
    place = changed
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return changed


def tried(content: Any, read: Callable[[Any], Any]) -> int:
    """How many of all exchanges are refused; whatever else is raised fails the test."""
    refused = 0
    for path in places(content):
        for changed in (without(content, path), *(exchanged(content, path, v) for v in OTHERS)):
            try:
                read(changed)
            except LlmsegError:
                refused += 1
    return refused


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_any_value_may_be_another(name, suffix):
    document = DOCUMENTS[name]
    kind = type(document)
    content = json.loads(document.to_text(suffix=".json"))
    assert kind.from_text(document.to_text(suffix=suffix), name="it") == document

    def read(changed: Any) -> None:
        text = json.dumps(changed) if suffix == ".json" else yaml.safe_dump(changed)
        kind.from_text(text, name="it")

    assert tried(content, read) > 5 * len(list(places(content)))


def test_any_value_of_a_manifest_may_be_another(tmp_path):
    Manifest("predict").write(tmp_path)
    content = load_manifest(tmp_path)

    def read(changed: Any) -> None:
        (tmp_path / MANIFEST).write_text(json.dumps(changed))
        load_manifest(tmp_path)

    assert tried(content, read) > 40


def test_any_value_of_a_journal_may_be_another(tmp_path):
    for name in ("a.png", "a.map.png"):
        (tmp_path / name).write_text("mask")
    details = {"status": "ok", "findings": [{"class": 1, "area": 2.5}], "maps": ["a.map.png"]}
    journal = Journal(tmp_path, resume=False)
    journal.add("a", "a.png", image="i", made_by="m", details=details)
    (entry,) = Journal.read(tmp_path)
    assert entry.details == details
    content = json.loads((tmp_path / JOURNAL).read_text())

    def read(changed: Any) -> None:
        (tmp_path / JOURNAL).write_text(json.dumps(changed) + "\n")
        Journal.read(tmp_path)

    assert tried(content, read) > 60


@pytest.mark.parametrize("text", ["[]", "null", "7", '"x"', "", "{}", "{", "[" * 9999])
@pytest.mark.parametrize("kind", [Split, Descriptions, RunConfig])
def test_what_is_no_document(kind, text):
    with pytest.raises(ArtifactError, match=f"llmseg {kind.writer}|neither JSON nor YAML"):
        kind.from_text(text, name="it")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {}}, "'settings' lacks 'patch'"),
        ({"settings": {"patch": [16]}}, "settings.patch"),
        ({"settings": {"patch": [0, 16]}}, "settings.patch"),
        ({"settings": {"patch": [1 << 20, 1 << 20]}}, "settings.patch"),
        ({"in_channels": 0}, "in_channels"),
        ({"classes": ["background"]}, "'classes' has 1 names"),
        ({"preprocessing": {"spacing": [1.0, 2.0], "normalize": "none"}}, "preprocessing.spacing"),
    ],
)
def test_settings_of_no_run(change, message):
    content = json.loads(RUN.to_text(suffix=".json")) | change
    with pytest.raises(ArtifactError, match=message):
        RunConfig.from_text(json.dumps(content), name="config.yaml")


def test_ids_that_look_like_numbers_are_read_as_they_stand(tmp_path: Path):
    path = tmp_path / "split.yaml"
    path.write_text(
        "schema: llmseg/split/1\nseed: 0\nlabeled: [001, 1:30, 2024-01-01]\nunlabeled: []\n"
        "validation: []\ntest: [no]\nimages: {001: x}\ngroups: {}\n"
    )
    found = Split.load(path)
    assert found.labeled == ("001", "1:30", "2024-01-01")
    assert (found.test, found.images) == (("no",), {"001": "x"})
