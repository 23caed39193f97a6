"""SAM, SAM 2 and SAM-HQ of the `transformers` library."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.sam.framed import Framed, stack
from llmseg_cli.knowledge.sam.framing import IMAGENET_DEVIATION, IMAGENET_MEAN, Framing
from llmseg_cli.knowledge.sam.interface import Embedding, PromptableSegmenter
from llmseg_cli.knowledge.weights.loading import load_network, open_config, refuse_code
from llmseg_cli.knowledge.weights.model_files import FoundModel, model_digest
from llmseg_cli.knowledge.weights.strangers import read_mapping
from llmseg_cli.knowledge.weights.transformers import load_transformers
from llmseg_cli.typed import fitted

CHANNELS = 3  # of the pictures that it takes
UPSAMPLING = 4  # of the decoder, from the image embedding to its own grid
PROCESSORS = ("preprocessor_config.json", "processor_config.json")  # transformers 4, 5


class _Processor(TypedDict, total=False):
    """What is used of an image processor's settings."""

    do_normalize: bool | None
    image_mean: list[float] | None
    image_std: list[float] | None
    size: Any  # a number, as transformers 4 writes it, is of the longest side


class TransformersSam(PromptableSegmenter):
    """SAM.

    Prompts are decoded in full precision: a half-precision corner of a box is pixels off.

    Args:
        model: The library's model.
        name: What a user calls it.
        digest: Of its weights.
        framing: How images are laid before it.
        device: Where it runs.
        dtype: Number format of the image encoder.

    References:
        Kirillov et al., Segment Anything, ICCV 2023. arXiv:2304.02643.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str,
        digest: str,
        framing: Framing,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        prompts = model.config.prompt_encoder_config
        low_side = UPSAMPLING * (prompts.image_size // prompts.patch_size)
        super().__init__(name, digest, framing, device, dtype, low_side=low_side)
        self.model = model.eval().requires_grad_(False).to(device)

    @torch.inference_mode()
    def embed(self, image: NDArray[np.float32]) -> Embedding:
        square = self.framing.square(image)[None].to(self.device)
        with self.autocast():
            parts = self.parts(square)
        return tuple(part[0].to(torch.float16).cpu() for part in parts)

    @torch.inference_mode()
    def decode(
        self, embeddings: Sequence[Embedding], prompts: Sequence[Framed]
    ) -> tuple[Tensor, Tensor]:
        asked = stack(prompts, self.device)
        parts = [
            torch.stack(same).to(self.device).float() for same in zip(*embeddings, strict=True)
        ]
        found = self.model(
            **self.images(parts),
            input_points=None if asked.points is None else asked.points[:, None],
            input_labels=None if asked.labels is None else asked.labels[:, None],
            input_boxes=None if asked.boxes is None else asked.boxes[:, None],
            input_masks=asked.masks,
            multimask_output=asked.is_ambiguous,
        )
        return found.pred_masks[:, 0].float(), found.iou_scores[:, 0].float()

    def parts(self, square: Tensor) -> Sequence[Tensor]:
        """What the decoder needs of `(1, 3, side, side)`, each with a batch axis."""
        return [self.model.get_image_embeddings(square)]

    def images(self, parts: Sequence[Tensor]) -> dict[str, Any]:
        """The arguments of the model that hold the stacked *parts*."""
        return {"image_embeddings": parts[0]}


class TransformersSam2(TransformersSam):
    """SAM 2; its decoder sees three levels of features.

    References:
        Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024. arXiv:2408.00714.
    """

    def parts(self, square: Tensor) -> Sequence[Tensor]:
        levels: list[Tensor] = self.model.get_image_embeddings(square)
        return levels

    def images(self, parts: Sequence[Tensor]) -> dict[str, Any]:
        return {"image_embeddings": list(parts)}


class TransformersSamHq(TransformersSam):
    """SAM-HQ; its decoder also sees the first global attention block of the encoder.

    References:
        Ke et al., Segment Anything in High Quality, NeurIPS 2023. arXiv:2306.01567.
    """

    def parts(self, square: Tensor) -> Sequence[Tensor]:
        embedding, intermediate = self.model.get_image_embeddings(square)
        return [embedding, *intermediate[:1]]

    def images(self, parts: Sequence[Tensor]) -> dict[str, Any]:
        return {"image_embeddings": parts[0], "intermediate_embeddings": list(parts[1:])}


KINDS = {  # model_type of config.json: the library's class and ours
    "sam": ("SamModel", TransformersSam),
    "sam2": ("Sam2Model", TransformersSam2),
    "sam2_video": ("Sam2Model", TransformersSam2),
    "sam_hq": ("SamHQModel", TransformersSamHq),
}


def model_type(folder: Path) -> str:
    """Which of `KINDS` a model's folder holds.

    Raises:
        WeightsError: If its config.json is missing or names another model.
    """
    found = read_mapping(folder / "config.json").get("model_type")
    if not isinstance(found, str) or found not in KINDS:
        holds = f"a model '{found}'" if found else "no config.json with a model_type"
        raise WeightsError(f"{folder} holds {holds}; expected one of {', '.join(KINDS)}.")
    return str(found)


def transformers_sam(
    found: FoundModel, *, name: str, device: torch.device, dtype: torch.dtype
) -> TransformersSam:
    """The model of a folder that `save_pretrained` wrote.

    Args:
        found: Where config.json and weights lie.
        name: What a user calls it.
        device: Where it runs.
        dtype: Number format of the image encoder.

    Raises:
        WeightsError: If it is no model of `KINDS`, or its weights are not whole.
    """
    folder = found.folder
    library_name, kind = KINDS[model_type(folder)]
    library = getattr(load_transformers(), library_name)
    config = open_config(folder, kind=library.config_class)
    loaded = load_network(folder, library, config=config, what=library_name, dtype=torch.float32)
    model = loaded.network
    side = int(model.config.prompt_encoder_config.image_size)
    processors = [folder / file for file in PROCESSORS]
    return kind(
        model,
        name=name,
        digest=model_digest(found, (*loaded.files, *processors)),
        framing=_framing(folder, side, keeps_aspect=library_name != "Sam2Model"),
        device=device,
        dtype=dtype,
    )


def _framing(folder: Path, side: int, *, keeps_aspect: bool) -> Framing:
    """How the folder's own image processor lays images; ImageNet's normalization if it has none."""
    for name in PROCESSORS:
        refuse_code(folder / name)
    given = next(filter(None, (read_mapping(folder / name) for name in PROCESSORS)), {})
    settings: _Processor = fitted(
        given.get("image_processor") or given,
        _Processor,
        name=f"the image processor of {folder}",
        error=WeightsError,
    )
    sizes = settings.get("size")
    for name, size in (sizes if isinstance(sizes, dict) else {}).items():
        if size != side:
            raise WeightsError(
                f"{folder}: the image processor's {name} is {size}, the model's {side}."
            )
    if settings.get("do_normalize") is False:
        return Framing(side, keeps_aspect)
    mean = tuple(settings.get("image_mean") or IMAGENET_MEAN)
    deviation = tuple(settings.get("image_std") or IMAGENET_DEVIATION)
    if len(mean) != CHANNELS or len(deviation) != CHANNELS or min(deviation) <= 0:
        raise WeightsError(
            f"{folder}: the image processor has the mean {mean} and the deviation {deviation}, "
            "expected three numbers each, deviations above 0. Fetch the model again."
        )
    return Framing(side, keeps_aspect, mean, deviation)
