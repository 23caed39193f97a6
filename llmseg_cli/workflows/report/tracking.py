"""Runs and their report as an MLflow server or a file of MLflow keeps them, after the fact."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseg_cli.errors import UsageError
from llmseg_cli.training.log import logged, losses_of
from llmseg_cli.workflows.report.document import Facts, RunFacts
from llmseg_cli.workflows.report.numbers import finite
from llmseg_cli.workflows.report.scored import ALL

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

EXPERIMENT = "llmseg"
MOST_PARAMS, MOST_METRICS = 100, 1000  # that MLflow takes at once
LONGEST = 500  # signs of a value; older servers take no more
SQLITE = "sqlite:///"
STATUS = {"finished": "FINISHED", "stopped": "KILLED", "partial": "FAILED", "unfinished": "RUNNING"}


@dataclass(frozen=True)
class Tracked:
    """A run that MLflow has now.

    Args:
        name: Of the run.
        id: That MLflow gave it.
    """

    name: str
    id: str


def refuse_missing_mlflow() -> None:
    """Refuse to begin without the package that speaks to MLflow.

    Raises:
        UsageError: Naming what installs it.
    """
    if find_spec("mlflow") is None:
        raise UsageError(
            "--mlflow needs the package mlflow: python -m pip install 'llmseg[mlflow]'."
        )


def track(
    uri: str, facts: Facts, folders: Sequence[Path], artifacts: Sequence[Path]
) -> tuple[Tracked, ...]:
    """Write each run with its settings, its metrics by step, its last metrics and the report.

    Every call makes new runs, in the experiment `llmseg`. Times are those of the training; a
    setting longer than 500 signs is cut, and whole in the report.

    Args:
        uri: Of a server, `sqlite:///FILE`, or what else MLflow knows. Pictures and pages that go
            with a file lie beside it.
        facts: Of the report.
        folders: Of its runs, in their order.
        artifacts: Files that each run is given.

    Raises:
        UsageError: If MLflow cannot use the address, or refuses what it is given.
        ArtifactError: If a log is damaged.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    logs = [logged(folder) for folder in folders]
    try:
        client = MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, uri)
        return tuple(
            _write(client, experiment, run, lines, _scores_of(facts, run), artifacts)
            for run, lines in zip(facts.runs, logs, strict=True)
        )
    except MlflowException as error:
        told = " ".join(str(error).split())
        raise UsageError(
            f"--mlflow {uri}: MLflow refuses it: {told} Start a server with 'mlflow server', or "
            "name a file, as sqlite:///mlflow.db."
        ) from error


def _experiment(client: "MlflowClient", uri: str) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    beside = None
    if uri.startswith(SQLITE):  # else they would go to the working folder
        database = Path(uri.removeprefix(SQLITE)).resolve()
        beside = database.with_name(f"{database.stem}-artifacts").as_uri()
    return str(client.create_experiment(EXPERIMENT, artifact_location=beside))


def _write(
    client: "MlflowClient",
    experiment: str,
    run: RunFacts,
    lines: Sequence[Mapping[str, Any]],
    scores: Mapping[str, float],
    artifacts: Sequence[Path],
) -> Tracked:
    from mlflow.entities import Param

    times = [int(1000 * time) for line in lines if (time := finite(line, "time")) is not None]
    start, end = (times[0], times[-1]) if times else (None, None)
    made = client.create_run(experiment, start_time=start, tags=_tags(run), run_name=run.name)
    own = made.info.run_id
    params = [Param(key, value[:LONGEST]) for key, value in _params(run.config)]
    for first in range(0, len(params), MOST_PARAMS):
        client.log_batch(own, params=params[first : first + MOST_PARAMS])
    metrics = [*_by_step(lines), *_last({**_validation(run), **scores}, run, end)]
    for first in range(0, len(metrics), MOST_METRICS):
        client.log_batch(own, metrics=metrics[first : first + MOST_METRICS])
    for path in artifacts:
        client.log_artifact(own, str(path))
    client.set_terminated(own, STATUS.get(run.status, "FAILED"), end_time=end)
    return Tracked(run.name, str(own))


def _tags(run: RunFacts) -> dict[str, str]:
    known = {
        "llmseg.version": run.versions.get("llmseg"),
        "llmseg.command": run.command_line,
        "llmseg.split": run.split,
        "llmseg.test_list": run.test_list,
        "llmseg.status": run.status,
    }
    return {key: value for key, value in known.items() if value}


def _params(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Every setting by its path, such as `settings.patch`, lists as they are written."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _params(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", str(value)


def _by_step(lines: Sequence[Mapping[str, Any]]) -> Iterator["Metric"]:
    """Every number of the log; terms of the loss as `loss.NAME`."""
    from mlflow.entities import Metric

    for line in lines:
        losses, time = losses_of(line), finite(line, "time") or 0.0
        for key in line:
            value = finite(line, key)
            if value is not None and key not in ("step", "time"):
                name = f"loss.{key}" if key in losses else key
                yield Metric(name, value, int(1000 * time), line["step"])


def _last(values: Mapping[str, float], run: RunFacts, end: int | None) -> Iterator["Metric"]:
    from mlflow.entities import Metric

    yield from (Metric(key, value, end or 0, run.steps or 0) for key, value in values.items())


def _validation(run: RunFacts) -> dict[str, float]:
    return {
        f"validation_dice_{key}": run.validation[key]
        for key in ("final", "best")
        if key in run.validation
    }


def _scores_of(facts: Facts, run: RunFacts) -> dict[str, float]:
    """Means of the files of scores whose masks the run made, as `test.dice`; of a class, with it.

    Where two files have the same name of a mean, the later one counts.
    """
    found: dict[str, float] = {}
    for one in facts.scores:
        if one.run != run.name:
            continue
        for row in one.metrics:
            name = f"{one.subset or 'scores'}.{row.metric}"
            if row.mean is not None:
                own = "" if row.class_name == ALL else f".{_plain(row.class_name)}"
                found[f"{name}{own}"] = row.mean
    return found


def _plain(name: str) -> str:
    """A name of the signs that MLflow takes in one."""
    return "".join(sign if sign.isalnum() or sign in "_-. " else "_" for sign in name)
