"""HDF5 files with `image` and `label`, as UA-MT and SSL4MIS publish them, with `*.list` files."""

import errno
from collections.abc import Sequence
from pathlib import Path

from llmseg_cli.data.case import Case, Dataset, Fault, Survey, nearest
from llmseg_cli.data.formats import hdf5
from llmseg_cli.data.layouts.beside import unread_beside_hdf5, unusable_names
from llmseg_cli.data.naming import HDF5, suffix

LAYOUT = "HDF5 (UA-MT, SSL4MIS)"
SLICE_LISTS = "_slices"


def survey(root: Path) -> Survey | None:
    """Find `<id>.h5`, `data/<id>.h5` and `<id>/<anything>.h5`, and compare them with the lists.

    Lists of single slices (`train_slices.list`) are left aside: a case is a volume.

    Returns:
        None if there is no HDF5 file.
    """
    files = _named(root)
    if not files:
        return None
    cases = tuple(
        Case(name, (path,), path if hdf5.has_label(path) else None) for name, path in files
    )
    known = {name for name, _ in files}
    faults = [*unusable_names(root), *unread_beside_hdf5(root)]
    for path in sorted(root.glob("*.list")):
        if not path.stem.endswith(SLICE_LISTS):
            faults += _compare(path, known)
    return Survey(Dataset(root, LAYOUT, cases, {}), tuple(faults))


def _named(root: Path) -> list[tuple[str, Path]]:
    found = [(_name(path), path) for folder in (root, root / "data") for path in _files(folder)]
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name != "data"):
        files = _files(folder)
        found += [(folder.name if len(files) == 1 else _name(path), path) for path in files]
    return found


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if suffix(p) in HDF5 and not p.name.startswith("."))


def _name(path: Path) -> str:
    return path.stem.removesuffix("_norm")  # Pancreas-CT: image0001_norm.h5 is image0001


def _compare(path: Path, known: set[str]) -> list[Fault]:
    """Faults of a list: that it cannot be read, or names a case that has no file."""
    try:
        entries = _entries(path)
    except OSError as error:
        return [_unreadable(path.name, f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError as error:
        return [_unreadable(path.name, f"is no text in UTF-8 (byte {error.start})")]
    in_order = sorted(known)
    return [_missing(entry, path.name, in_order) for entry in entries if entry not in known]


def _entries(path: Path) -> list[str]:
    if path.exists() and not path.is_file():
        raise IsADirectoryError(errno.EISDIR, "no regular file", str(path))
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    names = [line.strip().split("/")[0] for line in lines if line.strip()]
    return [
        _name(Path(name)) if name.endswith(HDF5) else name.removesuffix("_norm") for name in names
    ]


def _unreadable(name: str, found: str) -> Fault:
    remedy = "Save it again, a case a line, or remove it."
    return Fault("list of cases", "", name, found, "", remedy)


def _missing(entry: str, list_name: str, known: Sequence[str]) -> Fault:
    return Fault(
        "pairing",
        entry,
        list_name,
        f"lists '{entry}', which has no HDF5 file",
        f"a file of that name (nearest: {', '.join(nearest(entry, known))})",
        f"Add the file, or remove the line from {list_name}.",
    )
