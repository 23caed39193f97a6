"""Centres of mass, beside those of scipy."""

import numpy as np
from scipy import ndimage

from llmseg_cli.numerics.centres import component_centres, instance_centres, mean_places


def test_instances_with_any_numbers_have_the_centres_of_scipy():
    instances = np.random.default_rng(0).choice([0, 3, 7, 8, 300], (9, 8, 5))
    values, points = instance_centres(instances)
    assert values.tolist() == [3, 7, 8, 300]
    own = ndimage.center_of_mass(np.ones_like(instances), instances, values)
    np.testing.assert_allclose(points, own)


def test_parts_that_touch_at_a_corner_are_one_and_other_classes_are_none():
    labels = np.zeros((6, 6, 1), np.uint8)
    labels[0, 0], labels[1, 1], labels[4, 0:3], labels[5, 5] = 1, 1, 1, 2
    labels[0, 5] = 9
    classes, points = component_centres(labels, (1, 2))
    assert classes.tolist() == [1, 1, 2]
    assert points.tolist() == [[0.5, 0.5, 0], [4, 1, 0], [5, 5, 0]]


def test_nothing_has_no_centre():
    empty = np.zeros((3, 3, 1), np.uint8)
    assert instance_centres(empty)[1].shape == component_centres(empty, (1,))[1].shape == (0, 3)
    assert mean_places(empty + 1, np.array([], int)).shape == (0, 3)
