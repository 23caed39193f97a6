"""Words of `--shard` and `--merge` that no command takes, before it reads a voxel."""

import pytest
from tiny_data import write_cases
from training_cli import write_split
from typer.testing import CliRunner

from llmseg_cli.cli import app

COMMANDS = {
    "predict": "predict --run run --images data/images -o out",
    "mine-sam": "mine-sam --run run --data data --split split.json -o out",
    "score": "score --pred data/labels --ref data -o out.json",
    "check": "check --data data -o out.json",
    "cache build": "cache build --data data --split split.json --spacing 1",
}


@pytest.fixture
def place(tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)
    data = write_cases(tmp_path / "data", [[1]] * 4)
    roles = {"labeled": ("case00", "case01"), "unlabeled": ("case02",), "validation": ("case03",)}
    write_split(tmp_path / "split.json", data, **roles, test=())
    return tmp_path


def said(words: list[str]) -> tuple[int, str]:
    result = CliRunner().invoke(app, words, env={"COLUMNS": "300"})
    return result.exit_code, " ".join(result.stderr.split())


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("shard", ["0/2", "3/2", "a/b", "2", "1/2/3"])
def test_what_is_no_share_is_refused(command, shard):
    code, text = said([*COMMANDS[command].split(), "--shard", shard])
    assert code == 2
    assert f"--shard {shard}: expected I/N, the I-th of N shards" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_a_share_is_done_or_joined(command):
    code, text = said([*COMMANDS[command].split(), "--shard", "1/2", "--merge"])
    assert (code, "Pass one." in text) == (2, True)


@pytest.mark.parametrize("command", ["score", "check"])
@pytest.mark.parametrize("words", [["--shard", "1/2"], ["--merge"]])
def test_a_share_needs_a_file(place, command, words):
    asked = COMMANDS[command].split()[:-2]
    code, text = said([*asked, *words])
    assert (code, f"{' '.join(words)} needs -o FILE" in text) == (2, True)


@pytest.mark.parametrize(
    ("command", "of"), [("score", "4 cases"), ("check", "4 cases"), ("cache build", "4 cases")]
)
def test_more_shares_than_cases_are_refused(place, command, of):
    code, text = said([*COMMANDS[command].split(), "--shard", "5/5"])
    assert (code, f"there are only {of}" in text) == (2, True)


@pytest.mark.parametrize("command", ["score", "check"])
def test_joining_nothing_names_what_to_do(place, command):
    code, text = said([*COMMANDS[command].split(), "--merge"])
    assert code == 2
    assert "--merge: out.json.shards holds no shard. Run the command with --shard 1/N" in text


@pytest.mark.parametrize("command", ["predict", "mine-sam"])
@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--address auto", "--address auto: only tasks of Ray have it; pass --engine ray"),
        ("--gpus-per-case 0.25", "--gpus-per-case 0.25: only tasks of Ray have it"),
        ("--cpus-per-case 2", "--cpus-per-case 2.0: only tasks of Ray have it"),
        ("--engine cloud", "Unknown engine 'cloud'"),
        ("--engine ray --gpus-per-case -1", "--gpus-per-case"),
        ("--engine ray --cpus-per-case 0", "--cpus-per-case"),
    ],
)
def test_words_of_ray_that_do_not_count_are_refused(place, command, words, text):
    code, found = said([*COMMANDS[command].split(), *words.split()])
    assert code == 2
    assert text in found


@pytest.mark.parametrize("words", ["--shard 1/2", "--merge"])
def test_ray_makes_its_own_shares(place, names_alone, words):
    asked = [*COMMANDS["mine-sam"].split(), "--engine", "ray", *words.split()]
    code, found = said(asked)
    assert (code, "--engine ray makes its own shards" in found) == (2, True)
