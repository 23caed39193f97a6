"""Open a run folder: its settings, and its networks ready to predict."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.at_hand import refuse_absent_run
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import BEST, CONFIG, WEIGHTS
from llmseg_cli.choices import CHECKPOINT_NAMES
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.errors import ArtifactError, UsageError, is_out_of_memory, unknown
from llmseg_cli.inference.folding import fold_normalization, hold_convolutions_as
from llmseg_cli.models.local_global import build_network
from llmseg_cli.models.medvisionllama import boosters_of
from llmseg_cli.models.text_features import TextBank, TextFeatures
from llmseg_cli.models.text_fusion import TextFused
from llmseg_cli.numerics.class_softmax import class_softmax
from llmseg_cli.registry import METHODS, MODELS, WITHOUT_LABELS
from llmseg_cli.training.checkpoints import load_into, load_weights, refuse_unfit
from llmseg_cli.training.precision import (
    autocast,
    choose_device,
    choose_dtype,
    choose_memory_format,
)
from llmseg_cli.workflows.runs.sides import sides_for
from llmseg_cli.workflows.runs.texts import empty_features, opened_bank

if TYPE_CHECKING:
    from llmseg_cli.knowledge.parts.llm_layers import LLMLayers

CHECKPOINTS = dict(zip(CHECKPOINT_NAMES, (WEIGHTS, BEST), strict=True))
UNBUILT = (
    ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, ImportError,
    AssertionError,
)  # fmt: skip


@dataclass
class OpenRun:
    """A run whose networks are loaded.

    Args:
        config: Its `config.yaml`.
        networks: Name to network, in evaluation mode on the device; those that will answer.
        device: Where they are.
        dtype: Number format of the convolutions.
        shares: Name to the weight of a network in the mean; None weighs all alike.
        temperatures: Name to what a network's logits are divided by in a second set of
            probabilities; None asks for no such set.
    """

    config: RunConfig
    networks: dict[str, nn.Module]
    device: torch.device
    dtype: torch.dtype
    shares: dict[str, float] | None = None
    temperatures: dict[str, float] | None = None

    @property
    def sets(self) -> int:
        """Sets of K probabilities that `probabilities` returns, 1 or 2."""
        return 1 if self.temperatures is None else 2

    @property
    def bank(self) -> TextBank | None:
        """The texts of cases that it is asked with; None if it takes none."""
        banks = (getattr(network, "bank", None) for network in self.networks.values())
        return next(filter(None, banks), None)

    @property
    def preprocessing(self) -> Preprocessing:
        """How images were prepared for training, and are for prediction."""
        return preprocessing_of(self.config)

    @torch.inference_mode()
    def probabilities(
        self, image: Tensor, *, hear: Callable[[Tensor], None] | None = None
    ) -> Tensor:
        """Softmax of the network, or the mean over networks.

        Args:
            image: `(B, C, X, Y[, Z])` on any device.
            hear: Hears that of each network, one after another; what it hears is changed
                afterwards.

        Returns:
            `(B, K, X, Y[, Z])` float32 on the run's device; with temperatures 2 K, the plain
            probabilities before those at their temperature.
        """
        layout = choose_memory_format("auto", dimensions=image.ndim - 2)
        placed = image.to(self.device).to(memory_format=layout)
        total: Tensor | None = None
        with autocast(self.device, self.dtype):
            for name, network in self.networks.items():
                scores = network(placed)
                share = class_softmax(scores)
                if hear:
                    hear(share)
                if self.temperatures is not None:
                    scaled = class_softmax(scores.float() / self.temperatures[name])
                    share = torch.cat([share, scaled], dim=1)
                if self.shares is not None:
                    share.mul_(self.shares[name])
                total = share if total is None else total.add_(share)
        assert total is not None
        return total if self.shares is not None else total.div_(len(self.networks))


def open_run(
    folder: Path,
    *,
    device: str = "auto",
    network: str | None = None,
    checkpoint: str = "final",
    precision: str = "auto",
    as_trained: bool = False,
    cache: Path | None = None,
    text: Path | None = None,
) -> OpenRun:
    """Load a run's networks.

    Args:
        folder: The run folder.
        device: auto, cpu, cuda or cuda:N.
        network: A network's name, or `mean` of all; default: what the run recorded.
        checkpoint: `final`, or `best` on the validation cases.
        precision: auto, fp32, bf16 or fp16.
        as_trained: Leave the networks as training has them. Otherwise normalization is folded into
            convolutions, which answers the same up to rounding, sooner.
        cache: llmseg's cache folder, if it is not the usual one; a run may refer to a model in it.
        text: Texts of the images, for a run of texts of cases; others do not look at it.

    Raises:
        ArtifactError: If the folder is no finished run or its weights do not fit.
        UsageError: If it has no such network or checkpoint, or has learned no labels.
    """
    refuse_absent_run(folder)
    config = RunConfig.load(folder / CONFIG)
    if config.method in WITHOUT_LABELS:
        raise UsageError(
            f"{folder} knows no organs: '{config.method}' has trained it without labels. Start a "
            f"training from it, and ask that: llmseg train-sup --init {folder}"
        )
    bank = opened_bank(text, config, run=folder)
    source = checkpoint_file(folder, checkpoint)
    weights = load_weights(source)
    answer = network or config.answer
    if answer not in (*config.networks, "mean"):
        raise unknown("network of this run", answer, (*config.networks, "mean"))
    names = config.networks if answer == "mean" else (answer,)
    place = choose_device(device)
    dtype = choose_dtype(precision, place)
    networks = {}
    with built_of(folder / CONFIG):
        build = network_builder(config, bank, cache=cache)
        for name in names:
            with torch.device("meta"):  # takes no memory, whatever sizes config.yaml asks for
                sketch = build(name)
            refuse_unfit(sketch, weights.get(name, {}), source=f"{source} ({name})")
    for name in names:
        built = build(name)
        load_into(built, weights[name], source=f"{source} ({name})")
        layout = choose_memory_format("auto", dimensions=len(config.patch))
        built = built.eval().requires_grad_(False).to(place)
        hold_blocks_as(built, dtype)
        if as_trained:
            built.to(memory_format=layout)  # type: ignore[call-overload]
        else:
            made_ready(built, dtype, layout)
        networks[name] = built
    return OpenRun(config, networks, place, dtype)


def made_ready(network: nn.Module, dtype: torch.dtype, layout: torch.memory_format) -> None:
    """Prepare a network for predictions: what it answers is the same up to rounding, and sooner."""
    network.eval().requires_grad_(False)
    fold_normalization(network)
    hold_convolutions_as(network, dtype)
    network.to(memory_format=layout)  # type: ignore[call-overload]


@contextmanager
def built_of(path: Path) -> Iterator[None]:
    """Say in one sentence that settings describe no network, whatever part of torch finds out.

    Raises:
        ArtifactError: Instead of what constructors raise for values that they cannot have.
    """
    try:
        yield
    except UsageError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except UNBUILT as error:
        # sizes beyond any machine are nonsense, not want of memory
        if is_out_of_memory(error) and "overflowed" not in str(
            error
        ):  # of sizes beyond any machine
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArtifactError(
            f"{path} describes no network that can be built ({first[:200]}). Take it from a sound "
            "copy, or train anew."
        ) from error


def checkpoint_file(folder: Path, checkpoint: str) -> Path:
    """The weights of a run, `final` or `best` on its validation cases.

    Raises:
        ArtifactError: If the run has no best ones.
        UsageError: If *checkpoint* is neither.
    """
    if checkpoint not in CHECKPOINTS:
        raise unknown("checkpoint", checkpoint, CHECKPOINTS)
    path = folder / CHECKPOINTS[checkpoint]
    if checkpoint == "best" and not path.is_file():
        raise ArtifactError(
            f"{folder} has no {BEST}: its split has no validation cases to choose by. Use the "
            "final checkpoint."
        )
    return path


def preprocessing_of(config: RunConfig) -> Preprocessing:
    """How a run prepares its images."""
    values = config.preprocessing
    return Preprocessing(tuple(values["spacing"]), values["normalize"])


def asked_networks(networks: Mapping[str, nn.Module], answer: str) -> dict[str, nn.Module]:
    """Those of a method's networks that answer: the named one, or all for `mean`."""
    return dict(networks) if answer == "mean" else {answer: networks[answer]}


def network_builder(
    config: RunConfig,
    text: TextFeatures | TextBank | None = None,
    llm: "LLMLayers | None" = None,
    *,
    cache: Path | None = None,
) -> Callable[..., nn.Module]:
    """Returns what builds one network of a run, by its name if that is not the first.

    Args:
        config: The run's settings.
        text: Text features, or those of cases; None takes zeros of the recorded shapes, to be
            loaded over.
        llm: Layers of the language model; None reads them again where the run does not hold them.
        cache: llmseg's cache folder, if it is not the usual one.

    Raises:
        WeightsError: If the language model cannot be had, or is not what the run was trained with.
    """
    model, method = MODELS.load(config.model), METHODS.load(config.method)
    options = dict(config.model_options)
    if isinstance(options.get("residual"), bool):  # of a run that was made when there were two
        options["residual"] = "inner" if options["residual"] else "none"
    chosen = MODELS.fit_options(config.model, options, place="model_options")
    make_booster: Callable[[], Any] | None = None
    if config.llm_block:
        from llmseg_cli.workflows.runs.llm_booster import booster_maker  # loads transformers

        make_booster = booster_maker(config.llm_block, llm, cache=cache)

    def build(name: str = "") -> nn.Module:
        options: dict[str, Any] = {**chosen, **sides_for(config.model, config.patch)}
        if config.image_encoder:
            freeze = config.settings.get("image_encoder_freeze", "none")
            options["encoder"] = empty_encoder(config.image_encoder, config.channels, freeze=freeze)
        if make_booster:
            options["booster"] = make_booster()
        backbone = build_network(config.model, model, config.channels, len(config.classes), options)
        backbone.grid_of(config.patch)  # refuses a patch that the network does not divide
        if config.text is not None:
            features = text or empty_features(config.text)
            fusion = config.text["fusion"]
            backbone = TextFused(backbone, features, fusion=fusion, patch=config.patch)
        return method.around(backbone, config.method_options, name=name)

    return build


def hold_blocks_as(network: nn.Module, dtype: torch.dtype) -> None:
    """Hold shared blocks of a language model in the number format that they compute in."""
    for booster in boosters_of(network):
        booster.hold_as(dtype)


def empty_encoder(record: dict[str, Any], in_channels: int, *, freeze: str = "none") -> nn.Module:
    """The image encoder of a run's record, to be loaded over."""
    from llmseg_cli.knowledge.parts.image_encoder import encoder_from  # loads transformers

    return encoder_from(record, in_channels, freeze=freeze)
