"""From facts and pictures to the one file of a page."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from llmseg_cli.artifacts.document import llmseg_version
from llmseg_cli.artifacts.text import visible
from llmseg_cli.errors import UsageError
from llmseg_cli.workflows.report.document import Facts
from llmseg_cli.workflows.report.numbers import shown
from llmseg_cli.workflows.report.scripts import SORT, TEMPLATES, VIEW, Viewer, policy, script

if TYPE_CHECKING:
    from llmseg_cli.pictures.tiles import Inline

PACKAGES = ("jinja2", "matplotlib")
SECTIONS = {
    "verdict": "Verdict",
    "scores": "Scores",
    "cases": "Cases",
    "curves": "Learning curves",
    "calibration": "Calibration",
    "data": "Data",
    "pseudo": "Pseudo-labels",
    "texts": "Texts",
    "methods": "Cost, methods and commands",
    "runs": "Runs side by side",
}


def refuse_missing_packages() -> None:
    """Refuse to begin a page without what it is made with.

    Raises:
        UsageError: Naming the package, and what installs it.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"report -o needs the package {missing[0]}: python -m pip install 'llmseg[report]'. "
            "Without -o, the curves stand in the terminal."
        )


def page(
    facts: Facts,
    tiles: Mapping[tuple[str, str], Sequence["Inline"]],
    viewer: Viewer | None = None,
) -> str:
    """The page: one file without any address outside of it.

    Args:
        facts: What it says.
        tiles: Group and case to the pictures of its slices.
        viewer: What shows a volume, or None.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from llmseg_cli.workflows.report.layout.context import context_of  # loads what draws

    def fit(value: Any) -> Any:
        """Names of files may hold signs that no page can."""
        return visible(value) if type(value) is str else value

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=fit,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    scripts = [script(SORT), *([viewer.program, script(VIEW)] if viewer else [])]
    absent = {
        *(() if len(facts.runs) > 1 else ("runs",)),
        *(() if any(run.calibrations for run in facts.runs) else ("calibration",)),
    }
    names = [name for name in SECTIONS if name not in absent]
    return environment.get_template("page.html").render(
        facts=facts,
        version=llmseg_version(),
        policy=Markup(policy(scripts, views=viewer is not None)),  # digests and quotes
        scripts=[Markup(text) for text in scripts],
        viewer=viewer,
        style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        sections=[(name, SECTIONS[name]) for name in names],
        **context_of(facts, tiles),
    )
