"""llmseg as a library: numpy arrays in and out, and nothing is printed.

What `__all__` names is stable: a later version of llmseg adds to it, and changes or removes nothing
without a major version. All else in the package may change at any time.

Arrays have the axes `(X, Y, Z)`, or `(X, Y)` for pictures (columns before rows), and images of
several channels have them first: `(C, X, Y, Z)`, `(C, X, Y)`. X grows to the patient's right, Y to
the front and Z to the head (RAS+, `nibabel.as_closest_canonical`), as in files that the commands
read, so that runs of the commands and of this module can be mixed. *spacing* is the sides of a
voxel in mm along these axes; whether it has two or three says whether an array is a picture or a
volume. Take `(1, 1)` for pictures without a size.

Mistakes of the caller are `LlmsegError` with a sentence that says what to do (it may name the
option of a command), arrays of a wrong shape or type `ValueError`. Warnings go to the `logging`
logger `llmseg_cli`. Importing this module is quick; torch is loaded by what needs it.
"""

import logging
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmseg_cli.api_run import Run
from llmseg_cli.artifacts.descriptions import Descriptions
from llmseg_cli.errors import LlmsegError
from llmseg_cli.progress import Progress, silent

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from llmseg_cli.knowledge.embeddings.file import Embeddings

__all__ = ["Descriptions", "LlmsegError", "Run", "describe", "embed", "load", "score", "train"]

logging.getLogger("llmseg_cli").addHandler(logging.NullHandler())  # or Python prints warnings


def load(
    run: str | Path,
    *,
    device: str = "auto",
    network: str | None = None,
    checkpoint: str = "final",
    precision: str = "auto",
    cache: str | Path | None = None,
) -> Run:
    """Open a run folder of `llmseg train-sup`, `llmseg train-semi` or `train`.

    Args:
        run: The folder.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        network: `first`, `second`, ... or `mean`; by default what the run recorded.
        checkpoint: `final`, or `best` on the validation cases.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        cache: llmseg's cache folder, if it is not the usual one.

    Raises:
        LlmsegError: If it is no finished run, or has no such network or checkpoint.
    """
    from llmseg_cli.workflows.runs.run_folder import open_run

    folder = Path(run)
    opened = open_run(
        folder,
        device=device,
        network=network,
        checkpoint=checkpoint,
        precision=precision,
        cache=None if cache is None else Path(cache),
    )
    return Run(folder, opened)


def train(
    images: Sequence["ArrayLike"],
    labels: Sequence["ArrayLike"],
    *,
    spacing: Sequence[float] | Sequence[Sequence[float]],
    unlabeled: Sequence["ArrayLike"] = (),
    classes: Sequence[str] = (),
    validation: int = 0,
    method: str | None = None,
    method_option: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    text: "Embeddings | None" = None,
    label_map: Mapping[int, int] | None = None,
    ignore_label: int | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    progress: Progress = silent,
) -> Run:
    """Train on labeled and unlabeled images, as `llmseg train-sup` and `train-semi` do.

    *folder* gets the arrays as NIfTI in `data/`, `split.json` and the run in `run/`, so that every
    command can go on from there.

    Args:
        images: Labeled images, each as of `Run.predict`, all with the same channels.
        labels: Their label maps in the same order, `(X, Y, Z)` or `(X, Y)` whole numbers.
        spacing: Sides of a voxel in mm: of all images, or one entry for each, the unlabeled last.
        unlabeled: Images without label maps.
        classes: Names of classes 1, 2, ...; `class 1`, ... by default.
        validation: How many of the labeled images validate instead; drawn by *seed*.
        method: Way of learning; by default `usl` with unlabeled images, else `supervised`.
        method_option: Options of the method, `KEY=VALUE`.
        options: Options of `llmseg train-sup` by name, such as `{"steps": 500, "learning-rate":
            0.01, "patch": (64, 64, 48)}`; `spacing` is that to resample to.
        text: What guides the networks of `usl` and others, of `embed`.
        label_map: Label values to change, such as `{255: 1}`.
        ignore_label: Label value of voxels of which nothing is known.
        folder: New or empty; by default a temporary one that goes away with the returned run.
        seed: Seed of everything random.
        cache: llmseg's cache folder, if it is not the usual one.
        progress: Hears about cases and steps: `progress("train", 10, 500, loss=0.4)`.

    Raises:
        ValueError: If shapes, types or numbers of arrays do not fit.
        LlmsegError: If the data cannot be learned from, an option is wrong, *folder* is not empty,
            or a signal stopped it (then `llmseg train-... --resume` continues `run/`).
    """
    from llmseg_cli.workflows.train.arrays import ArrayCohort, spacings_of, train_arrays

    everything = [*images, *unlabeled]
    if len(labels) == 0 or len(images) != len(labels):
        raise ValueError(
            f"{len(images)} images and {len(labels)} label maps, expected one for each"
        )
    cohort = ArrayCohort(
        images=everything,
        labels=labels,
        spacings=spacings_of(spacing, len(everything)),
        classes=classes,
        label_map=label_map or {},
        ignore_label=ignore_label,
        validation=validation,
    )
    place = Path(tempfile.mkdtemp(prefix="llmseg-")) if folder is None else Path(folder)
    try:
        trained = train_arrays(
            cohort,
            place,
            method=method or ("usl" if len(unlabeled) else "supervised"),
            method_option=method_option,
            options=options or {},
            text=text,
            seed=seed,
            cache=None if cache is None else Path(cache),
            prepared=place / "prepared" if folder is None else None,
            progress=progress,
        )
        found = load(trained, device=str((options or {}).get("device", "auto")), cache=cache)
    except BaseException:
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)
        raise
    if folder is None:
        weakref.finalize(found, shutil.rmtree, place, ignore_errors=True)
    return found


def score(
    prediction: "ArrayLike",
    reference: "ArrayLike",
    spacing: Sequence[float] | None = None,
    *,
    classes: Mapping[int, str] | None = None,
    ignore_label: int | None = None,
    tolerance: float = 1.0,
    empty_policy: str = "diagonal",
) -> dict[str, dict[str, float | None]]:
    """Measure a label map against a reference, as `llmseg score` does for one case.

    Args:
        prediction: `(X, Y, Z)` or `(X, Y)` whole numbers; 0 is the background.
        reference: Of the same shape.
        spacing: Sides of a voxel in mm; None measures in steps of the grid.
        classes: Label value to name, of those to score; by default all that occur, by value.
        ignore_label: Value of the reference of voxels that do not count.
        tolerance: Of the normalized surface Dice, in mm (or steps).
        empty_policy: What a class counts as that only one has: `diagonal`, `nan`, `skip`, `error`.

    Returns:
        `"mean"` over the classes, and each class by its name (`"1"` without one), to metric to
        number: `dice`, `jaccard`, `hd95_mm`, `asd_mm`, `nsd`, ... (`_px` of pictures and `_voxel`
        in steps of the grid); None where a number does not exist, as for a class that neither has.

    Raises:
        ValueError: If the shapes differ or do not fit *spacing*.
        LlmsegError: If values are no whole numbers, or there is nothing to score.
    """
    import numpy as np

    from llmseg_cli.data.arrays import label_array, voxel_sizes
    from llmseg_cli.workflows.score.arrays import score_arrays

    axes = np.ndim(reference) if spacing is None else len(spacing)
    return score_arrays(
        label_array(prediction, axes, name="prediction"),
        label_array(reference, axes, name="reference"),
        spacing_mm=(1.0, 1.0, 1.0) if spacing is None else voxel_sizes(spacing),
        unit="mm" if spacing is not None else "px" if axes == 2 else "voxel",
        classes=classes or {},
        ignore=ignore_label,
        tolerance=tolerance,
        empty_policy=empty_policy,
    )


def describe(
    target: str,
    *,
    modality: str | None = None,
    classes: Sequence[str] = (),
    llm: str = "library",
    texts: int | None = None,
    seed: int = 0,
    device: str = "auto",
    cache: str | Path | None = None,
    offline: bool = False,
) -> Descriptions:
    """Have each class of a target described in words, as `llmseg describe` does.

    Args:
        target: Such as `left atrium`.
        modality: Such as `late gadolinium MRI`; the library has its own.
        classes: Names of the classes in the order of the label values; by default the library's.
        llm: Who writes: `library`, `file:PATH`, `openai:MODEL` or another of `describe --llm`.
        texts: Texts per class; by default 4, or all of a file's.
        seed: Seed of what a language model draws.
        device: Where it runs: `auto`, `cpu`, `cuda` or `cuda:N`.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.

    Returns:
        Texts by class, `.classes[name][0].text`; `.save(path)` writes them to be read and edited,
        and `Descriptions.load(path)` reads them again.

    Raises:
        LlmsegError: If the texts or the model cannot be had.
    """
    from llmseg_cli.workflows.describe.run import DescribeSettings, run

    return run(
        target,
        modality=modality,
        classes=tuple(classes),
        llm=llm,
        texts=texts,
        settings=DescribeSettings(seed=seed, device=device),
        cache=None if cache is None else Path(cache),
        offline=offline,
    )


def embed(
    descriptions: Descriptions | str | Path,
    *,
    encoder: str = "minilm",
    max_length: int | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
    offline: bool = False,
) -> "Embeddings":
    """Encode the texts of `describe`, as `llmseg embed` does, for *text* of `train`.

    Args:
        descriptions: Of `describe`, or a file of them.
        encoder: `minilm`, a folder or a Hugging Face id.
        max_length: Tokens that every text is padded or cut to; by default the longest text's.
        device: Where the encoder runs.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.

    Returns:
        T texts of L tokens: `texts`, `class_names`, `token_ids` and `mask` `(T, L)`, and float32
        `tokens` `(T, L, D)` and `pooled` `(T, D)`.

    Raises:
        LlmsegError: If the file is not of `llmseg describe`, or the encoder cannot be had.
    """
    from llmseg_cli.workflows.embed import read_descriptions, run

    if isinstance(descriptions, Descriptions):
        name, content = "descriptions", descriptions.to_text()
    else:
        name, content = str(descriptions), read_descriptions(str(descriptions), None)
    found = run(
        content,
        name=name,
        encoder=encoder,
        max_length=max_length,
        cache=None if cache is None else Path(cache),
        offline=offline,
        device=device,
    )
    return found.embeddings
