"""Which classes are scored."""

from collections.abc import Mapping, Sequence

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.options import HIGHEST_LABEL, parse_whole


def choose_classes(chosen: Sequence[str], declared: Mapping[int, str]) -> dict[int, str]:
    """The classes to score.

    Args:
        chosen: Entries such as `1`, `liver`, `1=liver` or `1,2`; none for all.
        declared: Label value to name, as the data set says; may be empty.

    Returns:
        Label value to name; empty if all are wanted and none are declared.

    Raises:
        UsageError: If a name is unknown or a value is not a whole number above 0.
    """
    found: dict[int, str] = {}
    value_of = {name: value for value, name in declared.items()}
    for entry in (part.strip() for text in chosen for part in text.split(",")):
        number, _, name = entry.partition("=")
        if entry in value_of:
            found[value_of[entry]] = entry
        elif (value := parse_whole(number) or 0) > 0:
            if value > HIGHEST_LABEL:
                raise UsageError(f"--classes {entry}: expected label values up to {HIGHEST_LABEL}.")
            found[value] = name or declared.get(value, f"class {value}")
        else:
            raise unknown("class", entry, value_of or ["1", "1=NAME"])
    return found or dict(declared)
