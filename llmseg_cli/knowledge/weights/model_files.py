"""Where a model lies that a user named, and the digest of what is read of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.absent import did_you_mean
from llmseg_cli.artifacts.files import sha256_file, sha256_json
from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.weights.embedded import WEIGHTS, check_digest, path_of
from llmseg_cli.knowledge.weights.hub import hub_folder, parse_hub_model, weight_paths


@dataclass(frozen=True)
class FoundModel:
    """A model on this machine.

    Args:
        name: What the user called it, shortened to a folder's or file's own name.
        folder: Folder with configuration, tokenizer and weights.
        gguf: The GGUF file, if it is one.
        embedded: Its name in `WEIGHTS`, or None.
        revision: Commit on the hub, or None.
        licence: Named licence, or None where nothing says it.
    """

    name: str
    folder: Path
    gguf: Path | None = None
    embedded: str | None = None
    revision: str | None = None
    licence: str | None = None


def find_model(name: str, *, cache: Path | None = None, offline: bool = False) -> FoundModel:
    """Find a model by an embedded name, a path (folder or GGUF file), or an id of the hub.

    Args:
        name: Which; something that exists on disk wins over an id.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.

    Raises:
        UsageError: If the path does not exist, or is neither folder nor GGUF file.
        WeightsError: If it is not here and cannot be fetched.
    """
    if name in WEIGHTS:
        path = path_of(name, cache=cache)
        gguf = path if path.suffix == ".gguf" else None
        folder = path.parent if gguf else path
        return FoundModel(name, folder, gguf=gguf, embedded=name, licence=WEIGHTS[name].licence)
    path = Path(name).expanduser()
    if path.is_dir():
        return FoundModel(path.resolve().name, path, licence=card_licence(path))
    if path.suffix == ".gguf" or name.startswith((".", "/", "~")):
        if not path.is_file() or path.suffix != ".gguf":
            raise UsageError(
                f"{name}: expected the folder of a model or a .gguf file.{did_you_mean(path)}"
            )
        return FoundModel(path.name, path.parent, gguf=path)
    model = parse_hub_model(name)
    folder = hub_folder(model, cache=cache, offline=offline)
    return FoundModel(model.id, folder, revision=folder.name, licence=card_licence(folder))


def model_digest(model: FoundModel, files: Iterable[Path]) -> str:
    """`sha256:` of the one file that was read of a model, or of the list of their digests.

    Args:
        model: Which.
        files: What was read: weights, configuration, tokenizer, and nothing that was not.

    Raises:
        WeightsError: If a file of an embedded model is not as pinned.
    """
    names = {path.relative_to(model.folder).as_posix(): path for path in files if path.is_file()}
    digests = {name: sha256_file(names[name]) for name in sorted(names)}
    if model.embedded:
        for name, found in digests.items():
            expected = WEIGHTS[model.embedded].files.get(name, "no such file")
            check_digest(model.embedded, name, expected=expected, found=found)
    return f"sha256:{_only_or_all(digests)}"


def is_digest(recorded: str | None, model: FoundModel, *, found: str) -> bool:
    """Whether an artifact was made with this model.

    Args:
        recorded: The digest in the artifact.
        model: The model that is here.
        found: Its `model_digest`. Artifacts made before configuration and tokenizer counted hold
            the digest of the weights alone, which is compared if this one differs.
    """
    return recorded == found or (recorded is not None and recorded == _weights_digest(model))


def _weights_digest(model: FoundModel) -> str | None:
    files = [model.gguf] if model.gguf else weight_paths(model.folder)
    return f"sha256:{_only_or_all({p.name: sha256_file(p) for p in files})}" if files else None


def card_licence(folder: Path) -> str | None:
    """The licence that the model card names in its header."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()[:80]
    for line in lines:
        if line.startswith("license:"):
            return line.partition(":")[2].strip().strip("'\"") or None
    return None


def _only_or_all(digests: dict[str, str]) -> str:
    return next(iter(digests.values())) if len(digests) == 1 else sha256_json(digests)
