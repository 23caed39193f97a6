"""The test set that a data set brings along: imagesTs, or the test list of its `dataset.json`.

It is locked: no draw gives its cases another role, unless asked to.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from llmseg_cli.artifacts.split import TEST_IMAGES
from llmseg_cli.data.splitting.roles import CaseFacts, Roles
from llmseg_cli.errors import DataError, PolicyError, unknown


@dataclass(frozen=True)
class OfficialTest:
    """The cases of a data set's own test set.

    Args:
        scored: Those that have a label map.
        bare: Those that have none, which can be predicted only.
    """

    scored: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()

    @property
    def cases(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(sorted((*self.scored, *self.bare)))

    def added_to(self, roles: Roles) -> Roles:
        """The roles with these cases as test cases."""
        return Roles(
            labeled=roles.labeled,
            unlabeled=roles.unlabeled,
            validation=roles.validation,
            test=(*roles.test, *self.cases),
        )

    def sentences(self) -> list[str]:
        """What a user should know of them."""
        if not self.cases:
            return []
        number = len(self.cases)
        found = [
            f"The data set's own test set ({number} {_cases(number)}, such as {self.cases[0]}) is "
            "locked as test and never trained on; --test-images mix of 'llmseg split' draws from "
            "it as from the others."
        ]
        if self.bare:
            found.append(
                f"{len(self.bare)} of {'it' if number > 1 else 'them'} have no label map: "
                "'llmseg predict --subset test' answers them, 'llmseg score' cannot."
            )
        return found


def _cases(number: int) -> str:
    return "case" if number == 1 else "cases"


def set_apart(
    facts: Sequence[CaseFacts], *, test_images: str, listed: Collection[str] = ()
) -> tuple[list[CaseFacts], OfficialTest]:
    """Take the official test cases out of those that a draw gives roles to.

    Args:
        facts: All cases.
        test_images: `locked`, or `mix` to treat them as any other case.
        listed: Cases that a published list gives a role to, which goes before.

    Raises:
        UsageError: If *test_images* is neither.
        DataError: If no other case has a label map.
        PolicyError: If a group, such as a patient, is on both sides.
    """
    if test_images not in TEST_IMAGES:
        raise unknown("choice of --test-images", test_images, TEST_IMAGES)
    if test_images == "mix":
        return list(facts), OfficialTest()
    apart = [case for case in facts if case.is_test and case.id not in listed]
    names = {case.id for case in apart}
    rest = [case for case in facts if case.id not in names]
    scored = [case.id for case in apart if case.foreground is not None]
    if scored and all(case.foreground is None for case in rest):
        raise DataError(
            f"All {len(scored)} label maps are of the data set's own test set (such as "
            f"{scored[0]}), which is locked. Add label maps of training cases, or draw from the "
            "test set as well with --test-images mix."
        )
    _refuse_torn(apart, rest)
    bare = [case.id for case in apart if case.foreground is None]
    return rest, OfficialTest(tuple(sorted(scored)), tuple(sorted(bare)))


def _refuse_torn(apart: Sequence[CaseFacts], rest: Sequence[CaseFacts]) -> None:
    groups = {case.group: case.id for case in apart if case.group is not None}
    for case in rest:
        if case.group is not None and case.group in groups:
            raise PolicyError(
                f"case {case.id} is of the group '{case.group}', as {groups[case.group]} of the "
                "data set's own test set is, and a group has one role. Take one of them out, or "
                "pass --test-images mix."
            )
