"""1x1 convolutions with a stride, computed where torch computes them wrong."""

import torch.nn.functional as F
from torch import Tensor, nn


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution of every n-th pixel, which are taken before it and not by it.

    On processors without AVX-512, the backward pass of oneDNN (torch 2.13) writes beyond its memory
    for such a convolution of fewer than 8 channels that stand last: gradients are wrong, and the
    process may end. Taken beforehand, the pixels are the same, and so is the answer.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        down, right = self.stride
        taken = input[..., ::down, ::right]
        return F.conv2d(taken, self.weight, self.bias, groups=self.groups)


def take_before(network: nn.Module) -> None:
    """Let all strided 1x1 convolutions of a network take their pixels beforehand."""
    for module in network.modules():
        is_pointwise = type(module) is nn.Conv2d and module.kernel_size == (1, 1)
        if is_pointwise and module.stride != (1, 1) and module.padding == (0, 0):
            module.__class__ = StridedPointwise
