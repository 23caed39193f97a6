"""Damage to HDF5: what `image` and `label` are, and the bytes of the file."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from fuzz.bytewise import damage_file
from fuzz.choices import Choices

Change = Callable[[h5py.File, str, Choices], str]


def _missing(file: h5py.File, name: str, choices: Choices) -> str:
    return "missing"


def _group(file: h5py.File, name: str, choices: Choices) -> str:
    file.create_group(name).create_dataset("data", data=np.zeros((3, 4, 5)))
    return "a group"


def _link(file: h5py.File, name: str, choices: Choices) -> str:
    target = choices.pick(("/nowhere", f"/{name}", "/", "/other"))
    file["other"] = h5py.SoftLink(f"/{name}")
    if choices.chance(2):
        other = choices.pick(("../../victim.h5", "/dev/zero", "case0.h5", "none.h5"))
        file[name] = h5py.ExternalLink(other, "/image")
        return f"a link to {other}"
    file[name] = h5py.SoftLink(target)
    return f"a link to {target}"


def _text(file: h5py.File, name: str, choices: Choices) -> str:
    file[name] = choices.pick(("text", np.array([b"a", b"b"]), np.array(["x"], object)))
    return "text"


def _compound(file: h5py.File, name: str, choices: Choices) -> str:
    file[name] = np.zeros((3, 4, 5), [("a", "f4"), ("b", "i2")])
    return "of compound numbers"


def _empty(file: h5py.File, name: str, choices: Choices) -> str:
    file[name] = h5py.Empty(choices.pick(("f4", "i8", "S3")))
    return "empty"


def _shaped(file: h5py.File, name: str, choices: Choices) -> str:
    shape = choices.pick(((), (0,), (1,), (5,), (4, 5), (0, 4, 5), (3, 4, 5, 6), (1, 2, 3, 4, 5),
                          (1,) * 7, (3, 4, 4), (1, 1, 1)))  # fmt: skip
    file[name] = np.zeros(shape, np.float32)
    return f"of the shape {shape}"


def _typed(file: h5py.File, name: str, choices: Choices) -> str:
    kind = choices.pick(("f2", "f8", ">f4", "c8", "c16", "?", "u8", "i8", "S4", "V3", "f16"))
    file[name] = np.zeros((8, 7, 6), kind)
    return f"of type {kind}"


def _valued(file: h5py.File, name: str, choices: Choices) -> str:
    value = choices.pick((np.nan, np.inf, -1.0, 0.5, 1e30, 2**31, 255.0, 70000.0))
    array = np.zeros((8, 7, 6))
    array[2:5, 2:5, 2:5] = value
    file[name] = array
    return f"with {value}"


def _promised(file: h5py.File, name: str, choices: Choices) -> str:
    side = choices.pick((300, 700, 1300, 100_000, 2**40))
    shape = (side, side, side) if side < 2**20 else (side,)
    file.create_dataset(name, shape, np.float32, chunks=(64,) * len(shape), fillvalue=1.0)
    return f"{shape} promised, nothing stored"


def _references(file: h5py.File, name: str, choices: Choices) -> str:
    kind = choices.pick((h5py.ref_dtype, h5py.vlen_dtype(np.int32), h5py.enum_dtype({"a": 1})))
    file.create_dataset(name, (3, 4, 5), dtype=kind)
    return f"of type {kind}"


CHANGES: tuple[Change, ...] = (
    _missing, _group, _link, _text, _compound, _empty, _shaped, _typed, _valued, _promised,
    _references,
)  # fmt: skip


def damage_hdf5(choices: Choices, path: Path) -> str:
    """Replace `image` or `label` by something else of HDF5, or damage bytes."""
    if choices.chance(3):
        return damage_file(choices, path)
    name = choices.pick(("image", "label"))
    with h5py.File(path, "r+") as file:
        del file[name]
        return f"{path.name}: {name} is {choices.pick(CHANGES)(file, name, choices)}"
