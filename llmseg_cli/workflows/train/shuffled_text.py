"""Texts of the library, as controls: of another target, or of the target, but of no image."""

import json
from dataclasses import replace
from itertools import chain, cycle, islice
from pathlib import Path
from random import Random

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.descriptions.library import find_entry, load_library
from llmseg_cli.knowledge.embeddings.file import Embeddings
from llmseg_cli.knowledge.embeddings.text_encoder import encode_texts, load_encoder


def shuffled_text(embeddings: Embeddings, *, seed: int, cache: Path) -> Embeddings:
    """Replace every text by one of another target of the library, by the same encoder.

    Lengths and shapes stay, so that the network is the same; a text that is longer is cut, and the
    metadata say so.

    Args:
        embeddings: What is replaced.
        seed: Chooses the other target and the order of its texts.
        cache: Folder with the encoder's weights.

    Raises:
        WeightsError: If the encoder is not at hand, or not the one that made the embeddings.
    """
    target, texts = _other_texts(embeddings.target, Random(seed))
    chosen = tuple(islice(cycle(texts), len(embeddings.texts)))
    return _with_texts(embeddings, target, embeddings.class_names, chosen, cache)


def library_text(embeddings: Embeddings, *, cache: Path) -> Embeddings:
    """Replace the texts by those that the library has of the same target and classes.

    Args:
        embeddings: What is replaced; texts are cut and padded to the length of its own.
        cache: Folder with the encoder's weights.

    Raises:
        UsageError: If the library lacks the target or a class.
        WeightsError: As `shuffled_text`.
    """
    entry = find_entry(embeddings.target)
    found = [(name, text) for name in embeddings.classes for text in entry.find_class(name).texts]
    names, texts = zip(*found, strict=True)
    return _with_texts(embeddings, entry.target, names, texts, cache)


def _with_texts(
    embeddings: Embeddings,
    target: str,
    names: tuple[str, ...],
    texts: tuple[str, ...],
    cache: Path,
) -> Embeddings:
    """Other texts by the encoder of some embeddings, of the same length."""
    encoder = load_encoder(embeddings.encoder, cache=cache, offline=True)
    if not encoder.is_of(embeddings.metadata.get("encoder_digest")):
        raise WeightsError(
            f"The encoder '{embeddings.encoder}' here is not the one that made the embeddings. "
            "Write them again with 'llmseg embed', or leave --text-control out."
        )
    encoded = encode_texts(encoder, texts, max_length=embeddings.token_ids.shape[1])
    return replace(
        embeddings,
        target=target,
        class_names=names,
        texts=texts,
        token_ids=encoded.token_ids,
        mask=encoded.mask,
        tokens=encoded.tokens,
        pooled=encoded.pooled,
        metadata={**embeddings.metadata, "truncated": json.dumps(list(encoded.truncated))},
    )


def _other_texts(target: str, random: Random) -> tuple[str, list[str]]:
    wanted = target.casefold()
    others = [
        entry
        for entry in load_library()
        if wanted not in map(str.casefold, (entry.target, *entry.aliases))
    ]
    other = random.choice(others)
    texts = list(chain.from_iterable(found.texts for found in other.classes))
    random.shuffle(texts)
    return other.target, texts
