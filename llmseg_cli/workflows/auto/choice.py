"""Which way of learning from unlabeled scans a course tries."""

import logging
from typing import Any

from llmseg_cli.planning.course import Roles
from llmseg_cli.workflows.auto.wish import Wish

logger = logging.getLogger(__name__)

SUPERVISED = "supervised"
NO_GAIN = "self-training"  # over as long a supervised training, see the guide's page on the demo


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
    if roles.is_hurried and method == NO_GAIN:
        logger.info(
            "No self-training: in the same time it gained nothing over labels alone ('llmseg "
            "guide demo'). --method self-training has it."
        )
        return None
    return method
