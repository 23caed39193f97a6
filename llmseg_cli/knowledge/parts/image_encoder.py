"""Pre-trained image encoders, as the lower levels of a network for pictures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.parts import efficientnet, lite_medsam
from llmseg_cli.knowledge.parts.depthwise import keep_precision_of_depthwise
from llmseg_cli.knowledge.parts.feature_memory import FeatureMemory
from llmseg_cli.knowledge.parts.pixels import Pixels, pixels_seen
from llmseg_cli.knowledge.weights.loading import load_network, open_config
from llmseg_cli.knowledge.weights.model_files import find_model, model_digest
from llmseg_cli.knowledge.weights.transformers import load_transformers
from llmseg_cli.numerics.pointwise import take_before

UNNEEDED = (  # of a configuration, for the architecture
    *("_name_or_path", "architectures", "dtype", "id2label", "label2id"),
    *("out_features", "out_indices", "stage_names", "transformers_version"),
)
FRESH = "hidden_states_norms."  # of the library's backbones, no part of the published weights
COUNTS = ("num_stages", "num_encoder_blocks", "num_layers")  # of stages, beside `depths`
PROBE = 64  # side of the picture whose feature maps tell the strides


class ImageEncoder(nn.Module):
    """Feature maps of a backbone, each with half the side of the one before.

    Images have as many channels as the network's cases; one is repeated, others than three pass a
    1x1 convolution that is learned.

    Args:
        config: `PretrainedEncoder.config`.
        in_channels: Image channels C.
        pixels: From the image's intensities to those that the backbone was trained with.
        freeze: What of the backbone training leaves alone: `none`; `statistics`, so that batch
            normalization goes by those of its weights and not by those of a batch; or `all`.

    Raises:
        UsageError: If the model has no feature maps that halve from one to the next.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        in_channels: int,
        *,
        pixels: Pixels | None = None,
        freeze: str = "none",
    ) -> None:
        super().__init__()
        self.backbone: Any = _backbone(config)
        take_before(self.backbone)
        keep_precision_of_depthwise(self.backbone)
        takes_one_or_three = in_channels in (1, 3)
        self.colors: nn.Module = (
            nn.Identity() if takes_one_or_three else nn.Conv2d(in_channels, 3, 1)
        )
        sides, widths = _measured(config)
        self.used = [i for i, side in enumerate(sides) if side not in sides[i + 1 :]]
        self.widths = [widths[i] for i in self.used]
        strides = [PROBE // sides[i] for i in self.used]
        self.halvings = strides[0].bit_length() - 1
        if strides != [1 << self.halvings + i for i in range(len(strides))]:
            raise UsageError(
                f"The feature maps of this {config['model_type']} have cells of "
                f"{', '.join(map(str, strides))} pixels; expected each cell twice as wide as the "
                "one before."
            )
        self.mean: Tensor
        self.deviation: Tensor
        seen = pixels or Pixels()
        for name in ("mean", "deviation"):  # of the run's settings, no weights
            values = torch.tensor(getattr(seen, name)).view(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.upright = seen.upright
        self.freeze = freeze
        self.memory: FeatureMemory | None = None
        if freeze == "all":
            self.backbone.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps, the finest first: `(B, widths[i], X / 2 ** (halvings + i), Y / ...)`."""
        if self.memory is None or not self.training or image.requires_grad:
            return self._see(image)
        return self.memory.recall(image, self._see)

    def _see(self, image: Tensor) -> list[Tensor]:
        colors = (self.colors(image) - self.mean) / self.deviation  # one channel becomes three
        found = _maps(self.backbone, colors.mT if self.upright else colors)
        return [found[i].mT if self.upright else found[i] for i in self.used]

    def train(self, mode: bool = True) -> "ImageEncoder":
        super().train(mode)
        if self.freeze == "all":
            self.backbone.eval()
        if self.freeze == "statistics":
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


@dataclass(frozen=True)
class PretrainedEncoder:
    """An image encoder and its weights.

    Args:
        name: What a user calls it.
        digest: Of its weights.
        config: What `ImageEncoder` builds it from; plain values.
        weights: Of the backbone, by name; none where its weights are to stay as they are drawn.
        pixels: What it was trained to see of an image.
    """

    name: str
    digest: str
    config: dict[str, Any]
    weights: dict[str, Tensor] = field(repr=False)
    pixels: Pixels = field(default_factory=Pixels)

    @property
    def record(self) -> dict[str, Any]:
        """For `config.yaml`; with it, the architecture can be built without the model's folder."""
        seen = self.pixels
        pixels = {**asdict(seen), "mean": list(seen.mean), "deviation": list(seen.deviation)}
        known = {"name": self.name, "digest": self.digest, "config": self.config}
        return known if seen == Pixels() else {**known, "pixels": pixels}

    def load_into(self, networks: Iterable[nn.Module]) -> None:
        """Give the weights to every `ImageEncoder` in *networks*."""
        for encoder in encoders_of(networks) if self.weights else ():
            encoder.backbone.load_state_dict(self.weights)


def encoders_of(networks: Iterable[nn.Module]) -> Iterator[ImageEncoder]:
    """The image encoders within networks."""
    for network in networks:
        for module in network.modules():
            if isinstance(module, ImageEncoder):
                yield module


def encoder_from(record: Mapping[str, Any], in_channels: int, *, freeze: str) -> ImageEncoder:
    """The encoder of a `PretrainedEncoder.record`, to be loaded over.

    Raises:
        UsageError: As `ImageEncoder`.
    """
    pixels = Pixels(**record["pixels"]) if "pixels" in record else None
    return ImageEncoder(record["config"], in_channels, pixels=pixels, freeze=freeze)


def open_image_encoder(
    name: str,
    *,
    depth: int | None = None,
    normalize: str = "zscore",
    cache: Path | None = None,
    offline: bool = False,
) -> PretrainedEncoder:
    """Read a pre-trained image encoder.

    Args:
        name: The embedded one, path of a folder that `save_pretrained` wrote, or an id of the
            Hugging Face hub.
        depth: How often its coarsest map is half the side of the picture; what comes behind is left
            out. None takes all.
        normalize: How the intensities are normalized that it will see.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.

    Raises:
        UsageError: If it is no image encoder of color with feature maps that halve, or not to
            *depth*, or the intensities have no known range.
        WeightsError: If it cannot be had, or its weights are not whole.
    """
    if name == efficientnet.NAME:
        own = pixels_seen(normalize, mean=efficientnet.MEAN, deviation=efficientnet.DEVIATION)
        config, weights, digest = efficientnet.read_efficientnet(depth=depth, cache=cache)
        return PretrainedEncoder(name, digest, config, weights, own)
    if name == lite_medsam.NAME:
        own = pixels_seen(normalize, mean=lite_medsam.MEAN, deviation=lite_medsam.DEVIATION)
        config, weights, digest = lite_medsam.read_lite_medsam(depth=depth, cache=cache)
        return PretrainedEncoder(name, digest, config, weights, own)
    pixels = pixels_seen(normalize)
    found = find_model(name, cache=cache, offline=offline)
    if found.gguf is not None:
        raise UsageError(f"{name} is a language model, no image encoder.")
    transformers = load_transformers()
    settings = open_config(found.folder)
    config = {k: v for k, v in settings.to_diff_dict().items() if k not in UNNEEDED}
    config["model_type"] = settings.model_type
    if getattr(settings, "num_channels", 3) != 3:
        raise UsageError(
            f"The image encoder {name} takes {settings.num_channels} channels; expected 3, colors."
        )
    with torch.device("meta"):  # refused before its weights are read
        whole = ImageEncoder(config, 3)
        deepest = whole.halvings + len(whole.widths) - 1
        kind, config = type(whole.backbone), _cut(config, whole, depth)
    settings = _settings(transformers, config)
    is_cut = bool(depth and depth < deepest)
    try:
        loaded = load_network(
            found.folder,
            kind,
            config=settings,
            what="the image encoder",
            dtype=torch.float32,
            is_whole=False,
            is_cut=is_cut,
            fresh=(FRESH,),
        )
    except WeightsError as error:
        if not is_cut:
            raise
        raise WeightsError(
            f"{error} It was cut at {depth} halvings; --model-option depth={deepest} takes it "
            "whole."
        ) from error
    weights = loaded.network.state_dict()
    digest = model_digest(found, loaded.files)
    return PretrainedEncoder(found.name, digest, config, weights, pixels)


def _backbone(config: Mapping[str, Any]) -> Any:
    """A network with feature maps, and random weights.

    Raises:
        UsageError: If the library has none of this kind.
    """
    if config["model_type"] == efficientnet.NAME:
        return efficientnet.build_efficientnet(config)
    if config["model_type"] == lite_medsam.NAME:
        return lite_medsam.SamFeatures()
    transformers = load_transformers()
    try:
        settings = _settings(transformers, config)
        return transformers.AutoBackbone.from_config(settings, trust_remote_code=False)
    except (AttributeError, ImportError, ValueError) as error:
        raise UsageError(
            f"A model '{config['model_type']}' is no image encoder with feature maps. Expected "
            "one such as resnet, convnextv2 or swin."
        ) from error


def _maps(backbone: Any, colors: Tensor) -> Sequence[Tensor]:
    """All feature maps; timm returns them alone."""
    found = backbone(colors)
    return found if isinstance(found, list) else found.feature_maps


def _settings(transformers: Any, config: Mapping[str, Any]) -> Any:
    """The library's configuration, of all feature maps."""
    settings = transformers.AutoConfig.for_model(**config)
    settings.out_features = list(settings.stage_names)
    return settings


def _cut(config: dict[str, Any], whole: ImageEncoder, depth: int | None) -> dict[str, Any]:
    """The configuration of the stages down to *depth* halvings."""
    deepest = whole.halvings + len(whole.widths) - 1
    if len(whole.widths) < 2 or (depth or deepest) not in range(whole.halvings, deepest + 1):
        served = f"{whole.halvings} to {deepest}" if len(whole.widths) > 1 else "no"
        raise UsageError(
            f"This {config['model_type']} serves {served} halvings, and depth is {depth}. Choose "
            "--model-option depth, or an image encoder such as a ResNet."
        )
    dropped = deepest - (depth or deepest)
    if not dropped:
        return config
    count = len(config["depths"]) if isinstance(config.get("depths"), list) else 0
    per_stage = [k for k, v in config.items() if isinstance(v, list) and len(v) == count]
    cut: dict[str, Any] = {k: config[k][:-dropped] for k in per_stage}
    cut |= {k: count - dropped for k in COUNTS if config.get(k) == count}
    shorter = {**config, **cut}
    widths = ImageEncoder(shorter, 3).widths if cut and count > dropped else []
    if widths != whole.widths[:-dropped]:
        raise UsageError(
            f"A {config['model_type']} cannot be cut at {depth} halvings. Use --model-option "
            f"depth={deepest}."
        )
    return shorter


def _measured(config: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """Sides and channels of the feature maps of a picture of `PROBE` pixels a side."""
    with torch.device("meta"), torch.inference_mode():
        found = _maps(_backbone(config).eval(), torch.zeros(1, 3, PROBE, PROBE))
    return [int(part.shape[-1]) for part in found], [int(part.shape[1]) for part in found]
