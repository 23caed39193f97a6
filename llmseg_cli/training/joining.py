"""Processes that train together meet, each on its device, and part."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist

from llmseg_cli.artifacts.launch import Launch
from llmseg_cli.errors import ResourceError, UsageError
from llmseg_cli.training.ranks import ALONE, LostRankError, Ranks

COMPUTING = timedelta(hours=1)  # that one rank may be behind another within a step
WAITING = timedelta(days=7)  # for the first rank, which prepares and mines alone


@contextmanager
def join_ranks(launch: Launch | None, device: torch.device) -> Iterator[Ranks]:
    """The processes that train together, which meet here.

    Args:
        launch: Which one of them this is; None if it is alone.
        device: The kind of device that all train on.

    Raises:
        ResourceError: If they do not meet, a GPU is missing, or one of them ends before the others.
    """
    if launch is None:
        yield ALONE
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            rank=launch.rank,
            world_size=launch.size,
            timeout=COMPUTING,
        )
        control = dist.new_group(backend="gloo", timeout=WAITING)
    except (RuntimeError, ValueError) as error:
        raise ResourceError(f"The processes of this training do not meet: {error}.") from error
    try:
        yield Ranks(launch, control)
    except LostRankError as error:
        raise ResourceError(
            f"Another of the {launch.size} processes of this training has ended before its time "
            f"(this is process {launch.rank}); what it said stands above, and a process that says "
            "nothing was killed, often for want of memory. Saved steps are kept: run the same "
            "command again with --resume."
        ) from error
    finally:
        with suppress(RuntimeError):  # some may be gone
            dist.destroy_process_group()


def device_of_rank(device: torch.device, launch: Launch | None) -> torch.device:
    """The device of this process: on GPUs, each on a machine has its own.

    Raises:
        UsageError: If one GPU is named for all.
        ResourceError: If there are fewer GPUs than processes.
    """
    if launch is None or device.type == "cpu":
        return device
    if device.index is not None and launch.size > 1:
        raise UsageError(
            f"--device {device} is one GPU, and each of {launch.size} processes needs its own. "
            "Pass --device cuda, or auto."
        )
    count = torch.cuda.device_count()
    if launch.local >= count:
        raise ResourceError(
            f"Process {launch.local} of this machine has no GPU: there are {count}. Start "
            f"torchrun with --nproc-per-node {count}, or pass --device cpu."
        )
    return torch.device("cuda", launch.local)
