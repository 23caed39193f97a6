"""Settings of a training run; each field is a command-line option and a YAML key."""

from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.choices import (
    AUGMENTATIONS,
    CACHE_FORMATS,
    ENCODER_STARTS,
    FINAL_NORMS,
    FREEZES,
    FUSION_NAMES,
    LEARNING_RATE_SCHEDULES,
    LLM_BLOCKS,
    MEMORY_FORMATS,
    NORMALIZATIONS,
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULES,
    TEXT_CONTROLS,
)
from llmseg_cli.errors import UsageError
from llmseg_cli.options import (
    option,
    parse_duration,
    parse_layers,
    parse_sizes,
    parse_spacing,
    refuse_unknown_choices,
)
from llmseg_cli.registry import LOSSES, METHODS, MODELS

OF_OPTIMIZER = {  # defaults, from examples/defaults/RESULTS.md
    "learning_rate": {"adam": 0.002, "adamw": 0.002, "sgd": 0.05},
    "weight_decay": {"adam": 0.0, "adamw": 0.01, "sgd": 1e-4},
}
OF_THE_COURSE = (  # settings that make no difference to a single step
    *("steps", "budget", "accumulate", "warmup", "ema", "embed_llm"),
    *("validate_every", "save_every", "log_every"),
)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """All about training that is not data, method or knowledge; a recipe is a set of these."""

    model: str = option("unet", "Network.", choices=MODELS.offered, basic=True)
    model_option: tuple[str, ...] = option(
        (), "Option of the network; repeat for more.", kind="KEY=VALUE"
    )
    image_encoder: str | None = option(
        None,
        "Pre-trained encoder of unet, unetpp, cascade and merit, for pictures: "
        "efficientnet-lite0 or lite-medsam (embedded), or PATH or ID of a ResNet, ConvNeXt, Swin "
        "or other model of transformers with feature maps.",
        kind="MODEL",
    )
    image_encoder_init: str = option(
        "pretrained", "First weights of the image encoder.", choices=ENCODER_STARTS
    )
    image_encoder_freeze: str = option(
        "none", "What of the image encoder stays as it starts.", choices=FREEZES
    )
    image_encoder_learning_rate_factor: float = option(
        1.0, "Learning rate of the image encoder, in multiples of --learning-rate.", minimum=0
    )
    llm_block: str | None = option(
        None,
        "Block of medvisionllama; all but the first, which is its default, are controls.",
        choices=LLM_BLOCKS,
    )
    llm_model: str | None = option(
        None,
        "Language model of the block: smollm2 (its default), PATH, FILE.gguf or ID.",
        kind="MODEL",
    )
    llm_layers: tuple[int, ...] = option(
        (-1,), "Layers of the block, counted from 0, or from -1, the last.", parse=parse_layers
    )
    llm_rotary: bool = option(
        False, "Turn the block's queries and keys by their position, as language models do."
    )
    llm_final_norm: str = option(
        "plain",
        "Norm behind the block.",
        choices=FINAL_NORMS,
    )
    llm_lora: int = option(
        0, "Rank of trained adapters (LoRA) within the frozen block; 0 has none.", minimum=0
    )
    embed_llm: bool = option(False, "Keep the pretrained block in the run, not its digest alone.")
    steps: int = option(2000, "Training steps (batches).", minimum=1, basic=True)
    budget: str = option(
        "",
        "Time for the steps, such as 30m or 2h, instead of their number; the learning rate then "
        "follows the clock. Validation at the end and saving come on top.",
        kind="TIME",
        basic=True,
    )
    batch: int = option(
        2, "Labeled cases per step; as many unlabeled ones are added.", minimum=1, basic=True
    )
    accumulate: int = option(
        1,
        "Batches per step, whose gradients are averaged: with little memory, a smaller --batch and "
        "more of them.",
        minimum=1,
    )
    patch: tuple[int, ...] = option(
        (),
        "Patch in voxels, X,Y,Z; two numbers train in 2D. auto takes that of --init, or chooses as "
        "'llmseg plan' does.",
        parse=parse_sizes,
        basic=True,
    )
    slices: int = option(
        1,
        "Slices of a volume that a network of 2D patches sees, an odd number: one, and its "
        "neighbors as further channels.",
        minimum=1,
    )
    spacing: tuple[float, ...] = option(
        (),
        "Resample to this spacing in mm, one or three numbers; 0 keeps each scan's own. auto does "
        "where a patch is given, and is chosen with it otherwise.",
        parse=parse_spacing,
        basic=True,
    )
    normalize: str = option(
        "zscore", "How intensities are normalized.", choices=NORMALIZATIONS, is_open=True
    )
    augment: str = option("standard", "Augmentation.", choices=AUGMENTATIONS)
    views: int = option(
        0,
        "Augmented patches of each case that come again in turns, such as 4, so that an image "
        "encoder with --image-encoder-freeze all remembers what it saw; 0 has ever new ones.",
        minimum=0,
    )
    foreground: float = option(
        0.5, "Share of labeled patches that are centered on foreground.", minimum=0
    )
    loss: str = option("dice-ce", "Loss of labels and pseudo-labels.", choices=LOSSES.meanings)
    class_weights: str = option(
        "",
        "Weights of the classes in the averages of the loss: balanced, by the labeled voxels, "
        "or a number a class, such as 0.2,1,1.",
        kind="TEXT",
    )
    optimizer: str = option("adam", "Optimizer.", choices=OPTIMIZERS)
    learning_rate: float = option(
        None,
        "Learning rate at the start; default: 0.002 of adam and adamw, 0.05 of sgd.",
        minimum=0,
    )
    momentum: float = option(0.9, "Momentum of sgd.", minimum=0)
    weight_decay: float = option(
        None, "Weight decay; default: 0 of adam, 0.01 of adamw, 0.0001 of sgd.", minimum=0
    )
    learning_rate_schedule: str = option(
        "poly", "Learning rate over the steps.", choices=LEARNING_RATE_SCHEDULES
    )
    warmup: int = option(0, "Steps of linear warm-up.", minimum=0)
    clip_grad: float = option(
        0.0, "Clip the norm of each network's gradients; 0 does not.", minimum=0
    )
    ema: float = option(
        0.0,
        "Decay of a moving average of the weights that replaces them at the end; "
        "0 keeps the last weights.",
        minimum=0,
    )
    precision: str = option("auto", "Numbers of convolutions.", choices=PRECISIONS)
    memory_format: str = option("auto", "Order of tensors in memory.", choices=MEMORY_FORMATS)
    gradient_checkpointing: bool = option(
        False,
        "Keep the inputs of blocks alone and compute their activations again in the backward pass: "
        "less memory, a third more time.",
        panel="Machine",
    )
    compile: bool = option(
        False, "Compile the networks with torch.compile: for a GPU; on a CPU it is slower."
    )
    deterministic: bool = option(False, "Demand deterministic algorithms.")
    device: str = option(
        "auto",
        "Where it runs: auto, cpu, cuda or cuda:N.",
        kind="DEVICE",
        envvar="LLMSEG_DEVICE",
        panel="Machine",
        basic=True,
    )
    workers: int = option(
        1, "Threads that prepare batches.", envvar="LLMSEG_WORKERS", minimum=0, panel="Machine"
    )
    cache: Path | None = option(
        None,
        "Folder of preprocessed cases; default: the user's cache folder.",
        kind="FOLDER",
        envvar="LLMSEG_CACHE",
        panel="Machine",
    )
    cache_format: str = option(
        "float32", "How prepared cases are kept there.", choices=CACHE_FORMATS, panel="Machine"
    )
    validate_every: int = option(500, "Steps between scores on the validation cases.", minimum=1)
    save_every: int = option(500, "Steps between saved states, for --resume.", minimum=1)
    log_every: int = option(10, "Steps between lines of log.jsonl.", minimum=1)

    def __post_init__(self) -> None:
        refuse_unknown_choices(self)
        for name, of_optimizer in OF_OPTIMIZER.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, of_optimizer[self.optimizer])
        if not 0 <= self.foreground <= 1:
            raise UsageError(f"foreground {self.foreground}: expected a share from 0 to 1.")
        if self.compile and self.gradient_checkpointing:
            raise UsageError("--compile and --gradient-checkpointing do not go together; drop one.")
        if self.slices % 2 == 0:
            raise UsageError(f"--slices {self.slices}: expected an odd number, such as 3.")
        if self.slices > 1 and len(self.patch) == 3:
            raise UsageError(
                f"--slices {self.slices} is for training in 2D: give --patch two sides, as 128,128."
            )
        _ = self.budget_s  # refuses what is no time
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema {self.ema}: expected a decay from 0 to below 1, such as 0.99.")

    @property
    def budget_s(self) -> float:
        """Seconds for the steps; 0 where their number is given."""
        return parse_duration(self.budget) if self.budget else 0.0

    @property
    def dimensions(self) -> int:
        """2 or 3, by the number of sides of the patch."""
        return len(self.patch)


@dataclass(frozen=True, kw_only=True)
class SemiSettings:
    """What `train-semi` adds: the way of learning, and the knowledge of a language model."""

    method: str = option(
        "usl", "Way of learning.", choices=METHODS.names, panel="Method", basic=True
    )
    method_option: tuple[str, ...] = option(
        (), "Option of the method; repeat for more.", kind="KEY=VALUE", panel="Method"
    )
    unlabeled_batch: int = option(
        0, "Unlabeled cases per step; 0 takes as many as --batch.", minimum=0, panel="Method"
    )
    pseudo: Path | None = option(
        None,
        "Folder of pseudo-labels: of 'llmseg mine-sam', or masks named like the cases.",
        kind="FOLDER",
        panel="Method",
        basic=True,
    )
    schedule: str = option(
        "one-time",
        "When pseudo-labels are made.",
        choices=SCHEDULES,
        panel="Method",
    )
    every: int = option(
        200,
        "Steps between two minings; without --init and --pseudo also before the first.",
        minimum=1,
        panel="Method",
    )
    text: Path | None = option(
        None, "File of 'llmseg embed'.", kind="FILE", panel="Text", basic=True
    )
    text_control: str = option(
        "none",
        "A control instead of the text.",
        choices=TEXT_CONTROLS,
        panel="Text",
    )
    fusion: str = option(
        "token-map-balance",
        "How text enters.",
        choices=FUSION_NAMES,
        panel="Text",
    )

    def __post_init__(self) -> None:
        refuse_unknown_choices(self)
        if self.text_control != "none" and self.text is None:
            raise UsageError(
                f"--text-control {self.text_control} needs the text that it replaces: pass "
                "--text embeddings.safetensors ('llmseg embed' writes it)."
            )
