r"""Several processes that train one run together, under `torchrun`.

How it is done, and why. Everything in a step of training that is not a network is written for the
whole batch: losses are over all voxels of the batch (soft Dice is a quotient of sums, the terms of
co-training are means over the voxels that a peer is sure of), partners of CutMix come from all
patches, class weights are learned from all labels, noise is drawn for all of it. Nearly all of the
time is in the networks, and what these do to a patch depends on that patch alone, but for batch
statistics. So *the networks are shared, and nothing else*:

1. Each rank makes its part of a step's patches, an equal and contiguous one of the same endless
   sequence (a batch is a function of seed and step), and all parts are gathered.
2. Every rank runs the method on the whole batch, with the same random numbers, for its generator
   has the same seed and draws the same things.
3. A call of a network (`training/rows.py`) passes the rank's own rows through it, and gathers the
   answers of all ranks. The gradient of that gathering is a rank's own rows of the gradient: each
   rank has the same loss of the same logits, so nothing has to be sent back.
4. The gradient of a parameter is then a sum over the rows of a rank, and over the ranks it is
   summed: exactly that of the whole batch. Each rank steps its optimizer alike; teachers, averages
   and frozen parts follow by themselves and are never sent.
5. Within a network, statistics of batch normalization, and what a network passes through
   `numerics/over_rows.py`, are summed over the ranks, with gradient, and random numbers (dropout,
   the choice of texts) are drawn for all rows, of which a rank takes its own.

Hence no method, loss or network knows of ranks; results depend on their number, from one on, by the
rounding of sums alone; and the saved state, of the first rank, holds for any number of ranks. (One
process without torchrun draws the same, too, but for dropout of single values, where it draws in
the order in which the values happen to lie in memory.) It costs that
logits of the whole batch are on every rank, and that losses are computed by each. The usual way
(DistributedDataParallel, each rank a batch and a loss of its own, gradients averaged) is another
loss: the mean of the quotients of ranks is not the quotient of the sums (nnU-Net gathers these for
its Dice, issue 1354 there; no other term of a method would have been covered), two wrapped networks
that feed each other are an error (pytorch issue 22436), and drawing per rank ties results to their
number.

Between the steps, what all have to agree on goes through a group of its own, on the CPU: whether a
signal has asked any of them to stop, scores of validation cases (each rank takes its share of
these), and how the first rank has found the run folder, for it alone writes. The first rank alone
makes pseudo-labels, too, while the others wait. When a process is gone, the operating system closes
its connections, every call that waits for it fails, and the others save the step before, whose
random numbers and statistics they have kept, say so, and leave. (On GPUs that last saving is left
out, for it could wait for the process that is gone; what `--save-every` has saved is there.)
"""

import hashlib
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llmseg_cli.artifacts.launch import Launch
from llmseg_cli.errors import UsageError, is_out_of_memory
from llmseg_cli.training.learner import Learner
from llmseg_cli.training.stop import StopRequest

T = TypeVar("T")
BUCKET = 32 << 20  # bytes of gradients that are summed at once


class LostRankError(RuntimeError):
    """Another rank does not answer any more."""


class Ranks:
    """This process among those that train together; alone, everything is as without it.

    Args:
        launch: Which one it is; None if it is alone.
        control: The group for what is agreed on; None if it is alone.
    """

    def __init__(self, launch: Launch | None = None, control: Any = None) -> None:
        self.launch, self.control = launch, control
        self.rank, self.size = (launch.rank, launch.size) if launch else (0, 1)
        self.is_sharing = False  # whether networks are asked for a step of training

    def __deepcopy__(self, memo: dict[int, object]) -> "Ranks":
        return self  # a copy of a network has the same ones

    @property
    def leads(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether nobody else trains this run."""
        return self.launch is None

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Within, calls of networks are shared, see `training/rows.py`."""
        self.is_sharing = not self.is_alone
        try:
            yield
        finally:
            self.is_sharing = False

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, one behind the other, without gradient."""
        if self.is_alone or not len(rows):
            return rows
        own = rows.detach().contiguous()
        sent = own.view(torch.uint8) if own.device.type == "cpu" else own  # any type of number
        parts = [torch.empty_like(sent) for _ in range(self.size)]
        with _heard():
            dist.all_gather(parts, sent)
        return torch.cat([part.view(own.dtype) for part in parts])

    def add(self, values: Tensor) -> None:
        """Replace values by their sum over all ranks."""
        with _heard():
            dist.all_reduce(values)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over all ranks, as many as make a bucket at a time."""
        if self.is_alone:
            return
        for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
            whole = torch.cat([one.reshape(-1) for one in bucket])
            sizes = [one.numel() for one in bucket]
            self.add(whole)
            for one, part in zip(bucket, torch.split(whole, sizes), strict=True):
                one.copy_(part.view_as(one))

    def agree_to_stop(self, stop: StopRequest) -> bool:
        """Whether a signal has asked any of them to stop, which is then one for all."""
        if self.is_alone:
            return bool(stop)
        number = torch.tensor([signal.Signals[stop.signal] if stop.signal else 0])
        with _heard():
            dist.all_reduce(number, op=dist.ReduceOp.MAX, group=self.control)
        if int(number):
            stop.signal = signal.Signals(int(number)).name
        return bool(number)

    def any(self, holds: bool) -> bool:
        """Whether it holds for any of them."""
        if self.is_alone:
            return holds
        number = torch.tensor([int(holds)])
        with _heard():
            dist.all_reduce(number, op=dist.ReduceOp.MAX, group=self.control)
        return bool(number)

    def of_all(self, value: T) -> list[T]:
        """What each of them has, by rank."""
        if self.is_alone:
            return [value]
        found: list[Any] = [None] * self.size
        with _heard():
            dist.all_gather_object(found, value, group=self.control)
        return found

    def of_first(self, value: T) -> T:
        """What the first of them has; all wait until they have it."""
        return self.of_all(value if self.leads else None)[0]  # type: ignore[return-value]

    def as_first(self, value: Tensor) -> Tensor:
        """A number of the first of them, where rounding on GPUs may tell them apart."""
        if self.is_alone:
            return value
        found = value.detach().clone()
        with _heard():
            dist.broadcast(found, 0)
        return found

    def draw_as_first(self, random: Mapping[str, Any], device: torch.device) -> None:
        """Draw on this rank's GPU what the first one would, whose state was saved.

        Args:
            random: The random states of its process.
            device: Of this rank.
        """
        if not self.is_alone and device.type == "cuda" and random.get("cuda"):
            torch.cuda.set_rng_state(random["cuda"][0].cpu(), device)

    @contextmanager
    def going_back(
        self, save: Callable[[], None], learner: Learner | None = None
    ) -> Iterator[None]:
        """If another rank is lost within, save what was before, and pass that on.

        On a GPU nothing is saved, for it would wait for what the lost rank owes.

        Args:
            save: Saves the state.
            learner: Its random numbers and statistics are put back, for a step changes them before
                it changes weights; None where a step is complete.
        """
        buffers = [] if self.is_alone or learner is None else [*learner.buffers()]
        before, random = [one.clone() for one in buffers], torch.get_rng_state()
        try:
            yield
        except LostRankError:
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                raise
            if learner is not None:
                torch.set_rng_state(random)
                for buffer, value in zip(buffers, before, strict=True):
                    buffer.copy_(value)
            save()
            raise

    def first_alone(self, work: Callable[[], T]) -> T:
        """Do some work, the others after the first one, who leaves things where they find them."""
        if self.leads:
            found = work()
            self.of_first(None)
            return found
        self.of_first(None)
        return work()

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Those of some items that this rank does, every n-th of them."""
        return items[self.rank :: self.size]

    def joined(self, parts: list[T]) -> list[T]:
        """What all of them made of their `share`, in the order of the items."""
        found = self.of_all(parts)
        rounds = range(max(map(len, found)))
        return [part[number] for number in rounds for part in found if number < len(part)]

    def refuse_uneven(self, **batches: int) -> None:
        """Refuse numbers of patches that cannot be shared equally.

        Raises:
            UsageError: Naming the option.
        """
        for name, batch in batches.items():
            if batch % self.size:
                more = batch + -batch % self.size
                raise UsageError(
                    f"--{name.replace('_', '-')} {batch} on {self.size} processes: each takes an "
                    f"equal part of a step's patches. Pass a multiple, such as {more}, or start "
                    "fewer processes (--nproc-per-node)."
                )

    def refuse_other_start(self, step: int, learner: Learner) -> None:
        """Refuse to train when not all of them begin with the same step and weights.

        Raises:
            UsageError: Naming the first one that differs.
        """
        if self.is_alone:
            return
        digest = hashlib.sha256()
        for value in learner.state_dict().values():
            digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
        found = self.of_all((step, digest.hexdigest()))
        odd = [rank for rank, own in enumerate(found) if own != found[0]]
        if odd:
            raise UsageError(
                f"Process {odd[0]} of {self.size} begins at step {found[odd[0]][0]} with other "
                f"weights than the first one, at step {found[0][0]}. All machines have to see the "
                "same run folder, --init and data: put them on a file system that they share."
            )


ALONE = Ranks()


@contextmanager
def _heard() -> Iterator[None]:
    """Turn what torch raises when another rank is gone into an error of its own.

    Raises:
        LostRankError: Instead.
    """
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise LostRankError(str(error)) from error


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one type of number, in order, no more than a bucket holds."""
    bucket: list[Tensor] = []
    for one in gradients:
        is_full = sum(b.nbytes for b in bucket) + one.nbytes > BUCKET
        if bucket and (is_full or bucket[0].dtype != one.dtype):
            yield bucket
            bucket = []
        bucket.append(one)
    if bucket:
        yield bucket
