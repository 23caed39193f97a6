"""Any Hugging Face text encoder: token ids, token vectors and one vector per text."""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.embeddings.stages import read_stages
from llmseg_cli.knowledge.weights.gguf_file import converted_folder
from llmseg_cli.knowledge.weights.loading import Loaded, load_network, open_config
from llmseg_cli.knowledge.weights.model_files import (
    FoundModel,
    find_model,
    is_digest,
    model_digest,
)
from llmseg_cli.knowledge.weights.strangers import read_mapping, refused
from llmseg_cli.knowledge.weights.tokenizers import load_tokenizer
from llmseg_cli.knowledge.weights.transformers import load_transformers

AT_ONCE = 64  # texts; what attention takes grows with them
LENGTH_STEP = 8  # texts are padded to a multiple of it
_UNLIMITED = 100_000  # tokenizers without a limit name a number far above this
UNUSED = ("pooler.",)  # parts whose answer is not asked for; they may be absent
LIMITS = "sentence_bert_config.json"


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
        digest: `sha256:` of what was read of it: weights, configuration, tokenizer, pooling.
        source: Where it was found.
    """

    name: str
    tokenizer: Any
    model: Any
    pooling: str
    normalized: bool
    limit: int
    digest: str
    source: FoundModel

    @property
    def revision(self) -> str | None:
        """Commit on the hub, or None."""
        return self.source.revision

    def is_of(self, digest: str | None) -> bool:
        """Whether an artifact that recorded *digest* was made with this encoder."""
        return is_digest(digest, self.source, found=self.digest)


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

    Pooling is what the file says that `modules.json` of sentence-transformers names, usually
    `1_Pooling/config.json`, else the mean; vectors get unit length if `modules.json` says so or
    there is no such file.

    Args:
        name: Which.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.
        device: Where it runs.

    Raises:
        WeightsError: If it is absent, altered, not whole, or no text encoder.
    """
    found = find_model(name, cache=cache, offline=offline)
    folder, digest = found.folder, ""
    if found.gguf is not None:
        digest = model_digest(found, [found.gguf])
        folder = converted_folder(found.gguf, digest=digest, cache=cache)
    config = open_config(folder)
    words = load_tokenizer(folder, config=config)
    loaded = _text_network(folder, config)
    stages = read_stages(folder)
    own = (*stages.files, folder / LIMITS)
    tokenizer = words.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return TextEncoder(
        name=name,
        tokenizer=tokenizer,
        model=loaded.network.to(device),
        pooling=stages.pooling,
        normalized=stages.normalized,
        limit=_limit(folder, tokenizer, loaded.network),
        digest=digest or model_digest(found, (*loaded.files, *words.files, *own)),
        source=found,
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
        WeightsError: If tokenizer and network do not belong together.
    """
    if max_length is not None and not 3 <= max_length <= encoder.limit:
        raise UsageError(
            f"--max-length {max_length}: the encoder '{encoder.name}' takes 3 to {encoder.limit}."
        )
    wanted = [len(ids) for ids in _split(encoder, texts, verbose=False)["input_ids"]]
    length = max_length or min(encoder.limit, -(-max(wanted) // LENGTH_STEP) * LENGTH_STEP)
    batch = _split(
        encoder,
        texts,
        padding="max_length",
        truncation=True,
        max_length=length,
        return_attention_mask=True,
        return_tensors="pt",
    )
    hidden = _hidden(encoder, dict(batch))
    mask = batch["attention_mask"].bool()
    return EncodedTexts(
        token_ids=batch["input_ids"].numpy(),
        mask=mask.numpy(),
        tokens=hidden.numpy(),
        pooled=pool(hidden, mask, pooling=encoder.pooling, normalized=encoder.normalized).numpy(),
        truncated=tuple(index for index, count in enumerate(wanted) if count > length),
    )


def _split(encoder: TextEncoder, texts: Sequence[str], **how: Any) -> Any:
    """Texts in tokens."""
    sentence = f"The tokenizer of the encoder '{encoder.name}' does not take the texts"
    with refused(sentence, remedy="Fetch the encoder again."):
        return encoder.tokenizer(list(texts), **how)


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


def _text_network(folder: Path, config: Any) -> Loaded:
    """The network of a folder that reads text: all of it, its encoder, or its tower for text."""
    hf = load_transformers()
    kind, own = _kind(hf, config), config
    if kind is None and hasattr(config, "text_config"):
        named = type(config).__name__.removesuffix("Config")
        kind, own = getattr(hf, f"{named}TextModel", None), config.text_config
        if kind is None and config.model_type == "vision-text-dual-encoder":
            kind = _kind(hf, own)
    if kind is None:
        raise WeightsError(
            f"{folder} holds a model '{config.model_type}', which is no text encoder. Give one "
            "such as a BERT or a CLIP."
        )
    loaded = load_network(
        folder,
        kind,
        config=own,
        what="the text encoder",
        dtype=torch.float32,
        is_whole=False,
        fresh=UNUSED,
    )
    network = loaded.network
    if own.is_encoder_decoder:
        network = network.get_encoder()
    if network.main_input_name != "input_ids":
        raise WeightsError(
            f"{folder} holds a model '{config.model_type}', which reads {network.main_input_name} "
            "and no text. Give a text encoder."
        )
    return Loaded(network, loaded.files)


def _kind(hf: Any, config: Any) -> Any:
    """The class of a network that reads text alone; None for several towers, or none of text."""
    if hasattr(config, "vision_config") or hasattr(config, "audio_config"):
        return None
    for table in (hf.MODEL_FOR_TEXT_ENCODING_MAPPING, hf.MODEL_MAPPING):
        if type(config) in table:
            found = table[type(config)]
            return found[0] if isinstance(found, tuple) else found
    return None


def _hidden(encoder: TextEncoder, batch: dict[str, Tensor]) -> Tensor:
    """Last hidden states `(T, L, D)` in float32, of what the network takes of *batch*."""
    rows = encoder.model.get_input_embeddings().weight.shape[0]
    highest = int(batch["input_ids"].max())
    if highest >= rows:
        raise WeightsError(
            f"The tokenizer of '{encoder.name}' has token {highest}, and its network knows {rows}: "
            "they do not belong together. Fetch the model again."
        )
    taken = signature(encoder.model.forward).parameters
    device = encoder.model.device
    given = {key: value.to(device) for key, value in batch.items() if key in taken}
    with torch.inference_mode(), refused(f"The text encoder '{encoder.name}' cannot read text"):
        parts = []
        for first in range(0, len(batch["input_ids"]), AT_ONCE):
            some = {key: value[first : first + AT_ONCE] for key, value in given.items()}
            parts.append(encoder.model(**some).last_hidden_state.float().cpu())
    return torch.cat(parts)


def _limit(folder: Path, tokenizer: Any, model: Any) -> int:
    limits = [
        read_mapping(folder / LIMITS).get("max_seq_length"),
        tokenizer.model_max_length,
        getattr(model.config, "max_position_embeddings", None),
    ]
    known = [n for n in limits if isinstance(n, int | float) and 0 < n < _UNLIMITED]
    return min(map(int, known), default=512)
