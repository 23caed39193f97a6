"""Another target's text, as a control: true sentences that have nothing to do with the task."""

import json
from dataclasses import replace
from itertools import chain, cycle, islice
from pathlib import Path
from random import Random

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.descriptions.library import load_library
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
    encoder = load_encoder(embeddings.encoder, cache=cache, offline=True)
    if not encoder.is_of(embeddings.metadata.get("encoder_digest")):
        raise WeightsError(
            f"The encoder '{embeddings.encoder}' here is not the one that made the embeddings. "
            "Write them again with 'llmseg embed', or leave --text-control out."
        )
    random = Random(seed)
    target, texts = _other_texts(embeddings.target, random)
    chosen = tuple(islice(cycle(texts), len(embeddings.texts)))
    encoded = encode_texts(encoder, chosen, max_length=embeddings.token_ids.shape[1])
    return replace(
        embeddings,
        target=target,
        texts=chosen,
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
