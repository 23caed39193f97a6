"""Texts that are wrong on purpose, or none: controls for what text contributes."""

from dataclasses import replace

import numpy as np

from llmseg_cli.errors import UsageError
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


def other_case_text(embeddings: Embeddings, *, seed: int) -> Embeddings:
    """To each case the texts of another one: true of an image, and not of its own.

    No case keeps its texts: they go round one ring of all cases, whose order is drawn. A case that
    had more texts of a class than the other one repeats these in turn.

    Args:
        embeddings: Of cases.
        seed: Seed of the order.

    Raises:
        UsageError: If there are not two cases.
    """
    cases = embeddings.cases
    if len(cases) < 2:
        raise UsageError(
            f"--text-control other-case: the file has texts of {len(cases)} case(s), and it takes "
            "two. Describe more cases, and embed them in one file."
        )
    order = np.random.default_rng((seed, 2)).permutation(len(cases))
    other = {cases[one]: cases[next_] for one, next_ in zip(order, np.roll(order, -1), strict=True)}
    keys = [*zip(embeddings.case_ids, embeddings.class_names, strict=True)]
    rows: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    seen: dict[tuple[str, str], int] = {}
    index = []
    for case, name in keys:
        theirs = rows[other[case], name]
        place = seen.setdefault((case, name), 0)
        index.append(theirs[place % len(theirs)])
        seen[case, name] += 1
    return replace(
        embeddings,
        target=f"other cases' texts of {embeddings.target}",
        texts=tuple(embeddings.texts[row] for row in index),
        token_ids=embeddings.token_ids[index],
        mask=embeddings.mask[index],
        tokens=embeddings.tokens[index],
        pooled=embeddings.pooled[index],
    )


def of_one_case(embeddings: Embeddings) -> Embeddings:
    """The texts of the first case as those of all images, for controls that tell of no case."""
    rows = [row for row, case in enumerate(embeddings.case_ids) if case == embeddings.case_ids[0]]
    return replace(
        embeddings,
        class_names=tuple(embeddings.class_names[row] for row in rows),
        texts=tuple(embeddings.texts[row] for row in rows),
        token_ids=embeddings.token_ids[rows],
        mask=embeddings.mask[rows],
        tokens=embeddings.tokens[rows],
        pooled=embeddings.pooled[rows],
        case_ids=(),
        images={},
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
