"""Programs in a page, and the rule by which a browser runs these and no others."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmseg_cli.knowledge.weights.embedded import checked_file

if TYPE_CHECKING:
    from llmseg_cli.workflows.report.sources.viewing import View

TEMPLATES = Path(__file__).parent / "layout" / "templates"
SORT, VIEW = "sort.js", "viewer.js"
PROGRAM = "niivue"


@dataclass(frozen=True)
class Viewer:
    """A viewer of one volume.

    Args:
        program: Text of niivue.
        view: What it shows.
    """

    program: str
    view: "View"


def viewer_program() -> str:
    """The text of niivue.

    Raises:
        WeightsError: If it was not fetched, or is another file.
    """
    path, _ = checked_file(PROGRAM)
    return path.read_text(encoding="utf-8")


def script(name: str) -> str:
    """One of llmseg's own."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def policy(scripts: Sequence[str], *, views: bool) -> str:
    """Content-Security-Policy of a page: nothing from outside, and no script but these.

    Args:
        scripts: Their texts, by whose SHA-256 a browser knows them.
        views: Whether niivue is among them, which reads its font from the page itself.
    """
    digests = (hashlib.sha256(text.encode()).digest() for text in scripts)
    known = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    own = "; connect-src data:" if views else ""
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {known}{own}"
