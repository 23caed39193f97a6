"""What sentence-transformers keeps beside an encoder: how vectors of tokens become one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.inside import is_inside
from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.weights.strangers import read_json, read_mapping

STAGES = ("Transformer", "Pooling", "Normalize")  # of sentence-transformers
POOLING, MODULES = "1_Pooling", "modules.json"
CONFIG, MODE = "config.json", "pooling_mode"  # of a stage; what its settings begin with
_POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}


@dataclass(frozen=True)
class Stages:
    """How the vectors of a text's tokens become one.

    Args:
        pooling: `mean`, `cls` or `max`.
        normalized: Whether the vector gets unit length.
        files: What says so; they need not be there.
    """

    pooling: str
    normalized: bool
    files: tuple[Path, ...]


def read_stages(folder: Path) -> Stages:
    """What the folder of a model says; the mean, of unit length, if nothing does.

    Raises:
        WeightsError: If it names a stage or a pooling that is not known, or that is not there.
    """
    stages = _stages(folder)
    settings = _pooling_file(folder, stages)
    normalized = not stages or any(kind == "Normalize" for kind, _ in stages)
    return Stages(_pooling(settings), normalized, (settings, folder / MODULES))


def _pooling(file: Path) -> str:
    """How vectors of tokens become one; the mean if nothing says so."""
    said = {key: value for key, value in read_mapping(file).items() if key.startswith(MODE)}
    named = said.pop(MODE, None)
    chosen = [_POOLINGS.get(key, key.removeprefix(f"{MODE}_")) for key, on in said.items() if on]
    pooling = "+".join(chosen) if named is None else str(named)
    if not said and named is None:
        return "mean"
    if pooling not in _POOLINGS.values():
        raise WeightsError(
            f"{file} asks for '{pooling or 'no'}' pooling; llmseg knows mean, cls and max. Choose "
            "another encoder."
        )
    return pooling


def _pooling_file(folder: Path, stages: Sequence[tuple[str, str]]) -> Path:
    """The settings of the stage that pools, which are there if such a stage is named.

    Raises:
        WeightsError: If they lie elsewhere, or there are several or none of a stage that is named.
    """
    places = [place for kind, place in stages if kind == "Pooling"]
    file = folder / (places or [POOLING])[0] / CONFIG
    if len(places) > 1 or not is_inside(folder, file):
        raise WeightsError(
            f"{folder / MODULES} names the pooling {', '.join(places)}, expected one folder in its "
            "own. Fetch the model again."
        )
    if places and not file.is_file():
        raise WeightsError(
            f"{folder / MODULES} names the pooling {places[0]}, and there is no {file}. Fetch the "
            "model again."
        )
    return file


def _stages(folder: Path) -> list[tuple[str, str]]:
    """Kind and folder of the stages of sentence-transformers; none without its file.

    Raises:
        WeightsError: If one of them would change vectors in a way that is not known.
    """
    modules = read_json(folder / MODULES)
    if not modules:
        return []
    if not isinstance(modules, list) or not all(isinstance(part, dict) for part in modules):
        raise WeightsError(f"{folder / MODULES} is no list of modules. Fetch the model again.")
    kinds = [str(module.get("type")).rpartition(".")[2] for module in modules]
    if strange := sorted(set(kinds) - set(STAGES)):
        raise WeightsError(
            f"{folder / MODULES} names a stage '{strange[0]}', without which its vectors would be "
            f"others; llmseg knows {', '.join(STAGES)}. Choose another encoder."
        )
    return [
        (kind, str(module.get("path", POOLING)))
        for kind, module in zip(kinds, modules, strict=True)
    ]
