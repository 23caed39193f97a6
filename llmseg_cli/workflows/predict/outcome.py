"""What became of a prediction, for the terminal, `--json` and `run.json`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.data.cases import Case
from llmseg_cli.errors import ExitCode, LlmsegError
from llmseg_cli.typed import fit
from llmseg_cli.workflows.case_folder import some_failed
from llmseg_cli.workflows.predict.cases import CaseResult, Work
from llmseg_cli.workflows.predict.cost import Estimate


@dataclass(frozen=True)
class Predicted:
    """Where the masks are, what they cost, and what became of each case (none in a dry run).

    Args:
        folder: Where the masks are.
        estimate: What they were foretold to cost.
        cases: What became of each.
        training_cases: Those that the run has learned from.
        warnings: What a reader should know.
        notes: What else is worth knowing of the values in the masks.
    """

    folder: Path
    estimate: Estimate
    cases: tuple[CaseResult, ...]
    training_cases: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Cases in all, and by status."""
        statuses = [case.status for case in self.cases]
        by_status = {status: statuses.count(status) for status in ("ok", "failed", "skipped")}
        return {"cases_in": len(statuses), **by_status}

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "out": str(self.folder),
            "estimate": asdict(self.estimate),
            "counts": self.counts,
            "cases": [asdict(case) for case in self.cases],
            "training_cases": list(self.training_cases),
            "warnings": list(self.warnings),
        }


def predicted_by(
    shards: Sequence[Mapping[str, Any]], work: Work, cases: Sequence[Case]
) -> list[CaseResult]:
    """What became of each case in the shards that were joined, as if one run had done all.

    Args:
        shards: The `run.json` of each.
        work: Of the whole.
        cases: All cases.

    Raises:
        PolicyError: If what a mask was made of is known to the run, and held out.
    """
    found = {}
    for shard in shards:
        for one in fit(shard["details"]["cases"], list[CaseResult]):
            found[one.case] = replace(one, status="ok" if one.status == "skipped" else one.status)
    for name, entry in work.journal.entries.items():
        work.refuse(name, entry.details.get("voxels", ""))
    return [found[case.id] for case in cases]


def finish(predicted: Predicted, manifest: Manifest, *, lacking: Collection[str]) -> None:
    """Write `run.json`; what it says and how the command ends come from the same variable."""
    failed = [case for case in predicted.cases if case.status == "failed"]
    error: LlmsegError | None = None
    if failed:
        reasons = [(case.case, case.reason) for case in failed]
        error = some_failed(
            reasons,
            len(predicted.cases),
            predicted.folder,
            predicted.to_dict(),
            is_memory=all(case.case in lacking for case in predicted.cases),
        )
    manifest.counts = predicted.counts
    manifest.write(
        predicted.folder,
        outputs=tuple(name for case in predicted.cases for name in case.files),
        status="partial" if error else "ok",
        exit_code=error.exit_code if error else ExitCode.OK,
    )
    if error:
        raise error
