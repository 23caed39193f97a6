"""The control of mining in which the masks alone differ: by hand, voxel for voxel."""

import numpy as np

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.knowledge.mining.masks import network_masks
from llmseg_cli.knowledge.mining.rules import Mined

U = UNKNOWN


def row(*values: int) -> np.ndarray:
    return np.array(values, np.uint8).reshape(-1, 1, 1)


def test_what_is_known_is_the_networks_own_and_the_unknown_stays():
    labels, predicted = row(0, 1, 1, U, U, 0, 2, 0), row(0, 0, 1, 1, 0, 2, 1, 0)
    found = network_masks(Mined(labels, (), predicted))
    assert found.ravel().tolist() == [0, 0, 1, U, U, 2, 1, 0]
    assert labels.ravel().tolist() == [0, 1, 1, U, U, 0, 2, 0]
    assert predicted.ravel().tolist() == [0, 0, 1, 1, 0, 2, 1, 0]


def test_a_case_whose_masks_are_dropped_has_none():
    assert network_masks(Mined(None, (), row(0, 1))) is None
    assert network_masks(Mined(None, ())) is None


def test_the_largest_component_is_that_of_the_network():
    labels, predicted = row(0, 0, 0, 0, 0, 0, U), row(1, 1, 0, 1, 0, 2, 1)
    found = network_masks(Mined(labels, (), predicted), largest=True)
    assert found.ravel().tolist() == [1, 1, 0, 0, 0, 2, U]
