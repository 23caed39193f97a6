"""What builds a network of MONAI, with the signature of every other network here."""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from inspect import Parameter, Signature
from typing import Any

import torch
from monai.networks import nets
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.layers import CONVOLUTION
from llmseg_cli.models.monai.adapter import MonaiNetwork
from llmseg_cli.models.monai.bottleneck import PLACES, Place
from llmseg_cli.models.monai.options import arguments_of, options_of
from llmseg_cli.models.monai.patches import UNFIT, Facts, explore, explore_at

OF_ONE_SIZE = {"UNETR": 16}  # voxels of a token: built for one patch, whose sides it divides
USUAL = 96  # sides of such a patch where none is said
LEFT_OUT = {  # segmentation networks of MONAI that cannot be named, and why
    "CellSamWrapper": "asks Segment Anything",
    "DAF3D": "does not take the number of dimensions",
    "DiNTS": "needs a search space as an object",
    "HoVerNet": "answers with several maps of nuclei",
    "HyenaNDUNETR": "needs the package nvsubquadratic",
    "Quicknat": "does not take the number of dimensions",
    "SegResNetDS2": "answers with two maps, one of them for prompts",
    "SegResNetVAE": "answers with a loss of its own beside the logits",
    "VISTA3D": "answers to prompts",
}


def __getattr__(name: str) -> Callable[..., MonaiNetwork]:
    if name not in PLACES:
        raise AttributeError(name)
    return constructor_of(name)


@cache
def constructor_of(name: str) -> Callable[..., MonaiNetwork]:
    """A constructor `(in_channels, classes, *, dimensions, patch, ...)` of a network of MONAI.

    Args:
        name: As MONAI names it.
    """

    def build(
        in_channels: int,
        classes: int,
        *,
        dimensions: int = 3,
        patch: Sequence[int] = (),
        **options: Any,
    ) -> MonaiNetwork:
        if dimensions not in CONVOLUTION:
            raise UsageError(f"dimensions is {dimensions}; a network has 2 or 3.")
        fixed: tuple[int, ...] = ()
        if name in OF_ONE_SIZE:
            fixed = tuple(patch) or (USUAL,) * dimensions
            _refuse_undivided(name, fixed)
        arguments = {**arguments_of(name, made, options), **_of_task(name, dimensions, fixed)}
        try:
            with warnings.catch_warnings():  # of values that would not be used
                warnings.filterwarnings("error", category=UserWarning, module=r"monai\.")
                network = _built(made, in_channels, classes, arguments)
            if dimensions == 2:
                _drop_channels_of_pictures(network)
            place, facts = _facts(name, network, in_channels, dimensions, fixed)
        except (*UNFIT, UserWarning) as error:
            given = ", ".join(f"{key}={value}" for key, value in options.items()) or "its defaults"
            raise UsageError(
                f"--model monai:{name}: MONAI cannot build it of {given}: "
                f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            ) from error
        return MonaiNetwork(
            f"monai:{name}",
            network,
            place,
            facts,
            in_channels=in_channels,
            classes=classes,
            dimensions=dimensions,
            patch=fixed,
        )

    made = getattr(nets, name)
    shown = {"dimensions": 3, "patch": (), **options_of(name, made)}
    places = [Parameter(key, Parameter.POSITIONAL_OR_KEYWORD) for key in ("in_channels", "classes")]
    options = [Parameter(k, Parameter.KEYWORD_ONLY, default=v) for k, v in shown.items()]
    build.__signature__ = Signature([*places, *options])  # type: ignore[attr-defined]
    return build


def _of_task(name: str, dimensions: int, fixed: Sequence[int]) -> dict[str, Any]:
    """Arguments that patch and data decide, beside the channels."""
    found: dict[str, Any] = {"spatial_dims": dimensions}
    if name in OF_ONE_SIZE:
        found["img_size"] = fixed
    if name == "VNet":
        found["dropout_dim"] = dimensions
    return found


def _drop_channels_of_pictures(network: nn.Module) -> None:
    """Replace 3D dropout, which MONAI's VNet has in 2D, too, where it drops whole pictures."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout3d):
                setattr(module, name, nn.Dropout2d(child.p))


def _built(
    made: Callable[..., nn.Module], in_channels: int, classes: int, arguments: dict[str, Any]
) -> nn.Module:
    """On the CPU, as MONAI reads values while it builds; then where networks are made."""
    where = torch.get_default_device()
    if where.type != "meta":
        return made(in_channels=in_channels, out_channels=classes, **arguments)
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        network = made(in_channels=in_channels, out_channels=classes, **arguments)
    return network.to(where)


def _facts(
    name: str, network: nn.Module, in_channels: int, dimensions: int, fixed: tuple[int, ...]
) -> tuple[Place, Facts]:
    place = Place.of(name, network)
    if fixed:
        return place, explore_at(network, place, channels=in_channels, patch=fixed)
    key = (in_channels, str(network))
    if key not in KNOWN:
        found = explore(network, place, channels=in_channels, dimensions=dimensions)
        KNOWN[key] = (place, found)
    return KNOWN[key]


KNOWN: dict[tuple[int, str], tuple[Place, Facts]] = {}  # by what torch prints of a network


def _refuse_undivided(name: str, patch: tuple[int, ...]) -> None:
    token = OF_ONE_SIZE[name]
    if any(side < 1 or side % token for side in patch):
        near = ",".join(str(max(token, math.floor(side / token) * token)) for side in patch)
        raise UsageError(
            f"Patch {' x '.join(map(str, patch))}: 'monai:{name}' needs sides that are multiples "
            f"of {token}. Use --patch {near}, or larger ones."
        )
