"""Shards of `mine-sam`: joined they are one run of all cases."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_mining import Drawing, use, write_bright_run, write_pictures, write_split

from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.shard import Shard
from llmseg_cli.artifacts.split import Split
from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.workflows.mine.folder import find_masks
from llmseg_cli.workflows.mine.run import run
from llmseg_cli.workflows.shards.share import in_shards

TIMES = ("started", "finished", "wall_s", "peak_rss_mb")


def mine(root: Path, out: Path, shard: Shard | None = None):
    return in_shards(
        lambda part, merge: run(
            root / "run",
            out=out,
            data=root / "data",
            split=root / "split.json",
            cache=root / f"cache-{out.name}",
            settings=MiningSettings(box_margin=(0.0,)),
            overlays=2,
            shard=part,
            merge=merge,
        ),
        out,
        shard=shard,
        merge=False,
        dry_run=False,
        tell=lambda text: None,
    )


def test_the_union_of_shards_is_the_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_pictures(tmp_path / "data")
    dark = np.full((40, 36), 20, np.uint8)  # the network sees nothing: a share without any mask
    Image.fromarray(dark).save(tmp_path / "data" / "images" / "u2.png")
    write_split(tmp_path / "split.json", tmp_path / "data")
    write_bright_run(tmp_path / "run", tmp_path / "split.json", monkeypatch)
    use(Drawing(), monkeypatch)
    whole, out = tmp_path / "whole", tmp_path / "out"
    mine(tmp_path, whole)
    for number in (3, 1, 2):
        mine(tmp_path, out, Shard(number, 3))
    names = sorted(str(p.relative_to(whole)) for p in whole.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert "overlays/u0.png" in names
    for name in set(names) - {"run.json"}:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    documents = [load_manifest(folder) for folder in (out, whole)]
    for document in documents:
        for key in TIMES:
            del document[key]
    assert documents[0] == documents[1]
    assert documents[0]["counts"]["no-prompt"] == 1
    assert {*find_masks(out, Split.load(tmp_path / "split.json"))} == {"u0", "u1", "u3"}
