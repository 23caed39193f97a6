"""Help as a person reads it: at 80 columns, basic options first, with the values that are taken."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from llmseg_cli import choices
from llmseg_cli.artifacts.presets import PRESETS
from llmseg_cli.artifacts.scores import EMPTY_POLICIES
from llmseg_cli.artifacts.split import TEST_IMAGES
from llmseg_cli.cli import app
from llmseg_cli.commands._command import recipe_names
from llmseg_cli.commands._help import Command, Group
from llmseg_cli.config import SemiSettings, TrainSettings
from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.console import PROGRESS_MODES
from llmseg_cli.knowledge.sam.choose import CHECKPOINTS
from llmseg_cli.registry import LOSSES, METHODS, MODELS

PROGRAM: Any = typer.main.get_command(app)


def commands(group: Any = PROGRAM, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """All words that lead to a command or a group, and it."""
    yield " ".join(words), group
    for name in getattr(group, "commands", {}):
        yield from commands(group.commands[name], (*words, name))


ALL = dict(commands())
LEAVES = {line: found for line, found in ALL.items() if not hasattr(found, "commands")}


@cache
def page(line: str, asked: str = "--help") -> str:
    done = CliRunner().invoke(app, [*line.split(), asked], env={"COLUMNS": "80"})
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def flags(found: Any) -> list[str]:
    """All names of a command's own options."""
    shown = [p for p in found.params if p.param_type_name == "option" and not p.hidden]
    return [flag for p in shown for flag in (*p.opts, *p.secondary_opts)]


def names_in(text: str) -> set[str]:
    """Names of options that stand where help explains them, whole."""
    starts = re.findall(r"^  (-.*?)(?:  |$)", text, re.MULTILINE)
    return {name for start in starts for name in re.findall(r"--?[a-z][\w-]*", start)}


def text_of(line: str, option: str) -> str:
    """What `--help-all` says of an option, in one line."""
    block = re.search(
        rf"^  (?:-\w, )?{option}\b.*?(?=^  -|^\S|\Z)", page(line, "--help-all"), re.M | re.S
    )
    assert block is not None, option
    return " ".join(block[0].split())


def test_every_command_has_this_help():
    for line, found in ALL.items():
        assert isinstance(found, Group | Command), line


@pytest.mark.parametrize("asked", ["--help", "--help-all"])
@pytest.mark.parametrize("line", ALL)
def test_no_line_is_longer_than_the_terminal(line, asked):
    assert [row for row in page(line, asked).splitlines() if len(row) > 80] == []


@pytest.mark.parametrize("line", ALL)
def test_help_all_names_every_option_whole(line):
    assert names_in(page(line, "--help-all")) >= {*flags(ALL[line]), "-h", "--help"}


@pytest.mark.parametrize("line", ALL)
def test_help_says_how_many_options_it_leaves_out(line):
    short, full = page(line), page(line, "--help-all")
    positive = {option.opts[-1] for option in ALL[line].params if option.opts[-1].startswith("--")}
    hidden = (names_in(full) - names_in(short)) & positive
    said = re.search(r"--help-all shows (\d+) more options?\.\n\Z", short)
    assert int(said[1] if said else 0) == len(hidden)
    assert ("--help-all" in names_in(short)) == bool(hidden)


@pytest.mark.parametrize("line", ALL)
def test_basic_options_come_first(line):
    full, short = (
        re.split(r"\n  (?=-)", page(line, asked).partition("\nOptions:")[2].partition("\n\n")[0])
        for asked in ("--help-all", "--help")
    )
    assert [" ".join(row.split()) for row in full] == [" ".join(row.split()) for row in short]
    required = [" [required]" in " ".join(row.split()) for row in full[1:]]
    assert required == sorted(required, reverse=True)


def test_what_a_user_of_train_sup_needs_is_basic():
    needed = "--data --split -o --labeled --label-map --steps --patch --spacing --model --recipe"
    needed += " --seed --resume --force --device --init --json --config -q -v --help"
    assert names_in(page("train-sup")) >= set(needed.split())
    rare = "--momentum --llm-lora --log-every --memory-format --members --color"
    assert names_in(page("train-sup")).isdisjoint(rare.split())


@pytest.mark.parametrize("line", LEAVES)
def test_types_are_in_peoples_words(line):
    starts = re.findall(r"^  (-.*?)(?:  |$)", page(line, "--help-all"), re.MULTILINE)
    kinds = {start.split(" ")[-1] for start in starts if not start.split(" ")[-1].startswith("-")}
    assert kinds <= {
        *("NUMBER", "FOLDER", "FILE", "NAME", "PATH", "TEXT", "MODEL", "DEVICE", "SIZE", "TIME"),
        *(
            "AMOUNT",
            "ADDRESS",
            "RADIUS",
            "I/N",
            "REGEX",
            "URL",
            "CLASSES",
            "CLASS,CLASS",
            "N,N,N",
            "NAME,NAME",
            "KEY=VALUE",
            "FROM:TO",
            "WHICH:N",
        ),
    }


VALUES = [
    ("train-semi", "--method", METHODS.names()),
    ("train-semi", "--model", MODELS.offered()),
    ("train-semi", "--loss", LOSSES.names()),
    ("train-semi", "--recipe", recipe_names()),
    ("train-semi", "--optimizer", choices.OPTIMIZERS),
    ("train-semi", "--learning-rate-schedule", choices.LEARNING_RATE_SCHEDULES),
    ("train-semi", "--augment", choices.AUGMENTATIONS),
    ("train-semi", "--normalize", choices.NORMALIZATIONS),
    ("train-semi", "--schedule", choices.SCHEDULES),
    ("train-semi", "--precision", choices.PRECISIONS),
    ("train-semi", "--memory-format", choices.MEMORY_FORMATS),
    ("train-semi", "--fusion", choices.FUSION_NAMES),
    ("train-semi", "--text-control", choices.TEXT_CONTROLS),
    ("train-semi", "--llm-block", choices.LLM_BLOCKS),
    ("mine-sam", "--sam", choices.SAM_NAMES),
    ("mine-sam", "--prompts", choices.PROMPTS),
    ("mine-sam", "--slice-axis", choices.AXES),
    ("split", "--preset", PRESETS),
    ("split", "--test-images", TEST_IMAGES),
    ("predict", "--blend", choices.BLENDS),
    ("predict", "--checkpoint", choices.CHECKPOINT_NAMES),
    ("score", "--empty-policy", EMPTY_POLICIES),
    ("score", "--progress", PROGRESS_MODES),
    ("describe", "--modality", ["late gadolinium MRI", "chest X-ray"]),
]


@pytest.mark.parametrize(("line", "option", "names"), VALUES)
def test_values_are_listed(line, option, names):
    listed = re.sub(r" \([^)]*\)", "", text_of(line, option)).replace(" or ", ", ")
    assert ", ".join(names) + "." in listed or all(f" {name}," in listed for name in names)


@pytest.mark.parametrize("settings", [TrainSettings, SemiSettings, MiningSettings])
def test_a_value_that_is_not_listed_is_refused(settings):
    closed = [f for f in fields(settings) if f.metadata["choices"] and not f.metadata["is_open"]]
    assert closed
    for one in closed:
        with pytest.raises(Exception, match=f"Unknown {one.name.replace('_', '-')} 'wrong'"):
            settings(**{one.name: "wrong"})


def test_checkpoints_of_sam_are_listed():
    assert {f"{kind}:PATH" for kind in CHECKPOINTS} <= set(choices.SAM_NAMES)


def test_a_meaning_and_a_default_are_shown():
    assert "paper (rotations by 90 degrees" in text_of("train-sup", "--augment")
    assert "[default: standard]" in text_of("train-sup", "--augment")
    assert "default: 0.002 of adam" in text_of("train-sup", "--learning-rate")
    assert "[default: 0.9]" in text_of("train-sup", "--momentum")
    assert "[default: runs/sup]" in text_of("train-sup", "--out")
    assert "[default: off]" in text_of("predict", "--mirror")
    assert "[default: auto; env: LLMSEG_DEVICE]" in text_of("predict", "--device")
    assert "[0 to 1]" in text_of("score", "--min-dice")


@pytest.mark.parametrize("columns", [40, 60, 200])
def test_other_widths(columns):
    done = CliRunner().invoke(app, ["train-sup", "--help-all"], env={"COLUMNS": str(columns)})
    assert names_in(done.stdout) >= set(flags(ALL["train-sup"]))
    examples = [row for row in done.stdout.splitlines() if row.startswith("  llmseg ")]
    others = [row for row in done.stdout.splitlines() if row not in examples]
    assert max(map(len, others)) <= max(56, min(columns, 100))  # the longest names of an option


def examples() -> list[str]:
    return [found.callback.facts.example for found in LEAVES.values()]


def test_every_command_has_an_example_of_its_own():
    for line, found in LEAVES.items():
        assert found.callback.facts.example.startswith(f"llmseg {line}")
        assert f"Example:\n  {found.callback.facts.example}\n" in page(line)


def parsed(line: str) -> dict[str, Any]:
    """What the words of a line give the function of its command."""
    program, *words = shlex.split(line)
    assert program == "llmseg"
    found = PROGRAM
    context = None
    while hasattr(found, "commands"):
        context = found.make_context(found.name, [], parent=context, resilient_parsing=True)
        found = found.commands[words.pop(0)]
    params: dict[str, Any] = found.make_context(found.name, words, parent=context).params
    return params


@pytest.mark.parametrize("line", examples())
def test_an_example_is_parsed(line, quiet_place: Path):
    assert parsed(line)


def test_a_stale_example_would_fail(quiet_place: Path):
    with pytest.raises(Exception, match="No such option: --dta"):
        parsed("llmseg check --dta scans")


@pytest.mark.parametrize("name", ["check", "split", "train-sup", "train-semi", "describe"])
def test_an_example_runs(name, toy_data: Path, toy_split: Path, quiet_place: Path):
    Path("scans").symlink_to(toy_data)
    Path("split.json").write_bytes(toy_split.read_bytes())
    line = ALL[name].callback.facts.example
    if name == "split":  # of the toy cohort's few label maps
        line = line.replace("--validation 2", "--validation 1")
    more = [] if name == "check" else ["--dry-run"]
    done = CliRunner().invoke(app, [*shlex.split(line)[1:], *more])
    assert done.exit_code == 0, done.stderr
