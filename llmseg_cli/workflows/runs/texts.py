"""Texts of embeddings as networks take them: of all images, or of each case its own."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.knowledge.embeddings.file import Embeddings, load_embeddings
from llmseg_cli.knowledge.embeddings.text_controls import other_case_text, random_text
from llmseg_cli.models.text_features import TextBank, TextFeatures
from llmseg_cli.models.text_fusion import OF_TOKENS

TELLS = "tells of each image by itself"


def features_of(embeddings: Embeddings, *, fusion: str = "") -> TextFeatures:
    """Arrange texts by class, N x T; a class with fewer texts repeats them in turn.

    Args:
        embeddings: The texts.
        fusion: How they enter; token vectors are kept for those alone that attend to them.

    Raises:
        ArtifactError: If there is no text.
    """
    if not embeddings.classes:
        raise ArtifactError("The embeddings hold no text. Write them with 'llmseg embed'.")
    return _at(embeddings, _index(embeddings.class_names, embeddings.classes), fusion)


def bank_of(embeddings: Embeddings, *, fusion: str, length: int | None = None) -> TextBank:
    """Arrange texts of cases, M x N x T; where there are fewer they are repeated in turn.

    Args:
        embeddings: The texts.
        fusion: How they enter.
        length: Tokens that each is padded to; None leaves them as long as they are.
    """
    names = [*zip(embeddings.case_ids, embeddings.class_names, strict=True)]
    cases, classes = embeddings.cases, embeddings.classes
    wanted = tuple((case, name) for case in cases for name in classes)
    index = _index(names, wanted)
    found = _at(embeddings, index.reshape(len(cases), len(classes), -1), fusion)
    if length is not None:
        found = _padded(found, length)
    return TextBank(found, cases, embeddings.images)


def opened_bank(path: Path | None, config: RunConfig, *, run: Path) -> TextBank | None:
    """The texts that a run of texts of cases is asked with; None for other runs.

    Args:
        path: File of `llmseg embed`, or None.
        config: The run.
        run: Its folder, for messages.

    Raises:
        UsageError: If the run needs such a file and there is none.
        ArtifactError: If the file has texts of no case, of other classes, by another encoder, or
            longer ones.
    """
    record = config.text or {}
    if "cases" not in record:
        return None
    if path is None:
        raise UsageError(
            f"{run} was trained with a text that {TELLS}. Pass --text with those of your images "
            "('llmseg describe' and 'embed' write them; 'predict' and 'explain' take them)."
        )
    embeddings = load_embeddings(path)
    _refuse_others(path, embeddings, record)
    if record["control"] == "other-case":
        embeddings = other_case_text(embeddings, seed=config.seed)
    elif record["control"] == "random":
        embeddings = random_text(embeddings, seed=config.seed)
    length = int(record["token_shape"][-1])
    return bank_of(embeddings, fusion=record["fusion"], length=length)


def empty_features(text: dict[str, Any]) -> TextFeatures:
    """Zeros of the shapes that a run has recorded of its texts, to be loaded over."""
    tokens, pooled = tuple(text["token_shape"]), tuple(text["pooled_shape"])
    return TextFeatures(
        token_ids=torch.zeros(tokens, dtype=torch.int64),
        mask=torch.zeros(tokens, dtype=torch.bool),
        pooled=torch.zeros(pooled),
        tokens=torch.zeros(*tokens, pooled[-1]) if text["fusion"] in OF_TOKENS else None,
    )


def _refuse_others(path: Path, embeddings: Embeddings, record: dict[str, Any]) -> None:
    if not embeddings.case_ids:
        raise ArtifactError(
            f"{path} has texts of all images, and the run was trained with a text that {TELLS}. "
            "Describe the images with 'llmseg describe --llm measured' or --images, and embed that."
        )
    if list(embeddings.classes) != record["classes"]:
        raise ArtifactError(
            f"{path} has texts of {', '.join(embeddings.classes)}, and the run was trained with "
            f"those of {', '.join(record['classes'])}. Describe these with --class."
        )
    if embeddings.metadata.get("encoder_digest") != record["encoder_digest"]:
        raise ArtifactError(
            f"{path} was made by '{embeddings.encoder}', and the texts of the run by another "
            f"encoder or version of '{record['encoder']}'. Embed with that one (--encoder)."
        )
    wanted, length = record["token_shape"][-1], embeddings.token_ids.shape[1]
    used = int(embeddings.mask.sum(axis=1).max())
    if used > wanted:
        raise ArtifactError(
            f"{path} has texts of {used} tokens (padded to {length}), and the run was trained with "
            f"{wanted}. Write them with 'llmseg embed --max-length {wanted}'."
        )


def _index(names: Any, wanted: Any) -> NDArray[np.int64]:
    """Rows of the texts of each wanted name, `(len(wanted), T)`, repeated to equal numbers."""
    rows: dict[Any, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    count = max(map(len, rows.values()))
    return np.array([[rows[name][i % len(rows[name])] for i in range(count)] for name in wanted])


def _at(embeddings: Embeddings, index: NDArray[np.int64], fusion: str) -> TextFeatures:
    return TextFeatures(
        token_ids=torch.from_numpy(embeddings.token_ids[index]),
        mask=torch.from_numpy(embeddings.mask[index]),
        pooled=torch.from_numpy(embeddings.pooled[index]),
        names=embeddings.classes,
        tokens=torch.from_numpy(embeddings.tokens[index]) if fusion in OF_TOKENS else None,
    )


def _padded(found: TextFeatures, length: int) -> TextFeatures:
    """The same with texts of *length* tokens, of which those that are cut off were padding."""
    more = length - found.mask.shape[-1]

    def longer(values: Tensor, behind: int = 0) -> Tensor:
        """Behind the tokens there are *behind* axes."""
        return F.pad(values, (0, 0) * behind + (0, more))

    tokens = None if found.tokens is None else longer(found.tokens, 1)
    return TextFeatures(
        longer(found.token_ids), longer(found.mask), found.pooled, found.names, tokens
    )
