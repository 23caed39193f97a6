"""Reading images and label maps to RAS+, and writing label maps onto the image's own grid."""

import gzip
import itertools
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tiny_data import SHAPE, label_with, random_image, write_dicom, write_nifti

from llmseg_cli.data.formats import doubts, itk, nifti, picture
from llmseg_cli.data.volumes import (
    load_image,
    load_label_map,
    prediction_suffix,
    save_label_map,
    save_map,
    tell_doubts,
)
from llmseg_cli.errors import DataError, ResourceError

CODES = [
    "".join(axes)
    for pair in itertools.permutations(("RL", "AP", "SI"))
    for axes in itertools.product(*pair)
]


def affine_of(codes: str, *, spacing: tuple[float, ...] = (0.7, 1.1, 2.5)) -> NDArray[np.float64]:
    """An affine with these axis codes, anisotropic and off center."""
    orientation = nib.orientations.axcodes2ornt(codes)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (target, flip) in enumerate(orientation):
        affine[int(target), axis] = flip * spacing[axis]
    affine[:3, 3] = (11.5, -7.25, 3.125)
    return affine


def tilted(degrees: float) -> NDArray[np.float64]:
    """A rotation about two axes."""
    a = np.radians(degrees)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    whole = np.eye(4)
    whole[:3, :3] = about_z @ about_x
    return whole


@pytest.mark.parametrize("codes", CODES)
def test_every_orientation_survives_the_round_trip(tmp_path: Path, codes: str) -> None:
    stored = label_with([1, 2, 3])
    path = write_nifti(tmp_path / "a.nii.gz", stored, affine_of(codes))
    labels = load_label_map(path)
    save_label_map(tmp_path / "b.nii.gz", labels.array, labels.grid)
    before, after = nib.load(path), nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), stored)
    assert after.affine.tobytes() == before.affine.tobytes()
    for field in ("srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x", "pixdim", "xyzt_units"):
        assert after.header[field].tobytes() == before.header[field].tobytes()
    for field in ("sform_code", "qform_code", "dim"):
        assert (after.header[field] == before.header[field]).all()


@pytest.mark.parametrize("codes", CODES[::5])
def test_ras_order_agrees_with_nibabel(tmp_path: Path, codes: str) -> None:
    path = write_nifti(tmp_path / "a.nii", random_image(0), affine_of(codes))
    volume = load_image([path])
    canonical = nib.as_closest_canonical(nib.load(path))
    np.testing.assert_array_equal(volume.array[0], canonical.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(volume.spacing_mm, canonical.header.get_zooms(), rtol=1e-6)
    np.testing.assert_allclose(volume.grid.ras_affine, canonical.affine, atol=1e-6)
    assert volume.grid.ras_shape == volume.array.shape[1:]


@settings(deadline=None, max_examples=25)
@given(degrees=st.floats(-40, 40), codes=st.sampled_from(CODES))
def test_oblique_volumes_survive(
    tmp_path_factory: pytest.TempPathFactory, degrees: float, codes: str
) -> None:
    folder = tmp_path_factory.mktemp("oblique")
    affine = tilted(degrees) @ affine_of(codes)
    path = write_nifti(folder / "a.nii.gz", label_with([1, 2]), affine)
    labels = load_label_map(path)
    save_label_map(folder / "b.nii.gz", labels.array, labels.grid)
    before, after = nib.load(path), nib.load(folder / "b.nii.gz")
    assert after.affine.tobytes() == before.affine.tobytes()
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), np.asanyarray(before.dataobj))


def test_header_keeps_a_qform_that_differs_from_the_sform(tmp_path: Path) -> None:
    image = nib.Nifti1Image(label_with([1]), affine_of("LAS"))
    image.set_qform(affine_of("LAS", spacing=(0.7, 1.1, 2.4)), code="scanner")
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"scanner A"
    nib.save(image, tmp_path / "a.nii.gz")
    labels = load_label_map(tmp_path / "a.nii.gz")
    save_label_map(tmp_path / "b.nii.gz", labels.array, labels.grid)
    a, b = (nib.load(tmp_path / name).header for name in ("a.nii.gz", "b.nii.gz"))
    assert a.binaryblock == b.binaryblock


def test_a_label_map_lies_on_a_scaled_multichannel_image(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((*SHAPE, 2), np.int16), affine_of("PIR"))
    image.header.set_slope_inter(2.0, 5.0)
    nib.save(image, tmp_path / "a.nii.gz")
    volume = load_image([tmp_path / "a.nii.gz"])
    assert volume.array.shape == (2, *volume.grid.ras_shape)
    np.testing.assert_array_equal(volume.array, 5)
    labels = np.zeros(volume.grid.ras_shape, np.int64)
    labels[1, 2, 3] = 300
    save_label_map(tmp_path / "b.nii.gz", labels, volume.grid)
    back = load_label_map(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(back.array, labels)
    assert back.array.dtype == np.int16
    assert nib.load(tmp_path / "b.nii.gz").shape == SHAPE


def test_nifti_2_and_two_axes_stay_so(tmp_path: Path) -> None:
    flat = label_with([1], SHAPE[:2])
    nib.save(nib.Nifti2Image(flat, np.diag([-2.0, 3, 1, 1])), tmp_path / "a.nii")
    labels = load_label_map(tmp_path / "a.nii")
    assert labels.array.shape == (*SHAPE[:2], 1)
    save_label_map(tmp_path / "b.nii", labels.array, labels.grid)
    back = nib.load(tmp_path / "b.nii")
    assert isinstance(back, nib.Nifti2Image)
    np.testing.assert_array_equal(np.asanyarray(back.dataobj), flat)


def test_doubts_about_every_channel_are_told(tmp_path, caplog, monkeypatch) -> None:
    """The second file alone contradicts itself; a warning names it, when it is read or prepared."""
    paths = [write_nifti(tmp_path / f"{name}.nii", random_image(0)) for name in "ab"]
    image = nib.load(paths[1])
    image.header["pixdim"][1:4] = (1.5, 1.5, 10)
    image.header["qform_code"] = 0
    nib.save(nib.Nifti1Image(random_image(1), None, image.header), paths[1])
    for use in (load_image, tell_doubts):
        monkeypatch.setattr(doubts, "_told", set())
        caplog.clear()
        use(paths)
        named = [record.getMessage() for record in caplog.records]
        assert any(f"{paths[1]}: the sform says a spacing of" in text for text in named)
        assert not any(str(paths[0]) in text and "the sform says" in text for text in named)


def test_vectors_and_colors_are_channels(tmp_path: Path) -> None:
    vectors = random_image(0, (4, 5, 6, 1, 3))
    path = write_nifti(tmp_path / "v.nii", vectors)
    np.testing.assert_array_equal(load_image([path]).array[1], vectors[:, :, :, 0, 1])
    colors = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colors["G"] = 7
    path = write_nifti(tmp_path / "c.nii", colors)
    assert load_image([path]).array[:, 0, 0, 0].tolist() == [0, 7, 0]


def test_a_header_with_an_unknown_unit_is_read_as_mm(tmp_path: Path) -> None:
    image = nib.Nifti1Image(random_image(0), np.diag([2.0, 2, 2, 1]))
    image.header["xyzt_units"] = 7
    nib.save(image, tmp_path / "a.nii")
    assert load_image([tmp_path / "a.nii"]).spacing_mm == (2.0, 2.0, 2.0)


def test_microns_become_mm(tmp_path: Path) -> None:
    image = nib.Nifti1Image(random_image(0), np.diag([500.0, 500, 2000, 1]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    assert load_image([tmp_path / "a.nii"]).spacing_mm == (0.5, 0.5, 2.0)


def to_itk(path: Path, nifti: Path) -> Path:
    """Convert with SimpleITK alone."""
    sitk.WriteImage(sitk.ReadImage(str(nifti)), str(path))
    return path


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASL", "IRP"])
def test_itk_formats_agree_with_nifti(tmp_path: Path, suffix: str, codes: str) -> None:
    affine = tilted(10) @ affine_of(codes)
    nifti = write_nifti(tmp_path / "a.nii.gz", label_with([1, 2]), affine)
    other = to_itk(tmp_path / f"a{suffix}", nifti)
    first, second = load_label_map(nifti), load_label_map(other)
    np.testing.assert_array_equal(first.array, second.array)
    np.testing.assert_allclose(first.grid.ras_affine, second.grid.ras_affine, atol=1e-4)
    np.testing.assert_allclose(first.spacing_mm, second.spacing_mm, rtol=1e-5)
    assert prediction_suffix(second.grid) == suffix
    save_label_map(tmp_path / f"b{suffix}", second.array, second.grid)
    before, after = (sitk.ReadImage(str(tmp_path / f"{name}{suffix}")) for name in "ab")
    assert before.GetOrigin() == after.GetOrigin()
    # NRRD stores spacing and direction as one product, so its last bit may change.
    np.testing.assert_allclose(before.GetSpacing(), after.GetSpacing(), rtol=1e-15)
    np.testing.assert_allclose(before.GetDirection(), after.GetDirection(), atol=1e-15)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(before), sitk.GetArrayFromImage(after))


def test_itk_components_are_channels_and_flat_images_stay_flat(tmp_path: Path) -> None:
    stored = np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2)  # K, J, I, C
    sitk.WriteImage(sitk.GetImageFromArray(stored, isVector=True), str(tmp_path / "v.mha"))
    volume = load_image([tmp_path / "v.mha"])
    assert volume.array.shape == (2, 4, 3, 2)
    turned = volume.grid.from_ras(volume.array)
    np.testing.assert_array_equal(turned, stored.transpose(3, 2, 1, 0))
    sitk.WriteImage(sitk.GetImageFromArray(stored[0, :, :, 0]), str(tmp_path / "f.nrrd"))
    flat = load_image([tmp_path / "f.nrrd"])
    assert flat.array.shape == (1, 4, 3, 1)
    save_label_map(tmp_path / "g.nrrd", flat.array[0].astype(int), flat.grid)
    assert sitk.ReadImage(str(tmp_path / "g.nrrd")).GetSize() == (4, 3)


def test_dicom_series(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 900, (6, 5, 4)).astype(np.int16)
    volume = load_image([write_dicom(tmp_path / "p1", voxels)])
    # LPS to RAS turns the first two axes around; the world position of file voxel 0 is known.
    np.testing.assert_array_equal(volume.array[0], voxels[::-1, ::-1, :])
    np.testing.assert_allclose(volume.spacing_mm, (0.5, 0.75, 2.0))
    np.testing.assert_allclose(volume.grid.affine[:3, 3], (-10, -20, 30))
    assert prediction_suffix(volume.grid) == ".nii.gz"
    save_label_map(tmp_path / "p1.nii.gz", volume.array[0].astype(int), volume.grid)
    saved = nib.load(tmp_path / "p1.nii.gz")
    np.testing.assert_allclose(saved.affine, volume.grid.affine, atol=1e-6)
    np.testing.assert_array_equal(np.asanyarray(saved.dataobj), voxels)
    assert saved.header["sform_code"] == saved.header["qform_code"] == 1


@pytest.mark.parametrize("fault", ["gap", "tilt"])
def test_dicom_series_that_no_grid_expresses(tmp_path: Path, fault: str) -> None:
    voxels = np.zeros((6, 5, 5), np.int16)
    gap_after, tilt = (1, 0.0) if fault == "gap" else (None, 0.5)
    folder = write_dicom(tmp_path / "p1", voxels, gap_after=gap_after, tilt=tilt)
    with pytest.raises(DataError, match=r"p1: slice \d lies .* missing, or the gantry was tilted"):
        load_image([folder])


def test_several_dicom_series_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "p1"
    folder.mkdir()
    with pytest.raises(DataError, match="0 DICOM series, expected one"):
        load_image([folder])


def test_pictures(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)  # row, column
    Image.fromarray(pixels).save(tmp_path / "a.png")
    volume = load_image([tmp_path / "a.png"])
    assert volume.array.shape == (3, 6, 4, 1)
    assert volume.grid.unit == "px"
    assert volume.spacing_mm == (1.0, 1.0, 1.0)
    assert volume.array[2, 5, 1, 0] == pixels[1, 5, 2]
    labels = np.zeros((6, 4, 1), np.int64)
    labels[5, 1, 0] = 2
    save_label_map(tmp_path / "b.png", labels, volume.grid)
    stored = np.asarray(Image.open(tmp_path / "b.png"))
    assert stored.shape == (4, 6)
    assert stored[1, 5] == 2
    labels[0, 0, 0] = 1000
    save_label_map(tmp_path / "c.png", labels, volume.grid)
    np.testing.assert_array_equal(load_label_map(tmp_path / "c.png").array, labels)


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("L", 1), ("LA", 1), ("RGBA", 3), ("CMYK", 3), ("P", 3), ("1", 1), ("I;16", 1), ("F", 1)],
)
def test_modes_of_pictures(tmp_path: Path, mode: str, channels: int) -> None:
    path = tmp_path / "a.tif"
    if mode == "I;16":
        Image.fromarray(np.full((3, 4), 1000, np.uint16)).save(path)
    else:
        Image.new(mode, (4, 3)).save(path)
    assert load_image([path]).array.shape == (channels, 4, 3, 1)


def test_label_pictures(tmp_path: Path) -> None:
    values = np.array([[0, 1], [2, 0]], np.uint8)
    palette = Image.fromarray(values).convert("P")
    palette.putdata(values.ravel().tolist())
    palette.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10])
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(load_label_map(tmp_path / "p.png").array[..., 0], values.T)
    Image.fromarray(np.stack([values] * 3, axis=-1)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(load_label_map(tmp_path / "grey.png").array[..., 0], values.T)
    colored = np.zeros((2, 2, 3), np.uint8)
    colored[0, 0] = (255, 0, 0)
    Image.fromarray(colored).save(tmp_path / "red.png")
    with pytest.raises(DataError, match=r"red\.png: a label map in color"):
        load_label_map(tmp_path / "red.png")


def test_several_pages_are_refused(tmp_path: Path) -> None:
    pages = [Image.new("L", (4, 3)) for _ in range(2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="2 pages, expected one"):
        load_image([tmp_path / "a.tif"])


def write_h5(path: Path, image: NDArray[np.generic], label: NDArray[np.generic] | None) -> Path:
    with h5py.File(path, "w") as file:
        file["image"] = image
        if label is not None:
            file["label"] = label
    return path


def test_hdf5_keeps_its_axes(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "a.h5", random_image(0), label_with([1]))
    volume, labels = load_image([path]), load_label_map(path)
    np.testing.assert_array_equal(volume.array[0], random_image(0))
    np.testing.assert_array_equal(labels.array, label_with([1]))
    assert (volume.grid.unit, volume.spacing_mm) == ("voxel", (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("shape", "moved"),
    [((10, 40, 30), True), ((15, 40, 30), False), ((31, 80, 70), True), ((32, 80, 70), False)],
)
def test_hdf5_with_slices_first(tmp_path: Path, shape: tuple[int, ...], moved: bool) -> None:
    stored = random_image(0, shape)
    labels = label_with([1, 2], shape)
    path = write_h5(tmp_path / "a.h5", stored, labels)
    volume = load_image([path])
    np.testing.assert_array_equal(volume.array[0], np.moveaxis(stored, 0, 2) if moved else stored)
    save_label_map(tmp_path / "b.nii.gz", load_label_map(path).array, volume.grid)
    np.testing.assert_array_equal(np.asanyarray(nib.load(tmp_path / "b.nii.gz").dataobj), labels)


def test_hdf5_channels_first_and_single_slices(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "a.h5", random_image(0, (2, 7, 6, 5)), None)
    assert load_image([path]).array.shape == (2, 7, 6, 5)
    path = write_h5(tmp_path / "b.h5", random_image(0, (7, 6)), None)
    assert load_image([path]).array.shape == (1, 7, 6, 1)
    with pytest.raises(DataError, match="no data set 'label' in the file; it has image"):
        load_label_map(path)


def test_channels_in_files_of_their_own(tmp_path: Path) -> None:
    a = write_nifti(tmp_path / "a.nii", random_image(0), affine_of("LPS"))
    b = write_nifti(tmp_path / "b.nii", random_image(1), affine_of("LPS"))
    both = load_image([a, b])
    np.testing.assert_array_equal(both.array[1], load_image([b]).array[0])
    shifted = affine_of("LPS")
    shifted[0, 3] += 0.5
    c = write_nifti(tmp_path / "c.nii", random_image(2), shifted)
    with pytest.raises(DataError, match=r"c\.nii: .* differ from those of a\.nii"):
        load_image([a, c])


def test_truncated_files_are_named(tmp_path: Path) -> None:
    whole = write_nifti(tmp_path / "whole.nii.gz", random_image(0, (30, 30, 30))).read_bytes()
    to_itk(tmp_path / "whole.nrrd", tmp_path / "whole.nii.gz")
    Image.fromarray(random_image(0, (60, 60)).astype(np.uint8)).save(tmp_path / "whole.png")
    write_h5(tmp_path / "whole.h5", random_image(0), None)
    cut = {name: tmp_path / f"cut{name}" for name in (".nii.gz", ".nii", ".nrrd", ".png", ".h5")}
    cut[".nii.gz"].write_bytes(whole[: len(whole) // 2])
    cut[".nii"].write_bytes(gzip.decompress(whole)[:5000])
    for suffix in (".nrrd", ".png", ".h5"):
        content = (tmp_path / f"whole{suffix}").read_bytes()
        cut[suffix].write_bytes(content[: len(content) // 2])
    for path in cut.values():
        with pytest.raises(DataError, match=f"{path.name}: not a whole"):
            load_image([path])


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.png", "a.h5"])
def test_files_of_nonsense_or_missing_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=name):
        load_image([tmp_path / name])
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(DataError, match=name):
        load_image([tmp_path / name])


def test_unknown_formats_and_too_many_axes(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("?")
    with pytest.raises(DataError, match="unknown format"):
        load_image([tmp_path / "a.docx"])
    path = write_nifti(tmp_path / "a.nii", random_image(0, (2, 2, 2, 2, 2)))
    with pytest.raises(DataError, match="expected 2 to 4 axes"):
        load_image([path])


def test_shear_is_refused_by_name_and_rotation_is_not(tmp_path: Path) -> None:
    sheared = affine_of("RAS")
    sheared[1, 2] = 0.3  # third axis leans toward the second: a tilted gantry
    path = write_nifti(tmp_path / "a.nii", random_image(0), sheared)
    with pytest.raises(DataError, match=r"axes 2 and 3 are sheared, 83\.2 degrees apart"):
        load_image([path])
    flat = affine_of("RAS")
    flat[:, 2] = 0
    image = nib.Nifti1Image(random_image(0), None)
    image.header.set_sform(flat, code="scanner")
    nib.save(image, tmp_path / "b.nii")
    with pytest.raises(DataError, match="singular"):
        load_image([tmp_path / "b.nii"])


def test_labels_that_are_no_whole_numbers(tmp_path: Path) -> None:
    whole = write_nifti(tmp_path / "a.nii", label_with([1, 3]).astype(np.float32))
    assert load_label_map(whole).array.dtype == np.uint8
    for value, shown in ((0.5, "0.5"), (np.nan, "nan")):
        odd = label_with([1]).astype(np.float32)
        odd[0, 0, 0] = value
        path = write_nifti(tmp_path / "b.nii", odd)
        with pytest.raises(DataError, match=rf"b\.nii: 1 label values are no .* \({shown}\)"):
            load_label_map(path)
    two = write_nifti(tmp_path / "c.nii", np.zeros((*SHAPE, 2), np.uint8))
    with pytest.raises(DataError, match="2 channels, expected one value per voxel"):
        load_label_map(two)
    huge = write_nifti(tmp_path / "d.nii", label_with([1]).astype(np.int32) * 70000)
    with pytest.raises(DataError, match="from 0 to 70000"):
        load_label_map(huge)
    assert load_label_map(huge, label_map={70000: 1}).array.max() == 1


def test_label_map_changes_all_values_at_once(tmp_path: Path) -> None:
    stored = label_with([1, 2, 255])
    path = write_nifti(tmp_path / "a.nii", stored)
    array = load_label_map(path, label_map={1: 2, 2: 1, 255: 300}).array
    np.testing.assert_array_equal(array == 2, stored == 1)
    np.testing.assert_array_equal(array == 1, stored == 2)
    np.testing.assert_array_equal(array == 300, stored == 255)


def test_saving_refuses_what_does_not_fit_and_leaves_nothing(tmp_path: Path) -> None:
    grid = load_image([write_nifti(tmp_path / "a.nii", random_image(0))]).grid
    target = tmp_path / "b.nii.gz"
    with pytest.raises(ValueError, match="do not fit"):
        save_label_map(target, np.zeros((1, 2, 3), int), grid)
    with pytest.raises(ValueError, match="expected 0 to 65535"):
        save_label_map(target, np.full(SHAPE, -1), grid)
    with pytest.raises(ValueError, match="expected the suffix"):
        save_label_map(tmp_path / "b.mha", np.zeros(SHAPE, int), grid)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


def test_a_disk_that_refuses_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nifti = write_nifti(tmp_path / "a.nii.gz", label_with([1]))
    grid = load_label_map(to_itk(tmp_path / "a.nrrd", nifti)).grid

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("ITK ERROR: error writing")

    monkeypatch.setattr(sitk, "WriteImage", refuse)
    with pytest.raises(ResourceError, match=r"Cannot write .*Is the disk full"):
        save_label_map(tmp_path / "b.nrrd", label_with([1])[::-1, ::-1], grid)


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(content[: len(content) - 20])
    else:
        last = len(content) - 20  # of the voxels or what guards them, in every format
        path.write_bytes(content[:last] + bytes([content[last] ^ 255]) + content[last + 1 :])


@pytest.mark.parametrize("how", ["empty", "cut", "changed"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd", ".png"])
def test_what_a_writer_leaves_half_done_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, how: str
) -> None:
    flat = suffix == ".png"
    labels = label_with([1, 2], (30, 20) if flat else (30, 20, 10))
    source = write_nifti(tmp_path / "a.nii.gz", labels)
    module: Any = {".mha": itk, ".nrrd": itk, ".png": picture}.get(suffix, nifti)
    if module is itk:
        source = to_itk(tmp_path / f"a{suffix}", source)
    elif flat:
        source = tmp_path / "a.png"
        Image.fromarray(labels.T).save(source)
    image = load_label_map(source)
    write = module.write

    def half(path: Path, *more: Any) -> None:
        write(path, *more)  # as on a full disk, about which some writers say nothing
        damaged(path, how)

    monkeypatch.setattr(module, "write", half)
    target = tmp_path / "out" / f"m{suffix}"
    with pytest.raises(ResourceError, match=rf"m{suffix} was (not )?written"):
        save_label_map(target, image.array, image.grid)
    assert list(target.parent.iterdir()) == []


def test_a_map_of_numbers_is_read_back_and_may_hold_nan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = load_image([write_nifti(tmp_path / "a.nii.gz", random_image(0))]).grid
    values = random_image(1)
    values[0, 0, 0] = np.nan
    save_map(tmp_path / "map.nii.gz", values, grid)
    write = nifti.write
    monkeypatch.setattr(nifti, "write", lambda path, array, grid: write(path, array + 1, grid))
    with pytest.raises(ResourceError, match="other voxels"):
        save_map(tmp_path / "other.nii.gz", values, grid)
    assert not (tmp_path / "other.nii.gz").exists()


def test_real_scans_survive(shared_data: Path, tmp_path: Path) -> None:
    la = shared_data / "la" / "labels" / "06SR5RBREL16DQ6M8LWS.nii.gz"
    labels = load_label_map(la)
    save_label_map(tmp_path / "a.nii.gz", labels.array, labels.grid)
    before, after = nib.load(la), nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(before.dataobj), np.asanyarray(after.dataobj))
    assert before.affine.tobytes() == after.affine.tobytes()
    acdc = shared_data / "acdc" / "data" / "patient011_frame01.h5"
    assert load_image([acdc]).array.shape == (1, 256, 216, 9)
    two = shared_data / "hippocampus" / "labelsTr" / "hippocampus_243.nii.gz"
    assert sorted(np.unique(load_label_map(two).array)) == [0, 1, 2]
