"""`llmseg cache build`: the cases of a split prepared before a training, all of them or a share.

What is prepared lies in the cache under a name made of its content and of the settings, so that
shards need no journal: a case is there, or it is missing, whoever was to prepare it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.shard import Shard
from llmseg_cli.artifacts.split import Split
from llmseg_cli.artifacts.text import counted
from llmseg_cli.data.cases import Dataset, find_cases, image_digest
from llmseg_cli.data.digests import as_recorded
from llmseg_cli.data.ignore_label import ignored_value
from llmseg_cli.data.patches.cache import is_prepared, prepare_image, prepare_labels
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.errors import DataError, PartialError, PolicyError, UsageError
from llmseg_cli.options import parse_label_map
from llmseg_cli.progress import Progress, silent
from llmseg_cli.training.stop import stop_on_signals, stoppable
from llmseg_cli.workflows.train.data import digests_of, refuse_full_disk, refuse_leaks
from llmseg_cli.workflows.train.geometry import settled
from llmseg_cli.workflows.train.request import Request

SHOWN = 5  # cases
KEPT = "{done} of {total} cases are prepared and kept. Run the same command again."


@dataclass(frozen=True)
class Built:
    """What is prepared.

    Args:
        cache: The cache folder.
        spacing: Of the prepared cases, in mm; 0 is each scan's own.
        normalize: How their intensities are normalized.
        done: Cases that this process was to prepare.
        made: Those of them that were not there before.
        cases: All cases of the split that a training reads.
        missing: Those that are not prepared.
    """

    cache: Path
    spacing: tuple[float, ...]
    normalize: str
    done: tuple[str, ...]
    made: tuple[str, ...]
    cases: tuple[str, ...]
    missing: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The `--json` document."""
        return {
            "cache": str(self.cache),
            "spacing": list(self.spacing),
            "normalize": self.normalize,
            "counts": {
                "cases_in": len(self.done),
                "made": len(self.made),
                "found": len(self.done) - len(self.made),
                "all": len(self.cases),
                "missing": len(self.missing),
            },
            "missing": list(self.missing),
        }


@dataclass(frozen=True)
class _Ahead:
    """The cases of a split, and how they are prepared."""

    dataset: Dataset
    split: Split
    preprocessing: Preprocessing
    label_map: Mapping[int, int]
    ignore: int | None
    cache: Path
    form: str

    @property
    def names(self) -> tuple[str, ...]:
        """All cases but those of the test, which no training reads."""
        return (*self.split.labeled, *self.split.validation, *self.split.unlabeled)

    def is_there(self, name: str, digest: str) -> bool:
        return is_prepared(
            self.dataset.case(name),
            digest,
            self.preprocessing,
            self.cache,
            label_map=self.label_map,
            ignore=self.ignore,
            with_labels=name not in self.split.unlabeled,
            form=self.form,
        )

    def prepare(self, name: str, digest: str) -> None:
        case = self.dataset.case(name)
        found = prepare_image(case, digest, self.preprocessing, self.cache, form=self.form)
        if name not in self.split.unlabeled:  # whose label maps nobody opens
            prepare_labels(
                case,
                found,
                self.preprocessing,
                self.label_map,
                ignore=self.ignore,
                form=self.form,
            )

    def missing(self) -> tuple[str, ...]:
        """Cases that are not prepared; an image is read only if it seems to be one of them."""
        return tuple(
            name
            for name in self.names
            if not self.is_there(name, self.split.images[name])
            and not self.is_there(name, image_digest(self.dataset.case(name)))
        )


def build(
    request: Request,
    *,
    shard: Shard | None = None,
    merge: bool = False,
    progress: Progress = silent,
) -> Built:
    """Bring the cases of a split into the cache as a training would.

    Args:
        request: The training.
        shard: Prepare a share of the cases alone.
        merge: Prepare none, but say which are missing.
        progress: Hears about every case.

    Raises:
        PartialError: If some cases cannot be prepared; the others are.
        PolicyError: If the data differ from those of the split.
        UsageError: With *merge*, naming the cases that are missing.
        StoppedError: If a signal stopped it; what is prepared is kept.
    """
    request = request if request.settings.spacing else settled(request)
    settings, split, cache = request.settings, request.split, request.prepared or request.cache
    dataset, label_map = find_cases(request.data), parse_label_map(request.label_map)
    refuse_leaks(split)
    ahead = _Ahead(
        dataset,
        split,
        Preprocessing(settings.spacing, settings.normalize),
        label_map,
        ignored_value(dataset.ignore, request.ignore_label, label_map),
        cache,
        settings.cache_format,
    )
    if not ahead.names:
        raise PolicyError("The split has no case to learn from. Make one with 'llmseg split'.")
    own = [] if merge else list(ahead.names) if shard is None else shard.of_cases(ahead.names)
    made = _prepare(ahead, own, progress)
    found = Built(
        cache,
        tuple(settings.spacing),
        settings.normalize,
        tuple(own),
        tuple(made),
        ahead.names,
        ahead.missing(),
    )
    if merge and found.missing:
        raise UsageError(_lacking(found))
    return found


def _prepare(ahead: _Ahead, names: list[str], progress: Progress) -> list[str]:
    """Prepare cases; those that were not there before."""
    expected = {name: ahead.split.images[name] for name in names}
    digests = digests_of(ahead.dataset, names)
    at_hand = as_recorded(ahead.dataset.cases, digests, expected)
    replace(ahead.split, images=expected).refuse_other_data(at_hand)
    refuse_full_disk(ahead.cache, ahead.dataset, names)
    made, failed = [], []
    with stop_on_signals() as stop:
        report = stoppable(progress, stop, KEPT)
        for done, name in enumerate(names, start=1):
            was_there = ahead.is_there(name, digests[name])
            try:
                ahead.prepare(name, digests[name])
            except DataError as error:
                failed.append((name, str(error)))
            else:
                made += [] if was_there else [name]
            report("prepare", done, len(names), case=name)
    if failed:
        raise _some_failed(failed, len(names), ahead.cache)
    return made


def _some_failed(failed: list[tuple[str, str]], of: int, cache: Path) -> PartialError:
    shown = "\n".join(f"{name}: {why}" for name, why in failed[:SHOWN])
    more = f"\n... and {len(failed) - SHOWN} more" * (len(failed) > SHOWN)
    return PartialError(
        f"{len(failed)} of {counted(of, 'case')} cannot be prepared; the others are in {cache}.\n"
        f"{shown}{more}"
    )


def _lacking(found: Built) -> str:
    names = ", ".join(found.missing[:SHOWN]) + ", ..." * (len(found.missing) > SHOWN)
    return (
        f"--merge: {len(found.missing)} of {counted(len(found.cases), 'case')} are not prepared in "
        f"{found.cache}: {names}. Run the shards that have them again, or the command without "
        "--merge."
    )
