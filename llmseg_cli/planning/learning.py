"""Intensities, augmentation, network and method, from what is known of scans and machine."""

import math
import re

from llmseg_cli.choices import UNFLIPPED
from llmseg_cli.planning.fingerprint import Choice, Fingerprint, Power

AIR = -500.0  # in Hounsfield units, below which a first percentile is that of air around a body
SIDES = re.compile(r"(?<![a-z])(left|right|sinister|dexter|[lr](?!\d))(?![a-z])", re.IGNORECASE)
JOINED = re.compile(r"(?<=[a-z])(?=[A-Z])")  # of a name such as leftLung
VOXELS_OF_STEP = {2: 256 * 256 * 4, 3: 64 * 64 * 32 * 2}  # on a CPU
MINED_UP_TO = 100  # labels; mining gained with 55 polyps, and no more with 165
ENCODER = "efficientnet-lite0"
NEIGHBORS = 3  # slices that it sees of a volume
GAINED = {  # whether of pictures, or of slices
    True: "22 labeled polyps gave a Dice of 0.70 after 150 s and 0.47 without, 10 labeled X-rays "
    "0.86 and 0.84",
    False: "14 labeled hearts gave a Dice of 0.36 after 150 s and 0.24 without, on a coarser grid "
    "0.63 and 0.55",
}
BATCH = {2: (4, 16), 3: (2, 4)}
FILTERS_ON_GPU, FILTERS_ON_CPU, FILTERS_OF_FEW_STEPS = 32, 16, 8
FEW_STEPS = 500  # of 16 filters; half of them take more than twice as many in the time
WINDOW_DIGITS = 3


def choose_normalization(scans: Fingerprint) -> Choice:
    """A window for computed tomography, whose numbers mean the same in all scans; else z-scores.

    nnU-Net asks the user which it is; here air of less than -500 in millimeters tells.
    """
    is_tomography = scans.sizes.unit == "mm" and scans.low < AIR and scans.channels == 1
    if is_tomography and scans.window is not None:
        low, high = (float(f"{edge:.{WINDOW_DIGITS}g}") for edge in scans.window)
        if low < high:
            return Choice(
                f"window:{low:g}:{high:g}",
                f"computed tomography (air at {scans.low:.0f}): where 99 % of the foreground lies",
            )
    return Choice("zscore", "intensities have a scale of their own in each scan")


def choose_augmentation(scans: Fingerprint) -> Choice:
    """Flips only where anatomy allows: not with classes of a left and a right side."""
    sided = sorted(n for n in scans.classes.values() if SIDES.search(JOINED.sub(" ", n)))
    unflipped = UNFLIPPED["standard"]
    if sided:
        return Choice(unflipped, f"a flip would make one side of the other: {', '.join(sided)}")
    if scans.sides:
        pairs = "; ".join(f"{scans.classes[a]} and {scans.classes[b]}" for a, b in scans.sides)
        return Choice(unflipped, f"left and right of the middle in every label map: {pairs}")
    if is_colored(scans):
        return Choice("turned", "colored pictures, taken to have no up and down")
    return Choice("standard", "no class is of one side; flips left to right, small turns, scaling")


def choose_batch(
    patch: tuple[int, ...], scans: Fingerprint, power: Power, *, is_hurried: bool = False
) -> Choice:
    """As many patches as make a step of useful length, within what a batch needs and few allow.

    Of volumes on a CPU two: of as many seconds, more steps taught more than larger ones.

    Args:
        patch: Its sides.
        scans: What is to be segmented.
        power: What trains.
        is_hurried: Whether few steps fit; they have as few patches as a batch needs.
    """
    fewest, most = BATCH[len(patch)]
    if is_hurried or (len(patch) == 3 and not power.gpu):
        return Choice(
            fewest,
            "patches a step, of which more fit into a time than of larger ones "
            "(examples/defaults/RESULTS.md); as many unlabeled ones are added",
        )
    voxels = VOXELS_OF_STEP[len(patch)]
    if power.gpu:
        voxels = max(voxels, fewest * math.prod(patch))
    slices = scans.sizes.shape[2] if len(patch) == 2 else 1
    found = max(fewest, min(most, voxels // math.prod(patch), scans.labeled * slices))
    kind = "patches" if len(patch) == 3 else "pictures" if slices == 1 else "slices"
    return Choice(found, f"{kind} a step; as many unlabeled ones are added")


def choose_network(power: Power) -> tuple[Choice, Choice]:
    """The network that learned in fewer steps than the others in examples/defaults/RESULTS.md."""
    where = "a GPU" if power.gpu else "a CPU"
    filters = FILTERS_ON_GPU if power.gpu else FILTERS_ON_CPU
    return (
        Choice(
            "unet", "learned in fewer steps than vnet and unetpp (examples/defaults/RESULTS.md)"
        ),
        _options(filters, f"for {where}"),
    )


def choose_optimizer() -> Choice:
    """The one that was never far from the best; its learning rate is the default."""
    return Choice(
        "adam",
        "with its default learning rate never more than 3.6 points of Dice behind the best of sgd, "
        "adam and adamw (examples/defaults/RESULTS.md)",
    )


def choose_encoder(scans: Fingerprint, dimensions: int) -> dict[str, Choice]:
    """Settings with a pre-trained encoder, in 2D; none in 3D.

    It helped in few steps as in the same time (examples/defaults/RESULTS.md).

    Args:
        scans: What is to be segmented.
        dimensions: Of a patch.
    """
    if not suits_encoder(scans, dimensions):
        return {}
    neighbors = Choice(NEIGHBORS, "a slice and those beside it, as the three colors of the encoder")
    return {
        **({} if is_picture(scans) else {"slices": neighbors}),
        "image-encoder": Choice(
            ENCODER,
            f"learned from ImageNet: with it and its optimizer, {GAINED[is_picture(scans)]}, one "
            "seed (examples/defaults/RESULTS.md)",
        ),
        "image-encoder-freeze": Choice(
            "statistics", "those of its normalization, which few pictures would tell badly"
        ),
        "image-encoder-learning-rate-factor": Choice(0.3, "it has learned already"),
        "optimizer": Choice("adamw", "with which such a network was measured"),
        "learning-rate": Choice(0.001, "that of all but the encoder"),
    }


def without_encoder(network: Choice, scans: Fingerprint, dimensions: int) -> Choice:
    """The network where the weights of the encoder are missing, with what brings them."""
    if not suits_encoder(scans, dimensions):
        return network
    more = f"{ENCODER}, which did better in 2D, needs 'llmseg weights fetch'"
    return Choice(network.value, f"{network.reason}; with {more}")


def choose_narrower(power: Power, dimensions: int, steps: int, budget: str) -> Choice | None:
    """Options of a network of half the width where few steps of the usual one fit; None elsewhere.

    Of volumes: polyps were worse with half the width (examples/defaults/RESULTS.md).

    Args:
        power: What trains.
        dimensions: Of a patch.
        steps: Those of the usual one that fit.
        budget: What they fit into, in words.
    """
    if power.gpu or dimensions != 3 or steps >= FEW_STEPS:
        return None
    return _options(
        FILTERS_OF_FEW_STEPS,
        f"for {steps} steps of {FILTERS_ON_CPU} in {budget} are few, and half as many filters "
        "learned as much or more in the time on two organs (examples/defaults/RESULTS.md)",
    )


def _options(filters: int, why: str) -> Choice:
    return Choice(
        {"filters": filters, "dropout": 0, "normalization": "instance"},
        f"{filters} filters at full size, {why}; statistics of each patch alone, which a small "
        "batch and unlabeled patches ask for",
    )


def choose_method(scans: Fingerprint, *, can_mine: bool) -> Choice:
    """The way of learning from unlabeled scans: mining where it gained, else the cheapest.

    Args:
        scans: What is to be segmented.
        can_mine: Whether the weights of the embedded Segment Anything are here.
    """
    is_few = scans.labeled <= MINED_UP_TO
    if is_colored(scans) and can_mine and is_few:
        return Choice(
            "sam-mining",
            "masks of Segment Anything, which gave networks without a pre-trained encoder 8.8 and "
            "6.1 points of Dice with 11 and 22 labeled polyps, and none with 165 "
            "(examples/polyp/RESULTS.md); with the encoder none with 11, in the one seed so far "
            "(examples/few-labels/RESULTS.md)",
        )
    missing = (
        "; sam-mining, which did better on colored pictures, needs 'llmseg weights fetch'"
        if is_colored(scans) and is_few
        else ""
    )
    return Choice(
        "self-training",
        "the network's own masks of the unlabeled scans: the cheapest; in examples/*/RESULTS.md "
        f"-0.1 to +2.1 points of Dice with 4 to 22 labels, -0.6 and -2.7 with 55 and 165{missing}",
    )


def is_colored(scans: Fingerprint) -> bool:
    """Whether they are pictures of three channels."""
    return scans.sizes.shape[2] == 1 and scans.channels >= 3


def is_picture(scans: Fingerprint) -> bool:
    """Whether they are gray or colored pictures."""
    return scans.sizes.shape[2] == 1 and scans.channels in (1, 3)


def suits_encoder(scans: Fingerprint, dimensions: int) -> bool:
    """Whether the encoder of pictures can see them: pictures, or slices of one channel, in 2D."""
    return dimensions == 2 and (is_picture(scans) or scans.channels == 1)
