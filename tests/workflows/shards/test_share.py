"""Shards of `predict`: joined they are one run of all; what is missing or differs is named."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from tiny_data import write_nifti
from tiny_runs import run_config, write_run

from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.shard import Shard
from llmseg_cli.errors import PartialError, StoppedError, UsageError
from llmseg_cli.workflows.predict.run import run
from llmseg_cli.workflows.shards import join
from llmseg_cli.workflows.shards.share import in_shards

TIMES = {"started", "finished", "wall_s", "elapsed_s", "peak_rss_mb"}


class Place:
    """Five scans, a run, and `predict` in shards."""

    def __init__(self, root: Path) -> None:
        self.root, self.out = root, root / "out"
        for index in range(5):
            image = np.random.default_rng(index).normal(size=(18, 17, 16)).astype(np.float32)
            write_nifti(root / "scans" / f"case{index}.nii.gz", image)
        write_run(root / "run", run_config((16, 16, 16)))

    def predict(self, shard: str | None = None, *, merge: bool = False, **words):
        values = {"out": self.out, "images": [self.root / "scans"], "device": "cpu"} | words
        one = None if shard is None else Shard(*map(int, shard.split("/")))
        self.told: list[str] = []
        return in_shards(
            lambda part, join: run(self.root / "run", shard=part, merge=join, **values),
            values["out"],
            shard=one,
            merge=merge,
            dry_run=values.get("dry_run", False),
            tell=self.told.append,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def timeless(value):
    """A document without times."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, object]:
    """All that is in an output folder, `run.json` without its times."""
    found: dict[str, object] = {}
    for path in sorted(p for p in folder.rglob("*") if not p.is_dir()):
        name = str(path.relative_to(folder))
        is_record = name == "run.json"
        found[name] = timeless(json.loads(path.read_text())) if is_record else path.read_bytes()
    return found


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_union_of_shards_is_the_whole_run(place):
    more = {"probabilities": True, "uncertainty": True, "overlays": 2}
    place.predict(out=place.root / "whole", **more)
    found = place.predict("2/3", **more)
    assert [case.case for case in found.cases] == ["case1", "case4"]
    assert place.told == [
        "Shard 2/3 is done; 2 shards of 3 not: 1/3 has not begun; 3/3 has not begun. The last one "
        f"joins them into {place.out}."
    ]
    place.predict("3/3", **more)
    assert sorted(path.name for path in place.out.iterdir()) == ["shard-2-of-3", "shard-3-of-3"]
    found = place.predict("1/3", **more)
    assert found.counts == {"cases_in": 5, "ok": 5, "failed": 0, "skipped": 0}
    assert contents(place.out) == contents(place.root / "whole")


def test_merging_names_what_is_missing_and_moves_nothing(place):
    place.predict("2/3")
    before = tree(place.out)
    with pytest.raises(
        UsageError,
        match=r"--merge: 2 shards of 3 missing in .*: 1/3 has not begun; 3/3 has not begun\.",
    ):
        place.predict(merge=True)
    assert tree(place.out) == before
    with pytest.raises(UsageError, match=r"--merge: .*none holds no shard\. Run the command with"):
        place.predict(merge=True, out=place.root / "none")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("1/3", {"overlap": 0.25}), r"shard 2/3 was made with other settings \(overlap 0.5, not"),
        (("1/2", {}), r"holds shards of 3 \(shard-1-of-3 and the like\)"),
        ((None, {}), r"holds shards that are not joined \(shard-2-of-3\)"),
        (("2/3", {}), r"shard-2-of-3 exists"),
        (("6/6", {}), r"holds shards of 3"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_begins(place, words, said):
    place.predict("2/3")
    before = tree(place.out)
    with pytest.raises(UsageError, match=said):
        place.predict(words[0], **words[1])
    assert tree(place.out) == before


def test_a_shard_does_not_run_twice_at_once(place):
    with (
        only_job(place.out / "shard-1-of-2"),
        pytest.raises(UsageError, match=r"shard-1-of-2: another llmseg job is writing there"),
    ):
        place.predict("1/2")


def test_a_failed_case_holds_the_join_back_until_it_is_repaired(place):
    scan = place.root / "scans" / "case2.nii.gz"
    good = scan.read_bytes()
    scan.write_bytes(b"not a scan")
    with pytest.raises(PartialError, match=r"1 of 3 cases failed; the others are complete in"):
        place.predict("1/2")
    place.predict("2/2")
    assert "of 1/2 1 case failed" in place.told[0]
    scan.write_bytes(good)
    place.predict("1/2", resume=True)
    assert load_manifest(place.out)["counts"]["ok"] == 5
    place.predict(out=place.root / "whole")
    assert contents(place.out) == contents(place.root / "whole")


def test_with_a_case_that_cannot_be_repaired_merging_ends_as_the_whole_run_would(place):
    (place.root / "scans" / "case2.nii.gz").write_bytes(b"not a scan")
    errors = []
    for words in ({"out": place.root / "whole"}, {"shard": "1/2"}, {"shard": "2/2"}):
        try:
            place.predict(**words)
        except PartialError as error:
            errors.append(str(error))
    with pytest.raises(PartialError) as caught:
        place.predict(merge=True)
    assert str(caught.value) == errors[0].replace("/whole", "/out")
    assert contents(place.out) == contents(place.root / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_shard_goes_on(place, number):
    place.predict(out=place.root / "whole")
    if number == signal.SIGTERM:
        with pytest.raises(StoppedError, match=r"Run the same command again with --resume"):
            place.predict("1/2", on_case=lambda case: os.kill(os.getpid(), number))
    else:  # as one that was killed between a file and its line
        place.predict("1/2")
        folder = place.out / "shard-1-of-2"
        (folder / "run.json").unlink()
        done, *lines = (folder / "cases.jsonl").read_text().splitlines(keepends=True)
        begun = [json.loads(line) | {"made_by": "", "output": "", "size": 0} for line in lines]
        text = "".join([done, *(json.dumps(one) + "\n" for one in begun), lines[0][:40]])
        (folder / "cases.jsonl").write_text(text)
    place.predict("2/2")
    assert "1/2 is not done (1 case so far; --shard 1/2 --resume)" in place.told[0]
    before = {path: path.stat().st_mtime_ns for path in (place.out / "shard-2-of-2").iterdir()}
    with pytest.raises(UsageError, match=r"1/2 is not done \(1 case so far"):
        place.predict(merge=True)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    place.predict("1/2", resume=True)
    assert contents(place.out) == contents(place.root / "whole")


def test_a_join_that_was_killed_is_done_again(place, monkeypatch):
    place.predict(out=place.root / "whole")
    place.predict("1/2")
    replace, moved = Path.replace, []

    def killed(path: Path, target: Path):
        if path.name.startswith("case") and path.suffix == ".gz":
            moved.append(path.name)
            if len(moved) == 3:
                raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            place.predict("2/2")
    assert (place.out / "case0.nii.gz").is_file()
    place.predict(merge=True)
    assert contents(place.out) == contents(place.root / "whole")


def test_a_join_that_was_killed_at_its_end_is_resumed(place, monkeypatch):
    place.predict(out=place.root / "whole")
    place.predict("1/2")
    remove = join._remove

    def killed(folder: Path) -> None:
        remove(folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(join, "_remove", killed)
        with pytest.raises(KeyboardInterrupt):
            place.predict("2/2")
    with pytest.raises(UsageError, match=r"1/2 has not begun.*with --resume instead of --merge"):
        place.predict(merge=True)
    assert place.predict(resume=True).counts["skipped"] == 5
    for name in ("case0.nii.gz", "case4.nii.gz", "cases.jsonl"):
        assert (place.out / name).read_bytes() == (place.root / "whole" / name).read_bytes()


def test_an_image_that_changed_meanwhile_is_named(place):
    place.predict("1/2")
    image = np.random.default_rng(9).normal(size=(18, 17, 16)).astype(np.float32)
    write_nifti(place.root / "scans" / "case2.nii.gz", image)
    with pytest.raises(UsageError, match=r"the image of case case2 was changed since shard 1/2"):
        place.predict("2/2")


def test_an_earlier_output_is_replaced_by_force_alone(place):
    place.predict()
    with pytest.raises(UsageError, match=r"out exists"):
        place.predict("1/2", overlap=0.25)
    with pytest.raises(UsageError, match=r"holds an output of all cases"):
        place.predict("1/2", resume=True)
    place.predict("1/2", overlap=0.25, force=True)
    assert (place.out / "case0.nii.gz").is_file()  # until the join
    place.predict("2/2", overlap=0.25, force=True)
    place.predict(out=place.root / "whole", overlap=0.25)
    assert contents(place.out) == contents(place.root / "whole")
