"""Text features for a network, and the controls that show whether the text matters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.errors import ArtifactError
from llmseg_cli.knowledge.embeddings.file import Embeddings, load_embeddings
from llmseg_cli.knowledge.embeddings.text_controls import constant_text, random_text
from llmseg_cli.models.text_fusion import TextFeatures


def text_for(
    path: Path | None, *, control: str, fusion: str, seed: int, cache: Path
) -> tuple[TextFeatures, dict[str, Any]] | None:
    """Text features and their record for `config.yaml`; None without a file.

    Args:
        path: File of `llmseg embed`, or None.
        control: `none`, `shuffled` (another target's text, by the same encoder), `random` (noise)
            or `constant` (fixed numbers, so that what enters is learned without any text).
        fusion: How the text will enter; recorded.
        seed: Seed of the controls.
        cache: Folder with the encoder's weights, for `shuffled`.

    Raises:
        ArtifactError: If the file cannot be used.
    """
    if path is None:
        return None
    embeddings = load_embeddings(path)
    if control == "shuffled":
        from llmseg_cli.workflows.train.shuffled_text import shuffled_text  # loads transformers

        embeddings = shuffled_text(embeddings, seed=seed, cache=cache)
    elif control == "random":
        embeddings = random_text(embeddings, seed=seed)
    elif control == "constant":
        embeddings = constant_text(embeddings)
    features = features_of(embeddings)
    if control != "none":  # meant to be of others
        unnamed = tuple(f"class {number}" for number, _ in enumerate(features.names, start=1))
        features = replace(features, names=unnamed)
    return features, {
        "fusion": fusion,
        "control": control,
        "target": embeddings.target,
        "texts": list(embeddings.texts),
        "encoder": embeddings.encoder,
        "embeddings": sha256_file(path),
        "token_shape": list(features.token_ids.shape),
        "pooled_shape": list(features.pooled.shape),
    }


def features_of(embeddings: Embeddings) -> TextFeatures:
    """Arrange texts by class, N x T; a class with fewer texts repeats them in turn.

    Raises:
        ArtifactError: If there is no text.
    """
    names = list(dict.fromkeys(embeddings.class_names))
    if not names:
        raise ArtifactError("The embeddings hold no text. Write them with 'llmseg embed'.")
    rows = [
        [i for i, name in enumerate(embeddings.class_names) if name == wanted] for wanted in names
    ]
    count = max(map(len, rows))
    index = np.array([[row[i % len(row)] for i in range(count)] for row in rows])  # (N, T)
    return TextFeatures(
        token_ids=torch.from_numpy(embeddings.token_ids[index]),
        mask=torch.from_numpy(embeddings.mask[index]),
        pooled=torch.from_numpy(embeddings.pooled[index]),
        names=tuple(names),
    )
