"""Names that options take, some with what they mean: for help, completion and the checks."""

import math

from llmseg_cli.errors import UsageError, unknown

TEXT_CONTROLS = {
    "none": "",
    "shuffled": "another target's text",
    "random": "noise",
    "constant": "no text: what is learned from fixed numbers",
    "other-case": "of texts of cases: another case's",
    "library": "of texts of cases: the library's, the same for all",
}
SCHEDULES = {"one-time": "", "continuous": "again every --every steps"}
LLM_BLOCKS = ("pretrained", "random-frozen", "random-trainable", "identity", "mlp")
ENCODER_STARTS = {
    "pretrained": "",
    "random": "a control: drawn anew",
    "shuffled": "a control: the values of each pretrained tensor in another order, by --seed",
}
FREEZES = {
    "none": "",
    "statistics": "batch normalization goes by those of the weights, not by those of a batch",
    "all": "it is not trained",
}
FINAL_NORMS = {
    "plain": "weight 1, as published",
    "loaded": "the language model's own",
    "none": "",
}
SUGGESTIONS = {  # by what `suggest` chooses
    "random": "drawn by --seed; the control",
    "agreement": "least trusted masks",
    "diversity": "images least like the labeled ones and each other",
    "both": "the most different of the least trusted",
}
EXPLAINED = {  # what `explain` draws
    "attention": "that tokens receive, and their activation, around a language model's block",
    "grad-cam": "which places speak for a class, by gradients",
}
REGIONS = {  # whose logits Grad-CAM asks about
    "predicted": "the voxels that are predicted as the class",
    "all": "all voxels, as MONAI's GradCAM",
}
BEST_RULE = "best"  # of the combinations, by validation cases
COMBINATIONS = {  # of masks
    "vote": "the most frequent label; of equal ones that of the first folder",
    "union": "foreground where any has it, with the first one's label: finds more",
    "intersection": "where all agree, else background: is wrong less often",
    "staple": "masks count by how well they agree (SimpleITK)",
    "mean": "the mean of the probabilities that 'predict --probabilities' wrote beside the masks",
    BEST_RULE: "the one with the largest mean Dice of the validation cases of --split and --ref",
}
BLENDS = {  # of windows
    "gaussian": "the middle most",
    "constant": "all alike, as in the papers' code",
}
FUSION_NAMES = {
    "token-map": "the authors' code",
    "token-map-balance": "",
    "sentence-modulation": "",
    "query-attention": "learned queries attend to text and image, voxels to them",
}
CACHE_FORMATS = {
    "float32": "",
    "float16": "half the disk, rounded; refused where that would lose more than noise",
    "blocks": "compressed, the same to the bit; for scans that are not resampled",
}
NORMALIZATIONS = ("zscore", "zscore-nonzero", "minmax", "none", "window:LOW:HIGH")
AUGMENTATIONS = {
    "none": "",
    "paper": "rotations by 90 degrees, flips, brightness",
    "standard": "flips, brightness, small rotation, scaling, gamma, noise",
    "no-flips": "standard without flips, for classes of the left and the right",
    "turned": "paper and standard, for pictures without up and down",
    "strong": "flips, and nnU-Net's rotation, zoom, noise, blur, contrast, low resolution, gamma",
    "strong-no-flips": "strong without flips and half turns, for classes of the left and the right",
    "strong-turned": "strong with flips up and down, for pictures without them",
    "strong-mr": "strong, bias field, motion, ghosts, spikes, thick slices of MR scans",
    "strong-mr-no-flips": "strong-mr without flips and half turns",
}
UNFLIPPED = {  # the same for classes of the left and the right
    "standard": "no-flips",
    "strong": "strong-no-flips",
    "strong-mr": "strong-mr-no-flips",
}
OPTIMIZERS = ("sgd", "adam", "adamw")
LEARNING_RATE_SCHEDULES = {
    "poly": "",
    "cosine": "",
    "step": "",
    "constant": "",
    "plateau": "halved where the loss has not fallen for 10 epochs",
}
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
MEMORY_FORMATS = ("auto", "channels-last", "contiguous")
CHECKPOINT_NAMES = {"final": "", "best": "on the validation cases"}
SAM_NAMES = {
    "lite-medsam": "",
    "vit_b:PATH": "",
    "vit_l:PATH": "",
    "vit_h:PATH": "",
    "medsam:PATH": "",
    "transformers:PATH": "",
    "transformers:ID": "SAM, SAM 2, SAM-HQ",
}
MASKS = {  # of mining
    "sam": "",
    "network": "the control: the network's own where SAM's would be known",
}
PROMPTS = ("box", "points", "mask")
AXES = ("x", "y", "z")


def parse_window(normalize: str) -> tuple[float, float] | None:
    """The bounds of `window:LOW:HIGH`; None for the other ways to normalize intensities.

    Raises:
        UsageError: If the way is unknown, or the window is empty.
    """
    if not normalize.startswith("window:"):
        if normalize not in NORMALIZATIONS:
            raise unknown("normalization", normalize, NORMALIZATIONS)
        return None
    try:
        low, high = (float(part) for part in normalize.split(":")[1:])
    except ValueError:
        low = high = 0.0
    if not -math.inf < low < high < math.inf:
        raise UsageError(f"normalize '{normalize}': expected window:LOW:HIGH, as window:-125:275.")
    return low, high
