"""Tokenizers of transformers, with the files that they are read from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.weights.loading import refuse_code
from llmseg_cli.knowledge.weights.strangers import refused
from llmseg_cli.knowledge.weights.transformers import load_transformers

SETTINGS = "tokenizer_config.json"
FAST = "tokenizer.json"
BESIDE = (  # read with any vocabulary
    SETTINGS,
    FAST,
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)
TEMPLATES = "additional_chat_templates"


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer, and the files that it was read from."""

    tokenizer: Any
    files: tuple[Path, ...]


def load_tokenizer(folder: Path, *, config: Any) -> LoadedTokenizer:
    """The tokenizer in a model's folder.

    Args:
        folder: Of the model.
        config: Its configuration.

    Raises:
        WeightsError: If there is none, or it needs code of its own.
    """
    refuse_code(folder / SETTINGS)
    if not (folder / SETTINGS).is_file() and not any(_vocabularies(folder)):
        raise _absent(folder)
    with refused(f"{folder} holds no tokenizer that loads", remedy="Fetch the model again."):
        tokenizer = load_transformers().AutoTokenizer.from_pretrained(
            folder, config=config, local_files_only=True, trust_remote_code=False
        )
        named = {str(name) for name in (tokenizer.vocab_files_names or {}).values()}
    own = [folder / name for name in named | {FAST}]
    if named and not any(path.is_file() for path in own):
        raise _absent(folder)  # some are made empty then, and take every word for unknown
    files = {*own, *(folder / name for name in BESIDE), *folder.glob(f"{TEMPLATES}/*.jinja")}
    return LoadedTokenizer(tokenizer, tuple(sorted(path for path in files if path.is_file())))


def _absent(folder: Path) -> WeightsError:
    return WeightsError(
        f"{folder} holds no tokenizer: expected tokenizer.json, vocab.txt or a .model file. Copy "
        "the tokenizer of the model beside its weights."
    )


def _vocabularies(folder: Path) -> Iterator[Path]:
    for pattern in (FAST, "vocab*", "*.model", "*.tiktoken", "tekken.json"):
        yield from folder.glob(pattern)
