"""What Dice and cross entropy of all sums of heads are made of, in two walks over the voxels."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

FEW, MANY = 1 << 18, 1 << 26  # values at once: what a processor's cache holds, and on a GPU


def subsets_of(count: int, like: Tensor) -> Tensor:
    """The non-empty subsets of so many heads, `(2 ** count - 1, count)` of 0 and 1."""
    numbers = torch.arange(1, 1 << count, device=like.device)
    places = torch.arange(count, device=like.device)
    return (numbers.unsqueeze(1) >> places & 1).to(like.dtype)


@dataclass(frozen=True)
class Voxels:
    """Of a label map, and how much each counts.

    Args:
        target: Class of every voxel, `(B, V)` int64.
        shares: How much each counts in the cross entropy, `(B, V)`; None for 1.
        known: 1 where a voxel counts in the Dice, else 0, `(B, V)`; None for all.
    """

    target: Tensor
    shares: Tensor | None = None
    known: Tensor | None = None


class SubsetSums(torch.autograd.Function):
    r"""Sums over voxels for the softmax $p^S$ of the sum of the logits of each subset of heads.

    For each of m subsets S and each class k: $\sum_v p^S_{vk} y_{vk}$ `(m, K)`,
    $\sum_v (p^S_{vk})^2$ `(m, K)`; of all together, $-\sum_{S v} w_v \log p^S_{v y_v}$, a scalar;
    and, without gradient, $\sum_v y_{vk}$ `(K,)`.

    Piece by piece, so that what is computed stays in the processor's cache, and once more in the
    backward pass, so that nothing of size m is kept. One matrix product adds up the logits of all
    subsets, one mask tells the classes of all. Logits are shifted by that of the right class: the
    cross entropy is the largest minus the logarithm of its probability, exact where that of the
    right class is 0, too, and one logarithm does for the product of many probabilities.
    """

    @staticmethod
    def forward(ctx: Any, voxels: Voxels, *heads: Tensor) -> tuple[Tensor, ...]:
        """Of heads `(B, K, V)`."""
        ctx.voxels, classes = voxels, heads[0].shape[1]
        ctx.save_for_backward(*heads)
        subsets = subsets_of(len(heads), heads[0])
        both = subsets.new_zeros(len(subsets), classes)
        squares, entropy = torch.zeros_like(both), subsets.new_zeros(())
        sizes = subsets.new_zeros(classes)
        for piece in _pieces(heads, voxels, len(subsets)):
            logits = piece.summed(subsets)
            shares = logits.softmax(dim=1)
            least = logits.amax(dim=1).sum(dim=0) - _log_of_product(shares.amax(dim=1), classes)
            entropy += least.sum() if piece.shares is None else least @ piece.shares
            if piece.known is not None:
                shares *= piece.known
            squares += torch.linalg.vector_norm(shares, dim=2).square_()
            sizes += piece.is_class.sum(dim=1)
            both += torch.mul(shares, piece.is_class, out=logits).sum(dim=2)
        ctx.mark_non_differentiable(sizes)
        return both, squares, entropy, sizes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the heads, `(B, K, V)`."""
        of_both, of_squares, of_entropy, _ = gradients
        heads = ctx.saved_tensors
        subsets = subsets_of(len(heads), heads[0])
        linear, twice = of_both.unsqueeze(2), 2 * of_squares.unsqueeze(2)
        right = of_entropy * subsets[:, 0].sum()  # each head is in as many subsets
        found = [torch.empty_like(head, memory_format=torch.contiguous_format) for head in heads]
        for piece in _pieces(heads, ctx.voxels, len(subsets)):
            shares = piece.summed(subsets).softmax(dim=1)
            slope = shares * twice
            slope.addcmul_(linear, piece.is_class)
            if piece.known is not None:
                slope *= piece.known
            mean = (shares * slope).sum(dim=1, keepdim=True)
            counted = of_entropy if piece.shares is None else of_entropy * piece.shares
            slope -= mean.sub_(counted)
            slope *= shares
            of_heads = (subsets.T @ slope.flatten(1)).view(len(heads), *slope.shape[1:])
            counted = piece.is_class if piece.shares is None else piece.is_class * piece.shares
            of_heads -= right * counted
            for one, gradient in zip(found, of_heads, strict=True):
                one[piece.case, :, piece.place] = gradient
        return None, *found


@dataclass(frozen=True)
class _Piece:
    """Some voxels of a case.

    Args:
        case: Its number.
        place: Of the voxels in it.
        logits: Of all heads, that of the right class subtracted, `(n, K, c)`.
        is_class: 1 for the class of a voxel that counts, else 0, `(K, c)`.
        shares: As of `Voxels`, `(c,)`.
        known: As of `Voxels`, `(c,)`.
    """

    case: int
    place: slice
    logits: Tensor
    is_class: Tensor
    shares: Tensor | None
    known: Tensor | None

    def summed(self, subsets: Tensor) -> Tensor:
        """Logits of the subsets, `(m, K, c)`."""
        return (subsets @ self.logits.flatten(1)).view(-1, *self.logits.shape[1:])


def _pieces(heads: Sequence[Tensor], voxels: Voxels, count: int) -> Iterator[_Piece]:
    cases, classes, size = heads[0].shape
    most = FEW if heads[0].device.type == "cpu" else MANY
    step = max(1, most // (count * classes))
    names = torch.arange(classes, device=heads[0].device).unsqueeze(1)
    for case in range(cases):
        for begin in range(0, size, step):
            place = slice(begin, begin + step)
            target = voxels.target[case, place]
            logits = torch.stack([head[case, :, place] for head in heads])
            is_class = (target == names).to(logits.dtype)
            logits -= (logits * is_class).sum(dim=1, keepdim=True)
            known = None if voxels.known is None else voxels.known[case, place]
            shares = None if voxels.shares is None else voxels.shares[case, place]
            if known is not None:
                is_class *= known
            yield _Piece(case, place, logits, is_class, shares, known)


def _log_of_product(largest: Tensor, classes: int) -> Tensor:
    """Log of the product over subsets of `(m, c)` probabilities, each at least one in *classes*."""
    together = max(1, int(30 / math.log10(classes)))  # whose product float32 can tell from 0
    pieces = [largest[at : at + together] for at in range(0, len(largest), together)]
    parts = [piece.prod(dim=0).log_() for piece in pieces]
    return sum(parts[1:], start=parts[0])
