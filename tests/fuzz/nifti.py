"""Damage to NIfTI files: fields of the header, and the archive around it."""

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from fuzz.bytewise import damage
from fuzz.choices import Choices

DATATYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 255, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304)
IMPORTANT = (  # fields whose values matter, hence chosen more often than the others
    "dim", "pixdim", "datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter", "sizeof_hdr",
    "magic", "xyzt_units", "sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b",
    "qoffset_x", "intent_code",
)  # fmt: skip
SIZE, SIZE_2 = 348, 540


def damage_header(choices: Choices, path: Path) -> str:
    """Change one to three fields of a header; the voxels stay."""
    content = _unpacked(path)
    second = len(content) > SIZE_2 and int.from_bytes(content[:4], "little") == SIZE_2
    kind, size = (nib.Nifti2Header, SIZE_2) if second else (nib.Nifti1Header, SIZE)
    fields = np.frombuffer(content[:size], kind.template_dtype).copy()
    done = [_change(choices, fields) for _ in range(choices.pick((1, 1, 2, 3)))]
    _pack(path, fields.tobytes() + content[size:])
    return f"{path.name}: {'; '.join(done)}"


def _change(choices: Choices, fields: np.ndarray) -> str:
    names = fields.dtype.names
    assert names
    name = choices.pick(IMPORTANT if not choices.chance(4) else names)
    if name not in names:
        name = "dim"
    kind = fields.dtype[name]
    if name == "datatype" and not choices.chance(4):
        value: object = choices.pick(DATATYPES)
    elif kind.base.kind == "f":
        value = choices.real()
    elif kind.base.kind in "iu":
        value = _fitting(choices.number(), kind.base)
    else:
        value = choices.pick((b"", b"ni1", b"n+2", b"\xff" * 8, b"x" * 80))
    if not kind.shape:
        fields[name] = np.array(value).astype(kind)
        return f"{name} is {value}"
    if choices.chance(4):
        fields[name] = value
        return f"{name} is {value} throughout"
    place = choices.place(kind.shape[0])
    fields[name][0, place] = value
    return f"{name}[{place}] is {value}"


def _fitting(value: int, kind: np.dtype) -> int:
    """*value*, wrapped as its bytes would be."""
    bits = 8 * kind.itemsize
    wrapped = value % 2**bits
    return wrapped - 2**bits if kind.kind == "i" and wrapped >= 2 ** (bits - 1) else wrapped


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _pack(path: Path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)


def damage_archive(choices: Choices, path: Path) -> str:
    """Damage a `.nii.gz`: its bytes, what is in it, or how it was packed."""
    content = path.read_bytes()
    inside = gzip.decompress(content)
    way = choices.pick(
        ("bytes", "bytes", "inside", "twice", "members", "not packed", "long name", "sum", "cut")
    )
    if way == "bytes":
        packed, done = damage(choices, content)
    elif way == "inside":
        changed, done = damage(choices, inside)
        packed = gzip.compress(changed, 1, mtime=0)
    elif way == "twice":
        packed, done = gzip.compress(content, mtime=0), "packed twice"
    elif way == "members":
        half = choices.place(len(inside))
        packed = gzip.compress(inside[:half], mtime=0) + gzip.compress(inside[half:], mtime=0)
        done = f"two members, the first of {half} bytes"
    elif way == "not packed":
        packed, done = inside, "not packed at all"
    elif way == "long name":
        packed, done = content[:3] + b"\x08" + content[4:10] + b"n" * 70_000 + content[10:], "named"
    elif way == "sum":
        packed, done = content[:-8] + b"\0" * 8, "no check sum"
    else:
        kept = choices.whole(0, 40)
        packed, done = content[:kept], f"cut after {kept} bytes"
    path.write_bytes(packed)
    return f"{path.name}: {done}"


def damage_size(choices: Choices, path: Path) -> str:
    """Let a header promise a large image: without its voxels, or with zeros that pack well."""
    side = choices.pick((64, 200, 400, 650, 1000, 2150, 30_000))
    kind = choices.pick((np.uint8, np.int16, np.float32, np.float64, np.complex128))
    header = nib.Nifti1Header()
    header.set_data_dtype(kind)
    header.set_data_shape((side, side, side))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_sform(np.eye(4), code=1)
    promised = side**3 * np.dtype(kind).itemsize
    given = min(promised, choices.pick((0, 1 << 16, 1 << 24, 800 << 20)))
    start = header.binaryblock + bytes(4)
    if path.suffix != ".gz":
        with path.open("wb") as stream:
            stream.write(start)
            stream.truncate(len(start) + given)  # a hole, which takes no space
    else:
        path.write_bytes(_zeros(start, given))
    return f"{path.name}: {promised} bytes promised, {given} given"


def _zeros(start: bytes, count: int) -> bytes:
    """*start* and so many zeros, packed piece by piece."""
    packing = zlib.compressobj(1, zlib.DEFLATED, 31)
    piece = bytes(1 << 20)
    packed = [packing.compress(start)]
    packed += [packing.compress(piece) for _ in range(count >> 20)]
    packed += [packing.compress(bytes(count & ((1 << 20) - 1))), packing.flush()]
    return b"".join(packed)
