"""The guide: pages for people in a terminal and in a pipe, and man pages, all from one source."""

import re
import shutil
import subprocess
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import typer.main
from training_cli import invoke

from llmseg_cli import console, page_display
from llmseg_cli.cli import COMMANDS, app
from llmseg_cli.commands.guide import GUIDE, INDEX, topics
from llmseg_cli.errors import EXIT_CODE_MEANING

PROGRAM: Any = typer.main.get_command(app)
ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(GUIDE.glob("*.md"))}


def options_of(found: Any) -> set[str]:
    """All long names of a command's options, of a group those of its commands."""
    inner = [name for one in getattr(found, "commands", {}).values() for name in options_of(one)]
    own = [p for p in found.params if p.param_type_name == "option" and not p.hidden]
    return {*inner, *(name for p in own for name in (*p.opts, *p.secondary_opts) if "--" in name)}


def test_without_a_topic_all_pages_and_commands_are_listed():
    found = invoke("guide")
    assert (found.exit_code, found.stderr) == (0, "")
    assert set(re.findall(r"^- \[([\w-]+)\]\(\1\.md\): \S", found.stdout, re.M)) == set(topics())
    assert set(re.findall(r"`([\w-]+)`", found.stdout.splitlines()[-1])) == set(COMMANDS)


@pytest.mark.parametrize("name", topics())
def test_a_pipe_gets_the_page_as_it_is(name: str):
    assert invoke("guide", name).stdout == PAGES[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_a_command_has_all_its_options(name: str):
    text = invoke("guide", name).stdout
    assert text.startswith(f"# llmseg {name}\n")
    said = set(re.findall(r"--[\w-]+", " ".join(re.findall(r"^- `([^`]+)`", text, re.MULTILINE))))
    assert said >= options_of(PROGRAM.commands[name])


def test_the_page_of_a_command_names_topics_that_say_it():
    text = invoke("guide", "mine-sam").stdout
    named = re.findall(r"llmseg guide ([\w-]+)", text.splitlines()[-1])
    assert named == [name for name in topics() if "llmseg mine-sam" in PAGES[name]]
    assert "mining" in named


@pytest.mark.parametrize(
    ("typed", "meant"), [("slrum", "slurm"), ("train-sub", "train-sup"), ("fold", "folds")]
)
def test_a_near_name_is_offered(typed: str, meant: str):
    found = invoke("guide", typed)
    assert (found.exit_code, found.stdout) == (2, "")
    assert f"Unknown topic '{typed}'. Did you mean '{meant}'?" in found.stderr


def test_a_faulty_file_of_settings_does_not_hide_the_guide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("llmseg.yaml").write_text("nonsense: [")
    found = invoke("guide", "settings")
    assert (found.exit_code, found.stdout.splitlines()[0]) == (0, "# Settings")


def links() -> list[tuple[str, str]]:
    return [(name, to) for name, text in PAGES.items() for to in re.findall(r"\]\(([^)]+)\)", text)]


@pytest.mark.parametrize(("name", "target"), links())
def test_links_lead_somewhere(name: str, target: str):
    assert (GUIDE / target).is_file()


def on_terminal(name: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> str:
    """A page as a terminal of that width shows it, without colors."""
    text = PAGES.get(name) or invoke("guide", name).stdout
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    page_display.show(text)
    return str(capsys.readouterr().out)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", [*topics(), INDEX, "train-semi"])
def test_a_terminal_cuts_nothing(name: str, width: int, monkeypatch, capsys):
    shown = on_terminal(name, width, monkeypatch, capsys)
    text = PAGES.get(name) or invoke("guide", name).stdout
    assert letters(shown) == letters(re.sub(r"^ *```\w+$", "", text, flags=re.MULTILINE))
    assert max(map(len, shown.splitlines())) <= width


def letters(text: str) -> Counter[str]:
    """How often each letter and digit occurs."""
    return Counter(filter(str.isalnum, text))


def test_a_long_command_can_be_copied_from_a_terminal(monkeypatch, capsys):
    shown = on_terminal("methods", 60, monkeypatch, capsys)
    joined = re.sub(r"\s*\\\n\s*", " ", shown)
    for line in re.findall(r"^llmseg .*$", PAGES["methods"], re.MULTILINE):
        assert " ".join(line.split()) in re.sub(r" +", " ", joined)


def test_what_a_session_answers_is_no_command(monkeypatch, capsys):
    shown = on_terminal("first-steps", 60, monkeypatch, capsys)
    typed = [line for line in shown.splitlines() if line.startswith("  $ ")]
    assert any(line.endswith(" \\") for line in typed)
    for line in PAGES["first-steps"].splitlines():
        if line.startswith(("Warning: ", "Next: ")):
            assert f"{line[:30]}" in shown
    assert not re.search(r"^  (Warning|Next):.*\\$", shown, re.MULTILINE)


def test_a_terminal_shows_links_as_commands(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr(page_display, "show", said.append)
    console.page("[a](b.md)", for_terminal=lambda text: f"<{text}>")
    assert said == ["<[a](b.md)>"]


def test_fitted_lines_are_the_same_command():
    line = "llmseg describe --target 'left atrium' -o texts.yaml  # once"
    assert page_display.fitted(line, 80) == [line]
    assert page_display.fitted(line, 30) == [
        "# once",
        "llmseg describe \\",
        "    --target 'left atrium' \\",
        "    -o texts.yaml",
    ]


@pytest.fixture(scope="module")
def man(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    found = invoke("guide", "--man", folder)
    assert (found.exit_code, found.stdout) == (0, "")
    return folder


def test_there_is_a_man_page_per_command(man: Path):
    names = {f"llmseg-{name}.1" for name in COMMANDS}
    assert {path.name for path in man.iterdir()} == {"llmseg.1", *names}


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_a_man_page_has_its_parts(man: Path, name: str):
    file = f"llmseg-{name}".rstrip("-")
    lines = (man / f"{file}.1").read_text(encoding="utf-8").splitlines()
    requests = {line.split()[0] for line in lines if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".PP", ".TP", ".nf", ".fi", '.\\"'}
    assert next(line for line in lines if line.startswith(".TH ")).split()[2] == '"1"'
    heads = [line.removeprefix(".SH ") for line in lines if line.startswith(".SH ")]
    assert heads[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
    assert heads[-1] == "SEE ALSO"
    assert {"EXIT STATUS"} <= set(heads)
    text = "\n".join(lines).replace("\\-", "-")
    found = PROGRAM.commands[name] if name else PROGRAM
    for option in options_of(found) if name else {"--version", "--help"}:
        assert re.search(rf"^\\fB[^\n]*{option}\b[^\n]*\\fR$", text, re.MULTILINE), option
    for code, meaning in EXIT_CODE_MEANING.items():
        assert f"\\fB{int(code)}\\fR\n{meaning}" in text


def test_the_page_of_the_program_has_the_variables_of_all_options(man: Path):
    text = (man / "llmseg.1").read_text(encoding="utf-8")
    said = text.partition(".SH ENVIRONMENT")[2].partition(".SH")[0]
    names = set(re.findall(r"\\fB(\w+)\\fR", said))
    used = set(re.findall(r"env: (\w+)", "".join(invoke("guide", n).stdout for n in COMMANDS)))
    assert used | {"NO_COLOR", "OPENAI_API_KEY"} <= names


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here")
def test_groff_reads_man_pages_without_a_warning(man: Path):
    for path in sorted(man.iterdir()):
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", str(path)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr == ""
        assert "SYNOPSIS" in re.sub(r".\x08", "", done.stdout)


def test_man_pages_are_replaced_and_files_of_others_are_not(tmp_path: Path):
    (tmp_path / "llmseg.1").write_text("mine")
    refused = invoke("guide", "--man", tmp_path)
    assert refused.exit_code == 2
    assert "Choose another folder" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["llmseg.1"]
    (tmp_path / "llmseg.1").unlink()
    for _ in range(2):
        assert invoke("guide", "--man", tmp_path).exit_code == 0
    assert invoke("guide", "slurm", "--man", tmp_path).exit_code == 2


def test_roff_of_lines_that_look_like_requests():
    from llmseg_cli.commands._help_layout import Section
    from llmseg_cli.commands._manual import Page, as_man_page

    page = Page(
        "llmseg x", "llmseg x [OPTIONS]", [".hidden\\file 'a'"], [Section("E", lines=["'b"])]
    )
    lines = as_man_page(page, "1").splitlines()
    assert "\\&.hidden\\efile 'a'" in lines
    assert "\\&'b" in lines


def test_the_pages_are_in_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "guide/*.md" in project["tool"]["setuptools"]["package-data"]["llmseg_cli"]
