"""DICOM by its tags: many frames in a file, slices without positions, slopes that differ."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from tiny_dicom import CAPTURE, ENHANCED_CT, frame_groups, write_dicom_file

from llmseg_cli.data.reading import read_raw
from llmseg_cli.data.volumes import load_image
from llmseg_cli.errors import DataError

FRAMES = np.random.default_rng(0).integers(0, 900, (5, 6, 7)).astype(np.int16)  # K, row, column
BETWEEN = (0x18, 0x88, "DS", "2.5")


@pytest.fixture(params=["file", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """Where to write a file, and what to read: the file, or the folder that holds it alone."""
    file = tmp_path / "p1" / "a.dcm"
    return file, file if request.param == "file" else file.parent


def test_frames_with_one_position_and_a_spacing_between_them(place):
    file, read = place
    write_dicom_file(file, FRAMES, position="0\\0\\0", more=[BETWEEN])
    raw = read_raw(read)
    np.testing.assert_array_equal(raw.array[0], FRAMES.T)
    assert load_image([read]).spacing_mm == (0.75, 0.5, 2.5)  # columns are 0.75 mm apart
    assert raw.doubts == ()


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [0, 2, 4, 1, 3]])
def test_frames_lie_where_their_groups_say(place, order):
    file, read = place
    heights = [30 + 2.5 * index for index in range(5)]
    groups = frame_groups([heights[index] for index in order])
    write_dicom_file(file, FRAMES[order], kind=ENHANCED_CT, spacing=None, groups=groups)
    raw = read_raw(read)
    np.testing.assert_array_equal(raw.array[0], FRAMES.T)
    np.testing.assert_allclose(raw.grid.affine[:3, 3], (-10, -20, 30))
    np.testing.assert_allclose(raw.grid.affine[:3, :3], np.diag([-0.75, -0.5, 2.5]), atol=1e-9)
    assert raw.doubts == ()


@pytest.mark.parametrize(
    "heights", [[0, 1, 2, 4, 5], [0, 1, 2, 0, 1], [0, 0, 0, 0, 0]], ids=["gap", "twice", "one"]
)
def test_frames_that_are_no_even_stack_are_refused(tmp_path, heights):
    groups = frame_groups(heights)
    path = write_dicom_file(tmp_path / "a.dcm", FRAMES, kind=ENHANCED_CT, groups=groups)
    with pytest.raises(DataError, match=r"a\.dcm: (frame \d lies .* several stacks|.*[Ss]pacing)"):
        read_raw(path)


def test_frames_with_slopes_of_their_own_are_refused(tmp_path):
    groups = frame_groups([0, 1, 2, 3, 4], slopes=[1, 1, 2, 1, 1])
    path = write_dicom_file(tmp_path / "a.dcm", FRAMES, kind=ENHANCED_CT, groups=groups)
    with pytest.raises(DataError, match="different rescale slopes"):
        read_raw(path)


def test_frames_of_different_pixel_sizes_are_refused(tmp_path):
    spacings = ["0.5\\0.75", "0.5\\0.75", "0.5\\0.9", "0.5\\0.75", "0.5\\0.75"]
    groups = frame_groups([0, 1, 2, 3, 4], spacings=spacings)
    path = write_dicom_file(
        tmp_path / "a.dcm", FRAMES, kind=ENHANCED_CT, spacing=None, groups=groups
    )
    wanted = r"Pixel Spacing \(0028,0030\) is 0\.500, 0\.900 in frame 3 and 0\.500, 0\.750 in the"
    with pytest.raises(DataError, match=wanted):
        read_raw(path)


@pytest.mark.parametrize("own", [True, False])
def test_frames_without_positions_still_say_their_sizes(tmp_path, own):
    spacings = ["0.5\\0.75"] * 5 if own else None
    groups = frame_groups([None] * 5, spacings=spacings)
    path = write_dicom_file(
        tmp_path / "a.dcm", FRAMES, kind=ENHANCED_CT, spacing=None, groups=groups
    )
    raw = read_raw(path)
    assert raw.grid.unit == "mm"
    assert np.linalg.norm(raw.grid.affine[:3, :3], axis=0).tolist() == [0.75, 0.5, 9]
    (doubt,) = raw.doubts
    assert "Slice Thickness (0018,0050), 9 mm" in doubt.found


def test_damaged_groups_are_told(tmp_path):
    groups = frame_groups([0, 1, 2, 3, 4])
    path = write_dicom_file(tmp_path / "a.dcm", FRAMES, kind=ENHANCED_CT, groups=groups[:-90])
    with pytest.raises(DataError, match=r"a\.dcm"):
        read_raw(path)


def write_series(folder: Path, *, slopes: list[str] | None = None, positions: bool = True) -> Path:
    for index, pixels in enumerate(FRAMES):
        more = [BETWEEN]
        if slopes is not None:
            more += [(0x28, 0x1052, "DS", "0"), (0x28, 0x1053, "DS", slopes[index])]
        position = f"0\\0\\{2.5 * index}" if positions else None
        write_dicom_file(
            folder / f"{index}.dcm", pixels, number=index + 1, position=position, more=more
        )
    return folder


def test_each_slice_has_its_own_slope(tmp_path):
    slopes = [1.0, 0.25, 0.5, 1.0, 3.0]  # of which the first makes whole numbers
    folder = write_series(tmp_path / "p1", slopes=[str(slope) for slope in slopes])
    expected = FRAMES.astype(np.float32) * np.array(slopes, np.float32)[:, None, None]
    np.testing.assert_array_equal(read_raw(folder).array[0], expected.T)


SCALINGS = {
    "intercepts": [(1, 0), (1, -1024), (1, -1024), (1, 0), (1, -1024)],
    "no scaling in the first": [None, (1, -1024), (1, -1024), None, (1, -1024)],
    "slopes": [(1, 0), (1000, 0), (1, 0), (3, -7), (1, 0)],
}


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize("scalings", SCALINGS.values(), ids=SCALINGS)
def test_whole_numbers_never_wrap_where_slices_are_scaled_apart(tmp_path, scalings, is_signed):
    expected = []
    for index, (pixels, scaling) in enumerate(zip(FRAMES, scalings, strict=True)):
        slope, intercept = scaling or (1, 0)
        more = [(0x28, 0x1052, "DS", str(intercept)), (0x28, 0x1053, "DS", str(slope))]
        write_dicom_file(
            tmp_path / "p1" / f"{index}.dcm",
            pixels,
            number=index + 1,
            position=f"0\\0\\{index}",
            more=more if scaling else (),
            is_signed=is_signed,
        )
        expected.append(pixels.astype(np.int64) * slope + intercept)
    np.testing.assert_array_equal(read_raw(tmp_path / "p1").array[0], np.array(expected).T)


def test_slices_of_either_sign_keep_their_values(tmp_path):
    stored = FRAMES.copy()
    stored[1:] -= 500
    for index, pixels in enumerate(stored):
        write_dicom_file(
            tmp_path / "p1" / f"{index}.dcm",
            pixels,
            number=index + 1,
            position=f"0\\0\\{index}",
            is_signed=index > 0,
        )
    np.testing.assert_array_equal(read_raw(tmp_path / "p1").array[0], stored.T)


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ((0x18, 0x1164), r"Imager Pixel Spacing \(0018,1164\), 0\.14 x 0\.2 mm"),
        ((0x18, 0x2010), r"Nominal Scanned Pixel Spacing \(0018,2010\), 0\.14 x 0\.2 mm"),
    ],
)
def test_a_pixel_size_at_the_detector_is_taken_and_told(tmp_path, tag, name):
    path = write_dicom_file(
        tmp_path / "a.dcm", FRAMES[0], spacing=None, more=[(*tag, "DS", "0.14\\0.2")]
    )
    raw = read_raw(path)
    np.testing.assert_allclose(np.linalg.norm(raw.grid.affine[:3, :2], axis=0), (0.2, 0.14))
    (doubt,) = raw.doubts
    assert re.search(name, doubt.found)
    assert doubt.is_warning


def test_an_inverted_image_is_told(tmp_path):
    path = write_dicom_file(tmp_path / "a.dcm", FRAMES[0], grey="MONOCHROME1")
    (doubt,) = read_raw(path).doubts
    assert doubt.is_warning
    assert "Photometric Interpretation (0028,0004) is MONOCHROME1" in doubt.found


def series_with_another_slice(place: Path, **changes) -> Path:
    """A series whose third slice is written otherwise."""
    folder = write_series(place / "p1")
    how = {"number": 3, "position": "0\\0\\5", "more": [BETWEEN]} | changes
    write_dicom_file(folder / "2.dcm", FRAMES[2], **how)
    return folder


def test_inverted_slices_among_others_are_refused(tmp_path):
    folder = series_with_another_slice(tmp_path, grey="MONOCHROME1")
    with pytest.raises(DataError, match="MONOCHROME1 in slice 3 and MONOCHROME2 in the first"):
        read_raw(folder)


def test_slices_without_positions_take_the_spacing_of_other_tags_and_say_so(tmp_path):
    raw = read_raw(write_series(tmp_path / "p1", positions=False))
    assert np.linalg.norm(raw.grid.affine[:3, :3], axis=0).tolist() == [0.75, 0.5, 2.5]
    (doubt,) = raw.doubts
    assert "no Image Position (0020,0032)" in doubt.found
    assert "Spacing Between Slices (0018,0088), 2.5 mm" in doubt.found
    assert doubt.is_warning


def test_where_no_tag_says_a_spacing_distances_count_in_voxels(tmp_path):
    path = write_dicom_file(tmp_path / "a.dcm", FRAMES, kind=CAPTURE, spacing=None)
    raw = read_raw(path)
    assert raw.grid.unit == "voxel"
    assert [doubt.is_warning for doubt in raw.doubts] == [False, False]
    assert "Pixel Spacing (0028,0030)" in raw.doubts[0].found
    assert "Slice Thickness (0018,0050)" in raw.doubts[1].found


def test_slices_of_different_pixel_sizes_or_directions_are_refused(tmp_path):
    folder = series_with_another_slice(tmp_path, spacing="0.5\\0.9")
    with pytest.raises(
        DataError, match=r"Pixel Spacing \(0028,0030\) is 0\.500, 0\.900 in slice 3"
    ):
        read_raw(folder)


def test_several_files_of_frames_in_a_folder_are_refused(tmp_path):
    for number in (1, 2):
        write_dicom_file(
            tmp_path / "p1" / f"{number}.dcm",
            FRAMES,
            number=number,
            position=f"0\\0\\{number}",
            more=[BETWEEN],
        )
    with pytest.raises(DataError, match="p1"):
        read_raw(tmp_path / "p1")


@pytest.mark.parametrize("what", ["file", "slice"])
@pytest.mark.parametrize("claimed", [2**31, 2**32 - 2])
def test_a_length_that_the_file_has_not_is_refused_before_memory_is_taken(tmp_path, what, claimed):
    path = write_dicom_file(tmp_path / "p" / "a.dcm", FRAMES[0], more=[(0x19, 0x10, "OB", b"abcd")])
    content = path.read_bytes()
    own = b"\x19\x00\x10\x00OB\0\0"
    place = content.index(own) + len(own)
    path.write_bytes(content[:place] + struct.pack("<I", claimed) + content[place + 4 :])
    write_dicom_file(tmp_path / "p" / "b.dcm", FRAMES[1], number=2)
    with pytest.raises(DataError, match=rf"a\.dcm: .*\(0019,0010\) claims {claimed} bytes, and"):
        read_raw(path if what == "file" else path.parent)
