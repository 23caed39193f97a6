"""Cases that a `dataset.json` lists: Medical Segmentation Decathlon, nnU-Net 1 and 2, MONAI.

Training cases stand under `training` (MONAI: also `validation`), test cases under `test` or
`testing`, as file names or as objects with `image` and `label`; `image` may be a list of channels.
nnU-Net 2 may have them as `dataset`: identifier to `images` and `label`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.data.case import Case, Fault
from llmseg_cli.data.layouts.json_text import as_names, refused, show
from llmseg_cli.data.layouts.listing import shown
from llmseg_cli.data.naming import dicom_folder, stem, suffix
from llmseg_cli.data.regular_files import is_there

NAME = "dataset.json"
TRAINING, TEST = ("training", "validation"), ("test", "testing")
OBJECTS = "dataset"
_CHANNEL = re.compile(r"_\d{4}")
WANTED = 'a file name, or an object such as {"image": "a.nii.gz", "label": "b.nii.gz"}'


@dataclass(frozen=True)
class Entry:
    """A case as the file names it.

    Args:
        where: Where it stands, as `training, entry 3`.
        images: Names of its image's files.
        label: Name of its label map's file, or None.
        id: Identifier, if the file gives one.
        is_test: Whether it is listed as a test case.
    """

    where: str
    images: tuple[str, ...]
    label: str | None
    id: str | None = None
    is_test: bool = False


def lists_cases(content: Mapping[str, Any]) -> bool:
    """Whether the file lists cases, and does not only name classes and channels."""
    return any(content.get(key) for key in (*TRAINING, *TEST, OBJECTS))


def entries(content: Mapping[str, Any], path: Path) -> Iterator[Entry | Fault]:
    """Every case that the file lists, or what is wrong with it.

    Raises:
        LayoutError: If a list is no list.
    """
    for key in (*TRAINING, *TEST):
        listed = content.get(key)
        if listed is None:
            continue
        if not isinstance(listed, list):
            raise refused(path, f"'{key}' is {show(listed)}", "a list of cases")
        for number, value in enumerate(listed, start=1):
            yield _entry(value, f"'{key}', entry {number}", is_test=key in TEST)
    objects = content.get(OBJECTS) or {}
    if not isinstance(objects, dict):
        raise refused(path, f"'{OBJECTS}' is {show(objects)}", "an object of cases")
    for name, value in objects.items():
        if not isinstance(value, dict):
            yield _odd(f"'{OBJECTS}', case '{name}'", value)
            continue
        renamed = {**value, "image": value.get("image", value.get("images")), "id": name}
        yield _entry(renamed, f"'{OBJECTS}', case '{name}'", is_test=False)


def _entry(value: Any, where: str, *, is_test: bool) -> Entry | Fault:
    pair = value if isinstance(value, dict) else {"image": value}
    images = as_names(pair.get("image"))
    label = pair.get("label")
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    if images is None or not (label is None or isinstance(label, str)):
        return _odd(where, value)
    name = pair.get("id")
    return Entry(where, images, label or None, str(name) if name is not None else None, is_test)


def _odd(where: str, value: Any) -> Fault:
    return Fault("list of cases", "", NAME, f"{where} is {show(value)}", WANTED, "Correct it.")


def find(root: Path, entry: Entry) -> tuple[Case | None, list[Fault]]:
    """The case of an entry, or none, and what is wrong with its files."""
    listed = [_inside(root, name) for name in entry.images]
    label = _inside(root, entry.label) if entry.label is not None else None
    name = entry.id or stem(Path(entry.images[0]))
    outside = [
        text
        for text, path in zip((*entry.images, entry.label), (*listed, label), strict=True)
        if text is not None and path is None
    ]
    if outside:
        return None, [_missing(root, text, name) for text in outside]
    files = [path for path in listed if path is not None]
    images = _channels_of(files[0]) if len(files) == 1 else tuple(files)
    missing = [path for path in (images or files) if not is_there(path)]
    missing += [label] if label is not None and not is_there(label) else []
    faults = [_missing(root, shown(path, root), name) for path in missing]
    if not images or any(path in missing for path in images):
        return None, faults
    if label is None and entry.is_test:
        label = _test_label(files[0])
    case = Case(name, images, label if label not in missing else None, is_test=entry.is_test)
    return case, faults


def _inside(root: Path, name: str) -> Path | None:
    """The file, or None if the name leads out of the data set, as one of another machine does."""
    folder = Path(os.path.abspath(root))  # noqa: PTH100  links are not followed
    path = Path(os.path.normpath(folder / name))
    return root / path.relative_to(folder) if path.is_relative_to(folder) else None


def _channels_of(listed: Path) -> tuple[Path, ...]:
    """The listed file, or the files of its channels, which nnU-Net 1 does not list."""
    if is_there(listed):
        return (dicom_folder(listed) or listed,)
    if not is_there(listed.parent) or not listed.parent.is_dir():
        return ()
    start, end = stem(listed), suffix(listed)
    return tuple(
        path
        for path in sorted(listed.parent.iterdir())
        if suffix(path) == end
        and stem(path).startswith(start)
        and _CHANNEL.fullmatch(stem(path)[len(start) :])
    )


def _test_label(image: Path) -> Path | None:
    """The label map of a listed test image, which nnU-Net keeps in labelsTs unlisted."""
    if image.parent.name != "imagesTs":
        return None
    label = image.parent.with_name("labelsTs") / image.name
    return label if is_there(label) else None


def _missing(root: Path, name: str, case: str) -> Fault:
    found = f"missing, though {NAME} lists it"
    remedy = f"Restore the file, or remove the entry from {NAME}."
    if _inside(root, name) is None:
        remedy = (
            f"Name files relative to {NAME} and below it, or list the cases in a cases.csv "
            "(id,image,label)."
        )
        if is_there(Path(os.path.normpath(root / name))):
            found = f"outside of the folder of {NAME}, which lists it"
    return Fault("pairing", case, name, found, "", remedy)
