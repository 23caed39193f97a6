"""Texts that are wrong on purpose, or none: controls for what text contributes."""

from dataclasses import replace

import numpy as np

from llmseg_cli.knowledge.embeddings.file import Embeddings


def random_text(embeddings: Embeddings, *, seed: int) -> Embeddings:
    """Noise of the same statistics: no text, but the same lengths, ids and vector moments.

    Token ids are drawn anew from all ids of the file, apart from the first and last of each text
    (the encoder's markers); vectors are Gaussian with the mean and deviation of each text's own.

    Args:
        embeddings: What is replaced.
        seed: Seed of the draw.
    """
    random = np.random.default_rng((seed, 1))
    token_ids = embeddings.token_ids.copy()
    pool = token_ids[embeddings.mask]
    for row, mask in zip(token_ids, embeddings.mask, strict=True):
        inner = np.flatnonzero(mask)[1:-1]
        row[inner] = random.choice(pool, len(inner))
    return replace(
        embeddings,
        target=f"random noise instead of {embeddings.target}",
        texts=tuple(f"random noise {index}" for index in range(len(embeddings.texts))),
        token_ids=token_ids,
        tokens=_gaussian_like(embeddings.tokens, random),
        pooled=_gaussian_like(embeddings.pooled, random),
    )


def constant_text(embeddings: Embeddings) -> Embeddings:
    """Fixed numbers instead of every text: what enters is learned, and says nothing of any text.

    The network is that of the texts, for shapes stay. Token ids are 0, 1, 2, ..., which
    `TextFeatures.normalized_ids` spreads evenly from 0 to 1; vectors have length 1 and entries that
    are all the same. With a map, the weights behind them can still learn any map of the bottleneck,
    and with modulation any scale and shift, one for all cases.

    Args:
        embeddings: What is replaced; of it, only shapes and the classes of the texts are kept.
    """
    count, length, width = embeddings.tokens.shape
    entry = np.float32(width**-0.5)
    return replace(
        embeddings,
        target=f"fixed numbers instead of {embeddings.target}",
        texts=tuple(f"fixed numbers {index}" for index in range(count)),
        token_ids=np.tile(np.arange(length, dtype=np.int64), (count, 1)),
        mask=np.ones((count, length), dtype=bool),
        tokens=np.full((count, length, width), entry),
        pooled=np.full((count, width), entry),
    )


def _gaussian_like(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float32]], random: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    mean, deviation = values.mean(axis=-1, keepdims=True), values.std(axis=-1, keepdims=True)
    noise = random.standard_normal(values.shape, dtype=np.float32)
    return (mean + deviation * noise).astype(np.float32)
