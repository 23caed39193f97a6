"""`embeddings.safetensors`: what a text encoder made of the descriptions."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from llmseg_cli.artifacts.at_hand import refuse_absent_embeddings
from llmseg_cli.artifacts.document import llmseg_version
from llmseg_cli.artifacts.tensors import write_tensors
from llmseg_cli.errors import ArtifactError
from llmseg_cli.reading import parse_json
from llmseg_cli.typed import fit

SCHEMA = "llmseg/embeddings/1"
OF_CASES = "llmseg/embeddings/2"  # which older versions would take for texts of all images
_TENSORS = {"token_ids": np.int64, "mask": np.bool_, "tokens": np.float32, "pooled": np.float32}
_OWN_KEYS = (
    *("schema", "llmseg", "target", "class_names", "texts", "encoder"),
    *("case_ids", "images"),
)


@dataclass(frozen=True)
class Embeddings:
    """T texts as an encoder sees them, padded to L tokens of width D.

    Args:
        target: What the texts describe, such as `left atrium`.
        class_names: The class of each text, T names; texts of a class stand together.
        texts: The T texts.
        token_ids: `(T, L)` int64, as the encoder's tokenizer gives them, special tokens included.
        mask: `(T, L)` bool, false where a text is padded.
        tokens: `(T, L, D)` float32, the encoder's last hidden states.
        pooled: `(T, D)` float32, one vector per text.
        encoder: Name of the encoder, such as `minilm`.
        metadata: Where it came from: `encoder_digest`, `descriptions_digest`, `pooling`,
            `vocabulary_size`, `max_length`, and `truncated` (JSON list of texts that were cut).
        case_ids: The case that each text is about, T names; none where texts are of all images.
        images: Case to the digest of the image that its texts are about.

    Raises:
        ValueError: If shapes or counts disagree, a type is wrong, a case lacks a class or its
            image, or *metadata* has a key that this class writes itself.
    """

    target: str
    class_names: tuple[str, ...]
    texts: tuple[str, ...]
    token_ids: NDArray[np.int64]
    mask: NDArray[np.bool_]
    tokens: NDArray[np.float32]
    pooled: NDArray[np.float32]
    encoder: str
    metadata: dict[str, str] = field(default_factory=dict)
    case_ids: tuple[str, ...] = ()
    images: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.texts or len(self.texts) != len(self.class_names):
            raise ValueError(f"{len(self.texts)} texts, {len(self.class_names)} class names")
        for name, dtype in _TENSORS.items():
            if getattr(self, name).dtype != dtype:
                raise ValueError(f"{name} is {getattr(self, name).dtype}, expected {dtype}")
        count, length, width = (*self.tokens.shape, 0, 0, 0)[:3]
        expected = {
            "token_ids": (count, length),
            "mask": (count, length),
            "tokens": (len(self.texts), length, width),
            "pooled": (count, width),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} is {getattr(self, name).shape}, expected {shape}")
        for name in ("tokens", "pooled"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} has values that are not finite")
        if self.token_ids.size and self.token_ids.min() < 0:
            raise ValueError(f"token_ids has {self.token_ids.min()}, expected 0 or more")
        self._refuse_ragged_cases()
        taken = sorted(set(self.metadata) & set(_OWN_KEYS))
        if taken:
            raise ValueError(f"metadata may not have {', '.join(taken)}")

    def _refuse_ragged_cases(self) -> None:
        if not self.case_ids:
            return
        if len(self.case_ids) != len(self.texts) or set(self.case_ids) != set(self.images):
            raise ValueError(
                f"{len(self.texts)} texts, {len(self.case_ids)} names of cases, "
                f"{len(self.images)} images"
            )
        held = set(zip(self.case_ids, self.class_names, strict=True))
        for case in self.images:
            if lacking := [name for name in self.classes if (case, name) not in held]:
                raise ValueError(f"case {case} has no text of {lacking[0]}")

    @property
    def cases(self) -> tuple[str, ...]:
        """Each case once, in the order of the texts; none where they are of all images."""
        return tuple(dict.fromkeys(self.case_ids))

    @property
    def classes(self) -> tuple[str, ...]:
        """Each class once, in the order of the descriptions."""
        return tuple(dict.fromkeys(self.class_names))

    def rows(self, name: str) -> list[int]:
        """Indices of the texts of class *name*."""
        return [index for index, found in enumerate(self.class_names) if found == name]


def save_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write `embeddings.safetensors`, whole or not at all."""
    metadata = {
        "schema": OF_CASES if embeddings.case_ids else SCHEMA,
        "llmseg": llmseg_version(),
        "target": embeddings.target,
        "class_names": json.dumps(embeddings.class_names, ensure_ascii=False),
        "texts": json.dumps(embeddings.texts, ensure_ascii=False),
        "encoder": embeddings.encoder,
        **embeddings.metadata,
    }
    if embeddings.case_ids:
        metadata["case_ids"] = json.dumps(embeddings.case_ids, ensure_ascii=False)
        metadata["images"] = json.dumps(embeddings.images, ensure_ascii=False)
    tensors = {name: np.ascontiguousarray(getattr(embeddings, name)) for name in _TENSORS}
    write_tensors(path, save(tensors, metadata=metadata))


def load_embeddings(path: Path) -> Embeddings:
    """Read and check `embeddings.safetensors`.

    Raises:
        ArtifactError: If it is missing, truncated, of another schema, or incomplete.
    """
    refuse_absent_embeddings(path)
    try:
        with safe_open(path, framework="numpy") as stream:
            metadata = dict(stream.metadata() or {})
            _check_schema(path, metadata)
            tensors = {name: stream.get_tensor(name) for name in _TENSORS}
        found: _Metadata = fit({**metadata, **_lists(metadata)}, _Metadata)
        return Embeddings(
            target=found["target"],
            class_names=found["class_names"],
            texts=found["texts"],
            encoder=found["encoder"],
            metadata={key: value for key, value in metadata.items() if key not in _OWN_KEYS},
            case_ids=found.get("case_ids", ()),
            images=found.get("images", {}),
            **tensors,
        )
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} is not readable as embeddings ({error}). Write it with 'llmseg embed'."
        ) from error


class _Metadata(TypedDict):
    target: str
    encoder: str
    class_names: tuple[str, ...]
    texts: tuple[str, ...]
    case_ids: NotRequired[tuple[str, ...]]
    images: NotRequired[dict[str, str]]


def _lists(metadata: dict[str, str]) -> dict[str, Any]:
    names = ("class_names", "texts", "case_ids", "images")
    return {name: parse_json(metadata[name]) for name in names if name in metadata}


def _check_schema(path: Path, metadata: dict[str, str]) -> None:
    found = metadata.get("schema")
    if found not in (SCHEMA, OF_CASES):
        raise ArtifactError(
            f"{path} has schema {found!r}, expected '{SCHEMA}'. Write it with 'llmseg embed'."
        )
