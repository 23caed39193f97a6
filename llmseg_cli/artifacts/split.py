"""Which cases train, validate and test."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from llmseg_cli.artifacts.document import Document
from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.errors import ArtifactError, PolicyError, UsageError
from llmseg_cli.options import label_pairs, parse_label_map, parse_whole

SPLIT = "split.json"  # its name in a run folder
ROLES = ("labeled", "unlabeled", "validation", "test")
TEST_IMAGES = {  # what becomes of a data set's own test set
    "locked": "test, and never trained on",
    "mix": "drawn from like the others",
}
NAMED = "named_test"  # how they became test cases, not which these are
READING = ("label_map", "ignore_label", "classes")  # how label maps are read, not who has a role


@dataclass(frozen=True, kw_only=True)
class Split(Document, schema="llmseg/split/1", writer="split"):
    """Case identifiers by role.

    Args:
        labeled: Cases whose label map trains.
        unlabeled: Cases of which only the image is ever opened.
        validation: Cases that choose the best checkpoint, taken from the labeled.
        test: Locked cases; training refuses them.
        seed: Seed of the draw.
        images: Case identifier to the SHA-256 of its image files (of all files together).
        groups: Case identifier to group, such as the patient; empty if there are no groups.
        group_by: The regular expression the groups came from, or null.
        preset: The published list, such as `la-8`, or null.
        former: Case identifier to the digest that earlier versions gave its image, where that was
            another, so that what older runs have learned from is known again.
        label_map: Label values to change wherever the label maps are read, as `FROM:TO`; none if
            the split says nothing of them, as older ones.
        ignore_label: Value in the files of voxels of which nothing is known, or null.
        classes: Label value after these changes, to the name of the class; empty if unknown.
        fold: Number of the fold, from 0, if this is one of several; its validation cases are
            those of no other fold.
        folds: Number of folds.
        named_test: Test cases that a user named, rather than those that were drawn, listed by a
            preset or brought along by the data set; empty if none were, or an older version did not
            say.

    Raises:
        ArtifactError: If a case has two roles, or a named test case is none.
        PolicyError: If a test case has another role, too, or a group has two.
    """

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    seed: int
    images: dict[str, str]
    groups: dict[str, str]
    group_by: str | None = None
    preset: str | None = None
    former: dict[str, str] = field(default_factory=dict)
    label_map: tuple[str, ...] = ()
    ignore_label: int | None = None
    classes: dict[str, str] = field(default_factory=dict)
    fold: int | None = None
    folds: int | None = None
    named_test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._refuse_reading()
        cases = Counter(chain(self.labeled, self.unlabeled, self.validation, self.test))
        repeated = sorted(case for case, count in cases.items() if count > 1)
        if leaked := sorted(set(self.test) & {*self.labeled, *self.unlabeled, *self.validation}):
            raise PolicyError(
                f"Test cases are locked; given for training, too: {', '.join(leaked)}. Make the "
                "split anew with 'llmseg split'."
            )
        if repeated:
            raise ArtifactError(f"A case has one role; listed twice: {', '.join(repeated)}.")
        if strangers := sorted({*self.named_test} - {*self.test}):
            raise ArtifactError(f"Named for the test, and no test case: {', '.join(strangers)}.")
        roles: dict[str, set[str]] = {}
        for role in ROLES:
            for case in self.cases(role):
                if case in self.groups:
                    held_out = role if role in ("test", "validation") else "training"
                    roles.setdefault(self.groups[case], set()).add(held_out)
        torn = sorted(group for group, found in roles.items() if len(found) > 1)
        if torn:
            raise PolicyError(f"A group stays together; in several roles: {', '.join(torn)}.")

    def to_dict(self) -> dict[str, Any]:
        """Schema, version and fields; of folds and of names only where there are some."""
        of_folds = () if self.fold is not None else ("fold", "folds")
        return _without(super().to_dict(), *of_folds, *(() if self.named_test else (NAMED,)))

    @property
    def test_words(self) -> str:
        """That test cases were named, as the end of a sentence of them; empty if none were."""
        if not self.named_test:
            return ""
        some, all_of = len(self.named_test), len(self.test)
        return "named, not drawn" if some == all_of else f"{some} of {all_of} named, not drawn"

    def cases(self, role: str) -> tuple[str, ...]:
        """The cases of `labeled`, `unlabeled`, `validation`, `test`, or `all`.

        Raises:
            UsageError: If the role is unknown.
        """
        if role == "all":
            return (*self.labeled, *self.unlabeled, *self.validation, *self.test)
        if role not in ROLES:
            raise UsageError(f"Unknown subset '{role}'. Known: {', '.join((*ROLES, 'all'))}.")
        found: tuple[str, ...] = getattr(self, role)
        return found

    def _refuse_reading(self) -> None:
        try:
            parse_label_map(self.label_map)
        except UsageError as error:
            raise ArtifactError(f"The split's {error} Make it anew with 'llmseg split'.") from error
        for value in self.classes:
            if (parse_whole(value) or 0) < 0 or parse_whole(value) is None:
                raise ArtifactError(
                    f"The split names a class of the value '{value}', expected a whole number. "
                    "Make it anew with 'llmseg split'."
                )

    def label_changes(self, asked: Mapping[int, int] | None = None) -> dict[int, int]:
        """Old label value to new one: what the split says, or what is asked where it says nothing.

        Args:
            asked: That of `--label-map`; none if it was not given.

        Raises:
            UsageError: If the two differ.
        """
        own = parse_label_map(self.label_map)
        if own and asked and own != dict(asked):
            raise UsageError(
                f"--label-map {','.join(label_pairs(asked))} contradicts the split, which was made "
                f"with {','.join(label_pairs(own))}. Leave the option out, or make the split anew "
                "with 'llmseg split'."
            )
        return own or dict(asked or {})

    def ignored(self, asked: int | None = None) -> int | None:
        """The ignore label: that of the split, or what `--ignore-label` asks where it names none.

        Raises:
            UsageError: If the two differ.
        """
        own = self.ignore_label
        if own is not None and asked not in (None, own):
            raise UsageError(
                f"--ignore-label {asked} contradicts the split, which was made with {own}. Leave "
                "the option out, or make the split anew with 'llmseg split'."
            )
        return asked if own is None else own

    @property
    def class_names(self) -> dict[int, str]:
        """Label value, after the changes, to the name of its class; empty if unknown."""
        return {int(value): name for value, name in self.classes.items()}

    @property
    def digest(self) -> str:
        """SHA-256 of the roles, whatever version of llmseg wrote them."""
        content, others = self.to_dict(), ("llmseg", "former", NAMED, *READING)
        return sha256_json(_without(content, *others))

    def digests_of(self, case: str) -> set[str]:
        """All digests by which older and newer documents know the image of a case."""
        return {known[case] for known in (self.images, self.former) if case in known}

    def refuse_other_data(self, images: dict[str, str]) -> None:
        """Compare the digests of the images at hand with those of the split.

        Args:
            images: Case identifier to digest, of the data at hand.

        Raises:
            PolicyError: If a case is missing or its image differs.
        """
        missing = sorted(set(self.images) - set(images))
        changed = sorted(
            c for c in self.images.keys() & images.keys() if self.images[c] != images[c]
        )
        if missing or changed:
            faults = [
                f"{len(names)} {what} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"
                for names, what in ((missing, "missing"), (changed, "changed"))
                if names
            ]
            raise PolicyError(
                f"The split was made from other data: {' and '.join(faults)} of "
                f"{len(self.images)} images. Make a new one with 'llmseg split'."
            )


def _without(content: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}
