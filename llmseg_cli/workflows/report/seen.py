"""What `report.json` keeps of cases that are shown: slices, pseudo-labels, and trust."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A slice that is shown of a case.

    Args:
        axis: Across which it lies: `X`, `Y` or `Z` (RAS+), or empty for a picture.
        number: From 1.
        of: Slices in all.
        missed: Voxels of the reference that the mask has not; None without a reference.
        false: Voxels of the mask that the reference has not.
        other_class: Voxels that both have, as different classes.
    """

    axis: str
    number: int
    of: int
    missed: int | None
    false: int | None
    other_class: int | None


@dataclass(frozen=True, kw_only=True)
class ShownCase:
    """A case whose slices are shown.

    Args:
        case: Its name.
        rank: `worst`, `median`, `best`, or empty.
        dice: Of the first scores that have it, or None.
        slices: What is shown.
        reason: Why there is nothing to show; empty if there is.
    """

    case: str
    rank: str
    dice: float | None
    slices: tuple[Slice, ...]
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PseudoFacts:
    """What `qc.csv` says of pseudo-labels.

    Args:
        name: The folder, or the run and its round.
        cases: Status of a case to the number of cases.
        components: `kept` and `dropped`.
        reasons: Why components or cases were dropped, and how many.
        agreements: Agreement of each component with the network, or of each case.
        of_run: Whether a run of this report has learned from exactly these masks; None if nobody
            can tell.
        accepted: Share of components that were kept, or of cases where there are none; None of
            nothing.
        shown: Cases whose pseudo-labels are shown, the least agreement first.
    """

    name: str
    cases: dict[str, int]
    components: dict[str, int]
    reasons: dict[str, int]
    agreements: tuple[float, ...]
    of_run: bool | None
    accepted: float | None = None
    shown: tuple[ShownCase, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrustedCase:
    """How far a mask may be trusted, by what `predict` noted of it.

    Args:
        case: Its name.
        agreement: Of those who answered, 0 to 1, or None.
        entropy: Mean over the voxels of foreground, 0 to 1, or None.
        reason: Why there is no agreement; empty if there is.
    """

    case: str
    agreement: float | None
    entropy: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class LeastTrusted:
    """Masks of cases without a reference that are trusted least.

    Args:
        folder: Name of the folder of masks.
        measure: `agreement`, or `entropy` where nothing can disagree; what orders the cases.
        between: What was compared: `networks`, `views`, or empty.
        of: Cases without a reference, of which these are the first.
        cases: The least trusted first.
        shown: Those of them that are shown.
    """

    folder: str
    measure: str
    between: str
    of: int
    cases: tuple[TrustedCase, ...]
    shown: tuple[ShownCase, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ViewerFacts:
    """The case that a page lets one turn and scroll.

    Args:
        case: Its name.
        every: Of so many voxels along X Y Z one is there.
        program: What draws it, and its licence.
    """

    case: str
    every: tuple[int, ...]
    program: str
