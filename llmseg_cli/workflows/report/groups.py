"""Names of groups of pictures, in which a case has one place."""

CASES, LEAST = "cases", "least"


def group_of(index: int) -> str:
    """Of the pseudo-labels with this place in the report."""
    return f"pseudo-{index}"
