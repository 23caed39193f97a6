"""A call of a network that several ranks share: each passes its own rows through it.

How and why stands in `training/ranks.py`.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from llmseg_cli.errors import UsageError
from llmseg_cli.numerics.over_rows import over_rows
from llmseg_cli.training.ranks import Ranks

DROPOUTS = (
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d),
    *(F.alpha_dropout, F.feature_alpha_dropout),
)
DRAWN = (torch.rand, torch.randn, torch.randint)  # by size
DRAWN_LIKE = (torch.rand_like, torch.randn_like, torch.randint_like, torch.bernoulli)
FILLED = (Tensor.bernoulli_, Tensor.uniform_, Tensor.normal_)
REFUSED = (
    *(torch.randperm, torch.multinomial, torch.normal, F.gumbel_softmax, F.rrelu),
    *(Tensor.exponential_, Tensor.random_, Tensor.log_normal_, Tensor.geometric_),
)
STEPS = 1 << 31  # numbers that are drawn for a dropout, each as likely
MOST_SEEDS = 1 << 60
STRAY = (
    "This network draws random numbers that do not belong to rows of its batch, which several "
    "processes cannot draw as one would. Train it with one process."
)
ATTENTION = (F.scaled_dot_product_attention, F.multi_head_attention_forward)


def shared(build: Callable[[], nn.Module], ranks: Ranks) -> Callable[[], nn.Module]:
    """A builder whose networks, and all copies of them, share their calls while `ranks.sharing`.

    Args:
        build: Returns a network that treats its rows, the first axis, each by itself, but for batch
            normalization.
        ranks: Who shares.
    """
    if ranks.is_alone:
        return build

    def build_shared() -> nn.Module:
        network, calls = build(), _Calls(ranks)
        network.register_forward_pre_hook(calls.begin, with_kwargs=True)
        network.register_forward_hook(calls.end, always_call=True)
        return network

    return build_shared


class _Calls:
    """The hooks before and after a call of a network.

    Args:
        ranks: Who shares.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.modes: list[_OwnRows] = []

    def begin(
        self, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Leave the rank its own rows of everything that has as many as the images."""
        if not self.ranks.is_sharing:
            return None
        whole, size = len(args[0]), self.ranks.size
        if whole % size:
            raise UsageError(
                f"{whole} patches are asked at once, which {size} processes cannot share equally. "
                "Pass a --batch (and --unlabeled-batch) that is a multiple, or start fewer."
            )
        mode = _OwnRows(self.ranks, whole // size)

        def own(value: Any) -> Any:
            is_of_rows = isinstance(value, Tensor) and value.ndim and len(value) == whole
            return mode.own(value, size=whole // size) if is_of_rows else value

        taken = tuple(map(own, args)), {key: own(value) for key, value in kwargs.items()}
        self.modes.append(mode)
        mode.__enter__()  # type: ignore[no-untyped-call]
        return taken

    def end(self, network: nn.Module, args: tuple[Any, ...], answer: Any) -> Any:
        """Gather what all ranks have found; also called when the network failed."""
        if not self.modes:
            return None
        self.modes.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]
        if answer is None:
            return None
        return _gathered(answer, self.ranks)


def _gathered(answer: Any, ranks: Ranks) -> Any:
    """Logits, or those of several heads, of all rows."""
    if isinstance(answer, Tensor):
        return _Gather.apply(answer, ranks)  # type: ignore[no-untyped-call]
    return [_gathered(one, ranks) for one in answer]


class _Gather(torch.autograd.Function):
    """The rows of all ranks; each has the same loss, and its own rows of the gradient count."""

    @staticmethod
    def forward(context: Any, rows: Tensor, ranks: Ranks) -> Tensor:
        context.ranks, context.count = ranks, len(rows)
        return ranks.gather(rows)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        first = context.ranks.rank * context.count
        return gradients[0][first : first + context.count], None


class _Sum(torch.autograd.Function):
    """Values summed over all ranks, whose losses all depend on it."""

    @staticmethod
    def forward(context: Any, values: Tensor, ranks: Ranks) -> Tensor:
        context.ranks = ranks
        found = values.clone()
        ranks.add(found)
        return found

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        found = gradients[0].clone()
        context.ranks.add(found)
        return found, None


class _OwnRows(TorchFunctionMode):
    """What a network does with its rows as if it had all of them.

    Args:
        ranks: Who shares.
        rows: This rank's rows of the call.
    """

    def __init__(self, ranks: Ranks, rows: int) -> None:
        super().__init__()
        self.ranks, self.rows = ranks, rows

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in DROPOUTS:
            return self._dropout(func, *args, **kwargs)
        if func is F.batch_norm:
            return self._batch_norm(*args, **kwargs)
        if func is over_rows:
            return self._sum(args[0])
        if func in DRAWN:
            return self._drawn(func, *args, **kwargs)
        if func in DRAWN_LIKE:
            return self.own(func(self._whole(args[0]), *args[1:], **kwargs), size=len(args[0]))
        if func in FILLED:
            whole = func(self._whole(args[0]), *args[1:], **kwargs)
            return args[0].copy_(self.own(whole, size=len(args[0])))
        if func in REFUSED or (func in ATTENTION and _drops(func, args, kwargs)):
            raise UsageError(
                f"This network draws random numbers by {func.__name__}, which several processes "
                "cannot draw as one would. Train it with one process, without torchrun."
            )
        return func(*args, **kwargs)

    def own(self, whole: Tensor, *, size: int) -> Tensor:
        """This rank's rows of a tensor of all, *size* of them."""
        return whole[self.ranks.rank * size : (self.ranks.rank + 1) * size]

    def _whole(self, rows: Tensor) -> Tensor:
        """Ones for the rows of all ranks, axis by axis in memory, however this one lies there.

        How the maps of a network lie there, and with it the order in which one process without
        torchrun would draw, depends on the number of rows.
        """
        if not rows.ndim or len(rows) % self.rows:
            raise UsageError(STRAY)
        return rows.new_ones(len(rows) * self.ranks.size, *rows.shape[1:])

    def _dropout(
        self, func: Any, rows: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0:
            return rows
        if func in (F.alpha_dropout, F.feature_alpha_dropout):
            raise UsageError("This network has alpha dropout; train it with one process.")
        if func is F.dropout:
            own = self._kept(rows, p)
        else:  # of whole maps: a number each
            own = self.own(func(self._whole(rows), p, True), size=len(rows))
        return rows.mul_(own) if inplace else rows * own

    def _kept(self, rows: Tensor, p: float) -> Tensor:
        """What dropout of single values multiplies by: 0, or what makes up for it.

        All ranks draw the same seed, and each row has numbers of its own by it, axis by axis, so
        that a rank draws those of its own rows alone; those of all would take a tenth of a step.
        """
        if not rows.ndim or len(rows) % self.rows:
            raise UsageError(STRAY)
        if p == 1:
            return torch.zeros_like(rows)
        each = len(rows) // self.rows  # several rows of a tensor may be of one of the call
        first = int(torch.randint(MOST_SEEDS, ())) + self.ranks.rank * self.rows
        generator = torch.Generator(rows.device)
        kept = torch.empty(rows.shape, dtype=rows.dtype, device=rows.device)
        for number, part in enumerate(torch.split(kept, each), start=first):
            drawn = torch.empty(part.shape, dtype=torch.int32, device=rows.device)
            drawn.random_(generator=generator.manual_seed(number))
            torch.ge(drawn, round(p * STEPS), out=part)
        return kept.div_(1 - p)

    def _drawn(self, func: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Random numbers of all rows; *func* takes a size, last of its places or by name."""
        size = kwargs.get("size")
        places = [n for n, one in enumerate(args) if isinstance(one, tuple | list | torch.Size)]
        if size is None and len(places) == 1:
            size = args[places[0]]
        if size is None or not len(size) or size[0] % self.rows:
            raise UsageError(
                f"This network draws random numbers by {func.__name__} that do not belong to rows "
                "of its batch. Train it with one process, without torchrun."
            )
        wide = (size[0] * self.ranks.size, *size[1:])
        if "size" in kwargs:
            kwargs["size"] = wide
        else:
            args = (*args[: places[0]], wide, *args[places[0] + 1 :])
        return self.own(func(*args, **kwargs), size=size[0])

    def _sum(self, values: Tensor) -> Tensor:
        found: Tensor = _Sum.apply(values, self.ranks)  # type: ignore[no-untyped-call]
        return found

    def _batch_norm(
        self,
        rows: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Batch normalization by the mean and variance over the rows of all ranks.

        torch's own for several processes, SyncBatchNorm, has no form for a CPU.
        """
        if not training:
            return F.batch_norm(
                rows, running_mean, running_var, weight, bias, training, momentum, eps
            )
        wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
        voxels = [0, *range(2, rows.ndim)]
        shape = [1, -1, *[1] * (rows.ndim - 2)]
        count = rows.numel() // rows.shape[1] * self.ranks.size
        mean = self._sum(wide.sum(voxels)) / count
        centered = wide - mean.view(shape)
        variance = self._sum(centered.square().sum(voxels)) / count
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                spread = variance * (count / max(count - 1, 1))
                running_mean.mul_(1 - momentum).add_(mean.to(running_mean.dtype), alpha=momentum)
                running_var.mul_(1 - momentum).add_(spread.to(running_var.dtype), alpha=momentum)
        found = centered * (variance + eps).rsqrt().view(shape)
        if weight is not None:
            found = found * weight.view(shape)
        if bias is not None:
            found = found + bias.view(shape)
        return found.to(rows.dtype)


def _drops(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an attention drops some of its weights."""
    if func is F.scaled_dot_product_attention:
        return bool(kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0))
    bound = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs).arguments
    return bool(bound["dropout_p"]) and bound.get("training", True)
