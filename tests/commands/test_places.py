"""What has a place among the words: the same as its option, and never two things at once."""

from pathlib import Path
from typing import Any

import pytest
from training_cli import invoke

from llmseg_cli.workflows.predict import run as workflow


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names_alone: None) -> dict[str, Any]:
    """What the workflows of `check`, `score` and `predict` are asked, in an empty folder."""
    found: dict[str, Any] = {}

    class HeardError(Exception):
        pass

    def listen(*arguments: Any, **values: Any) -> None:
        found.update(words=list(map(str, arguments)), **values)
        raise HeardError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("check", "score.seeds", "predict.run", "split"):
        monkeypatch.setattr(f"llmseg_cli.workflows.{name}.run", listen, raising=False)
    monkeypatch.setattr("llmseg_cli.workflows.split.plan", listen)
    assert workflow.run is listen
    return found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("check scans", ["scans"]),
        ("check scans --data scans", ["scans"]),
        ("check scans --group-by x", ["scans"]),
        ("split scans -o s.json", ["scans"]),
        ("score masks scans", ["masks", "scans"]),
        ("score masks --ref scans", ["masks", "scans"]),
        ("score --pred masks scans", ["masks", "scans"]),
        ("score masks scans --pred masks", ["masks", "scans"]),
    ],
)
def test_a_word_is_as_its_option(heard: dict[str, Any], words: str, expected: list[str]):
    invoke(*words.split())
    assert heard["words"] == expected


@pytest.mark.parametrize("words", ["scans --pred a --pred b", "--pred a --pred b --ref scans"])
def test_predictions_of_several_seeds_leave_the_word_to_the_references(
    heard: dict[str, Any], monkeypatch: pytest.MonkeyPatch, words: str
):
    def listen(predictions: list[Path], references: Path, **values: Any) -> None:
        heard["words"] = [*map(str, predictions), str(references)]

    monkeypatch.setattr("llmseg_cli.workflows.score.seeds.run_over_seeds", listen)
    invoke("score", *words.split())
    assert heard["words"] == ["a", "b", "scans"]


@pytest.mark.parametrize("command", ["train-sup", "train-semi"])
def test_trainings_take_the_folder_as_a_word(
    heard: dict[str, Any], monkeypatch: pytest.MonkeyPatch, command: str
):
    invoke(command, "scans", "--labeled", "2")
    assert heard["words"] == ["scans"]


@pytest.mark.parametrize(
    ("words", "run", "images"),
    [
        ("r a.png b.png", "r", ["a.png", "b.png"]),
        ("r --images a.png", "r", ["a.png"]),
        ("run --images a.png b.png", "run", ["a.png", "b.png"]),
        ("--run r a.png", "r", ["a.png"]),
        ("--run r --images a.png b.png", "r", ["a.png", "b.png"]),
        ("--run run run a.png", "run", ["a.png"]),
        ("run --data scans", "run", []),
    ],
)
def test_the_run_and_then_images(
    heard: dict[str, Any], tmp_path: Path, words: str, run: str, images: list[str]
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    invoke("predict", *words.split(), "-o", "out")
    assert heard["words"] == [str([Path(run)])]
    assert list(map(str, heard["images"])) == images


@pytest.mark.parametrize(
    ("words", "run", "images"),
    [
        ("", "other", ["all"]),
        ("a.png", "other", ["a.png"]),
        ("run", "run", ["all"]),
        ("run a.png", "run", ["a.png"]),
        ("--images a.png b.png", "other", ["a.png", "b.png"]),
    ],
)
def test_words_win_over_the_file(
    heard: dict[str, Any], tmp_path: Path, words: str, run: str, images: list[str]
):
    settings = "predict: {run: other, images: [all]}\ncheck: {data: elsewhere}\n"
    (tmp_path / "llmseg.yaml").write_text(settings)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    invoke("predict", *words.split(), "-o", "out")
    assert heard["words"] == [str([Path(run)])]
    assert list(map(str, heard["images"])) == images
    invoke("check", "scans")
    assert heard["words"] == ["scans"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("check a --data b", "DIR a and --data b are not the same. Say it once."),
        ("score a --pred b --ref c", "PRED a and --pred b are not the same"),
        ("score a b --pred c --pred d", "PRED a and --pred c --pred d are not the same"),
        ("score a b --ref c", "REF b and --ref c are not the same"),
        ("predict run a.png --run r -o o", "RUN run and --run r are not the same"),
        ("check", "llmseg check needs DIR, or --data DIR; 'data: DIR' in llmseg.yaml says it"),
        ("score a", "llmseg score needs REF, or --ref REF"),
        ("predict --images a.png b.png -o o", "llmseg predict needs RUN, or --run RUN"),
        ("check a b", "unexpected extra argument"),
    ],
)
def test_twice_or_not_at_all(heard: dict[str, Any], tmp_path: Path, words: str, said: str):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    (tmp_path / "b.png").touch()
    result = invoke(*words.split())
    assert result.exit_code == 2
    assert said in result.stderr
    assert not heard


def test_an_output_over_what_a_word_names(heard: dict[str, Any], tmp_path: Path):
    (tmp_path / "masks").mkdir()
    result = invoke("predict", "run", "masks", "-o", "masks")
    assert result.exit_code == 2
    assert "-o masks is --images itself" in result.stderr


@pytest.mark.parametrize(
    ("words", "data", "images"),
    [
        ("predict r a.png -o m", None, ["a.png"]),
        ("predict --run r --images a.png -o m", None, ["a.png"]),
        ("predict --run r -o m", "scans", []),
    ],
)
def test_typed_images_win_over_the_data_of_a_file(heard, words: str, data, images):
    Path("llmseg.yaml").write_text("data: scans\n")
    invoke(*words.split())
    found = heard["data"]
    assert (found and str(found), list(map(str, heard["images"]))) == (data, images)
