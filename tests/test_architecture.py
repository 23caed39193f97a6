"""Who imports whom: every import of every module, at its top and inside its functions."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "llmseg_cli"
LAYERS = (  # an import points down this list; names of one row are neighbors and never meet
    ("__main__",),
    ("cli",),
    ("commands",),
    ("console",),
    ("workflows",),
    ("methods",),
    ("models", "losses", "training", "inference", "knowledge", "data", "metrics", "pictures"),
    ("numerics",),
    ("artifacts", "config", "config_file", "config_mining"),
    ("registry", "progress", "options"),
    ("errors",),
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
LIGHT = {"__main__", "cli", "commands", "console", *LAYERS[8], *LAYERS[9], *LAYERS[10]}
LIGHT_PACKAGES = {"typer", "rich", "yaml", PACKAGE}
SPOKEN_TO_IN = {  # a third-party package and the one place that knows it
    "h5py": ("llmseg_cli.data",),
    "nibabel": ("llmseg_cli.data",),
    "PIL": ("llmseg_cli.data", "llmseg_cli.pictures"),  # read as scans, drawn for people
    "SimpleITK": ("llmseg_cli.data",),
    "torchio": ("llmseg_cli.data",),
    "openai": ("llmseg_cli.knowledge",),
    "peft": ("llmseg_cli.knowledge",),
    "segment_anything": ("llmseg_cli.knowledge",),
    "transformers": ("llmseg_cli.knowledge",),
}


@dataclass(frozen=True)
class Import:
    """One import statement: where it stands, what it names, whether it runs when loading."""

    module: str
    target: str
    line: int
    at_load: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def statements(tree: ast.AST, at_load: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_load
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        yield from statements(node, at_load and not inside and not typing_only)


def imports_of(path: Path) -> Iterator[Import]:
    name = module_name(path)
    for node, at_load in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno} imports relatively"
            base = node.module or ""
            targets = [f"{base}.{alias.name}" for alias in node.names]
        for target in targets:
            yield Import(name, target, node.lineno, at_load)


FILES = sorted((ROOT / PACKAGE).rglob("*.py"))
IMPORTS = [found for path in FILES for found in imports_of(path)]
OURS = [found for found in IMPORTS if found.target.split(".")[0] == PACKAGE]


def part(module: str) -> str:
    """The layer's name: `llmseg_cli.data.volumes` is of `data`."""
    names = module.split(".")
    return names[1] if len(names) > 1 else ""


def test_every_module_belongs_to_a_layer():
    parts = {part(module_name(path)) for path in FILES} - {""}
    assert parts <= set(RANK)


def is_allowed(source: str, target: str) -> bool:
    """Whether a module of the part *source* may import one of *target*."""
    own = part(source) == part(target)
    return own or (part(source) in RANK and RANK[part(source)] < RANK.get(part(target), -1))


def test_imports_point_down_and_never_to_a_neighbor():
    assert [str(found) for found in OURS if not is_allowed(found.module, found.target)] == []


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        (
            "llmseg_cli.workflows.embed",
            "llmseg_cli.knowledge.embeddings.file.load_embeddings",
            True,
        ),
        ("llmseg_cli.models.vnet", "llmseg_cli.models.base.Segmenter", True),
        ("llmseg_cli.data.cases", "llmseg_cli.errors.DataError", True),
        ("llmseg_cli.data.cases", "llmseg_cli.knowledge.weights.embedded.path_of", False),
        ("llmseg_cli.config", "llmseg_cli.artifacts.files", False),
        ("llmseg_cli.data.cases", "llmseg_cli.console", False),
        ("llmseg_cli.errors", "llmseg_cli.nowhere", False),
        ("llmseg_cli.__main__", "llmseg_cli.cli.main", True),
    ],
)
def test_the_rule(source, target, allowed):
    assert is_allowed(source, target) == allowed


def test_light_modules_load_nothing_heavy():
    wrong = [
        str(found)
        for found in IMPORTS
        if found.at_load
        and part(found.module) in LIGHT
        and found.target.split(".")[0] not in LIGHT_PACKAGES | sys.stdlib_module_names
    ]
    assert wrong == []


def test_commands_import_their_workflow_when_they_run():
    heavy = {name for name in RANK if name not in LIGHT}
    wrong = [
        str(found)
        for found in OURS
        if found.at_load and part(found.module) in LIGHT and part(found.target) in heavy
    ]
    assert wrong == []


@pytest.mark.parametrize("package", SPOKEN_TO_IN)
def test_a_third_party_package_is_spoken_to_in_one_place(package):
    places = SPOKEN_TO_IN[package]
    wrong = [
        str(found)
        for found in IMPORTS
        if found.target.split(".")[0] == package and not found.module.startswith(places)
    ]
    assert wrong == []


def test_only_the_program_and_its_commands_know_typer():
    users = {part(found.module) for found in IMPORTS if found.target.split(".")[0] == "typer"}
    assert users <= {"cli", "commands"}


def test_nobody_imports_click():
    assert [str(found) for found in IMPORTS if found.target.split(".")[0] == "click"] == []


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=module_name)
def test_packages_hold_a_docstring_and_nothing_else(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1
