"""Where an option's value comes from: flags, the environment, YAML files, recipes, defaults."""

import json
import os
from pathlib import Path

import pytest
from training_cli import invoke

from llmseg_cli.config_file import Key, load_layers
from llmseg_cli.errors import UsageError

pytestmark = pytest.mark.usefixtures("quiet_place")


def dry_config(*words: str | Path) -> dict:
    result = invoke("train-semi", "-o", "run", "--dry-run", "--json", *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["config"]


@pytest.fixture
def project(toy_data, toy_split) -> Path:
    """`./llmseg.yaml` for the toy data; the test may add lines."""
    path = Path("llmseg.yaml")
    path.write_text(
        f"data: {toy_data}\nsplit: {toy_split}\npatch: [16, 16, 16]\nmodel: vnet\nsteps: 4\n"
        "model-option: {filters: 4}\n"
    )
    return path


def test_the_project_file_fills_what_is_left_open(project):
    config = dry_config()
    assert config["settings"]["patch"] == [16, 16, 16]
    assert config["settings"]["steps"] == 4
    assert config["model_options"] == {"filters": 4}
    assert config["settings"]["momentum"] == 0.9


def test_a_flag_wins_over_the_environment_and_that_over_the_file(project, monkeypatch):
    project.write_text(project.read_text() + "workers: 2\ndevice: cpu\n")
    monkeypatch.setenv("LLMSEG_DEVICE", "cuda:7")
    assert invoke("train-semi", "-o", "run", "--dry-run").exit_code == 6
    assert dry_config("--device", "cpu")["settings"]["steps"] == 4
    assert dry_config("--device", "cpu", "--steps", "9")["settings"]["steps"] == 9


def test_another_file_replaces_the_project_file(project):
    other = Path("other.yaml")
    other.write_text(project.read_text().replace("steps: 4", "steps: 6"))
    project.write_text("nonsense: 1\n")
    assert dry_config("--config", other)["settings"]["steps"] == 6


def test_the_users_file_comes_after_the_projects(project, monkeypatch):
    user = Path(os.environ["XDG_CONFIG_HOME"]) / "llmseg" / "config.yaml"
    user.parent.mkdir(parents=True)
    user.write_text("steps: 8\noptimizer: sgd\nmomentum: 0.5\n")
    settings = dry_config()["settings"]
    assert (settings["steps"], settings["momentum"]) == (4, 0.5)


def test_a_section_is_for_its_command(project):
    project.write_text(
        project.read_text() + "train-semi:\n  method: mean-teacher\n  steps: 5\n"
        "train-sup:\n  members: 2\npredict:\n  overlap: 0.25\n"
    )
    config = dry_config()
    assert (config["method"], config["settings"]["steps"]) == ("mean-teacher", 5)


def test_a_recipe_is_under_the_files_and_flags(project):
    project.write_text(project.read_text() + "momentum: 0.8\n")
    settings = dry_config("--recipe", "la-8", "--learning-rate", "0.3")["settings"]
    assert settings["momentum"] == 0.8
    assert settings["learning_rate"] == 0.3
    assert settings["augment"] == "paper"
    assert settings["patch"] == [16, 16, 16]


def test_a_recipe_of_ones_own(project):
    Path("mine.yaml").write_text("weight-decay: 0.5\nsteps: 77\n")
    settings = dry_config("--recipe", "mine.yaml")["settings"]
    assert (settings["weight_decay"], settings["steps"]) == (0.5, 4)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("stepps: 3", ("llmseg.yaml:7: Unknown option 'stepps'", "Did you mean 'steps'")),
        (
            "train-semi:\n  metod: usl",
            ("llmseg.yaml:8: Unknown option of train-semi 'metod'", "'method'"),
        ),
        ("- a", ("llmseg.yaml",)),
    ],
)
def test_an_unknown_key_names_file_line_and_the_nearest(project, line, parts):
    project.write_text(project.read_text() + line + "\n")
    result = invoke("train-semi", "-o", "run")
    assert result.exit_code == 2
    assert result.stderr.count("Error: ") == 1
    assert all(part in result.stderr for part in parts)


def test_all_unknown_keys_are_named_at_once(project):
    project.write_text(project.read_text() + "stepps: 3\nbach: 2\n")
    result = invoke("train-semi", "-o", "run")
    assert result.exit_code == 2
    for part in ("llmseg.yaml:7: ", "llmseg.yaml:8: ", "'batch'"):
        assert part in result.stderr


def test_a_wrong_value_in_a_file(project):
    project.write_text(project.read_text() + "batch: many\n")
    result = invoke("train-semi", "-o", "run")
    assert result.exit_code == 2
    assert "--batch" in result.stderr


def test_a_refused_value_names_the_file_that_it_stands_in(project):
    project.write_text(project.read_text().replace("steps: 4", "steps: many"))
    Path("own.yaml").write_text("batch: 0\n")
    words = ["train-semi", "-o", "run", "--dry-run"]
    in_project = invoke(*words)
    in_recipe = invoke(*words, "--recipe", "own.yaml", "--steps", "4")
    on_the_line = invoke(*words, "--steps", "some")
    assert [r.exit_code for r in (in_project, in_recipe, on_the_line)] == [2, 2, 2]
    flat = [" ".join(r.stderr.replace("│", " ").split()) for r in (in_project, in_recipe)]
    assert "'--steps'" in flat[0]
    assert "It is set in llmseg.yaml." in flat[0]
    assert "'--batch'" in flat[1]
    assert "It is set in own.yaml." in flat[1]
    assert "set in" not in on_the_line.stderr


def test_method_options_of_a_recipe_are_for_its_method(project):
    Path("own.yaml").write_text("train-semi:\n  method: usl\n  method-option: {weight: 0.7}\n")
    assert dry_config("--recipe", "own.yaml")["method_options"]["weight"] == 0.7
    words = ("--recipe", "own.yaml", "--method", "mean-teacher")
    assert dry_config(*words)["method_options"]["weight"] == 0.1
    said = invoke("train-semi", "-o", "run", "--dry-run", *words)
    given = dry_config(*words, "--method-option", "weight=0.4")
    assert given["method_options"]["weight"] == 0.4
    assert "own.yaml: its method-option is for usl, and not for mean-teacher." in said.stderr


def test_flags_files_and_recipes_each_add_options_of_the_method_and_network(project):
    recipe = "method: usl\nmethod-option: {weight: 0.7, ramp: 0.5}\nmodel-option: {dropout: 0.1}\n"
    Path("own.yaml").write_text(recipe)
    config = dry_config("--recipe", "own.yaml", "--method-option", "ramp=0.2")
    assert config["method_options"]["weight"] == 0.7
    assert config["method_options"]["ramp"] == 0.2
    assert config["model_options"] == {"filters": 4, "dropout": 0.1}
    config = dry_config("--recipe", "own.yaml", "--model-option", "filters=2")
    assert config["model_options"] == {"filters": 2, "dropout": 0.1}


def test_a_file_decides_the_method_that_a_recipe_left_to_another(project):
    Path("own.yaml").write_text("train-semi:\n  method: usl\n  method-option: {weight: 0.7}\n")
    project.write_text(project.read_text() + "method: mean-teacher\n")
    assert dry_config("--recipe", "own.yaml")["method_options"]["weight"] == 0.1


@pytest.mark.parametrize("method", ["mean-teacher", "cross-pseudo-supervision", "supervised"])
def test_a_papers_recipe_serves_the_methods_to_compare_with(project, method):
    project.write_text(project.read_text().replace("model-option: {filters: 4}\n", ""))
    config = dry_config("--recipe", "la-8", "--method", method)
    assert config["method"] == method
    assert config["settings"]["learning_rate"] == 0.05


@pytest.mark.parametrize(
    ("lines", "weight"),
    [
        ("method-option:\n", 0.3),
        ("method-option: weight=0.6\n", 0.6),
        ("method-option: [weight=0.6]\n", 0.6),
        ("method-option: {weight: 0.6}\n", 0.6),
        ("method-option: {weight: 0.6}\ntrain-semi:\n  method-option: {noise: 0.1}\n", 0.6),
        ("method-option: {weight: 0.6}\ntrain-semi:\n  method-option: {weight: 0.5}\n", 0.5),
    ],
)
def test_ways_to_write_options_of_a_method(project, lines, weight):
    Path("own.yaml").write_text("method-option: {ramp: 0.7}\n")
    project.write_text(project.read_text() + lines)
    options = dry_config("--recipe", "own.yaml", "--method-option", "decay=0.8")["method_options"]
    assert (options["weight"], options["ramp"], options["decay"]) == (weight, 0.7, 0.8)


@pytest.mark.parametrize("value", ["[1, 2]", "7", "true", "weight", "[weight]"])
def test_options_of_a_method_that_are_no_mapping(project, value):
    project.write_text(project.read_text() + f"method-option: {value}\n")
    result = invoke("train-semi", "-o", "run", "--dry-run")
    assert result.exit_code == 2
    assert "llmseg.yaml:7: method-option: expected 'KEY: VALUE' lines under it." in result.stderr


def test_a_section_with_another_method_leaves_the_options_of_the_file_alone(project):
    lines = "method: usl\nmethod-option: {weight: 0.6}\ntrain-semi:\n  method: mean-teacher\n"
    project.write_text(project.read_text() + lines)
    assert dry_config()["method_options"]["weight"] == 0.1


@pytest.mark.parametrize(
    "lines",
    [
        "label-map: 255:1",
        "label-map:\n  255: 1",
        'label-map: "255:1"',
        "label-map: [255:1]",
        'label-map: ["255:1"]',
        "label-map: [255: 1]",
    ],
)
def test_ways_to_write_a_label_map(project, lines):
    project.write_text(project.read_text() + lines + "\n")
    assert dry_config()["label_map"] == ["255:1"]


def read(text: str) -> dict:
    """What typer gets of a file, for options of each kind."""
    Path("own.yaml").write_text(text)
    keys = {
        "word": Key("word"),
        "words": Key("words", "several"),
        "row": Key("row", "row"),
        "label_map": Key("label_map", "several"),
        "method_option": Key("method_option", "several"),
    }
    everywhere, section = load_layers(Path("own.yaml"), commands={"do": keys}, command="do")
    return everywhere | section


@pytest.mark.parametrize(
    "text", ["no", "Yes", "010", "0o17", "1:30", "2024-01-01", "1e-4", "1_000", "255:1", "true"]
)
def test_values_are_taken_as_they_stand(text):
    assert read(f"word: {text}") == {"word": text}
    assert read(f"words: {text}") == {"words": [text]}
    assert read(f"words: [{text}, '{text}']") == {"words": [text, text]}
    assert read(f"row: [{text}, 2]") == {"row": f"{text},2"}
    assert read(f"do:\n  word: {text}") == {"word": text}
    assert read(f"method-option: {{a-b: {text}}}") == {"method_option": [f"a-b={text}"]}
    assert read(f"method-option: {{a: '{text}'}}") == {"method_option": [f'a="{text}"']}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("word: [a, b]", "own.yaml:1: word: expected one value, not a list"),
        ("\nword: {a: b}", "own.yaml:2: word: expected a value"),
        ("words: [[a]]", "own.yaml:1: words: expected a value"),
        ("row: [{a: b}]", "own.yaml:1: row: expected a value"),
        ("word: a\nword: b", "own.yaml:2: word stands there twice"),
        ("word: a\ndo: 3", "own.yaml:2: Unknown option 'do'"),
        ("? [a]\n: b", "own.yaml:1: expected 'option: value'"),
        ("word: &a x\nwords: [*a]", "own.yaml is not YAML: line 2: an alias"),
        ("word: !!python/name:os.system", "own.yaml is not YAML: line 1: the tag"),
        ('word: "\\0"', "own.yaml:1: word: expected text without NUL"),
        ("[" * 5000, "own.yaml is not YAML: line 1: more than"),
        ("a: b: c", "own.yaml is not YAML: line 1: mapping values"),
    ],
)
@pytest.mark.usefixtures("quiet_place")
def test_files_of_options_that_are_refused(text, message):
    with pytest.raises(UsageError) as caught:
        read(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", ["latin-1", "utf-16", "folder", "pipe"])
def test_a_project_file_that_cannot_be_read(kind):
    path = Path("llmseg.yaml")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes("data: K\xfcste\n".encode(kind))
    result = invoke("check")
    assert result.exit_code == 2
    assert "Error: Cannot read llmseg.yaml: " in result.stderr
