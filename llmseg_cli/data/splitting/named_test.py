"""Test cases that a user names, instead of a draw."""

from collections.abc import Collection, Sequence

from llmseg_cli.data.splitting.roles import CaseFacts, Roles
from llmseg_cli.errors import DataError, PolicyError

FLAG = "--test-cases"


def set_named_apart(facts: Sequence[CaseFacts], names: Collection[str]) -> list[CaseFacts]:
    """The cases that a draw gives roles to: those that are not named.

    Args:
        facts: The cases that are not of the data set's own test set.
        names: Of the test cases; those that *facts* does not have are test already.

    Raises:
        DataError: If one has no label map, so that it cannot be scored, or no other case has one.
        PolicyError: If a group, such as a patient, is named in part.
    """
    apart = [case for case in facts if case.id in names]
    rest = [case for case in facts if case.id not in names]
    if bare := [case.id for case in apart if case.foreground is None]:
        raise DataError(
            f"{FLAG}: {', '.join(bare)} without a label map, and a mask is scored with one. Leave "
            "them out, or add label maps."
        )
    if apart and all(case.foreground is None for case in rest):
        raise DataError(
            f"{FLAG} names all {len(apart)} cases with a label map, which leaves none to learn "
            "from. Name fewer."
        )
    groups = {case.group: case.id for case in apart if case.group is not None}
    for case in rest:
        if case.group in groups:
            raise PolicyError(
                f"case {case.id} is of the group '{case.group}', as {groups[case.group]} of "
                f"{FLAG} is, and a group has one role. Name both, or neither."
            )
    return rest


def with_named(roles: Roles, names: Collection[str], facts: Sequence[CaseFacts]) -> Roles:
    """The roles with the named cases, as far as *facts* has them, as test cases."""
    named = tuple(sorted(case.id for case in facts if case.id in names))
    return Roles(
        labeled=roles.labeled,
        unlabeled=roles.unlabeled,
        validation=roles.validation,
        test=(*roles.test, *named),
    )
