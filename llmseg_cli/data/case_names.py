"""Names of cases: each becomes the name of files, so it must be a safe one on every disk."""

import unicodedata
from collections.abc import Iterable

from llmseg_cli.artifacts.text import in_one_line
from llmseg_cli.data.case import Case, Fault

LONGEST = 200  # bytes; masks and their temporary files add to it, and file systems allow 255
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode categories: control, format, half characters
JOINERS = "\u200c\u200d"  # invisible too, but spelling in Persian and Indian scripts
EXPECTED = "a name that can be that of a file: no / or \\, no .., no leading dot, nothing invisible"


def name_faults(cases: Iterable[Case]) -> list[Fault]:
    """Faults of names that no file may have, and of names that some disks cannot tell apart."""
    faults: list[Fault] = []
    seen: dict[str, Case] = {}
    for case in cases:
        if reason := why_unsafe(case.id):
            faults.append(
                _fault(case, f"the case's name '{in_one_line(case.id)}' {reason}", EXPECTED)
            )
        first = seen.setdefault(alike(case.id), case)
        if first.id != case.id:
            found = f"the names '{first.id}' and '{case.id}' differ in case or Unicode form alone"
            faults.append(_fault(case, found, "names that every disk can tell apart"))
    return faults


def why_unsafe(name: str) -> str | None:
    """What is wrong with a name, as the end of a sentence; None if nothing is."""
    if not name.strip():
        return "is empty"
    if "/" in name or "\\" in name:
        return "holds a separator of folders"
    if ".." in name:
        return "holds '..'"
    if name.startswith("."):
        return "begins with a dot"
    for sign in name:
        if unicodedata.category(sign) == "Cs":
            return "is not UTF-8"
        if unicodedata.category(sign) in INVISIBLE and sign not in JOINERS:
            return f"holds the invisible character U+{ord(sign):04X}"
    if (size := len(name.encode())) > LONGEST:
        return f"takes {size} bytes, and {LONGEST} are the most"
    return None


def alike(name: str) -> str:
    """What is equal for names that some file systems take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _fault(case: Case, found: str, expected: str) -> Fault:
    place = case.listed or (case.images[0].name if case.images else "")
    remedy = (
        "Give the case another 'id' there, such as the image's name without its folder and ending."
        if case.listed
        else "Rename the file, or give the case an 'id' in a cases.csv (id,image,label)."
    )
    return Fault("name", case.id, place, found, expected, remedy)
