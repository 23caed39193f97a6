"""Whether tensors are those of a network: what is wrapped, missing, or of another shape."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sized
from typing import Any

from torch import Tensor

from llmseg_cli.errors import WeightsError

NAMED = 3  # tensors that a message names
OBSOLETE = ("rotary_emb.inv_freq", "position_ids")  # buffers that older libraries saved


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
    refuse_misfit(
        source,
        what,
        missing=expected.keys() - found.keys(),
        unexpected=found.keys() - expected.keys(),
        mismatched=[
            (name, found[name].shape, tensor.shape)
            for name, tensor in expected.items()
            if name in found and found[name].shape != tensor.shape
        ],
        remedy="Fetch it again, or name the model that it is.",
    )
    return {name: found[name] for name in expected}


def _counted(found: Sized) -> str:
    return f"{len(found)} tensor{'s' * (len(found) != 1)}"


def _some(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:NAMED])
