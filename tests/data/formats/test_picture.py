"""Pictures: all bits of a color, what is turned, what is transparent, and what is no picture."""

import os
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from PIL import Image

from llmseg_cli.data.formats import opening, picture
from llmseg_cli.data.reading import read_header, read_raw
from llmseg_cli.data.volumes import load_image, load_label_map
from llmseg_cli.errors import DataError, TooLargeError

KIND = {1: 0, 2: 4, 3: 2, 4: 6}  # channels to the kind of PNG
ROWS, COLUMNS = 5, 6


def write_png(
    path: Path,
    array: NDArray[np.uint16],
    *,
    size: tuple[int, int] = (0, 0),
    depth: int = 16,
    transparent: bytes = b"",
) -> Path:
    """A PNG of 16 bits a channel, or less of grey; its header may say another size.

    Args:
        path: The file.
        array: `(rows, columns, C)`.
        size: Columns and rows that the header says.
        depth: Bits of a channel.
        transparent: The color that is transparent, as a tRNS chunk says it.
    """

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    rows, columns, channels = array.shape
    wide, high = size if any(size) else (columns, rows)
    head = struct.pack(">IIBBBBB", wide, high, depth, KIND[channels], 0, 0, 0)
    bits = np.unpackbits(array.astype(">u2").reshape(rows, -1, 1).view(np.uint8), axis=2)
    packed = np.packbits(bits[:, :, 16 - depth :].reshape(rows, -1), axis=1)
    lines = b"".join(b"\0" + row.tobytes() for row in packed)
    parts = chunk(b"IHDR", head) + (chunk(b"tRNS", transparent) if transparent else b"")
    parts += chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def colors(channels: int) -> NDArray[np.uint16]:
    random = np.random.default_rng(channels)
    return random.integers(0, 65536, (ROWS, COLUMNS, channels)).astype(np.uint16)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_all_16_bits_are_read_and_transparency_is_no_channel(tmp_path, channels):
    stored = colors(channels)
    raw = read_raw(write_png(tmp_path / "a.png", stored))
    shown = stored[..., : channels - (channels in (2, 4))]
    np.testing.assert_array_equal(raw.array[..., 0], shown.transpose(2, 1, 0))
    assert [doubt.kind for doubt in raw.doubts] == ["transparency"] * (channels in (2, 4))


def test_a_tiff_of_16_bits_a_color(tmp_path):
    stored = colors(3)
    sitk.WriteImage(sitk.GetImageFromArray(stored, isVector=True), str(tmp_path / "a.tif"))
    raw = read_raw(tmp_path / "a.tif")
    np.testing.assert_array_equal(raw.array[..., 0], stored.transpose(2, 1, 0))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_that_says_nothing_is_not_told(tmp_path, mode):
    made = Image.new(mode, (4, 3), (7,) * (len(mode) - 1) + (255,))
    made.save(tmp_path / "a.png")
    assert read_raw(tmp_path / "a.png").doubts == ()
    made.putpixel((0, 0), (7,) * (len(mode) - 1) + (9,))
    made.save(tmp_path / "b.png")
    raw = read_raw(tmp_path / "b.png")
    assert [doubt.kind for doubt in raw.doubts] == ["transparency"]
    assert (raw.array == 7).all()


COLOR = (3, 2, 1)


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize(
    ("channels", "depth"), [(1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (3, 8), (3, 16)]
)
def test_a_color_that_is_transparent_is_told(tmp_path, channels, depth, is_there):
    color = np.array(COLOR[:channels]) % 2**depth
    stored = np.tile(np.zeros(channels, np.uint16), (ROWS, COLUMNS, 1))
    stored[1, 2] = color if is_there else 0
    path = write_png(
        tmp_path / "a.png", stored, depth=depth, transparent=color.astype(">u2").tobytes()
    )
    kinds = [doubt.kind for doubt in read_raw(path).doubts]
    assert kinds == ["transparency"] * is_there


def test_transparent_entries_of_a_palette_are_told_and_nothing_else_warned(tmp_path, recwarn):
    made = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) % 3, mode="P")
    colors = [(9, 8, 7), (60, 50, 40), (200, 210, 220)]
    made.putpalette([value for color in colors for value in color])
    made.save(tmp_path / "a.png", transparency=bytes([255, 128, 0]))
    made.save(tmp_path / "opaque.png", transparency=bytes([255, 255, 255]))
    raw = read_raw(tmp_path / "a.png")
    assert [doubt.kind for doubt in raw.doubts] == ["transparency"]
    expected = np.array(colors, np.uint8)[np.arange(12).reshape(3, 4) % 3]
    np.testing.assert_array_equal(raw.array[..., 0], expected.transpose(2, 1, 0))
    assert read_raw(tmp_path / "opaque.png").doubts == ()
    labels = read_raw(tmp_path / "a.png", as_label=True)  # by its indices, whatever their colors
    assert (labels.doubts, labels.array.max()) == ((), 2)
    assert [str(one.message) for one in recwarn] == []


def test_transparency_of_nifti_is_told(tmp_path):
    kind = np.dtype([(name, "u1") for name in "RGBA"])
    voxels = np.zeros((4, 3, 2), kind)
    voxels["G"], voxels["A"] = 7, 255
    for name, is_told in (("opaque", False), ("clear", True)):
        voxels["A"][0, 0, 0] = 0 if is_told else 255
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}.nii")
        raw = read_raw(tmp_path / f"{name}.nii")
        assert ("transparency" in [doubt.kind for doubt in raw.doubts]) == is_told
        assert raw.array.max(axis=(1, 2, 3)).tolist() == [0, 7, 0]


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_class_numbers_in_grey_of_few_bits_are_read_as_stored(tmp_path, depth):
    stored = (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS, 1) % min(2**depth, 4)).astype("u2")
    path = write_png(tmp_path / "a.png", stored, depth=depth)
    labels = load_label_map(path).array
    np.testing.assert_array_equal(labels[..., 0], stored[..., 0].T)


def test_class_numbers_in_a_tiff_of_four_bits(tmp_path):
    stored = np.array([[0, 1, 2, 3], [15, 2, 1, 0]], np.uint8)
    packed = (stored[:, ::2] << 4 | stored[:, 1::2]).tobytes()
    tags = ((256, 4), (257, 2), (258, 4), (259, 1), (262, 1), (273, 8), (277, 1), (278, 2))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    entries += struct.pack("<HHII", 279, 4, 1, len(packed))
    start = struct.pack("<2sHI", b"II", 42, 8 + len(packed))
    end = struct.pack("<H", len(tags) + 1) + entries + struct.pack("<I", 0)
    (tmp_path / "a.tif").write_bytes(start + packed + end)
    labels = read_raw(tmp_path / "a.tif", as_label=True).array[0, ..., 0]
    np.testing.assert_array_equal(labels, stored.T)


def test_channels_that_are_turned_apart_are_refused(tmp_path):
    for name, turn in (("a", 1), ("b", 6), ("c", 6)):
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.jpg", exif=exif)
    a, b, c = (tmp_path / f"{name}.jpg" for name in "abc")
    with pytest.raises(DataError, match=r"b\.jpg: turned by EXIF as 6, and a\.jpg as 1"):
        load_image([a, b])
    assert load_image([b, c]).array.shape == (2, 4, 4, 1)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_tiff_is_read_as_stored_and_told(tmp_path, turn, compression):
    stored = np.arange(12, dtype=np.uint8).reshape(3, 4)
    path = tmp_path / "a.tif"
    Image.fromarray(stored).save(path, tiffinfo={0x0112: turn}, compression=compression)
    raw = read_raw(path)
    np.testing.assert_array_equal(raw.array[0, ..., 0], stored.T)
    assert [doubt.kind for doubt in raw.doubts] == ["turned picture"] * (turn > 1)
    assert read_header(path).grid.shape == raw.grid.shape
    assert read_header(path).doubts == raw.doubts


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_exif_is_told_and_not_obeyed(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (4, 3)).save(tmp_path / f"a{suffix}", exif=exif)
    raw = read_raw(tmp_path / f"a{suffix}")
    assert raw.grid.shape == (4, 3, 1)
    (doubt,) = raw.doubts
    assert doubt.is_warning
    assert "drawn on the stored or on the shown picture?" in doubt.remedy


def test_only_pictures_are_opened(tmp_path, monkeypatch):
    marker = tmp_path / "started"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {marker}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    text = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.png").write_text(text)
    with pytest.raises(DataError, match=r"a\.png: not a whole picture"):
        read_raw(tmp_path / "a.png")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "a.h5", "a.nrrd", "a.dcm"])
def test_a_pipe_is_refused_before_it_is_opened(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for reads in (read_raw, read_header):
        with pytest.raises(DataError, match="a named pipe, expected a file"):
            reads(tmp_path / name)


def test_a_bomb_is_refused_by_its_header(tmp_path, monkeypatch):
    path = write_png(tmp_path / "a.png", colors(3), size=(9000, 9000))
    monkeypatch.setattr(opening, "available_bytes", lambda: 1 << 28)
    with pytest.raises(TooLargeError, match=r"3 x 9000 x 9000 voxels of uint16 take 1\.46 GB"):
        picture.read(path)
    write_png(path, colors(3), size=(60000, 60000))
    with pytest.raises(DataError, match="Cut it into tiles"):
        picture.read(path)
