"""SAM of segment-anything and SAM of transformers, with the same random weights."""

import re

import numpy as np
import pytest
import torch
from tiny_sam import DECODER, PROMPTS, SIDE, VISION, original_sam, picture

from llmseg_cli.knowledge.sam.framing import IMAGENET_DEVIATION, IMAGENET_MEAN, Framing
from llmseg_cli.knowledge.sam.huggingface import TransformersSam
from llmseg_cli.knowledge.sam.original import OriginalSam
from llmseg_cli.knowledge.sam.prompt import Prompt
from llmseg_cli.knowledge.weights.transformers import load_transformers

SHAPE = (50, 39)
POINTS = np.array([[20, 11], [33, 17], [5, 30]], np.float32)
INSIDE = np.array([True, True, False])
REGION = np.zeros(SHAPE, bool)
ASKED = {
    "box": Prompt(REGION, (8.5, 4, 40, 31), POINTS[:0], INSIDE[:0]),
    "points": Prompt(REGION, None, POINTS, INSIDE),
    "one point": Prompt(REGION, None, POINTS[:1], INSIDE[:1]),
    "box and points": Prompt(REGION, (8.5, 4, 40, 31), POINTS, INSIDE),
}
NAMES = (  # of segment-anything, of transformers
    (r"image_encoder", "vision_encoder"),
    (r"patch_embed\.proj", "patch_embed.projection"),
    (r"\.blocks\.", ".layers."),
    (r"neck\.0", "neck.conv1"),
    (r"neck\.1", "neck.layer_norm1"),
    (r"neck\.2", "neck.conv2"),
    (r"neck\.3", "neck.layer_norm2"),
    (r"mask_downscaling\.0", "mask_embed.conv1"),
    (r"mask_downscaling\.1", "mask_embed.layer_norm1"),
    (r"mask_downscaling\.3", "mask_embed.conv2"),
    (r"mask_downscaling\.4", "mask_embed.layer_norm2"),
    (r"mask_downscaling\.6", "mask_embed.conv3"),
    (r"point_embeddings", "point_embed"),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    (r"output_upscaling\.0", "upscale_conv1"),
    (r"output_upscaling\.1", "upscale_layer_norm"),
    (r"output_upscaling\.3", "upscale_conv2"),
    (r"(mlps\.\d|iou_prediction_head)\.layers\.0", r"\1.proj_in"),
    (r"(mlps\.\d|iou_prediction_head)\.layers\.1", r"\1.layers.0"),
    (r"(mlps\.\d|iou_prediction_head)\.layers\.2", r"\1.proj_out"),
    (r"\.norm", ".layer_norm"),
)


def renamed(name):
    """A tensor's name in segment-anything to its name in transformers."""
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


@pytest.mark.parametrize("kind", ASKED)
def test_both_packages_answer_alike(kind):
    sam = original_sam()
    state = {renamed(k): v for k, v in sam.state_dict().items() if not k.startswith("pixel_")}
    key = "shared_embedding.positional_embedding"
    state["shared_image_embedding.positional_embedding"] = state[f"prompt_encoder.{key}"].clone()
    hf = load_transformers()
    model = hf.SamModel(
        hf.SamConfig(
            vision_config=VISION,
            mask_decoder_config={**DECODER, "layer_norm_eps": 1e-5},
            prompt_encoder_config=PROMPTS,
        )
    )
    model.load_state_dict(state)
    framing = Framing(SIDE, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
    cpu = {"device": torch.device("cpu"), "dtype": torch.float32}
    common = {"name": "", "digest": "", "framing": framing, **cpu}
    ours, theirs = OriginalSam(sam, **common), TransformersSam(model, **common)
    ours.low_side = theirs.low_side
    image = picture(SHAPE)
    first, second = ours.embed(image), theirs.embed(image)
    torch.testing.assert_close(first[0], second[0], rtol=2e-3, atol=2e-3)
    before = None
    for _ in range(2):  # the second time with the mask of the first
        (one,) = ours.ask([first], [ASKED[kind]], previous=[before])
        (other,) = theirs.ask([first], [ASKED[kind]], previous=[before])
        size = np.abs(one.logits).max()
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-4 * size)
        assert one.predicted_iou == pytest.approx(other.predicted_iou, rel=1e-4, abs=1e-4)
        before = one.low_logits
