"""An option of a command that is also a YAML key, and how its text is read."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field, fields
from typing import Any

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.reading import parse_yaml

UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
MOST = 10**9  # of every number that a user gives, unless an option says otherwise
AUTO = "auto"  # chosen from the scans and the machine
HIGHEST_LABEL = 2**16 - 1  # of a class, and of the ignore label
FINEST_MM = 1e-6  # a nanometer
DEVICE = re.compile(r"auto|(cpu|cuda)(:\d{1,2})?")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)e[+-]?\d+", re.IGNORECASE)  # a word to YAML 1.1
# Names that an option takes, or name to meaning; a callable is asked when they are needed.
Choices = Collection[str] | Mapping[str, str] | Callable[[], Collection[str]]


def option(
    default: Any,
    help_text: str,
    *,
    parse: Callable[[Any], Any] | None = None,
    choices: Choices | None = None,
    is_open: bool = False,
    kind: str | None = None,
    envvar: str | None = None,
    minimum: float | None = None,
    panel: str = "Training",
    basic: bool = False,
) -> Any:
    """A dataclass field that is also a command-line option and a YAML key.

    Args:
        default: The one place of the default value.
        help_text: Shown by `--help`, which adds the choices to its end.
        parse: Turns the typed text, or the YAML value, into the value.
        choices: What help lists, shells offer and `refuse_unknown_choices` checks.
        is_open: Whether other values than the choices are right, too; their reader checks them.
        kind: What it takes, in a word, such as `FOLDER`; left out, its type says.
        envvar: An environment variable that may set it; for facts of the machine only.
        minimum: Smallest number allowed.
        panel: Heading in `--help-all`.
        basic: Whether `--help` shows it.
    """
    return field(
        default=default,
        metadata={
            "help": help_text,
            "parser": parse,
            "choices": choices,
            "is_open": is_open,
            "kind": kind,
            "envvar": envvar,
            "min": minimum,
            "panel": panel,
            "basic": basic,
        },
    )


def meanings(choices: Choices) -> dict[str, str]:
    """Name to what it means, empty where that is not said."""
    found = choices() if callable(choices) else choices
    return dict(found) if isinstance(found, Mapping) else dict.fromkeys(found, "")


def refuse_unknown_choices(settings: Any) -> None:
    """Check the fields of a settings dataclass that have closed choices.

    Raises:
        UsageError: If a value is none of them; the message corrects its spelling.
    """
    for one in fields(settings):
        choices, value = one.metadata.get("choices"), getattr(settings, one.name)
        if choices is None or one.metadata["is_open"] or value is None:
            continue
        if value not in meanings(choices):
            raise unknown(one.name.replace("_", "-"), value, meanings(choices))


def parse_sizes(value: Any) -> tuple[int, ...]:
    """Turn `64,64,48` (or a YAML list) into two or three positive whole numbers; `auto` is none."""
    if value == AUTO:
        return ()
    sizes = _numbers(value, int, "patch")
    if len(sizes) not in (2, 3) or min(sizes) < 1:
        raise UsageError(
            f"patch '{_joined(value)}': expected 2 or 3 positive whole numbers, such as 64,64,48, "
            "or auto."
        )
    return tuple(int(size) for size in sizes)


def parse_size(value: Any) -> int:
    """Turn `2GB`, `500 MB` or a number of bytes into bytes."""
    text = str(value).strip().lower()
    number, unit = (text[:-2], UNITS[text[-2:]]) if text[-2:] in UNITS else (text, 1)
    try:
        size = float(number) * unit
    except ValueError:
        size = -1.0
    if not 0 <= size < float("inf"):
        raise UsageError(f"size '{value}': expected a number of bytes, or such as 500MB or 2GB.")
    return int(size)


def parse_spacing(value: Any) -> tuple[float, ...]:
    """Turn `1.25` or `1,1,2.5` into one or three numbers in mm; 0 keeps the scan's own.

    `auto` is none.
    """
    if value == AUTO:
        return ()
    spacing = _numbers(value, float, "spacing")
    if len(spacing) not in (1, 3) or not all(mm == 0 or mm >= FINEST_MM for mm in spacing):
        raise UsageError(
            f"spacing '{_joined(value)}': expected one or three numbers in mm from {FINEST_MM:g} "
            "on, such as 1.25 or 1,1,2.5 (0 keeps each scan's own), or auto."
        )
    return tuple(spacing)


def parse_assignments(entries: Iterable[str], *, flag: str) -> dict[str, Any]:
    """Turn `KEY=VALUE` entries into a mapping; values are read as YAML (numbers, true, lists).

    Raises:
        UsageError: If an entry has no `=` or its value is no YAML.
    """
    return {
        key: parse_value(text, place=f"{flag} '{key}={text}'")
        for key, text in split_assignments(entries, flag=flag).items()
    }


def split_assignments(entries: Iterable[str], *, flag: str) -> dict[str, str]:
    """Turn `KEY=VALUE` entries into a mapping of texts.

    Raises:
        UsageError: If an entry has no `=`.
    """
    found: dict[str, str] = {}
    for entry in entries:
        key, separator, value = entry.partition("=")
        if not separator:
            raise UsageError(f"{flag} '{entry}': expected KEY=VALUE.")
        found[key.strip().replace("-", "_")] = value
    return found


def parse_value(text: str, *, place: str) -> Any:
    """The value that a text is in YAML; `1e-4` is a number, too.

    Raises:
        UsageError: If it is no YAML, or a number beyond all use; *place* names it.
    """
    try:
        parsed = parse_yaml(text)
    except ValueError as error:
        raise UsageError(f"{place}: expected KEY=VALUE ({error}).") from error
    is_number = isinstance(parsed, str) and NUMBER.fullmatch(parsed)
    found = float(parsed) if is_number else parsed
    refuse_wild(found, name=place)
    return found


def parse_label_map(entries: Iterable[str]) -> dict[int, int]:
    """Turn `255:1,4:3` (entries may hold several pairs) into {255: 1, 4: 3}.

    Raises:
        UsageError: If a pair is not two whole numbers, or a value is mapped twice.
    """
    found: dict[int, int] = {}
    for pair in (pair for entry in entries for pair in str(entry).split(",")):
        numbers = [parse_whole(part) for part in pair.split(":")]
        if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
            raise UsageError(f"label map '{pair}': expected FROM:TO, such as 255:1.")
        source, target = numbers[0], numbers[1]
        if source in found or not 0 <= target <= HIGHEST_LABEL:
            raise UsageError(f"label map '{pair}': each value once, to 0 to {HIGHEST_LABEL}.")
        found[source] = target
    return found


def label_pairs(label_map: Mapping[int, int]) -> tuple[str, ...]:
    """A label map as it is typed and recorded: `("4:3", "255:1")`, one pair each, ascending."""
    return tuple(f"{source}:{target}" for source, target in sorted(label_map.items()))


def _numbers(value: Any, kind: Callable[[Any], Any], name: str) -> list[Any]:
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    try:
        found = [kind(part) for part in parts]
    except (TypeError, ValueError, OverflowError):
        raise UsageError(
            f"{name} '{_joined(value)}': expected numbers separated by commas"
            f"{', or auto' * (name in ('patch', 'spacing'))}."
        ) from None
    for number in found:
        refuse_wild(number, name=name)
    return found


def refuse_wild(value: Any, *, name: str, most: int = MOST) -> None:
    """Refuse a number that is not finite or beyond all use, alone or in a list; others pass.

    Args:
        value: Of an option, of any type.
        name: Of the option, for the message.
        most: The largest amount.

    Raises:
        UsageError: If it is, for numbers that a list holds as well.
    """
    for number in value if isinstance(value, list | tuple) else (value,):
        if isinstance(number, int | float) and not -most <= number <= most:
            raise UsageError(
                f"{name} {_short(number)}: expected a finite number, at most {most:,}."
            )


def parse_whole(text: str) -> int | None:
    """A whole number as people write it; None of anything else, and beyond `MOST` as well."""
    try:
        found = int(text)
    except ValueError:  # also for thousands of digits
        return None
    return found if abs(found) <= MOST else None


def _short(number: float) -> str:
    is_short = isinstance(number, float) or abs(number) < 10**30
    return str(number) if is_short else "(more than 30 digits)"


def _joined(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def parse_words(value: Any) -> tuple[str, ...]:
    """Turn `box,points` (or a YAML list) into words."""
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    return tuple(str(part).strip() for part in parts)


def parse_margins(value: Any) -> tuple[float, ...]:
    """Turn `0,0.1,0.2` (or a YAML list) into numbers of 0 or more."""
    margins = tuple(_numbers(value, float, "box margin"))
    if not margins or min(margins) < 0:
        raise UsageError(f"box margin '{_joined(value)}': expected numbers of 0 or more.")
    return margins


def parse_layers(value: Any) -> tuple[int, ...]:
    """Turn `-1` or `0,5` (or a YAML list) into numbers of layers."""
    return tuple(_numbers(value, int, "layers"))


def refuse_unknown_device(name: str) -> None:
    """Refuse what names no device, whether or not it is there.

    Raises:
        UsageError: If it is none of `auto`, `cpu`, `cuda` and `cuda:N`.
    """
    if not DEVICE.fullmatch(name):
        raise UsageError(f"device '{name}': expected auto, cpu, cuda or cuda:N.")


DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")


def parse_duration(value: Any) -> float:
    """Turn `30m`, `1h`, `90s` or `1h30m` into seconds.

    Raises:
        UsageError: If it is none of these, or no time at all.
    """
    text = str(value).strip().lower().replace(" ", "")
    found = DURATION.fullmatch(text)
    parts = found.groups() if found and text else (None,)
    seconds = sum(float(part or 0) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not 0 < seconds <= MOST:
        raise UsageError(f"time '{value}': expected such as 90s, 30m, 2h or 1h30m.")
    return seconds
