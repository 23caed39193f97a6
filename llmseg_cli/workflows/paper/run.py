"""`llmseg paper`: tables of scores, and methods, references and cards of the runs behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.files import write_text
from llmseg_cli.artifacts.folders import replaced_folder
from llmseg_cli.artifacts.inputs import Input, refuse_folder_over_inputs
from llmseg_cli.artifacts.lock import only_job
from llmseg_cli.artifacts.manifest import Manifest, environment
from llmseg_cli.artifacts.own_folder import refuse_not_made
from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.metrics.signature import METRICS
from llmseg_cli.workflows.paper import words
from llmseg_cli.workflows.paper.card import card_of
from llmseg_cli.workflows.paper.methods import of_scores, of_training
from llmseg_cli.workflows.paper.rows import Table, load_table
from llmseg_cli.workflows.paper.tables import Sheet, chosen_rows, sheets_of
from llmseg_cli.workflows.paper.trainings import Training, load_trainings
from llmseg_cli.workflows.runs.folders import run_folders

COMMAND = "paper"
MARKDOWN, LATEX = "paper.md", "paper.tex"
TABLES_MD, TABLES_TEX = "tables.md", "tables.tex"
REFERENCES, ENVIRONMENT, CARDS = "references.bib", "environment.txt", "cards"
DOCUMENT = """\
\\documentclass{{article}}
\\usepackage[T1]{{fontenc}}
\\usepackage{{booktabs}}
\\begin{{document}}
{methods}
{tables}
\\bibliographystyle{{plain}}
\\bibliography{{references}}
\\end{{document}}
"""


@dataclass(frozen=True)
class Written:
    """What was written.

    Args:
        folder: Where.
        files: Names in it.
        trainings: Those of the runs.
        table: The scores, or None.
    """

    folder: Path
    files: tuple[str, ...]
    trainings: tuple[Training, ...]
    table: Table | None

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "folder": str(self.folder),
            "files": list(self.files),
            "trainings": [
                {"name": one.name, "runs": [run.name for run in one.runs], "seeds": one.seeds}
                for one in self.trainings
            ],
            "rows": [row.name for row in self.table.rows] if self.table else [],
            "baseline": self.table.baseline.name if self.table else None,
        }


def run(
    runs: Sequence[Path],
    scores: Sequence[Path],
    *,
    out: Path,
    metrics: Sequence[str] = ("dice", "hd95"),
    baseline: str | None = None,
    force: bool = False,
) -> Written:
    """Write a folder for a paper; it appears whole or not at all.

    Args:
        runs: Run folders, or folders that hold several; those that differ in seed or fold alone are
            one training.
        scores: Files of `llmseg score`, a row of the tables each.
        out: Folder to write.
        metrics: What the tables show, names without units.
        baseline: The row that the others are compared with; see `load_table`.
        force: Replace an earlier output of this command.

    Raises:
        UsageError: If there is nothing to write of, scores may not stand in one table, or *out*
            would lose something.
        ArtifactError: If a run or a file of scores cannot be used.
    """
    if not runs and not scores:
        raise UsageError("Nothing to write of. Pass run folders, --scores FILE, or both.")
    if baseline is not None and not scores:
        raise UsageError(f"--baseline {baseline} is a row of --scores. Pass --scores FILE with it.")
    for metric in metrics:
        if metric not in METRICS:
            raise unknown("metric", metric, METRICS)
    inputs = [Input("--runs", path) for path in runs] + [Input("--scores", path) for path in scores]
    refuse_folder_over_inputs(out, inputs)
    table = load_table(scores, baseline) if scores else None
    trainings = load_trainings(run_folders(runs)) if runs else []
    manifest = Manifest(COMMAND)
    for path in scores:
        manifest.add_input(path)
    files = _files(trainings, table, list(metrics))
    with only_job(out):
        refuse_not_made(out, command=COMMAND, force=force)
        with replaced_folder(out) as folder:
            for name, text in files.items():
                write_text(folder / name, text)
            manifest.counts = {"trainings": len(trainings), "scores": len(scores)}
            manifest.write(folder, outputs=tuple(files))
    return Written(out, tuple(files), tuple(trainings), table)


def _files(
    trainings: Sequence[Training], table: Table | None, metrics: list[str]
) -> dict[str, str]:
    """Name to text."""
    methods = [
        f"{f'{one.name}: ' if len(trainings) > 1 else ''}{of_training(one)}" for one in trainings
    ]
    sheets = sheets_of(table, metrics) if table is not None else []
    if table is not None:
        methods.append(of_scores(table, metrics))
    keys = words.cited([*methods, *(sheet.caption for sheet in sheets)])
    tables_md = "\n".join(sheet.markdown for sheet in sheets)
    found = {
        MARKDOWN: _markdown(methods, tables_md),
        LATEX: DOCUMENT.format(
            methods="\n\n".join(map(words.as_latex, methods)),
            tables=rf"\input{{{TABLES_TEX}}}" if sheets else "",
        ),
        REFERENCES: words.bibliography(keys),
        ENVIRONMENT: _environment(trainings),
        **_tables(sheets, tables_md),
    }
    for number, training in enumerate(trainings):
        rows = [] if table is None else chosen_rows(table, _digests(training))
        name = training.name.replace("/", "-")
        place = f"{CARDS}/{name}.md"
        found[place if place not in found else f"{CARDS}/{name}-{number}.md"] = card_of(
            training, table, rows
        )
    return found


def _digests(training: Training) -> list[str]:
    return [digest for run in training.runs for digest in run.digests]


def _tables(sheets: Sequence[Sheet], markdown: str) -> dict[str, str]:
    if not sheets:
        return {}
    return {TABLES_MD: markdown, TABLES_TEX: "\n".join(sheet.latex for sheet in sheets)}


def _markdown(methods: Sequence[str], tables: str) -> str:
    results = f"\n## Results\n\n{tables}" if tables else ""
    return "## Methods\n\n" + "\n\n".join(methods) + "\n" + results


def _environment(trainings: Sequence[Training]) -> str:
    """Versions, machine and command line of each run, and of what writes this."""
    blocks = [_block("this text", {"env": environment()})]
    blocks += [_block(run.name, run.record) for one in trainings for run in one.runs]
    return "\n".join(blocks)


def _block(name: str, record: Any) -> str:
    lines = [f"[{name}]"]
    if "version" in record:
        lines.append(f"llmseg {record['version']}")
    lines += [f"{package} {version}" for package, version in record.get("env", {}).items()]
    lines += [
        f"{part}: {value}"
        for part, value in record.get("hardware", {}).items()
        if value is not None
    ]
    if record.get("command_line"):
        lines.append(f"$ {record['command_line']}")
    return "\n".join(lines) + "\n"
