"""Write the demo's cohort: many brains from one template."""

from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.files import refuse_existing, write_json, write_text
from llmseg_cli.artifacts.folders import replaced_folder
from llmseg_cli.artifacts.manifest import MANIFEST, Manifest, load_manifest
from llmseg_cli.errors import ArtifactError, UsageError
from llmseg_cli.knowledge.weights.embedded import path_of
from llmseg_cli.progress import Progress, silent

COMMAND = "demo-data"
LABELS, REFERENCES = "labels", "references"
NOTE = """\
A cohort made by 'llmseg demo-data' to try llmseg on. It is no data for research.

All {cases} brains come from one: the MNI152 template (ICBM 2009a nonlinear symmetric, T1) with its
grey and white matter maps, warped together, with another contrast, sharpness, coil and noise for
each. Voxels are {spacing_mm:g} mm wide; seed {seed}.

images/  T1-weighted brains without skull, int16
labels/  0 background, 1 grey matter, 2 white matter{references}

The template: Fonov et al., Unbiased nonlinear average age-appropriate brain templates from birth
to adulthood, NeuroImage 47, S102, 2009.
Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University. Permission to use, copy, modify, and distribute it is granted
provided that this notice stays with all copies; it comes without any warranty.
"""


APART = """
         of the first {labeled} brains; references/ has those of the others, to score with"""


@dataclass(frozen=True)
class DemoCohort:
    """What was written.

    Args:
        folder: The data folder.
        cases: Identifiers, in order.
        labeled: Those whose label maps lie in `labels/`; those of the others are `references/`.
    """

    folder: Path
    cases: tuple[str, ...]
    labeled: tuple[str, ...]


def run(
    output: Path,
    *,
    subjects: int = 30,
    labeled: int | None = None,
    spacing_mm: float = 3.0,
    seed: int = 0,
    cache: Path | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> DemoCohort:
    """Write a cohort with label maps in the layout of the Medical Segmentation Decathlon.

    The folder appears whole or not at all. A case depends on *seed* and its own number alone, so a
    larger cohort begins with the cases of a smaller one.

    Args:
        output: Folder to write.
        subjects: Number of cases.
        labeled: Number of cases, the first ones, whose label maps lie in `labels/`; those of the
            others lie in `references/`, which no command takes for the data's. None labels all.
        spacing_mm: Side of a voxel.
        seed: Seed of all that is random.
        cache: Folder of the weights, if it is not the usual one; the template lies there.
        force: Replace an older cohort of this command.
        progress: Told after each case.

    Raises:
        UsageError: If *output* exists, or with *force* if it is not a cohort of this command; or
            if more cases are to be labeled than there are.
        WeightsError: If the template was not fetched.
    """
    if labeled is not None and labeled > subjects:
        raise UsageError(
            f"--labeled {labeled} is more than the {subjects} brains. Pass at most {subjects}, or "
            "more --subjects."
        )
    _refuse(output, force=force)
    from llmseg_cli.data.demo_cohort import load_template, make_case, save_case  # loads torch

    manifest = Manifest(COMMAND, seed=seed)
    template = load_template(path_of("mni152", cache=cache), spacing_mm=spacing_mm)
    cases = _names(subjects)
    known = cases if labeled is None else cases[:labeled]
    with replaced_folder(output) as folder:
        for number, case in enumerate(cases, start=1):
            image = folder / _file("images", case)
            label = folder / _file(LABELS if case in known else REFERENCES, case)
            save_case(make_case(template, seed=seed, index=number), image=image, label=label)
            progress("demo data", number, subjects)
        write_text(folder / "README.txt", _note(len(known), subjects, spacing_mm, seed))
        write_json(folder / "dataset.json", _description(cases, known))
        manifest.counts = {"cases": subjects, "labeled": len(known)}
        config = {
            "subjects": subjects,
            "labeled": len(known),
            "spacing_mm": spacing_mm,
            "seed": seed,
        }
        manifest.write(folder, outputs=("dataset.json", "README.txt"), config=config)
    return DemoCohort(output, cases, known)


def _note(labeled: int, subjects: int, spacing_mm: float, seed: int) -> str:
    apart = APART.format(labeled=labeled) if labeled < subjects else ""
    return NOTE.format(cases=subjects, spacing_mm=spacing_mm, seed=seed, references=apart)


def _file(kind: str, case: str) -> str:
    return f"{kind}/{case}.nii.gz"


def _refuse(output: Path, *, force: bool) -> None:
    refuse_existing(output, force=force)
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    try:
        written_by = load_manifest(output)["command"]
    except ArtifactError:
        written_by = None
    if written_by != COMMAND:
        raise UsageError(
            f"{output} was not written by 'llmseg {COMMAND}', so --force does not replace it. "
            "Choose another -o."
        )
    if others := sorted(_files_of(output) - _made(output)):
        raise UsageError(
            f"{output / others[0]} was not written by 'llmseg {COMMAND}', and --force would delete "
            "it. Move it, or choose another -o."
        )


def _files_of(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_symlink() or p.is_file()}


def _made(folder: Path) -> set[str]:
    """Names of what an earlier call wrote."""
    counts = load_manifest(folder)["counts"]
    cases = _names(counts.get("cases", 0))
    labeled = counts.get("labeled", len(cases))  # a cohort from before --labeled has all
    files = {_file("images", case) for case in cases}
    files |= {_file(LABELS, case) for case in cases[:labeled]}
    files |= {_file(REFERENCES, case) for case in cases[labeled:]}
    return {MANIFEST, "dataset.json", "README.txt", *files}


def _names(count: int) -> tuple[str, ...]:
    return tuple(f"sub-{number:03d}" for number in range(1, count + 1))


def _description(cases: tuple[str, ...], labeled: tuple[str, ...]) -> dict[str, object]:
    from llmseg_cli.data.demo_cohort import CLASSES

    return {
        "name": "llmseg demo",
        "description": "Brains made from the MNI152 template by 'llmseg demo-data'",
        "reference": "Fonov et al., NeuroImage 47, S102, 2009",
        "tensorImageSize": "3D",
        "modality": {"0": "T1"},
        "labels": {str(value): name for value, name in CLASSES.items()},
        "numTraining": len(cases),
        "numTest": 0,
        "training": [
            {"image": f"./{_file('images', case)}"}
            | ({"label": f"./{_file(LABELS, case)}"} if case in labeled else {})
            for case in cases
        ],
        "test": [],
    }
