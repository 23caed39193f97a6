"""The mask decoder of `segment-anything`, computed in an order that suits few tokens on one image.

A prompt is some ten tokens before 4,096 positions of the image. The package projects every position
to keys and values of each prompt; here the tokens are projected to where the positions are, which
is the same product in another order, and what prompts on one image share is not repeated for each.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def decode_prompts(
    decoder: Any, image: Tensor, places: Tensor, sparse: Tensor, dense: Tensor, masks: slice
) -> tuple[Tensor, Tensor]:
    """What `MaskDecoder.predict_masks` answers for N prompts on one image.

    Args:
        decoder: A `MaskDecoder` whose transformer is a `TwoWayTransformer`.
        image: The image embedding `(C, h, w)`.
        places: Positional encoding of the image's positions `(C, h, w)`, as the decoder's weights.
        sparse: Tokens of the prompts `(N, P, C)`.
        dense: Added to the image, `(N, C, h, w)`, or `(1, C, h, w)` for all alike.
        masks: Which of the decoder's masks are wanted.

    Returns:
        Logits `(N, M, 4h, 4w)`, and predicted IoU `(N, M)`.

    References:
        Kirillov et al., Segment Anything, ICCV 2023, appendix A. arXiv:2304.02643.
    """
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    prompts = torch.cat([own.expand(len(sparse), -1, -1), sparse.to(own.dtype)], dim=1)
    seen = (image + dense).to(own.dtype).flatten(2).mT.contiguous()
    tokens, rows = _two_way(decoder.transformer, prompts, seen, places.flatten(1).T.contiguous())
    mlps = decoder.output_hypernetworks_mlps[masks]
    wanted = range(len(decoder.output_hypernetworks_mlps))[masks]
    weights = torch.stack(
        [mlp(tokens[:, 1 + i]) for i, mlp in zip(wanted, mlps, strict=True)], dim=1
    )
    quality = decoder.iou_prediction_head(tokens[:, 0])[:, masks]
    return _masks(decoder.output_upscaling, rows, weights, image.shape[1:]), quality


def _two_way(
    transformer: Any, prompts: Tensor, rows: Tensor, places: Tensor
) -> tuple[Tensor, Tensor]:
    """Tokens `(N, T, C)` and the image's rows `(N, L, C)` after `TwoWayTransformer`.

    Args:
        transformer: The package's module.
        prompts: `(N, T, C)`.
        rows: `(N, L, C)`, or `(1, L, C)` for all alike.
        places: `(L, C)`.
    """
    tokens = prompts
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            tokens = layer.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + prompts
            tokens = tokens + layer.self_attn(placed, placed, tokens)
        tokens = layer.norm1(tokens)
        placed_rows = rows + places
        tokens = tokens + _of_image(
            layer.cross_attn_token_to_image, tokens + prompts, placed_rows, rows
        )
        tokens = layer.norm2(tokens)
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        rows = layer.norm4(
            _of_tokens(layer.cross_attn_image_to_token, rows, placed_rows, tokens + prompts, tokens)
        )
    found = _of_image(transformer.final_attn_token_to_image, tokens + prompts, rows + places, rows)
    return transformer.norm_final_attn(tokens + found), rows


def _of_image(attention: Any, asking: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Tokens attend to the image: `Attention(asking, keys, values)`, `(N, T, C)`.

    The bias of the keys adds the same to all positions, which the softmax does not see; the bias of
    the values goes through it unchanged.

    Args:
        attention: The package's module.
        asking: `(N, T, C)`.
        keys: `(N, L, C)`, or `(1, L, C)` for all alike.
        values: As *keys*.
    """
    heads = attention.num_heads
    queries = _by_head(attention.q_proj(asking), heads)  # (N, H, T, D)
    queries = queries / queries.shape[-1] ** 0.5
    turned = queries @ attention.k_proj.weight.unflatten(0, (heads, -1))  # (N, H, T, C)
    scores = turned.reshape(len(keys), -1, keys.shape[-1]) @ keys.mT
    found = scores.softmax(-1) @ values
    weight = attention.v_proj.weight.unflatten(0, (heads, -1))
    projected = found.reshape(turned.shape) @ weight.mT  # (N, H, T, D)
    return attention.out_proj(projected.transpose(1, 2).flatten(2) + attention.v_proj.bias)


def _of_tokens(
    attention: Any, rows: Tensor, asking: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """The image attends to tokens: `rows + Attention(asking, keys, values)`, `(N, L, C)`.

    Args:
        attention: The package's module.
        rows: `(N, L, C)`, or `(1, L, C)` for all alike.
        asking: As *rows*.
        keys: `(N, T, C)`.
        values: `(N, T, C)`.
    """
    heads = attention.num_heads
    key = _by_head(attention.k_proj(keys), heads)  # (N, H, T, D)
    key = key / key.shape[-1] ** 0.5
    turned = key @ attention.q_proj.weight.unflatten(0, (heads, -1))  # (N, H, T, C)
    bias = key @ attention.q_proj.bias.unflatten(0, (heads, -1))[..., None]  # (N, H, T, 1)
    scores = turned.reshape(len(asking), -1, asking.shape[-1]) @ asking.mT
    shares = (scores.reshape(*key.shape[:3], -1) + bias).softmax(2).flatten(1, 2)  # (N, HT, L)
    value = _by_head(attention.v_proj(values), heads)
    outward = attention.out_proj.weight.unflatten(1, (heads, -1)).permute(1, 2, 0)  # (H, D, C)
    added = (value @ outward).flatten(1, 2)  # (N, HT, C)
    return torch.baddbmm(
        (rows + attention.out_proj.bias).expand(len(added), -1, -1), shares.mT, added
    )


def _by_head(projected: Tensor, heads: int) -> Tensor:
    """`(N, T, H * D)` as `(N, H, T, D)`."""
    return projected.reshape(*projected.shape[:2], heads, -1).transpose(1, 2)


def _masks(upscaling: Any, rows: Tensor, weights: Tensor, grid: tuple[int, ...]) -> Tensor:
    """The upscaled image, weighed: `(N, M, 4h, 4w)`. Transposed convolutions that do not overlap.

    Args:
        upscaling: The package's `output_upscaling`.
        rows: `(N, L, C)`.
        weights: `(N, M, C / 8)`.
        grid: `(h, w)`, with `h * w` = L.
    """
    first, norm, activation, second, last = upscaling
    wide = _upscaled(first, rows)  # (N, L, 4, C / 4)
    wide = activation(F.layer_norm(wide, wide.shape[-1:], norm.weight, norm.bias, norm.eps))
    fine = last(_upscaled(second, wide))  # (N, L, 4, 4, C / 8)
    masks = fine.flatten(1, 3) @ weights.mT
    places = masks.mT.reshape(*weights.shape[:2], *grid, 2, 2, 2, 2)  # (N, M, h, w, y, x, y, x)
    return places.permute(0, 1, 2, 4, 6, 3, 5, 7).flatten(5).flatten(2, 4)


def _upscaled(layer: Any, rows: Tensor) -> Tensor:
    """A transposed convolution of kernel and stride 2, position by position: `(..., 4, C')`."""
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 * C', C), y before x
    found = F.linear(rows, weight, layer.bias.repeat(4))
    return found.reshape(*rows.shape[:-1], 4, -1)
