"""What commands that write one file say of their shards."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmseg_cli import console
from llmseg_cli.artifacts.text import counted
from llmseg_cli.errors import PartialError

if TYPE_CHECKING:
    from llmseg_cli.artifacts.shard import Shard
    from llmseg_cli.workflows.shards.notes import Shared

SHOWN = 5  # failures


def waiting_for(shared: "Shared", shard: "Shard", failed: Mapping[str, str]) -> dict[str, Any]:
    """Say which shards are not done; nothing if all are, so that this process joins them.

    Args:
        shared: The cases of all.
        shard: The one that is done here.
        failed: Its cases that failed, and why.

    Returns:
        The `--json` document; empty if there is no shard to wait for, and nobody else joins.

    Raises:
        PartialError: If some cases failed, and other shards are waited for.
    """
    is_joined = shared.is_joined_elsewhere()
    waiting = [] if is_joined else shared.waiting(shard)
    if not (waiting or is_joined):
        return {}
    console.info(
        f"Shard {shard} is done; another process joins all into {shared.out}."
        if is_joined
        else f"Shard {shard} is done; {counted(len(waiting), 'shard')} of {shard.of} not: "
        f"{'; '.join(waiting)}. The last one joins them into {shared.out}."
    )
    document = {
        "shard": {"number": shard.number, "of": shard.of},
        "notes": str(shared.folder),
        "cases": shared.names(shard),
        "failed": dict(failed),
        "waiting": waiting,
    }
    if failed:
        lines = [f"{case}: {why}" for case, why in list(failed.items())[:SHOWN]]
        error = PartialError(
            f"{len(failed)} of {len(shared.names(shard))} cases of shard {shard} failed; run it "
            "again once their files are repaired.\n" + "\n".join(lines)
        )
        error.report = document
        raise error
    return document
