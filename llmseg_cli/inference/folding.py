"""What a network can be spared once it only predicts."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMALIZATIONS = (nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def fold_normalization(network: nn.Module) -> None:
    """Multiply batch normalization into the convolution that it follows within an `nn.Sequential`.

    With fixed statistics both are linear, so that the network answers the same, one pass over the
    features sooner. Other normalizations depend on the image and stay.

    Args:
        network: In evaluation mode; it is changed.
    """
    for stages in network.modules():
        if not isinstance(stages, nn.Sequential):
            continue
        for (before, layer), (after, norm) in pairwise(list(stages.named_children())):
            is_transposed = isinstance(layer, TRANSPOSED)
            if isinstance(norm, NORMALIZATIONS) and isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED)):
                folded = fuse_conv_bn_eval(layer, norm, transpose=is_transposed)
                stages._modules[before], stages._modules[after] = folded, nn.Identity()


def hold_convolutions_as(network: nn.Module, dtype: torch.dtype) -> None:
    """Keep the weights of convolutions in the number format that autocast would turn them into.

    Args:
        network: It is changed; it answers the same under autocast to *dtype*.
        dtype: Of the convolutions.
    """
    for layer in network.modules():
        if isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED)):
            layer.to(dtype)
