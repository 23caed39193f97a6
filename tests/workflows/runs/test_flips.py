"""What a training mirrors is what its network may be asked mirrored."""

import numpy as np
import pytest

from llmseg_cli.data.patches.augmentation import AUGMENTATIONS, augment
from llmseg_cli.errors import UsageError
from llmseg_cli.workflows.runs.flips import refuse_without_flips


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_axes_are_those_that_patches_are_seen_mirrored_along(name):
    """A ramp along each axis: of many patches some rise and some fall, or all rise."""
    ramps = np.stack(np.meshgrid(*[np.arange(24.0)] * 3, indexing="ij")).astype(np.float32)
    turned = AUGMENTATIONS[name].quarter_turns  # which brings X where Y was
    falls = np.zeros(3, int)
    for seed in range(24):
        image, _ = augment(ramps, None, AUGMENTATIONS[name], np.random.default_rng(seed))
        middle = image[:, 8:16, 8:16, 8:16]
        for axis in range(3):
            sources = (0, 1) if turned and axis < 2 else (axis,)
            rises = [np.diff(middle[source], axis=axis).mean() for source in sources]
            steepest = max(rises, key=abs)
            falls[axis] += steepest < 0
    assert tuple(np.flatnonzero((falls > 0) & (falls < 24))) == AUGMENTATIONS[name].mirrored


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_training_without_flips_is_refused(name):
    if AUGMENTATIONS[name].mirrored:
        refuse_without_flips(name)
        return
    with pytest.raises(UsageError, match=f"--augment {name} a training mirrors nothing"):
        refuse_without_flips(name)
