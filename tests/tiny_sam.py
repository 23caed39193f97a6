"""Small random Segment Anything models, in the formats of segment-anything and transformers."""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from llmseg_cli.knowledge.weights.transformers import load_transformers
from llmseg_cli.numerics.torchvision_operators import ensure_torchvision

SIDE = 64  # of the square
PATCH = 16
WIDTH = 32
VISION = {
    "hidden_size": WIDTH,
    "output_channels": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
    "window_size": 3,
    "global_attn_indexes": [1, 2],
    "num_pos_feats": WIDTH // 2,
    "mlp_ratio": 2.0,
}
DECODER = {
    "hidden_size": WIDTH,
    "mlp_dim": 48,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": WIDTH,
}
PROMPTS = {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": PATCH}
HIERA = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 8,
    "num_attention_heads": 1,
    "image_size": [SIDE, SIDE],
    "blocks_per_stage": [1, 1, 2, 1],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 2, 2],
    "window_size_per_stage": [4, 4, 4, 4],
    "global_attention_blocks": [3],
    "window_positional_embedding_background_size": [4, 4],
}
VISION2 = {
    "backbone_config": HIERA,
    "backbone_channel_list": [64, 32, 16, 8],
    "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    "fpn_hidden_size": WIDTH,
}


def randomized(module, seed=0):
    """Every tensor drawn anew, so that none stays at the zero or one that it starts with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                spread = 0.4 if tensor.ndim > 1 else 0.2
                offset = float(tensor.ndim == 1 and bool((tensor == 1).all()))
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread + offset)
    return module.eval()


def write_sam(folder: Path, kind: str = "sam") -> Path:
    """A model of `kind` (sam, sam_hq, sam2, sam2_video), with its processor."""
    hf = load_transformers()
    if kind.startswith("sam2"):
        config_class, model_class = {
            "sam2": (hf.Sam2Config, hf.Sam2Model),
            "sam2_video": (hf.Sam2VideoConfig, hf.Sam2VideoModel),
        }[kind]
        config = config_class(
            vision_config=VISION2, mask_decoder_config=DECODER, prompt_encoder_config=PROMPTS
        )
        processor = hf.Sam2Processor(hf.Sam2ImageProcessor(size={"height": SIDE, "width": SIDE}))
    else:
        config_class, model_class, processor_class = {
            "sam": (hf.SamConfig, hf.SamModel, hf.SamProcessor),
            "sam_hq": (hf.SamHQConfig, hf.SamHQModel, hf.SamHQProcessor),
        }[kind]
        decoder = DECODER if kind == "sam" else {**DECODER, "vit_dim": WIDTH}
        config = config_class(
            vision_config=VISION, mask_decoder_config=decoder, prompt_encoder_config=PROMPTS
        )
        square = {"height": SIDE, "width": SIDE}
        processor = processor_class(
            hf.SamImageProcessor(size={"longest_edge": SIDE}, pad_size=square)
        )
    randomized(model_class(config)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def original_sam(*, side=SIDE, width=WIDTH, depth=3, windows=(0,), random=True):
    """`Sam` of segment-anything; *windows* are the blocks without global attention."""
    ensure_torchvision()
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    encoder = ImageEncoderViT(
        depth=depth,
        embed_dim=width,
        img_size=side,
        mlp_ratio=2,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        num_heads=2,
        patch_size=PATCH,
        use_rel_pos=True,
        global_attn_indexes=[i for i in range(depth) if i not in windows],
        window_size=3,
        out_chans=WIDTH,
    )
    grid = (side // PATCH, side // PATCH)
    prompts = PromptEncoder(WIDTH, grid, (side, side), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=WIDTH, num_heads=2, mlp_dim=48)
    decoder = MaskDecoder(transformer_dim=WIDTH, transformer=transformer, iou_head_hidden_dim=WIDTH)
    sam = Sam(encoder, prompts, decoder)
    return randomized(sam) if random else sam


def picture(shape, seed=0):
    """Smooth noise `(3, X, Y)` of whole bytes, float32 in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 9, 7, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, shape, mode="bicubic")[0].clamp(0, 1)
    return (fine * 255).round().div(255).numpy().astype(np.float32)


def published_picture():
    """The picture `(3, X, Y)` on which the authors' code gave the values that tests compare."""
    place = torch.arange(256, dtype=torch.float32)
    y, x = place[:, None], place[None]
    waves = (
        torch.sin(y / 17) * torch.cos(x / 29),
        torch.sin(y * x / 999),
        torch.cos((y + x) / 11),
    )
    return (torch.stack(waves) * 0.5 + 0.5).mT.contiguous().numpy()
