"""Distances against medpy, surface-distance, brute force, and laws."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from medpy.metric import binary
from scipy import ndimage
from scipy.spatial.distance import cdist

from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.metrics.nearest import nearest_distances
from llmseg_cli.metrics.scoring import score_pair
from llmseg_cli.metrics.signature import METRICS
from llmseg_cli.metrics.surface_voxels import surface_voxels
from llmseg_cli.metrics.surfels import areas, lengths

with warnings.catch_warnings():  # it imports names that scipy and numpy have moved
    warnings.simplefilter("ignore")
    import surface_distance
    from surface_distance import lookup_tables

DISTANCES = ("hd95", "asd", "assd")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance")


def values_of(prediction, reference, spacing, **options):
    labels = prediction.astype(np.uint8), reference.astype(np.uint8)
    return score_pair(*labels, classes=[1], spacing_mm=spacing, **options)[1].values


def expected_of(prediction, reference, spacing, tolerance):
    found = surface_distance.compute_surface_distances(reference, prediction, spacing)
    return {
        "hd95": binary.hd95(prediction, reference, spacing),
        "asd": binary.asd(prediction, reference, spacing),
        "assd": binary.assd(prediction, reference, spacing),
        "nsd": surface_distance.compute_surface_dice_at_tolerance(found, tolerance),
    }


def assert_equal_to_the_packages(prediction, reference, spacing, tolerance=1.0):
    expected = expected_of(prediction, reference, spacing, tolerance)
    values = values_of(prediction, reference, spacing, tolerance=tolerance)
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-6)


@st.composite
def problems(draw):
    """Two masks with something in them, often at the border, and a spacing."""
    shape = draw(st.tuples(*[st.integers(2, 7)] * 3))
    masks = []
    for _ in range(2):
        mask = draw(arrays(bool, shape, elements=st.booleans(), fill=st.booleans()))
        mask[draw(st.tuples(*(st.integers(0, side - 1) for side in shape)))] = True
        masks.append(mask)
    spacing = draw(st.tuples(*[st.sampled_from((0.3, 0.625, 1.0, 1.7, 5.0))] * 3))
    return *masks, spacing


PROPERTY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@PROPERTY
@given(problems(), st.sampled_from((0.0, 0.5, 1.0, 2.0, 50.0)))
def test_equal_medpy_and_surface_distance(problem, tolerance):
    assert_equal_to_the_packages(*problem, tolerance)


@PROPERTY
@given(problems())
def test_doubling_the_spacing_doubles_distances(problem):
    prediction, reference, spacing = problem
    once = values_of(prediction, reference, spacing, tolerance=1.0)
    twice = values_of(prediction, reference, [2 * s for s in spacing], tolerance=2.0)
    for name in DISTANCES:
        assert twice[name] == pytest.approx(2 * once[name])
    assert twice["nsd"] == pytest.approx(once["nsd"])
    assert twice["volume_difference"] == pytest.approx(8 * once["volume_difference"])


@PROPERTY
@given(problems())
def test_symmetric_metrics_are_symmetric_and_axes_do_not_matter(problem):
    prediction, reference, spacing = problem
    values = values_of(prediction, reference, spacing)
    swapped = values_of(reference, prediction, spacing)
    for name in ("dice", "jaccard", "hd95", "assd", "nsd"):
        assert swapped[name] == pytest.approx(values[name])
    turned = values_of(
        prediction.transpose(2, 0, 1), reference.transpose(2, 0, 1), [spacing[a] for a in (2, 0, 1)]
    )
    assert turned == pytest.approx(values, nan_ok=True)


@PROPERTY
@given(problems(), st.integers(1, 3))
def test_empty_space_around_changes_no_distance(problem, margin):
    prediction, reference, spacing = problem
    values = values_of(prediction, reference, spacing)
    padded = values_of(np.pad(prediction, margin), np.pad(reference, margin), spacing)
    for name in (*DISTANCES, "nsd", "dice", "sensitivity"):
        assert padded[name] == pytest.approx(values[name])


def blob(seed: int, shape: tuple[int, ...] = (40, 50, 30), threshold: float = 0.3) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 4)
    return noise / noise.std() > threshold


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.9, 3.3)])
def test_equal_the_packages_on_blobs_that_touch_the_border(spacing):
    prediction, reference = blob(0), blob(1)
    assert prediction[0].any()
    assert_equal_to_the_packages(prediction, reference, spacing, tolerance=2.0)


def test_equal_the_packages_on_a_real_scan(shared_data):
    path = sorted((shared_data / "la" / "labels").glob("*.nii.gz"))[0]
    label_map = load_label_map(path)
    reference = label_map.array != 0
    prediction = np.roll(ndimage.binary_erosion(reference, iterations=2), 3, axis=1)
    prediction[:4, :4, :4] = True  # far from the rest
    assert_equal_to_the_packages(prediction, reference, label_map.spacing_mm)


def test_equal_the_packages_in_every_class(shared_data):
    paths = sorted((shared_data / "hippocampus" / "labelsTr").glob("hippocampus_*.nii.gz"))
    label_map = load_label_map(paths[0])
    labels = label_map.array.astype(np.uint8)
    moved = np.roll(labels, (1, 2, -1), axis=(0, 1, 2))
    spacing = (1.0, 1.5, 0.8)
    scores = score_pair(moved, labels, classes=[1, 2], spacing_mm=spacing)
    for number in (1, 2):
        expected = expected_of(moved == number, labels == number, spacing, 1.0)
        found = {name: scores[number].values[name] for name in expected}
        assert found == pytest.approx(expected, abs=1e-6)


def test_permuting_classes_permutes_the_scores():
    rng = np.random.default_rng(0)
    prediction, reference = rng.integers(0, 4, (2, 6, 7, 8)).astype(np.uint8)
    new = np.array([0, 3, 1, 2])
    before = score_pair(prediction, reference, classes=[1, 2, 3], spacing_mm=(1, 2, 3))
    after = score_pair(new[prediction], new[reference], classes=[1, 2, 3], spacing_mm=(1, 2, 3))
    assert {int(new[number]): score for number, score in before.items()} == after


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_measured_in_its_plane(axis):
    prediction, reference = blob(2, (20, 25), 0.0), blob(3, (20, 25), 0.0)
    spacing = [0.5, 2.0]
    expected = expected_of(prediction, reference, spacing, 1.0)
    spacing.insert(axis, 9.0)
    flat = [np.expand_dims(mask, axis) for mask in (prediction, reference)]
    values = values_of(*flat, spacing)
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_voxel_units_ignore_the_spacing():
    prediction, reference = blob(4), blob(5)
    values = values_of(prediction, reference, (0.5, 2.0, 3.0), unit="voxel", tolerance=2.0)
    expected = expected_of(prediction, reference, (1.0, 1.0, 1.0), 2.0)
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-6)


SHAPES = {
    "ball in ball": lambda r: (r < 20, r < 8),  # far and round: the worst for a search
    "scattered": lambda r: (np.random.default_rng(0).random(r.shape) < 0.5, r < 9),  # dense
    "far blobs": lambda r: (r < 6, np.roll(r < 3, 18, axis=0)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_way_to_the_nearest_point_is_exact(name):
    grid = np.indices((44, 42, 40)) - 20
    first, second = SHAPES[name](np.sqrt((grid**2).sum(axis=0)))
    spacing = (0.7, 1.1, 2.0)
    points, targets = surface_voxels(first), surface_voxels(second)
    found = nearest_distances(points, targets, shape=first.shape, spacing=spacing)
    expected = cdist(points * spacing, targets * spacing).min(axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    bounded = nearest_distances(points, targets, shape=first.shape, spacing=spacing, bound=5.0)
    np.testing.assert_array_equal(bounded <= 5.0, expected <= 5.0)


def test_areas_and_lengths_are_those_of_surface_distance():
    spacing = (0.7, 1.3, 2.9)
    np.testing.assert_allclose(
        areas(spacing), lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    )
    np.testing.assert_allclose(
        lengths(spacing[:2]),
        lookup_tables.create_table_neighbour_code_to_contour_length(spacing[:2]),
    )


def test_distances_have_a_unit_and_a_direction():
    assert {name for name, metric in METRICS.items() if metric.quantity == "distance"} == set(
        DISTANCES
    )
    assert all(METRICS[name].better == "lower" for name in DISTANCES)
