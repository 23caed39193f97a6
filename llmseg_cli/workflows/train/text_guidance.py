"""Text features for a network, and the controls that show whether the text matters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.embeddings.file import Embeddings, load_embeddings
from llmseg_cli.knowledge.embeddings.text_controls import (
    constant_text,
    of_one_case,
    other_case_text,
    random_text,
)
from llmseg_cli.models.text_features import TextBank, TextFeatures
from llmseg_cli.workflows.runs.texts import bank_of, features_of

OF_CASES = ("other-case", "library")  # controls that need texts of cases


def text_for(
    path: Path | None, *, control: str, fusion: str, seed: int, cache: Path
) -> tuple[TextFeatures | TextBank, dict[str, Any]] | None:
    """Text features and their record for `config.yaml`; None without a file.

    Args:
        path: File of `llmseg embed`, or None. Where it has a text of each case, so has the network,
            but for controls whose text tells of no case.
        control: `none`, `shuffled` (another target's text, by the same encoder), `random` (noise)
            or `constant` (fixed numbers, so that what enters is learned without any text). Of texts
            of cases also `other-case` (another case's text) or `library` (the library's of the same
            target, the same for all cases).
        fusion: How the text will enter; recorded.
        seed: Seed of the controls.
        cache: Folder with the encoder's weights, for `shuffled` and `library`.

    Raises:
        ArtifactError: If the file cannot be used.
        UsageError: If a control needs texts of cases, or of more of them, or the library lacks it.
    """
    if path is None:
        return None
    given = load_embeddings(path)
    embeddings = _controlled(given, control, seed=seed, cache=cache)
    record: dict[str, Any] = {
        "fusion": fusion,
        "control": control,
        "target": embeddings.target,
        "texts": [] if embeddings.case_ids else list(embeddings.texts),
        "encoder": embeddings.encoder,
        "embeddings": sha256_file(path),
    }
    found: TextFeatures | TextBank
    if embeddings.case_ids:
        bank = bank_of(embeddings, fusion=fusion)
        features, found = bank.nothing(), bank
        record |= {
            "cases": len(embeddings.cases),
            "classes": list(embeddings.classes),
            "encoder_digest": embeddings.metadata.get("encoder_digest"),
        }
    else:
        found = features = features_of(embeddings, fusion=fusion)
        if control not in ("none", "library"):  # meant to be of others
            unnamed = tuple(f"class {number}" for number, _ in enumerate(features.names, start=1))
            found = replace(features, names=unnamed)
    shapes = {
        "token_shape": list(features.token_ids.shape),
        "pooled_shape": list(features.pooled.shape),
    }
    return found, record | shapes


def _controlled(embeddings: Embeddings, control: str, *, seed: int, cache: Path) -> Embeddings:
    if control in OF_CASES and not embeddings.case_ids:
        raise UsageError(
            f"--text-control {control} replaces texts of cases, and --text has texts of all "
            "images. Describe images with 'llmseg describe --llm measured', or use another control."
        )
    if control == "other-case":
        return other_case_text(embeddings, seed=seed)
    if control == "random":
        return random_text(embeddings, seed=seed)
    if embeddings.case_ids and control != "none":
        embeddings = of_one_case(embeddings)
    if control == "constant":
        return constant_text(embeddings)
    if control in ("shuffled", "library"):  # both load transformers
        from llmseg_cli.workflows.train.shuffled_text import library_text, shuffled_text

        if control == "library":
            return library_text(embeddings, cache=cache)
        return shuffled_text(embeddings, seed=seed, cache=cache)
    return embeddings
