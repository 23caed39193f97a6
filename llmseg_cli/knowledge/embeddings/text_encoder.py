"""Any Hugging Face text encoder: token ids, token vectors and one vector per text."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.weights.model_files import find_model, weights_digest
from llmseg_cli.knowledge.weights.transformers import load_transformers

LENGTH_STEP = 8  # texts are padded to a multiple of it
_UNLIMITED = 100_000  # tokenizers without a limit name a number far above this
_POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}


@dataclass(frozen=True)
class TextEncoder:
    """A loaded encoder.

    Args:
        name: What the user called it.
        tokenizer: Its tokenizer.
        model: Its network, in evaluation mode.
        pooling: `mean`, `cls` or `max`, over the tokens of a text.
        normalized: Whether pooled vectors get unit length.
        limit: Most tokens of a text.
        digest: `sha256:` of its weights.
        revision: Commit on the hub, or None.
    """

    name: str
    tokenizer: Any
    model: Any
    pooling: str
    normalized: bool
    limit: int
    digest: str
    revision: str | None


@dataclass(frozen=True)
class EncodedTexts:
    """T texts padded to L tokens; arrays as in `Embeddings`.

    Args:
        token_ids: `(T, L)` int64.
        mask: `(T, L)` bool.
        tokens: `(T, L, D)` float32.
        pooled: `(T, D)` float32.
        truncated: Indices of texts that were longer than L.
    """

    token_ids: NDArray[np.int64]
    mask: NDArray[np.bool_]
    tokens: NDArray[np.float32]
    pooled: NDArray[np.float32]
    truncated: tuple[int, ...]


def load_encoder(
    name: str, *, cache: Path | None = None, offline: bool = False, device: str = "cpu"
) -> TextEncoder:
    """Load an encoder: `minilm`, a folder, or an id of the Hugging Face hub.

    Pooling is what the folder's `1_Pooling/config.json` says (the file of sentence-transformers),
    else the mean; vectors get unit length if `modules.json` says so or there is no such file.

    Args:
        name: Which.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.
        device: Where it runs.

    Raises:
        WeightsError: If it is absent, altered, or no text encoder.
    """
    found = find_model(name, cache=cache, offline=offline)
    folder = found.folder
    hf = load_transformers()
    try:
        tokenizer = hf.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = hf.AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{name} does not load as a text encoder: {error}") from error
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return TextEncoder(
        name=name,
        tokenizer=tokenizer,
        model=model.to(device).eval(),
        pooling=_pooling(folder),
        normalized=_is_normalized(folder),
        limit=_limit(folder, tokenizer, model),
        digest=weights_digest(found),
        revision=found.revision,
    )


def encode_texts(
    encoder: TextEncoder, texts: Sequence[str], *, max_length: int | None = None
) -> EncodedTexts:
    """Encode texts, all padded to one length.

    Args:
        encoder: A loaded encoder.
        texts: One or more.
        max_length: L; longer texts are cut, and named in the result. By default the longest text's,
            rounded up to a multiple of 8, but never more than the encoder takes.

    Raises:
        UsageError: If *max_length* is below 3 or more than the encoder takes.
    """
    if max_length is not None and not 3 <= max_length <= encoder.limit:
        raise UsageError(
            f"--max-length {max_length}: the encoder '{encoder.name}' takes 3 to {encoder.limit}."
        )
    wanted = [len(ids) for ids in encoder.tokenizer(list(texts), verbose=False)["input_ids"]]
    length = max_length or min(encoder.limit, -(-max(wanted) // LENGTH_STEP) * LENGTH_STEP)
    batch = encoder.tokenizer(
        list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    device = next(encoder.model.parameters()).device
    with torch.inference_mode():
        hidden = encoder.model(**batch.to(device)).last_hidden_state.float().cpu()
    mask = batch["attention_mask"].cpu().bool()
    return EncodedTexts(
        token_ids=batch["input_ids"].cpu().numpy(),
        mask=mask.numpy(),
        tokens=hidden.numpy(),
        pooled=pool(hidden, mask, pooling=encoder.pooling, normalized=encoder.normalized).numpy(),
        truncated=tuple(index for index, count in enumerate(wanted) if count > length),
    )


def pool(hidden: Tensor, mask: Tensor, *, pooling: str, normalized: bool) -> Tensor:
    """One vector per text, as sentence-transformers makes it.

    Args:
        hidden: `(T, L, D)` token vectors.
        mask: `(T, L)` bool, true for tokens that count; at least one per text.
        pooling: `mean`, `cls` (the first token) or `max`.
        normalized: Whether the result gets unit length.

    Returns:
        `(T, D)`.

    References:
        Reimers and Gurevych, Sentence-BERT, EMNLP 2019. arXiv:1908.10084.
    """
    counted = mask.unsqueeze(-1)
    if pooling == "cls":
        pooled = hidden[:, 0]
    elif pooling == "max":
        pooled = hidden.masked_fill(~counted, -torch.inf).amax(dim=1)
    else:
        pooled = (hidden * counted).sum(dim=1) / counted.sum(dim=1)
    return torch.nn.functional.normalize(pooled, dim=1) if normalized else pooled


def _pooling(folder: Path) -> str:
    settings = _json(folder / "1_Pooling" / "config.json")
    named = settings.get("pooling_mode")
    chosen = [mode for key, mode in _POOLINGS.items() if settings.get(key)] or ["mean"]
    pooling = str(named) if isinstance(named, str) else "+".join(chosen)
    if pooling not in _POOLINGS.values():
        raise WeightsError(
            f"{folder}/1_Pooling/config.json asks for '{pooling}' pooling; llmseg knows mean, cls "
            "and max."
        )
    return pooling


def _is_normalized(folder: Path) -> bool:
    modules = _json(folder / "modules.json")
    return not modules or any("Normalize" in str(module.get("type")) for module in modules)


def _json(path: Path) -> Any:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}.") from error


def _limit(folder: Path, tokenizer: Any, model: Any) -> int:
    limits = [
        _json(folder / "sentence_bert_config.json").get("max_seq_length"),
        tokenizer.model_max_length,
        getattr(model.config, "max_position_embeddings", None),
    ]
    return min([int(n) for n in limits if n and n < _UNLIMITED], default=512)
