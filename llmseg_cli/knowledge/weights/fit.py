"""Whether tensors are those of a network: what is wrapped, missing, or of another shape."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sized
from typing import Any

from torch import Tensor

from llmseg_cli.artifacts.text import counted
from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.weights.checkpoint import strange_numbers

NAMED = 3  # tensors that a message names
OBSOLETE = ("rotary_emb.inv_freq", "position_ids")  # buffers that older libraries saved
MASKS = tuple(
    f".{part}.{name}" for part in ("attn", "attention") for name in ("bias", "masked_bias")
)
MASK_AXES = (0, 4)  # of one number, and of positions by positions; a true bias has one axis


def refuse_misfit(
    source: object,
    what: str,
    *,
    missing: Iterable[str] = (),
    unexpected: Iterable[str] = (),
    mismatched: Iterable[tuple[str, Any, Any]] = (),
    remedy: str = "Fetch the model again, or put the configuration of these weights beside them.",
) -> None:
    """Refuse weights that are not exactly those of the network; nothing is ever drawn instead.

    Args:
        source: Where the weights lie.
        what: What they were to be, such as `the text encoder`.
        missing: Names the network has and the weights have not.
        unexpected: Names the weights have and the network has not.
        mismatched: Name, shape in the file and shape in the network.
        remedy: What to do, a sentence.

    Raises:
        WeightsError: Naming some of them.
    """
    lacking = sorted(missing)
    if lacking:
        raise WeightsError(
            f"{source} lacks {_counted(lacking)} of {what}, such as {_some(lacking)}. {remedy}"
        )
    shapes = [(name, tuple(found), tuple(wanted)) for name, found, wanted in mismatched]
    if shapes:
        name, found, wanted = shapes[0]
        raise WeightsError(
            f"{source} does not fit {what}: '{name}' has the shape {found}, expected {wanted}; "
            f"{_counted(shapes)} of another shape. {remedy}"
        )
    surplus = sorted(name for name in unexpected if not name.endswith(OBSOLETE))
    if surplus:
        raise WeightsError(
            f"{source} holds {_counted(surplus)} that {what} has no place for, such as "
            f"{_some(surplus)}. {remedy}"
        )


def needed(unexpected: Iterable[str], tensors: Mapping[str, Tensor]) -> list[str]:
    """Names that would be weights, of those that a network has no place for.

    Whole numbers and the masks of causal attention, which older libraries saved, are none.

    Args:
        unexpected: Names that the network has no place for.
        tensors: As stored, perhaps under longer or shorter names.
    """
    return [name for name in unexpected if not _is_buffer(name, _stored(name, tensors))]


def _stored(name: str, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    if name in tensors:
        return [tensors[name]]
    return [t for key, t in tensors.items() if _is_same(key, name)]


def _is_same(one: str, other: str) -> bool:
    """Whether two names are of one tensor, of which one may be within a larger network."""
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")


def _is_buffer(name: str, found: Collection[Tensor]) -> bool:
    if found and not any(tensor.is_floating_point() for tensor in found):
        return True
    is_mask = name.endswith(MASKS) and bool(found)
    return is_mask and all(tensor.ndim in MASK_AXES for tensor in found)


def refuse_whole_numbers(
    source: object, tensors: Mapping[str, Tensor], floats: Collection[str]
) -> None:
    """Refuse weights that are stored as whole numbers, which libraries would take as they are.

    Args:
        source: Where the weights lie.
        tensors: As stored.
        floats: Names of the network's tensors that are no counters or indices.

    Raises:
        WeightsError: Naming the first.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() and any(_is_same(own, name) for own in floats):
            raise strange_numbers(source, name, tensor.dtype)


def wrapper_of(names: Iterable[str], wanted: Collection[str], *, source: object) -> str:
    """What stands before the names of a network that was saved out of a larger one.

    `module.` of DataParallel, `text_encoder.`, `language_model.`, whatever it is: the beginning
    that leaves most of the *wanted* names.

    Returns:
        The beginning, with its dot; empty if there is none.

    Raises:
        WeightsError: If the network is there twice, such as a student and its teacher.
    """
    counts: Counter[str] = Counter()
    for name in names:
        dot = name.find(".")
        while dot >= 0:
            if name[dot + 1 :] in wanted:
                counts[name[: dot + 1]] += 1
                break
            dot = name.find(".", dot + 1)
    ranked = counts.most_common(2)
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        raise WeightsError(
            f"{source} holds the network more than once, as '{ranked[0][0]}' and '{ranked[1][0]}'. "
            "Save the tensors of one of them."
        )
    return ranked[0][0] if ranked else ""


def unwrapped(tensors: Mapping[str, Tensor], wrapper: str) -> dict[str, Tensor]:
    """The tensors behind *wrapper*, by their names without it; what stands beside is left out."""
    return {
        name.removeprefix(wrapper): tensor
        for name, tensor in tensors.items()
        if name.startswith(wrapper)
    }


def fitted(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, source: object, what: str
) -> dict[str, Tensor]:
    """The tensors of a network of ours, by its own names.

    Args:
        tensors: As stored.
        expected: State of the network, of which names and shapes are heeded.
        source: Where the tensors lie.
        what: What they were to be.

    Raises:
        WeightsError: If they are not exactly those of the network.
    """
    found = dict(tensors)
    if not set(expected) & set(found):
        found = unwrapped(found, wrapper_of(found, expected.keys(), source=source))
    refuse_whole_numbers(source, found, [n for n, t in expected.items() if t.is_floating_point()])
    refuse_misfit(
        source,
        what,
        missing=expected.keys() - found.keys(),
        unexpected=needed(found.keys() - expected.keys(), found),
        mismatched=[
            (name, found[name].shape, tensor.shape)
            for name, tensor in expected.items()
            if name in found and found[name].shape != tensor.shape
        ],
        remedy="Fetch it again, or name the model that it is.",
    )
    return {name: found[name] for name in expected}


def _counted(found: Sized) -> str:
    return counted(len(found), "tensor")


def _some(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:NAMED])
