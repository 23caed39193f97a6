"""What a finished run has learned from, and what must therefore not be held out from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from llmseg_cli.artifacts.at_hand import refuse_unfinished_run
from llmseg_cli.artifacts.learned import LEARNED, Learned
from llmseg_cli.artifacts.manifest import MANIFEST, load_manifest
from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import CONFIG
from llmseg_cli.artifacts.split import SPLIT, Split
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.digests import voxels_of
from llmseg_cli.errors import ArtifactError, PolicyError
from llmseg_cli.registry import METHODS

SHOWN = 3
Show = Callable[[Sequence[str]], Mapping[str, str]]  # cases to what their images show


def nothing(_: Sequence[str]) -> Mapping[str, str]:
    """Where the images are not at hand."""
    return {}


def showing(data: Path) -> Show:
    """What the images of a data set show; they are read when that is asked."""

    def shown(names: Sequence[str]) -> Mapping[str, str]:
        wanted = set(names)
        return voxels_of(case for case in find_cases(data).cases if case.id in wanted)

    return shown


def learned_from(split: Split, method: str, *, before: Iterable[Learned] = ()) -> Learned:
    """What a run of *method* learns from.

    Args:
        split: Its roles.
        method: Name of the way of learning.
        before: What the runs have learned that weights or pseudo-labels are taken from.
    """
    cases = split.labeled
    if METHODS.load(method).uses_unlabeled:
        cases += split.unlabeled
    own = [image for case in cases for image in split.digests_of(case)]
    inherited = [image for one in before for image in one.trained]
    return Learned(
        split=split.digest,
        trained=tuple(sorted({*own, *inherited})),
        chose=tuple(sorted({d for case in split.validation for d in split.digests_of(case)})),
        trained_voxels=tuple(sorted({shown for one in before for shown in one.trained_voxels})),
    )


def with_voxels(learned: Learned, split: Split, voxels: Mapping[str, str]) -> Learned:
    """Besides, what the images of a run show that learns from them.

    Args:
        learned: Of `learned_with`.
        split: The roles.
        voxels: Case to `voxel_digest`, of those that it learns from and is validated with.
    """
    chose = {voxels[case] for case in split.validation if case in voxels}
    validation = set(split.validation)
    own = {shown for case, shown in voxels.items() if case not in validation}
    return replace(
        learned,
        trained_voxels=tuple(sorted({*learned.trained_voxels, *own})),
        chose_voxels=tuple(sorted(chose)),
    )


def learned_by(run: Path) -> Learned:
    """What a run has learned from, as it says; of older runs, what their split says.

    Raises:
        ArtifactError: If the folder does not say.
    """
    if (run / LEARNED).is_file():
        return Learned.load(run / LEARNED)
    if not says_what_it_learned(run):
        raise ArtifactError(
            f"{run} has neither {LEARNED} nor {SPLIT}, so nobody knows which cases it learned "
            "from. Put its own files back."
        )
    return learned_from(Split.load(run / SPLIT), RunConfig.load(run / CONFIG).method)


def says_what_it_learned(run: Path) -> bool:
    """Whether a run folder holds what `learned_by` reads."""
    return any((run / name).is_file() for name in (LEARNED, SPLIT))


def learned_by_maker(masks: Path) -> Learned | None:
    """What the run behind a folder of masks has learned from; None if the folder does not say."""
    if not (masks / MANIFEST).is_file():
        return None
    found = load_manifest(masks)["details"].get("learned")
    return None if found is None else Learned.from_dict(found, name=f"{masks / MANIFEST}: learned")


def learned_with(
    split: Split, method: str, *, init: Path | None, masks: Path | None, show: Show = nothing
) -> Learned:
    """What a run that starts will have seen, also through the weights and masks it is given.

    Args:
        split: Its roles.
        method: Name of the way of learning.
        init: The run whose weights it starts from, or None; a file of weights alone says nothing.
        masks: Folder of pseudo-labels, or None.
        show: Gives cases' `voxel_digest`; asked only if a run is given.

    Raises:
        ArtifactError: If *init* is no finished run.
        PolicyError: If a run behind them has learned from a test or validation case of *split*.
    """
    before = []
    if init is not None and not init.is_file():
        refuse_learned(init, split, show=show)
        before.append(learned_by(init))
    if masks is not None and (maker := learned_by_maker(masks)) is not None:
        _refuse_held_out(f"--pseudo {masks}: the run that made it", maker, split, show)
        before.append(maker)
    return learned_from(split, method, before=before)


def refuse_learned(
    folder: Path, split: Split, *, flag: str = "--init", show: Show = nothing
) -> None:
    """Refuse weights that have learned from what is held out now, whatever its name was then.

    Args:
        folder: The run to start from; its own record says what it learned from.
        split: The roles of the run that starts.
        flag: The option that named the folder, for messages.
        show: Gives cases' `voxel_digest`.

    Raises:
        ArtifactError: If the folder holds no finished run.
        PolicyError: If an image that it learned from is a test or validation case of *split*.
    """
    refuse_unfinished_run(folder, flag=flag)
    _refuse_held_out(f"{flag} {folder}", learned_by(folder), split, show)


def _refuse_held_out(source: str, learned: Learned, split: Split, show: Show) -> None:
    images = _images(split, (*split.test, *split.validation))
    held_out = learned.trained_among(images)
    if not held_out and learned.trained_voxels:
        held_out = learned.trained_among(images, show([*images]))
    if held_out:
        raise PolicyError(
            f"{source} has learned from {len(held_out)} test or validation cases of this "
            f"split ({some(held_out)}). Start from a run with the same split."
        )


def refuse_answers(
    run: Path,
    learned: Learned,
    split: Split,
    cases: Sequence[str],
    *,
    checkpoint: str,
    voxels: Mapping[str, str] | None = None,
) -> None:
    """Refuse to let a run answer about held-out cases that it knows.

    Args:
        run: The run, for messages.
        learned: What it learned from.
        split: The roles of the cases.
        cases: The cases that it is asked about.
        checkpoint: `final` or `best`; the latter was chosen by validation cases of the run.
        voxels: Case to `voxel_digest`, as far as it is known.

    Raises:
        PolicyError: If one of them is a test or validation case that the weights come from, or a
            test case that they were chosen by.
    """
    test, validation = set(split.test), set(split.validation)
    asked = [case for case in cases if case in test or case in validation]
    trained = learned.trained_among(_images(split, asked), voxels)
    if trained:
        raise PolicyError(
            f"--run {run} has learned from {len(trained)} test or validation cases of this split "
            f"({some(trained)}), so its masks of them say nothing. Pass the split of the run, "
            "or train with this one."
        )
    tests = [case for case in asked if case in test]
    chose = learned.chose_among(_images(split, tests), voxels)
    if chose and checkpoint == "best":
        raise PolicyError(
            f"--checkpoint best of {run} was chosen by {len(chose)} test cases of this split "
            f"({some(chose)}). Pass --checkpoint final, or the split of the run."
        )


def _images(split: Split, cases: Iterable[str]) -> dict[str, set[str]]:
    return {case: split.digests_of(case) for case in cases}


def some(names: Sequence[str]) -> str:
    """The first of them, for a message."""
    return ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
