"""The local-global strategy around any network: one sees the patch, another one its parts."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.dual_scale import KINDS, DualScale, copy_sides
from llmseg_cli.models.parts import in_parts, put_together

PARTS = {2: 4, 3: 2}  # along each side
AROUND = ("local_global", "dual_scale")  # options of what stands around a network
OWN = "medt"  # which has the strategy in itself, on features


class LocalGlobal(Segmenter):
    """Two networks of one kind, whose logits are added.

    One sees the whole patch; the other one, with weights of its own, its parts: 4 along each side
    of a picture, as published, and 2 of a volume (ours), as a batch. Parts are a fraction of the
    patch, so that they cover every size; in the authors' code they are 32 pixels, and three
    quarters of a picture of 256 are seen by one network alone, twice. There features are added, and
    the local network is deeper; here any two of a kind answer, head by head (ours). Text and
    perturbations enter the network of the whole patch.

    Args:
        whole: The network of the patch.
        local: That of its parts.

    References:
        Valanarasu et al., Medical Transformer, MICCAI 2021, section 2.3. arXiv:2102.10662.
    """

    def __init__(self, whole: Segmenter, local: Segmenter) -> None:
        super().__init__(
            in_channels=whole.in_channels,
            classes=whole.classes,
            dimensions=whole.dimensions,
            bottleneck_channels=whole.bottleneck_channels,
            stride=whole.stride,
            smallest_grid=whole.smallest_grid,
            deep_supervision=whole.deep_supervision,
            sums_heads=whole.sums_heads,
            live_maps=whole.live_maps + 1,
        )
        self.whole, self.local = whole, local
        self.parts = PARTS[whole.dimensions]

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.grid_of(image.shape[2:])
        bottleneck, skips = self.whole.encode(image)
        return bottleneck, [image, *skips]

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        return self.together(self.decode_heads(bottleneck, skips))

    def decode_heads(self, bottleneck: Tensor, skips: list[Tensor]) -> list[Tensor]:
        image, *others = skips
        return self._beside_parts(self.whole.decode_heads(bottleneck, others), image)

    def changed(
        self, image: Tensor, change: Callable[[Tensor], Tensor] | None, *, heads: bool
    ) -> Tensor | list[Tensor]:
        self.grid_of(image.shape[2:])
        found = self.whole.changed(image, change, heads=True)
        answers = self._beside_parts(list(found), image)
        return answers if heads else self.together(answers)

    def _beside_parts(self, heads: Sequence[Tensor], image: Tensor) -> list[Tensor]:
        pieces = self.local(in_parts(image, self.parts), heads=True)
        pairs = zip(heads, pieces, strict=True)
        return [own + put_together(piece, self.parts) for own, piece in pairs]

    def grid_of(self, patch: Sequence[int]) -> tuple[int, ...]:
        grid = self.whole.grid_of(patch)
        said = f"Patch {' x '.join(map(str, patch))}: local_global cuts each side into {self.parts}"
        if any(side % self.parts for side in patch):
            step = self.parts * self.stride
            raise UsageError(f"{said} parts; use sides that are multiples of {step}.")
        try:
            self.local.grid_of(tuple(side // self.parts for side in patch))
        except UsageError as error:
            remedy = f"A side of --patch is {self.parts} times that."
            raise UsageError(f"{said}. {error} {remedy}") from error
        return grid

    def refuse_text(self) -> None:
        self.whole.refuse_text()


def build_network(
    name: str,
    constructor: Callable[..., Segmenter],
    in_channels: int,
    classes: int,
    options: dict[str, Any],
) -> Segmenter:
    """A network of the registry, or what `local_global` or `dual_scale` make of it.

    Args:
        name: Its name.
        constructor: What the name stands for.
        in_channels: Image channels `C`.
        classes: Classes `K`.
        options: Keyword-only arguments of the constructor, `local_global` and `dual_scale`.

    Raises:
        UsageError: If an option is out of its range, both are asked, or the network has a strategy
            of its own.
    """
    own = {key: value for key, value in options.items() if key not in AROUND}
    scales = options.get("dual_scale", KINDS[0])
    if scales not in KINDS:
        raise unknown("dual_scale of a network", scales, KINDS)
    is_local = options.get("local_global", False)
    if is_local and scales != KINDS[0]:
        raise UsageError("local_global and dual_scale are two strategies; leave one of them out.")
    if is_local and name == OWN:
        raise UsageError(f"local_global: '{name}' has its own, --model-option parts.")
    whole = constructor(in_channels, classes, **own)
    if not is_local and scales == KINDS[0]:
        return whole

    def second(patch: Callable[[Sequence[int]], tuple[int, ...]]) -> Segmenter:
        smaller = {key: copy.deepcopy(value) for key, value in own.items()}
        if "patch" in own:
            smaller["patch"] = patch(own["patch"])
        return constructor(in_channels, classes, **smaller)

    if is_local:
        parts = PARTS[whole.dimensions]
        return LocalGlobal(whole, second(lambda sides: tuple(side // parts for side in sides)))
    own_half = second(lambda sides: copy_sides(whole, sides)) if scales == "own" else None
    return DualScale(whole, own_half)
