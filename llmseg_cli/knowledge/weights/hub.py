"""Models of the Hugging Face hub, through huggingface_hub and nobody else."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.weights.strangers import read_mapping
from llmseg_cli.knowledge.weights.transformers import load_hub

PREFIX = "hf:"
_ID = re.compile(r"^\w[\w.-]*(/\w[\w.-]*)?$")
_ALWAYS = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "README.md", "LICENSE*")


@dataclass(frozen=True)
class HubModel:
    """A model on the hub.

    Args:
        id: Such as `HuggingFaceTB/SmolLM2-1.7B-Instruct`.
        revision: Branch, tag or commit; None is the default branch.
    """

    id: str
    revision: str | None = None


def parse_hub_model(text: str) -> HubModel:
    """Read `ID`, `hf:ID` or `hf:ID@REVISION`.

    Raises:
        UsageError: If it is none of these.
    """
    name, _, revision = text.removeprefix(PREFIX).partition("@")
    if not _ID.match(name) or "--" in name or ".." in name or name.endswith(".git"):
        raise UsageError(f"'{text}' is no model of the Hugging Face hub: expected hf:OWNER/NAME.")
    return HubModel(name, revision or None)


def hub_folder(model: HubModel, *, cache: Path | None = None, offline: bool = False) -> Path:
    """The folder of a model, fetched if it is not there.

    It is looked for in llmseg's cache, then in the user's own Hugging Face cache, then on the hub.

    Args:
        model: Which.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Refuse instead of using the network.

    Raises:
        WeightsError: If it cannot be had: absent while offline, unknown, gated, no network.
    """
    ours = _hub_cache(cache)
    for place in (ours, None):
        found = _local(model, place)
        if found is not None:
            return found
    if offline:
        raise WeightsError(
            f"The model '{model.id}' is in no cache here, and --offline forbids to fetch it. "
            f"{_remedy(model, ours)}"
        )
    return fetch_hub(model, cache=cache)


def fetch_hub(model: HubModel, *, cache: Path | None = None) -> Path:
    """Download a model's configuration, tokenizer and safetensors into llmseg's cache.

    Pickled weights (`.bin`) come only where there are no safetensors; they are loaded with
    `weights_only=True`.

    Raises:
        WeightsError: If it cannot be had: unknown, gated, no network.
    """
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError of its client
        GatedRepoError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    hub = load_hub()
    ours = _hub_cache(cache)
    try:
        info = hub.HfApi().model_info(model.id, revision=model.revision)
        wanted = weight_files([str(file.rfilename) for file in info.siblings or ()])
        if not wanted:
            raise WeightsError(
                f"The model '{model.id}' has neither safetensors nor .bin files. A GGUF file of it "
                "can be downloaded and given by its path."
            )
        found = hub.snapshot_download(
            model.id, revision=model.revision, cache_dir=ours, allow_patterns=[*_ALWAYS, *wanted]
        )
        return Path(found)
    except GatedRepoError as error:
        raise WeightsError(
            f"The model '{model.id}' is gated: accept its licence on "
            f"https://huggingface.co/{model.id}, run 'hf auth login', and fetch it again."
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"The hub knows no public model '{model.id}' (revision {model.revision or 'default'}). "
            "Check the spelling; for a private one run 'hf auth login'."
        ) from error
    except (HTTPError, LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise WeightsError(
            f"Cannot fetch the model '{model.id}': {_first_line(error)}. {_remedy(model, ours)}"
        ) from error


def weight_files(names: Iterable[str]) -> list[str]:
    """The files that hold weights: safetensors, else pickles, never both.

    Folders inside a repository (ONNX, TensorFlow, original checkpoints) are left out.
    """
    here = [name for name in names if "/" not in name]
    safe = [name for name in here if name.endswith(".safetensors")]
    return safe or [name for name in here if name.endswith(".bin")]


def verify_hub(model: HubModel, *, cache: Path | None = None) -> dict[str, str]:
    """Compare every file of a fetched model with the digest its name in the cache carries.

    Returns:
        File name to SHA-256.

    Raises:
        WeightsError: If the model is absent, or a file differs.
    """
    folder = hub_folder(model, cache=cache, offline=True)
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(folder))
            digests[name] = sha256_file(path)
            expected = path.resolve().name
            if expected not in (digests[name], _git_digest(path, expected)):
                raise WeightsError(
                    f"{name} of '{model.id}' has SHA-256 {digests[name]}, expected {expected}. "
                    f"Delete {folder.parents[1]} and run 'llmseg weights fetch {PREFIX}{model.id}'."
                )
    return digests


def _git_digest(path: Path, expected: str) -> str:
    """Digest of a small file as git names it; small files carry that one."""
    if len(expected) != 40:
        return ""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _hub_cache(cache: Path | None) -> Path:
    return (cache or default_cache()) / "weights" / "hub"


def _local(model: HubModel, place: Path | None) -> Path | None:
    """The folder of a model in a cache of the hub's layout, if all of it is there."""
    found = load_hub().try_to_load_from_cache(
        model.id, "config.json", cache_dir=place, revision=model.revision
    )
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    return folder if weight_paths(folder) and not _missing_shards(folder) else None


def weight_paths(folder: Path) -> list[Path]:
    """The files of a model's folder that may hold weights; `find_checkpoint` says which do."""
    safe = sorted(folder.glob("*.safetensors"))
    return safe or sorted(folder.glob("pytorch_model*.bin"))


def _missing_shards(folder: Path) -> list[str]:
    names: set[str] = set()
    for index in folder.glob("*.safetensors.index.json"):
        places = read_mapping(index).get("weight_map")
        names |= set(map(str, places.values())) if isinstance(places, dict) else {index.name}
    return sorted(name for name in names if not (folder / name).is_file())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _remedy(model: HubModel, ours: Path) -> str:
    return (
        f"With a network run 'llmseg weights fetch {PREFIX}{model.id}'; without one, copy a folder "
        f"of the model here and give its path, or copy {ours} from a machine that fetched it."
    )
