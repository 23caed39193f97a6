"""Which way of learning from unlabeled scans a course tries."""

import logging
from typing import Any

from llmseg_cli.planning.course import Roles
from llmseg_cli.workflows.auto.wish import Wish

logger = logging.getLogger(__name__)

SUPERVISED = "supervised"
OWN_MASKS = "self-training"


def labels_alone(wish: Wish, roles: Roles) -> bool:
    """Whether labels alone will be learned from, as far as is known before a plan.

    Args:
        wish: What the user asks for.
        roles: Who validates.
    """
    if wish.method is not None:
        return wish.method == SUPERVISED
    return roles.is_hurried or not (roles.folds or roles.validation)


def method_of(wish: Wish, planned: dict[str, Any], roles: Roles) -> str | None:
    """The method; None for the labels alone.

    Args:
        wish: What the user asks for.
        planned: The document of `llmseg plan`.
        roles: Who validates.
    """
    if wish.method is not None:
        return None if wish.method == SUPERVISED else wish.method
    if not roles.folds and not roles.validation:  # nothing could be chosen by
        return None
    method: str = planned["choices"]["method"]["value"]
    if roles.is_hurried and method == OWN_MASKS:
        logger.info(
            "No self-training: in a short time it lost to as long a training on labels ('llmseg "
            "guide demo', one run). --method self-training has it."
        )
        return None
    return method
