"""Texts of cases: whether a training can give each patch that of its own case."""

from typing import Any

from llmseg_cli.choices import UNFLIPPED
from llmseg_cli.data.patches.augmentation import AUGMENTATIONS
from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.methods.base import Method
from llmseg_cli.models.text_features import TextBank
from llmseg_cli.registry import METHODS
from llmseg_cli.workflows.train.request import Request

SHOWN = 3


def bank_in(request: Request) -> TextBank | None:
    """The texts of cases of a training; None where it has none, or texts of all images."""
    text = request.text[0] if request.text else None
    return text if isinstance(text, TextBank) else None


def refuse_mixed_texts(
    request: Request, method: type[Method], options: dict[str, Any]
) -> list[str]:
    """Refuse texts of cases where cases are mixed, or one has no text, or that of another image.

    Args:
        request: What to do.
        method: Its method.
        options: All options of the method.

    Returns:
        What a reader should know.

    Raises:
        UsageError: If patches of the method are of several cases.
        DataError: If a case has no text, or its text is about another image.
    """
    bank = bank_in(request)
    if bank is None:
        return []
    if why := method.mixes_cases(options):
        raise UsageError(
            f"--text has a text of each case, and the method '{request.method}' {why}. Methods "
            f"that keep texts apart: {', '.join(_keeping())}."
        )
    split = request.split
    roles = [*split.labeled, *split.validation, *(split.unlabeled if method.uses_unlabeled else ())]
    if missing := [case for case in roles if case not in bank.cases]:
        raise DataError(
            f"--text has no text of {len(missing)} of the {len(roles)} cases "
            f"({', '.join(missing[:SHOWN])}). Describe them, too, and embed all in one file."
        )
    if others := [case for case in roles if bank.images.get(case) != split.images.get(case)]:
        raise DataError(
            f"--text: the text of {others[0]} was written about another image. Describe the data "
            "set again with 'llmseg describe'."
        )
    return _flipped(request.settings.augment)


def _flipped(augment: str) -> list[str]:
    if not AUGMENTATIONS[augment].mirrored:
        return []
    instead = UNFLIPPED.get(augment, "no-flips")
    return [
        f"--augment {augment} flips patches, and texts of cases may say left and right. Pass "
        f"--augment {instead}, so that they stay true."
    ]


def _keeping() -> list[str]:
    """The methods that do as they stand."""
    return [n for n in METHODS if not METHODS.load(n).mixes_cases(METHODS.defaults(n))]
