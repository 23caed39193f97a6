"""What to cite: the references that stand in the docstrings of what a run has used.

They are read from the sources, for importing a network would load torch.
"""

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from llmseg_cli.registry import METHODS, MODELS
from llmseg_cli.workflows.report.document import RunFacts

SECTION = re.compile(r"^References:\n((?:    .*\n?|\n)+)", re.MULTILINE)
SAM = "llmseg_cli.knowledge.sam.original:OriginalSam"
ENCODER = "llmseg_cli.knowledge.parts.efficientnet:build_efficientnet"
EFFICIENTNET = "efficientnet-lite0"
TEXT = "llmseg_cli.methods.usl:Usl"  # the paper that texts come from
MONAI = "llmseg_cli.models.monai.adapter:MonaiNetwork"
WEIGHTS = "llmseg_cli.methods.class_weights:ClassWeights"


def citations(runs: Sequence[RunFacts]) -> tuple[str, ...]:
    """What to cite for the runs, each with what it is for."""
    found = (f"{what}: {told}" for run in runs for what, told in _of_run(run))
    return tuple(dict.fromkeys(found))


def references_of(target: str) -> str | None:
    """The `References` of a docstring as one line; None without any.

    Args:
        target: `module:name` of a class or function, as in the registry.
    """
    module, _, name = target.partition(":")
    spec = find_spec(module)
    source = getattr(spec.loader, "get_source", lambda _: None)(module) if spec else None
    if source is None:
        return None
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            section = SECTION.search(inspect.cleandoc(ast.get_docstring(node) or "") + "\n")
            return " ".join(section[1].split()) if section else None
    return None


def _of_run(run: RunFacts) -> Iterator[tuple[str, str]]:
    for what, target in _targets(run):
        if told := references_of(target):
            yield what, told


def _targets(run: RunFacts) -> Iterator[tuple[str, str]]:
    if run.method in METHODS:
        yield f"Method {run.method}", METHODS[run.method]
    if run.model in MODELS:
        is_ours = run.model in MODELS.names()
        yield f"Network {run.model}", MODELS[run.model] if is_ours else MONAI
    if (run.config.get("image_encoder") or {}).get("name") == EFFICIENTNET:
        yield f"Image encoder {EFFICIENTNET}", ENCODER
    if run.text:
        yield "Text in the network", TEXT
    if (run.config.get("method_options") or {}).get("weights") in ("balanced", "heterogeneous"):
        yield "Weights of classes", WEIGHTS
    made_by = (run.config.get("pseudo") or {}).get("made_by") or {}
    if "sam" in made_by or run.method == "sam-mining":
        yield "Segment Anything", SAM
