"""Damage to what JSON and YAML hold: types, values, nesting and sizes of a sound document.

Text that no library would write, such as nesting without end, enters as a marker, a plain word that
`fuzz.texts` replaces once the rest is written.
"""

from typing import Any

from fuzz.choices import ODD_REALS, Choices

DEEP, HUGE, DATE, TAGGED, SIXTY, INFINITE, LONG, MERGE = (
    f"RAWMARK{name}X"
    for name in ("DEEP", "HUGE", "DATE", "TAGGED", "SIXTY", "INFINITE", "LONG", "MERGE")
)
TEXTS = (
    "", " ", "x", "0", "1:2", "-1", "null", "true", "../victim.txt", "../../victim.nii.gz",
    "/dev/zero", "/dev/stdin", "a/b", ".", "..", "~", "[/red]", "{target}", "%s", "a\0b", "a\nb",
    "\x1b[31m", "ä" * 300, "\ud7ff\uffff", "NaN", "1e999", "none", "mean", "final", "auto",
)  # fmt: skip
MARKS = (DEEP, HUGE, DATE, TAGGED, SIXTY, INFINITE, LONG, MERGE)
WHOLE = (0, 1, -1, 2, 3, 17, 255, 2**15, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, -(2**63), 10**30)

Path = tuple[Any, ...]


def damage_tree(choices: Choices, content: Any) -> tuple[Any, str]:
    """Change one to three places of a document; returns it, and what was done, in words."""
    done = []
    for _ in range(choices.pick((1, 1, 1, 2, 3))):
        content, words = _damage_once(choices, content)
        done.append(words)
    return content, "; ".join(done)


def _damage_once(choices: Choices, content: Any) -> tuple[Any, str]:
    places = list(_places(content, ()))
    place = choices.pick(places)
    found = _get(content, place)
    way = choices.pick((_other_value, _other_value, _reshaped, _other_key, _grafted))
    changed, words = way(choices, content, place, found)
    return changed, f"{'.'.join(map(str, place)) or 'all'} {words}"


def odd_value(choices: Choices) -> Any:
    """A value of any type."""
    kind = choices.pick(("none", "bool", "whole", "real", "text", "mark", "list", "mapping"))
    plain = {"none": None, "list": [], "mapping": {}}
    if kind in plain:
        return plain[kind]
    if kind == "bool":
        return choices.chance(2)
    options: dict[str, tuple[Any, ...]] = {
        "whole": WHOLE, "real": ODD_REALS, "text": TEXTS, "mark": MARKS,
    }  # fmt: skip
    return choices.pick(options[kind])


def _places(content: Any, place: Path) -> list[Path]:
    found = [place]
    parts = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content[:6])
        if isinstance(content, list)
        else ()
    )
    for key, part in parts:
        found += _places(part, (*place, key))
    return found


def _get(content: Any, place: Path) -> Any:
    for key in place:
        content = content[key]
    return content


def _put(content: Any, place: Path, value: Any) -> Any:
    """*content* with *value* at a place; what is on the way there is copied."""
    if not place:
        return value
    copied = dict(content) if isinstance(content, dict) else list(content)
    copied[place[0]] = _put(content[place[0]], place[1:], value)
    return copied


def _other_value(choices: Choices, content: Any, place: Path, found: Any) -> tuple[Any, str]:
    value = odd_value(choices)
    if isinstance(found, int | float) and not isinstance(found, bool) and choices.chance(2):
        value = choices.pick((found + 1, -found, found * 1000, float(found) / 2, str(found)))
    elif isinstance(found, str) and choices.chance(3):
        value = choices.pick((found.upper(), found + " ", found[:-1], f"../{found}", [found]))
    return _put(content, place, value), f"is {_shown(value)}"


def _reshaped(choices: Choices, content: Any, place: Path, found: Any) -> tuple[Any, str]:
    if isinstance(found, dict) and found:
        key = choices.pick(list(found))
        less = {name: part for name, part in found.items() if name != key}
        value, words = choices.pick(
            (
                (less, f"lost {key}"),
                (list(found.values()), "is a list of its values"),
                ({**found, key: found}, f"holds itself as {key}"),
                ({**found, "unheard-of": 1}, "has a key too many"),
            )
        )
    elif isinstance(found, list) and found:
        value, words = choices.pick(
            (
                (found[:-1], "lost its last item"),
                ([*found, found[0]], "has its first item twice"),
                ([found], "is in a list"),
                (dict(enumerate(found)), "is a mapping by number"),
                (found * 50, "is 50 times as long"),
                ("".join(map(str, found)), "is one text"),
            )
        )
    else:
        value, words = choices.pick(
            (([found], "is in a list"), ({"value": found}, "is in a mapping"), ([[]], "is [[]]"))
        )
    return _put(content, place, value), words


def _other_key(choices: Choices, content: Any, place: Path, found: Any) -> tuple[Any, str]:
    if not isinstance(found, dict) or not found:
        return _other_value(choices, content, place, found)
    key = choices.pick(list(found))
    other = choices.pick((f"{key}x", str(key).upper(), 1, None, True, "", DATE, DEEP, "../x", 2.5))
    renamed = {other if name == key else name: part for name, part in found.items()}
    return _put(content, place, renamed), f"has {key} as {_shown(other)}"


def _grafted(choices: Choices, content: Any, place: Path, found: Any) -> tuple[Any, str]:
    source = choices.pick(_places(content, ()))
    return _put(content, place, _get(content, source)), f"is what {source} is"


def _shown(value: Any) -> str:
    return repr(value) if len(repr(value)) < 60 else f"{repr(value)[:57]}..."
