"""`report.json`: all that the page of `llmseg report` shows, as numbers and words."""

from dataclasses import dataclass, field
from typing import Any

from llmseg_cli.artifacts.calibration import Change
from llmseg_cli.artifacts.document import Document
from llmseg_cli.workflows.report.scored import ScoreFacts
from llmseg_cli.workflows.report.seen import LeastTrusted, PseudoFacts, ShownCase, ViewerFacts


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Values of a training over its steps.

    Args:
        name: What they are, such as `supervised`.
        kind: `loss`, `dice`, `share`, `rate` or `seconds`.
        points: Step and value; of long trainings, means of neighbors.
    """

    name: str
    kind: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class CalibrationFacts:
    """What `llmseg calibrate` has found of a run.

    Args:
        checkpoint: `final` or `best`, the weights that were asked.
        is_current: Whether these are the weights that the run has now.
        cases: The validation cases that were asked about.
        voxels: Drawn of them, in all.
        temperatures: Network to its own.
        changes: Network, or `mean` of several, to how true its probabilities are before and after.
    """

    checkpoint: str
    is_current: bool
    cases: tuple[str, ...]
    voxels: int
    temperatures: dict[str, float]
    changes: dict[str, Change]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a run folder says of its training.

    Args:
        name: The end of its path, as far as it takes to tell it from the others.
        status: `finished`, `stopped`, `partial`, or `unfinished` without a `run.json`.
        steps: That were taken, or None.
        counts: Cases by role.
        validation: `final` and `best` Dice of the validation cases and the `best_step`; may be
            empty.
        cost: `wall_s`, `peak_rss_mb`, `peak_vram_mb`, `parameters`, as far as they are known.
        machine: Processor, cores, memory, GPU.
        versions: Of llmseg and of what matters beside it.
        command_line: What was typed, or None.
        config: All of `config.yaml`.
        text: The record of its texts, or None.
        split: Digest of its split.
        test_list: Digest of the locked test cases, or None.
        test_words: That they were named, if they were.
        curves: Of its log.
        warnings: Of its `run.json`.
        borrowed: Names of the pre-trained models that went into it.
        weights: Checkpoint to what `predict` calls the run by.
        calibrations: Of its weights, as far as it was calibrated.
    """

    name: str
    command: str
    method: str
    model: str
    status: str
    seed: int
    steps: int | None
    classes: tuple[str, ...]
    counts: dict[str, int]
    validation: dict[str, Any]
    cost: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str]
    command_line: str | None
    config: dict[str, Any]
    text: dict[str, Any] | None
    split: str
    test_list: str | None
    curves: tuple[Curve, ...]
    warnings: tuple[str, ...] = ()
    weights: dict[str, str] = field(default_factory=dict)
    borrowed: tuple[str, ...] = ()
    calibrations: tuple[CalibrationFacts, ...] = ()
    test_words: str = ""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A scan that was read.

    Args:
        case: Its name.
        shape: Voxels along X Y Z (RAS+).
        spacing: Of them, in *unit*.
        unit: `mm`, `px` or `voxel`.
        channels: Of the image.
        low: First percentile of the intensities.
        high: 99th percentile.
        volumes: Class to its volume, in ml where *unit* is mm, else in voxels; None without a label
            map.
    """

    case: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    unit: str
    channels: int
    low: float
    high: float
    volumes: dict[str, float] | None


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the data set is like.

    Args:
        layout: How it is arranged.
        cases: In all.
        labeled: Of them with a label map.
        scans: Those that were read.
        faults: Sentences of what is wrong in what was read.
        warnings: Sentences of what may be left.
    """

    layout: str
    cases: int
    labeled: int
    scans: tuple[Scan, ...]
    faults: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Licence:
    """Pre-trained weights that a training or its pseudo-labels have used.

    Args:
        weights: Their name.
        licence: And where they were published; of strangers, that it is not known.
        used_by: Names of the runs and folders.
    """

    weights: str
    licence: str
    used_by: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Methods:
    """What a paper would say.

    Args:
        paragraphs: Sentences on data, training and scores.
        citations: What to cite, each with what it was used for.
    """

    paragraphs: tuple[str, ...]
    citations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Facts(Document, schema="llmseg/report/1", writer="report"):
    """All of a report.

    Args:
        title: In a few words.
        verdict: Sentences with the result.
        warnings: What a reader should know first.
        runs: The runs.
        scores: One a file of scores.
        shown: Cases that are shown, the worst first.
        shown_by: The file of scores that ranks them, or None without one.
        data: The data set, or None if it was not given.
        pseudo: Pseudo-labels.
        methods: For a paper.
        commands: Command lines that repeat it, in order.
        licences: Of pre-trained weights.
        least: Masks that are trusted least, or None where nothing is noted of any.
        viewer: What can be turned and scrolled, or None.
    """

    title: str
    verdict: tuple[str, ...]
    warnings: tuple[str, ...]
    runs: tuple[RunFacts, ...]
    scores: tuple[ScoreFacts, ...]
    shown: tuple[ShownCase, ...]
    data: DataFacts | None
    pseudo: tuple[PseudoFacts, ...]
    methods: Methods
    commands: tuple[str, ...]
    licences: tuple[Licence, ...] = ()
    least: LeastTrusted | None = None
    viewer: ViewerFacts | None = None
    shown_by: str | None = None
