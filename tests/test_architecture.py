"""The house: who imports whom, at its top and inside its functions, and what a room looks like.

A room is a folder of the package; a folder's own files and its rooms are one house.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "llmseg_cli"
LAYERS = (  # an import points down this list; names of one row are neighbors and never meet
    ("__main__",),
    ("cli", "api"),
    ("commands", "api_run"),
    ("console", "process"),
    ("progress_display", "page_display"),
    ("workflows",),
    ("methods", "planning"),
    ("models", "losses", "training", "inference", "knowledge", "data", "metrics", "pictures"),
    ("numerics",),
    ("artifacts", "config", "config_file", "config_mining"),
    ("registry", "progress", "options", "choices"),
    ("typed",),
    ("reading",),
    ("errors",),
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
LIGHT = {
    "__main__",
    "api",
    "api_run",
    "cli",
    "commands",
    "console",
    "process",
    "page_display",
    "progress_display",
    *chain(*LAYERS[9:]),
}
LIGHT_PACKAGES = {"typer", "rich", "yaml", PACKAGE}
SPOKEN_TO_IN = {  # a third-party package and the one place that knows it
    "dynamic_network_architectures": ("llmseg_cli.models",),
    "h5py": ("llmseg_cli.data",),
    "jinja2": ("llmseg_cli.workflows.report",),
    "matplotlib": ("llmseg_cli.pictures",),
    "nibabel": ("llmseg_cli.data", "llmseg_cli.workflows.export.carried"),  # leaves the house
    "highdicom": ("llmseg_cli.data",),
    "pydicom": ("llmseg_cli.data",),
    "onnx": ("llmseg_cli.workflows.export",),
    "onnxruntime": ("llmseg_cli.workflows.export",),
    "PIL": ("llmseg_cli.data", "llmseg_cli.pictures"),  # read as scans, drawn for people
    "SimpleITK": ("llmseg_cli.data",),
    "torchio": ("llmseg_cli.data",),
    "mlflow": ("llmseg_cli.workflows.report",),
    "openai": ("llmseg_cli.knowledge",),
    "peft": ("llmseg_cli.knowledge",),
    "segment_anything": ("llmseg_cli.knowledge",),
    "timm": ("llmseg_cli.knowledge",),
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


ROOMS = sorted(path.parent for path in FILES if path.name == "__init__.py")
LONGEST = 300  # lines of a file; a longer one holds two ideas


def room(module: str) -> str:
    """The folder that a module stands in, dotted: `llmseg_cli.data.checking`."""
    path = ROOT / module.replace(".", "/")
    return module if path.is_dir() else module.rpartition(".")[0]


def module_of(target: str) -> str:
    """The module that an imported name stands in, or the name if it is a module."""
    path = ROOT / target.replace(".", "/")
    is_module = path.is_dir() or path.with_suffix(".py").is_file()
    return target if is_module else target.rpartition(".")[0]


def is_one_house(one: str, other: str) -> bool:
    return one == other or f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def doors(imports: list[Import]) -> dict[str, set[str]]:
    """Room to the rooms that it imports, without those of its own house."""
    found = defaultdict(set)
    for one in imports:
        here, there = room(one.module), room(module_of(one.target))
        if not is_one_house(here, there):
            found[here].add(there)
    return found


def knot(imports: list[Import]) -> list[str]:
    """Rooms that import each other in a circle; none is as it should be."""
    try:
        TopologicalSorter(doors(imports)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_between_rooms_imports_go_one_way():
    assert knot(OURS) == []


def test_a_knot_is_found():
    mine, train = "llmseg_cli.workflows.mine", "llmseg_cli.workflows.train"
    there = Import(f"{train}.pseudo_plan", f"{mine}.case.Miner", 1, at_load=True)
    back = Import(f"{mine}.run", f"{train}.starting_weights.start_from", 1, at_load=False)
    own = Import("llmseg_cli.data.cases", "llmseg_cli.data.layouts.folders.find", 1, at_load=True)
    home = Import("llmseg_cli.data.layouts.folders", "llmseg_cli.data.case.Case", 1, at_load=True)
    assert knot([there, own, home]) == []
    assert set(knot([there, back])) == {mine, train}


def purpose(folder: Path) -> str:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert docstring
    return docstring


@pytest.mark.parametrize("folder", ROOMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_says_in_a_sentence_what_it_is_for(folder):
    assert re.fullmatch(r"[^\n]*[^.\n]\.", purpose(folder))


def test_the_map_of_rooms_in_contributing_is_made_of_those_sentences():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `([a-z_/]+)/` \| (.+) \|$", text, re.MULTILINE))
    package = ROOT / PACKAGE
    rooms = [folder for folder in ROOMS if folder != package]
    assert shown == {str(folder.relative_to(package)): purpose(folder) for folder in rooms}


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent != ROOT / PACKAGE], ids=module_name
)
def test_no_file_repeats_the_name_of_its_folder(path):
    assert path.parent.name not in path.stem.split("_")


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_file_is_too_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_tests_stand_in_rooms_of_the_same_names():
    tests = ROOT / "tests"
    rooms = {str(folder.relative_to(ROOT / PACKAGE)) for folder in ROOMS}
    places = {str(path.parent.relative_to(tests)) for path in tests.rglob("test_*.py")}
    assert places <= rooms | {"fuzz"}  # damaged inputs go through all rooms


LOADING = ("from_pretrained", "from_config")  # of transformers: what can run code of others
NUMBERS = "hf.GenerationConfig"  # of a JSON file; it knows no code


def test_nothing_that_transformers_loads_may_run_code_of_others():
    trusting = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in LOADING or ast.unparse(node.func.value) == NUMBERS:
                continue
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if given.get("trust_remote_code") != "False" and None not in given:
                trusting.append(f"{module_name(path)}:{node.lineno}")
    assert trusting == []
