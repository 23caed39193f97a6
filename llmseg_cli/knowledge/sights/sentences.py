"""Sentences that say in words what was measured: true of the numbers, and of nothing else.

Words that stand for a range of numbers are made by the tables here, and the numbers follow them.
"""

from llmseg_cli.knowledge.sights.numbers import ImageNumbers, PartNumbers

ENDS = {  # where X, Y and Z begin and end: of RAS+ of a patient, or columns and rows of a picture
    "mm": (("left", "right"), ("back", "front"), ("lower", "upper")),
    "px": (("left", "right"), ("upper", "lower"), ("", "")),
}
WAYS = {"lower": "from the lower end to the upper", "upper": "from the upper edge to the lower"}
SIZES = ((0.01, "very small"), (0.05, "small"), (0.2, "medium"), (1.0, "large"))  # shares, up to
LONG = ((1.2, "compact"), (2.0, "longish"))  # elongation below
LONGEST = "elongated"
ALIKE = 0.25  # standard deviations; a smaller difference of brightness is none
MOSTLY = 0.6  # share of the voxels below, or above, the middle of the intensities
MIRRORED = ((0.3, "hardly"), (0.7, "partly"))  # correlation below
CONNECTED = 0.95  # share in the largest part from which small others are only specks
COUNTS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}


def about_image(found: ImageNumbers, modality: str | None = None) -> str:
    """Sentences about the whole image.

    Args:
        found: Its numbers.
        modality: How it was imaged, in the user's words.
    """
    flat = found.shape[2] == 1
    sides = found.shape[:2] if flat else found.shape
    kind = f"This {modality}" if modality else "This image" if flat else "This scan"
    grain = {"mm": f"voxels of {_cross(found.spacing, ' mm')}", "px": "pixels", "voxel": "voxels"}
    colors = {1: "", 3: " in three channels"}.get(found.channels, f" in {found.channels} channels")
    told = [f"{kind} has {_cross(sides)} {grain[found.unit]}{colors}."]
    if not found.deviation:
        return f"{told[0]} It has no contrast: all intensities are {found.mean:.4g}."
    balance = "balanced"
    if found.dark >= MOSTLY:
        balance = "mostly dark"
    elif found.dark <= 1 - MOSTLY:
        balance = "mostly bright"
    told.append(
        f"It is {balance}: {100 * found.dark:.0f} % of it is in the darker half of its "
        f"intensities, which go from {found.low:.4g} to {found.high:.4g} (mean {found.mean:.4g}, "
        f"deviation {found.deviation:.4g})."
    )
    told.append(
        f"Left and right are {_word(found.symmetry, MIRRORED, 'mostly')} mirror images "
        f"(correlation {found.symmetry:.2f})."
        if found.unit != "voxel"
        else f"It correlates with its mirror image along the first axis by {found.symmetry:.2f}."
    )
    return " ".join(told)


def about_part(name: str, found: PartNumbers | None, image: ImageNumbers) -> str:
    """Sentences about what a mask says of one class.

    Args:
        name: The class.
        found: Its numbers; None if the mask has none of it.
        image: Those of the image.
    """
    if found is None:
        return f"No {name} was predicted in it."
    it = "it" if found.parts == 1 else "the largest piece"
    told = [
        f"The predicted {name} is {_size(found, image)}.",
        _parts(found),
        f"The center of {it} is in {_place(found, image)}.",
        f"The box around {it} has {_cross(_of(image, found.extent), _unit(image))}, and {it} is "
        f"{_long(found.elongation)} (axes {found.elongation:.1f} to 1)"
        f"{' and touches the border of the image' * found.borders}.",
    ]
    if found.contrast is not None:
        told.append(_brightness(name, found.contrast))
    return " ".join(told)


def _size(found: PartNumbers, image: ImageNumbers) -> str:
    word = next(word for most, word in SIZES if found.share <= most)
    if image.unit == "mm":
        flat = image.shape[2] == 1
        measure = f"{found.size / 100:.3g} cm2" if flat else f"{found.size / 1000:.3g} ml"
    else:
        measure = f"{found.voxels} {'pixels' if image.unit == 'px' else 'voxels'}"
    return f"{word} ({measure}, {100 * found.share:.2g} % of the image)"


def _place(found: PartNumbers, image: ImageNumbers) -> str:
    """Thirds of the image in which the center lies, and how far along each axis it does."""
    axes = range(2 if image.shape[2] == 1 else 3)
    told = []
    for axis in axes:
        third, share = min(2, int(3 * found.center[axis])), 100 * found.center[axis]
        if image.unit == "voxel":  # nobody knows which way is up
            word = ("first", "middle", "last")[third]
            told.append(f"the {word} third of axis {axis + 1} ({share:.0f} %)")
            continue
        low, high = ENDS[image.unit][axis]
        way = WAYS.get(low, f"from {low} to {high}")
        told.append(f"the {(low, 'middle', high)[third]} third ({share:.0f} % of the way {way})")
    return f"{', '.join(told[:-1])} and {told[-1]}"


def _parts(found: PartNumbers) -> str:
    if found.parts == 1:
        return "It is one piece."
    count = COUNTS.get(found.parts, str(found.parts))
    more = "mostly one of them" if found.largest >= CONNECTED else "the largest"
    return f"It is in {count} pieces, {more} with {100 * found.largest:.0f} % of it."


def _brightness(name: str, contrast: float) -> str:
    if abs(contrast) < ALIKE:
        return f"The {name} is as bright as its surroundings ({contrast:+.2f} deviations)."
    word = "brighter" if contrast > 0 else "darker"
    return f"The {name} is {word} than its surroundings ({contrast:+.2f} deviations)."


def _long(elongation: float) -> str:
    return _word(elongation, LONG, LONGEST)


def _word(value: float, words: tuple[tuple[float, str], ...], last: str) -> str:
    return next((word for below, word in words if value < below), last)


def _of(image: ImageNumbers, values: tuple[float, float, float]) -> tuple[float, ...]:
    return values[:2] if image.shape[2] == 1 else values


def _unit(image: ImageNumbers) -> str:
    return {"mm": " mm", "px": " pixels", "voxel": " voxels"}[image.unit]


def _cross(values: tuple[float, ...], unit: str = "") -> str:
    return " x ".join(f"{value:.4g}" for value in values) + unit
