"""What run folders say of their trainings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.at_hand import refuse_absent_run
from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.looks import list_digest
from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import BEST, CONFIG, COURSE, WEIGHTS
from llmseg_cli.artifacts.run_set import PARTS, numbers_in
from llmseg_cli.artifacts.split import SPLIT, Split
from llmseg_cli.errors import ArtifactError
from llmseg_cli.training.log import logged
from llmseg_cli.workflows.report.document import RunFacts
from llmseg_cli.workflows.report.numbers import finite, words
from llmseg_cli.workflows.report.sources.calibrations import calibrations_of
from llmseg_cli.workflows.report.sources.courses import curves_of, validation_of
from llmseg_cli.workflows.runs.borrowed import borrowed

STATUS = {"ok": "finished"}
CHECKPOINTS = {"final": WEIGHTS, "best": BEST}


def run_folders(given: Sequence[Path]) -> list[Path]:
    """Run folders, those of folds and seeds in place of the folder that holds them.

    Args:
        given: Run folders, or folders of several runs.

    Raises:
        ArtifactError: If a folder is neither.
    """
    found = [run for folder in given for run in _runs_in(folder)]
    return list(dict.fromkeys(found))


def _runs_in(folder: Path) -> list[Path]:
    refuse_absent_run(folder)
    if (folder / CONFIG).is_file():
        return [folder]
    inner = [folder / f"{part}-{n}" for part in PARTS for n in numbers_in(folder, part)]
    if (folder / COURSE).is_file():  # of llmseg auto
        inner = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
    if not inner:
        raise ArtifactError(
            f"{folder} is no run folder: it has no {CONFIG}. 'llmseg train-sup' and 'llmseg "
            "train-semi' make one."
        )
    return [run for one in inner for run in _runs_in(one)]


def names_of(folders: Sequence[Path]) -> dict[Path, str]:
    """Folder to the end of its path, as long as it takes to tell it from the others."""
    parts = {folder: folder.resolve().parts for folder in folders}
    deepest = max(map(len, parts.values()), default=1)
    for length in range(1, deepest + 1):
        names = {folder: "/".join(own[-length:]) for folder, own in parts.items()}
        if len({*names.values()}) == len(names):
            return names
    return {folder: str(folder) for folder in folders}


def facts_of(folder: Path, name: str) -> RunFacts:
    """What a run folder says.

    Args:
        folder: The folder.
        name: What it is called.

    Raises:
        ArtifactError: If a file of it is damaged.
    """
    config = RunConfig.load(folder / CONFIG)
    record = load_manifest(folder) if (folder / MANIFEST).is_file() else {}
    split = Split.load(folder / SPLIT) if (folder / SPLIT).is_file() else None
    details = _mapping(record, "details")
    trained = _mapping(details, "trained")
    lines = logged(folder)
    curves = curves_of(lines)
    return RunFacts(
        name=name,
        command=config.command,
        method=config.method,
        model=config.model,
        status=STATUS.get(record.get("status", "unfinished"), record.get("status", "unfinished")),
        seed=config.seed,
        steps=_steps(trained, curves),
        classes=config.classes,
        counts=_counts(record, split),
        validation=_validation(trained) or validation_of(lines),
        cost=_cost(record, details),
        machine=_machine(record, details),
        versions=_versions(record),
        command_line=_text(record, "command_line"),
        config=config.to_dict(),
        text=dict(config.text) if config.text else None,
        split=config.split,
        test_list=list_digest(split) if split and split.test else None,
        curves=curves,
        warnings=tuple(map(str, record.get("warnings") or ())),
        weights=_weights(record),
        borrowed=tuple(borrowed(config)),
        test_words=split.test_words if split else "",
        calibrations=tuple(calibrations_of(folder)),
    )


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}


def _text(values: Mapping[str, Any], key: str) -> str | None:
    found = values.get(key)
    return found if isinstance(found, str) else None


def _steps(trained: Mapping[str, Any], curves: Sequence[Any]) -> int | None:
    """Steps that were taken; of a run that is not finished, those of its log."""
    taken = finite(trained, "steps")
    logged = max((point[0] for curve in curves for point in curve.points), default=None)
    found = taken if taken is not None else logged
    return None if found is None else int(found)


def _counts(record: Mapping[str, Any], split: Split | None) -> dict[str, int]:
    if record:
        return {key: int(value) for key, value in record["counts"].items()}
    if split is None:
        return {}
    roles = {"labeled": split.labeled, "unlabeled": split.unlabeled, "validation": split.validation}
    return {**{role: len(cases) for role, cases in roles.items()}, "locked_test": len(split.test)}


def _validation(trained: Mapping[str, Any]) -> dict[str, Any]:
    keys = {"final": "final_score", "best": "best_score", "best_step": "best_step"}
    known = {name: finite(trained, key) for name, key in keys.items()}
    return {name: value for name, value in known.items() if value is not None}


def _cost(record: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    known = {
        **{key: finite(record, key) for key in ("wall_s", "peak_rss_mb")},
        **{key: finite(details, key) for key in ("peak_vram_mb", "parameters")},
    }
    return {key: value for key, value in known.items() if value is not None}


def _machine(record: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    found = words(_mapping(record, "hardware"))
    gpu = _text(details, "gpu")
    return {**found, **({"gpu": gpu} if gpu else {})}


def _versions(record: Mapping[str, Any]) -> dict[str, str]:
    version = _text(record, "version")
    own = {"llmseg": version} if version else {}
    return {**own, **words(_mapping(record, "env"))}


def _weights(record: Mapping[str, Any]) -> dict[str, str]:
    """Checkpoint to the digest by which masks and their scores name the run that made them."""
    outputs = record.get("outputs", {})
    return {
        checkpoint: sha256_json({CONFIG: outputs[CONFIG], name: outputs[name]})
        for checkpoint, name in CHECKPOINTS.items()
        if CONFIG in outputs and name in outputs
    }
