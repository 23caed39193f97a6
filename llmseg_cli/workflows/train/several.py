"""What several processes that train one run cannot do exactly, or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager

from llmseg_cli.errors import StoppedError, UsageError
from llmseg_cli.training.ranks import LostRankError, Ranks
from llmseg_cli.training.stop import StopRequest
from llmseg_cli.workflows.train.request import Request


def refuse_under_ranks(request: Request, ranks: Ranks) -> None:
    """Refuse what several processes would do otherwise than one.

    Args:
        request: What to do.
        ranks: Who is to do it.

    Raises:
        UsageError: Naming the option.
    """
    if ranks.is_alone:
        return
    batch = request.settings.batch
    ranks.refuse_uneven(batch=batch, unlabeled_batch=request.unlabeled_batch or batch)
    if request.settings.compile:
        raise UsageError(
            "--compile under torchrun: compiled networks cannot be shared by several processes. "
            "Leave it out."
        )


@contextmanager
def stopped_if_asked(stop: StopRequest) -> Iterator[None]:
    """Leave as stopped where another process left because of a signal that came here, too.

    Raises:
        StoppedError: Instead of `LostRankError`.
    """
    try:
        yield
    except LostRankError as error:
        if not stop:
            raise
        raise StoppedError(
            f"{stop.signal}: another process of this training has left; its first one has saved. "
            "Run the same command with --resume to continue."
        ) from error
