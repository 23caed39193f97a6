"""Turn descriptions into embeddings."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseg_cli.artifacts.case_descriptions import CaseDescriptions
from llmseg_cli.artifacts.descriptions import Descriptions
from llmseg_cli.artifacts.files import sha256_text
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.knowledge.embeddings.file import Embeddings
from llmseg_cli.reading import read_text
from llmseg_cli.typed import parsed

if TYPE_CHECKING:
    from llmseg_cli.knowledge.embeddings.text_encoder import EncodedTexts, TextEncoder

SHOWN = 5  # texts that were cut, named in a warning
Described = Descriptions | CaseDescriptions


@dataclass(frozen=True)
class Embedded:
    """The embeddings, and what a reader must know."""

    embeddings: Embeddings
    warnings: tuple[str, ...]


def run(
    descriptions: str,
    *,
    name: str,
    encoder: str = "minilm",
    max_length: int | None = None,
    cache: Path | None = None,
    offline: bool = False,
    device: str = "auto",
) -> Embedded:
    """Encode every text of a descriptions file.

    Args:
        descriptions: Content of the file.
        name: What to call it in messages.
        encoder: `minilm`, a folder, or an id of the hub.
        max_length: Tokens that every text is padded or cut to; None means the longest text's.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.
        device: Where the encoder runs.

    Raises:
        ArtifactError: If the content is not of `llmseg describe`.
        UsageError: If *max_length* makes no sense.
        WeightsError: If the encoder cannot be had.
    """
    document = _read(descriptions, name)
    from llmseg_cli.knowledge.embeddings.text_encoder import encode_texts, load_encoder
    from llmseg_cli.training.precision import choose_device  # both load torch

    loaded = load_encoder(encoder, cache=cache, offline=offline, device=str(choose_device(device)))
    rows = [row[-2:] for row in document.rows()]
    texts = tuple(text for _, text in rows)
    encoded = encode_texts(loaded, texts, max_length=max_length)
    digest = sha256_text(descriptions)
    embeddings = Embeddings(
        target=document.target,
        class_names=tuple(class_name for class_name, _ in rows),
        texts=texts,
        token_ids=encoded.token_ids,
        mask=encoded.mask,
        tokens=encoded.tokens,
        pooled=encoded.pooled,
        encoder=loaded.name,
        metadata=_metadata(document, loaded, encoded) | {"descriptions_digest": f"sha256:{digest}"},
        **_of_cases(document),
    )
    return Embedded(embeddings, _warnings(document, encoded))


def _read(text: str, name: str) -> Described:
    content = parsed(text, name=name, error=ArtifactError)
    if isinstance(content, dict) and content.get("schema") == CaseDescriptions.schema:
        return CaseDescriptions.from_dict(content, name=name, text=text)
    return Descriptions.from_text(text, name=name)


def _of_cases(document: Described) -> dict[str, Any]:
    """What embeddings say of the cases that texts are about; nothing of texts of all images."""
    if isinstance(document, Descriptions):
        return {}
    return {
        "case_ids": tuple(case for case, _, _ in document.rows()),
        "images": {name: case.image for name, case in document.cases.items()},
    }


def read_descriptions(source: str, stdin: str | None) -> str:
    """The content of a descriptions file; *stdin* is what came in if *source* is `-`.

    Raises:
        UsageError: If there is nothing to read.
    """
    if source == "-":
        if not (stdin or "").strip():
            raise UsageError("Nothing came in on stdin; pipe 'llmseg describe ... -o -' into it.")
        return stdin or ""
    return read_text(Path(source), hint="'llmseg describe' writes it.")


def _metadata(
    document: Described, encoder: "TextEncoder", encoded: "EncodedTexts"
) -> dict[str, str]:
    normalized = "normalized" if encoder.normalized else "as it is"
    return {
        "modality": document.modality,
        "encoder_digest": encoder.digest,
        "encoder_revision": encoder.revision or "",
        "pooling": f"{encoder.pooling}, {normalized}",
        "vocabulary_size": str(len(encoder.tokenizer)),
        "padding_id": str(encoder.tokenizer.pad_token_id),
        "max_length": str(encoded.token_ids.shape[1]),
        "truncated": json.dumps([_label(document, index) for index in encoded.truncated]),
        "written_by": document.written_by.model,
        "reviewed": "yes" if document.reviewed else "no",
    }


def _warnings(document: Described, encoded: "EncodedTexts") -> tuple[str, ...]:
    warnings = []
    if encoded.truncated:
        names = ", ".join(_label(document, index) for index in encoded.truncated[:SHOWN])
        if more := len(encoded.truncated) - SHOWN:
            names += f", and {more} more" if more > 0 else ""
        warnings.append(
            f"Cut to {encoded.token_ids.shape[1]} tokens: {names}. Shorten them, or raise "
            "--max-length."
        )
    if not document.reviewed:
        warnings.append(
            f"Nobody has reviewed what {document.written_by.model} wrote. Read the texts, edit "
            "them, and set 'reviewed: true' in the file."
        )
    return tuple(warnings)


def _label(document: Described, index: int) -> str:
    """Such as `left atrium 3`: the third text of that class, behind the case if it is of one."""
    names = [" ".join(row[:-1]) for row in document.rows()]
    return f"{names[index]} {names[: index + 1].count(names[index])}"
