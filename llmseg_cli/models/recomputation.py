"""Less memory for more time: activations computed again in the backward pass, and not kept."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint


def recomputed(block: nn.Module, *inputs: object) -> Tensor:
    """A block's answer, of which only the inputs are kept for the backward pass.

    Values, gradients, random numbers and the running statistics of batch normalization are those
    of an ordinary call: the second pass draws the same numbers and leaves the statistics alone.

    Args:
        block: The module.
        inputs: Its arguments.

    References:
        Chen et al., Training deep nets with sublinear memory cost, 2016. arXiv:1604.06174.
    """
    if not torch.is_grad_enabled():
        answer: Tensor = block(*inputs)
        return answer

    modes = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _as_before(block, modes)

    kept: Tensor = checkpoint(block, *inputs, use_reentrant=False, context_fn=contexts)
    return kept


@contextmanager
def _as_before(block: nn.Module, modes: Sequence[TorchFunctionMode]) -> Iterator[None]:
    """What changed torch's functions in the first pass does so in the second one, too."""
    with ExitStack() as stack:
        stack.enter_context(_statistics_left_alone(block))
        for mode in modes:
            stack.enter_context(mode)
        yield


@contextmanager
def _statistics_left_alone(block: nn.Module) -> Iterator[None]:
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.training]
    counts = [None if n.num_batches_tracked is None else n.num_batches_tracked + 0 for n in norms]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # of what is seen now in the running statistics
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if count is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)
