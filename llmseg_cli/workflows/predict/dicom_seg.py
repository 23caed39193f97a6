"""DICOM SEG files of masks whose images are DICOM series."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from llmseg_cli.artifacts.files import remove_leftovers
from llmseg_cli.artifacts.journal import DICOM_SEG
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.data.cases import Case
from llmseg_cli.data.class_values import changes_from_stored
from llmseg_cli.data.formats.dicom_seg import refuse_without_highdicom, write_seg
from llmseg_cli.data.naming import dicom_folder
from llmseg_cli.data.sources import files_read
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.workflows.predict.cases import CaseResult


def refuse_no_series(cases: Sequence[Case]) -> None:
    """Refuse cases whose images are no DICOM series of a slice a file, before one is predicted.

    Raises:
        UsageError: Naming the first, or the package that is missing.
    """
    refuse_without_highdicom()
    for case in cases:
        if len(case.images) != 1 or dicom_folder(case.images[0]) is None:
            raise UsageError(
                f"--dicom-seg: case {case.id} ({case.images[0].name}) is no DICOM series, a folder "
                "of slices. Leave the option out, or predict the series alone."
            )


def remove_segs(folder: Path, cases: Iterable[str]) -> None:
    """Delete the DICOM SEG files of cases in an output folder, and halves of such files."""
    remove_leftovers(folder / DICOM_SEG)
    for case in cases:
        (folder / _seg_name(case)).unlink(missing_ok=True)


def with_segs(
    folder: Path, cases: Sequence[Case], results: Sequence[CaseResult], config: RunConfig
) -> list[CaseResult]:
    """The results, with a DICOM SEG in `dicom-seg/` of each mask that is there.

    A case whose slices do not say where they lie has failed; its mask stays.

    Args:
        folder: The output folder.
        cases: What was predicted.
        results: What became of each.
        config: Names of classes, and their values in the masks.
    """
    images = {case.id: case for case in cases}
    return [_with_seg(folder, images[one.case], one, config) for one in results]


def _seg_name(case: str) -> str:
    return f"{DICOM_SEG}/{case}.dcm"


def _with_seg(folder: Path, case: Case, result: CaseResult, config: RunConfig) -> CaseResult:
    if result.file is None:
        return result
    name = _seg_name(case.id)
    changes = changes_from_stored(config.label_values)
    try:
        mask = load_label_map(folder / result.file, label_map=changes)
        slices = files_read(case.images[0])
        write_seg(folder / name, mask.array, mask.grid, slices, classes=config.classes)
    except DataError as error:
        return replace(result, status="failed", reason=str(error))
    return replace(result, dicom_seg=name)
