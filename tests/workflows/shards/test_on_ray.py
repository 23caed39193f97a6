"""`--engine ray`: the results of one run, also when a machine of the cluster is lost meanwhile."""

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_data import write_nifti
from tiny_mining import UNLABELED, write_pictures, write_split
from tiny_runs import run_config, write_run
from tiny_sam import write_sam

from llmseg_cli.artifacts.lock import BusyError, only_job
from llmseg_cli.artifacts.shard import Shard
from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.errors import PartialError, ResourceError, UsageError
from llmseg_cli.workflows.mine.run import run as mine
from llmseg_cli.workflows.predict.run import run
from llmseg_cli.workflows.shards import on_ray
from llmseg_cli.workflows.shards.on_ray import RayOptions, Work, do_on_ray, do_share

CASES = 6
FILTERS = ("smallest_component", "min_iou", "min_stability", "min_agreement")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As tasks have: the order of sums differs with their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    """Six scans and a run in the working directory."""
    monkeypatch.chdir(tmp_path)
    for index in range(CASES):
        image = np.random.default_rng(index).normal(size=(18, 17, 16)).astype(np.float32)
        write_nifti(tmp_path / "scans" / f"case{index}.nii.gz", image)
    write_run(tmp_path / "run", run_config((16, 16, 16)))
    return tmp_path


WORDS = {"runs": [Path("run")], "images": [Path("scans")], "device": "cpu", "overlays": 2}


def work(out: str, **words) -> Work:
    return Work(run, {**WORDS, "out": Path(out), **words}, Path(out), CASES)


def contents(folder: str) -> dict[str, bytes]:
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.name != "run.json"}


def finish(out: str) -> None:
    run(**{**WORDS, "out": Path(out)}, merge=True)
    run(**{**WORDS, "out": Path("whole")})
    assert {"case0.nii.gz", f"case{CASES - 1}.nii.gz", "cases.jsonl"} <= {*contents(out)}
    assert contents(out) == contents("whole")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two machines of one processor each; the last test removes the second."""
    pytest.importorskip("ray", reason="ray is absent (llmseg[ray])")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in on_ray.SURROUNDINGS.items():
            patched.setenv(name, value)
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=head)
        yield made, made.add_node(num_cpus=1)
        made.shutdown()


def test_without_ray_a_sentence_says_how_to_get_it(monkeypatch, place):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"needs the package ray: .*pip install 'llmseg\[ray\]'"):
        do_on_ray(work("out"), RayOptions(), resume=False, force=False)


def test_a_task_waits_for_the_lock_of_one_that_died(tmp_path, monkeypatch):
    asked: list[tuple[Shard, bool, bool]] = []

    def function(shard: Shard, *, resume: bool, force: bool) -> None:
        asked.append((shard, resume, force))
        if len(asked) == 1:
            raise BusyError("another llmseg job is writing there")

    assert do_share(function, {}, Shard(1, 2), False, Path.cwd()) is None
    assert asked == 2 * [(Shard(1, 2), True, False)]
    monkeypatch.setattr(on_ray, "BUSY_S", -1.0)
    asked.clear()
    with pytest.raises(BusyError):
        do_share(function, {}, Shard(1, 2), False, Path.cwd())
    with only_job(tmp_path / "out"), pytest.raises(BusyError), only_job(tmp_path / "out"):
        pass


@pytest.mark.parametrize(
    ("has", "options", "number", "gpus"),
    [
        ({"CPU": 8.0}, RayOptions(), 8, 0.0),
        ({"CPU": 8.0, "GPU": 1.0}, RayOptions(gpus=0.25), 4, 0.25),
        ({"CPU": 2.0, "GPU": 1.0}, RayOptions(gpus=0.25), 2, 0.25),
        ({"CPU": 8.0, "GPU": 2.0}, RayOptions(), 2, 1.0),
        ({"CPU": 8.0, "GPU": 2.0}, RayOptions(cpus=4, gpus=0.5), 2, 0.5),
        ({"CPU": 8.0, "GPU": 2.0}, RayOptions(gpus=0), 8, 0.0),
    ],
)
def test_as_many_shares_as_cards_and_processors_have_room_for(has, options, number, gpus):
    found = on_ray._places(has, options)
    assert (found.number, found.gpus) == (number, gpus)


def test_paths_travel_and_no_images(place):
    """What a task is sent is words, however large the scans: its object store stays empty."""
    sent = pickle.dumps((work("out").function, work("out").words, Shard(1, 2), False, Path.cwd()))
    assert len(sent) < 2000
    assert min(path.stat().st_size for path in (place / "scans").iterdir()) > 5 * len(sent)


def test_ray_gets_the_processors_of_the_job_not_those_of_the_machine(monkeypatch):
    """Under SLURM it would count the machine's: ray issue 13607."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5, 8}, raising=False)
    assert on_ray._cores() == 3


def test_nothing_is_reported_to_rays_makers(monkeypatch):
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)  # what follows needs no cluster
    with pytest.raises(UsageError), on_ray._connected(RayOptions()):
        pass
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (PartialError("1 of 2 cases failed"), None),
        (UsageError("no such network"), ("UsageError", "no such network")),
        (ResourceError("the disk is full"), ("ResourceError", "the disk is full")),
    ],
)
def test_how_a_task_ends(error, found):
    def function(**words) -> None:
        assert words == {"a": 1, "shard": Shard(1, 2), "resume": False, "force": True}
        raise error

    assert do_share(function, {"a": 1}, Shard(1, 2), True, Path.cwd()) == found


@pytest.mark.slow
def test_pseudo_labels_are_those_of_one_run(cluster, tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    write_pictures(Path("data"))
    write_split(Path("split.json"), Path("data"))
    write_run(Path("run"), run_config((16, 16)))
    Path("run/split.json").write_bytes(Path("split.json").read_bytes())
    write_sam(Path("sam"))

    def words(out: str) -> dict[str, Any]:
        settings = MiningSettings(sam="transformers:sam", **dict.fromkeys(FILTERS, 0.0))
        names = {
            "run_folder": "run",
            "data": "data",
            "split": "split.json",
            "cache": f"{out}-cache",
        }
        paths = {key: Path(name) for key, name in names.items()}
        return {**paths, "out": Path(out), "settings": settings, "overlays": 2, "offline": True}

    asked = Work(mine, words("out"), Path("out"), len(UNLABELED))
    do_on_ray(asked, RayOptions(cluster[0].address), resume=False, force=False)
    for out, merge in (("out", True), ("whole", False)):
        assert mine(**words(out), merge=merge).counts["ok"] == len(UNLABELED)
    assert {"qc.csv", "u0.png", "overlays/u0.png"} <= {*contents("whole")}
    assert contents("out") == contents("whole")


@pytest.mark.slow
def test_what_tasks_and_the_cluster_refuse_is_refused_here(cluster, place):
    options = RayOptions(cluster[0].address)

    def do(words: Work, options: RayOptions = options, **more: bool) -> None:
        do_on_ray(words, options, **{"resume": False, "force": False, **more})

    with pytest.raises(UsageError, match=r"--gpus-per-case 0.25: Ray has 0 GPUs\. Pass less"):
        do(work("out"), RayOptions(options.address, gpus=0.25))
    with pytest.raises(UsageError, match=r"--cpus-per-case 3: Ray has 2 processors"):
        do(work("out"), RayOptions(options.address, cpus=3))
    with pytest.raises(UsageError, match=r"Unknown network 'third'|third"):
        do(work("out", network="third"))
    (place / "scans" / "case2.nii.gz").write_bytes(b"no scan")
    do(work("out"), resume=True)  # a case that fails ends no share
    with pytest.raises(UsageError, match=r"holds shards of 6 that are not joined\. Pass --resume"):
        do(work("out"))
    with pytest.raises(PartialError, match=r"1 of 6 cases failed"):
        run(**{**WORDS, "out": Path("out")}, merge=True)
    with pytest.raises(UsageError, match=r"--address 127\.0\.0\.1:1: no cluster of Ray answers"):
        do(work("out"), RayOptions("127.0.0.1:1"))


@pytest.mark.slow
def test_a_machine_that_is_lost_loses_nothing(cluster, place):
    made, second = cluster
    told: list[str] = []
    done: list[int] = []

    def progress(phase: str, number: int, total: int, **values) -> None:
        done.append(number)
        if number == 1:
            assert total == CASES  # shares left on both machines
            made.remove_node(second, allow_graceful=False)

    options = RayOptions(made.address)
    shards = do_on_ray(
        work("out"), options, resume=False, force=False, progress=progress, hear=told.append
    )
    assert told == ["Ray: 6 shares of 6 cases, 2 at a time."]
    assert done == [*range(CASES + 1)]
    assert shards == [Shard(number, CASES) for number in range(1, CASES + 1)]
    finish("out")
