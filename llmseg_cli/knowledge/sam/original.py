"""Models built of the `segment-anything` package: LiteMedSAM, SAM and MedSAM."""

import functools
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.sam.framed import Framed, stack
from llmseg_cli.knowledge.sam.framing import IMAGENET_DEVIATION, IMAGENET_MEAN, Framing
from llmseg_cli.knowledge.sam.interface import Embedding, PromptableSegmenter
from llmseg_cli.knowledge.sam.mask_decoder import decode_prompts
from llmseg_cli.knowledge.sam.tiny_vit import TinyViT
from llmseg_cli.knowledge.weights.checkpoint import read_pickle
from llmseg_cli.knowledge.weights.fit import fitted
from llmseg_cli.numerics.torchvision_operators import ensure_torchvision

WIDTH = 256  # of all embeddings
GRID = 64  # positions of a side of the image embedding
SAM_FRAMING = Framing(1024, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
MEDSAM_FRAMING = Framing(1024, keeps_aspect=False)
FRAMING = "pixel_"  # mean and deviation of pixels, which our own framing has
WIDEST = "image_encoder.patch_embed.proj.bias"
SIZES = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}  # by the width of the image encoder


class OriginalSam(PromptableSegmenter):
    """An image encoder with the prompt encoder and mask decoder of `segment-anything`.

    Args:
        networks: A module with `image_encoder`, `prompt_encoder` and `mask_decoder`.
        name: What a user calls it.
        digest: Of its weights.
        framing: How images are laid before it.
        device: Where it runs.
        dtype: Number format.

    References:
        Kirillov et al., Segment Anything, ICCV 2023. arXiv:2304.02643.
    """

    def __init__(
        self,
        networks: nn.Module,
        *,
        name: str,
        digest: str,
        framing: Framing,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(name, digest, framing, device, dtype)
        self.networks: Any = networks.eval().requires_grad_(False).to(device)
        self.networks.mask_decoder.to(dtype)  # as a whole: autocast would copy every sum

    @torch.inference_mode()
    def embed(self, image: NDArray[np.float32]) -> Embedding:
        square = self.framing.square(image)
        with self.autocast():
            embedding = self.networks.image_encoder(square[None].to(self.device))
        return (embedding[0].to(torch.float16).cpu(),)

    @torch.inference_mode()
    def decode(
        self, embeddings: Sequence[Embedding], prompts: Sequence[Framed]
    ) -> tuple[Tensor, Tensor]:
        encoder, decoder = self.networks.prompt_encoder, self.networks.mask_decoder
        asked = stack(prompts, self.device)
        points = None if asked.points is None else (asked.points, asked.labels)
        sparse, dense = encoder(points, asked.boxes, asked.masks)
        candidates = slice(1, None) if asked.is_ambiguous else slice(0, 1)
        masks, quality = [], []
        first = 0
        for _, group in groupby(embeddings, key=id):
            own = slice(first, first + len(list(group)))
            found = decode_prompts(
                decoder,
                embeddings[first][0].to(self.device),
                self._places,
                sparse[own],
                dense[:1] if asked.masks is None else dense[own],
                candidates,
            )
            masks.append(found[0].float())
            quality.append(found[1].float())
            first = own.stop
        return torch.cat(masks), torch.cat(quality)

    @functools.cached_property
    def _places(self) -> Tensor:
        """Positional encoding of the image's positions `(C, h, w)`."""
        places: Tensor = self.networks.prompt_encoder.get_dense_pe()[0]
        return places.to(self.dtype)


def lite_medsam(
    path: Path, *, digest: str, device: torch.device, dtype: torch.dtype
) -> OriginalSam:
    """LiteMedSAM from its published checkpoint.

    Raises:
        WeightsError: If the file holds other weights.
    """
    networks = _modeled(TinyViT(WIDTH), side=256)
    _load(networks, read_pickle(path), path, what="LiteMedSAM")
    return OriginalSam(
        networks,
        name="lite-medsam",
        digest=digest,
        framing=Framing(256),
        device=device,
        dtype=dtype,
    )


def checkpoint_sam(
    kind: str, path: Path, *, digest: str, device: torch.device, dtype: torch.dtype
) -> OriginalSam:
    """SAM or MedSAM from a checkpoint of the `segment-anything` package.

    Args:
        kind: vit_b, vit_l, vit_h, or medsam (a vit_b that is given stretched images in [0, 1]).
        path: The `.pth` file.
        digest: Of that file.
        device: Where it runs.
        dtype: Number format.

    Raises:
        WeightsError: If it cannot be read, or is of another size.
    """
    ensure_torchvision()
    from segment_anything import sam_model_registry

    state = read_pickle(path)
    size = "vit_b" if kind == "medsam" else kind
    width = next((v for k, v in state.items() if k.endswith(WIDEST)), None)
    found = SIZES.get(0 if width is None else width.numel())
    if found is not None and found != size:
        raise WeightsError(f"{path} holds a {found}, not a {size}. Pass --sam {found}:{path}.")
    build: Callable[..., nn.Module] = sam_model_registry[size]
    with torch.device("meta"):
        networks = build(checkpoint=None)
    networks = networks.to_empty(device="cpu")
    _load(networks, state, path, what=f"a {kind} of segment-anything")
    return OriginalSam(
        networks,
        name=kind,
        digest=digest,
        framing=MEDSAM_FRAMING if kind == "medsam" else SAM_FRAMING,
        device=device,
        dtype=dtype,
    )


def _modeled(encoder: nn.Module, *, side: int) -> nn.Module:
    ensure_torchvision()
    from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

    networks = nn.Module()
    networks.image_encoder = encoder
    networks.prompt_encoder = PromptEncoder(
        embed_dim=WIDTH,
        image_embedding_size=(GRID, GRID),
        input_image_size=(side, side),
        mask_in_chans=16,
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=2048, num_heads=8)
    networks.mask_decoder = MaskDecoder(transformer_dim=WIDTH, transformer=transformer)
    return networks


def _load(networks: nn.Module, state: dict[str, Tensor], path: Path, *, what: str) -> None:
    own = {k: v for k, v in networks.state_dict().items() if not k.startswith(FRAMING)}
    given = {k: v for k, v in state.items() if not k.removeprefix("module.").startswith(FRAMING)}
    networks.load_state_dict(fitted(given, own, source=path, what=what), strict=False)
