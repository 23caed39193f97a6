"""Files and folders that are not there are refused at once, with the nearest name that is."""

from pathlib import Path

import pytest
from test_startup import loaded_by
from tiny_data import write_cases
from training_cli import invoke

FILE, FOLDER = "there is no such file.", "there is no such folder."
EITHER, MEANT = "there is no such file or folder.", "Did you mean"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write_cases(tmp_path / "scans", [[1], None])
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "runs" / "semi").mkdir(parents=True)
    for name in ("split.json", "texts.yaml", "embeddings.safetensors"):
        (tmp_path / name).write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("check imgesTr", 3, f"--data imgesTr: {EITHER} {MEANT} imagesTr?"),
        ("check --data SCANS", 3, f"{MEANT} scans?"),
        ("check scans/image", 3, f"--data scans/image: {EITHER} {MEANT} scans/images?"),
        ("check scan/images", 3, f"{MEANT} scans/images?"),
        ("check scan/notes", 3, f"{MEANT} scans?"),
        ("check elsewhere", 3, f"--data elsewhere: {EITHER} Check the path."),
        ("predict runs/semy scans/images -o o", 2, f"--run runs/semy: {FOLDER} {MEANT} runs/semi?"),
        ("predict runs/semi scans/imges -o o", 3, f"{MEANT} scans/images?"),
        ("predict runs/semi --from0 lst -o o", 2, f"--from0 lst: {FILE}"),
        ("explain runs/semy -o o", 2, f"{MEANT} runs/semi?"),
        ("score scan scans", 3, f"--pred scan: {EITHER} {MEANT} scans?"),
        ("score scans scan", 3, "--ref scan: "),
        ("score scans scans --compare sacns", 3, f"--compare sacns: {EITHER} {MEANT} scans?"),
        ("train-sup scans --split splt.json", 2, f"--split splt.json: {FILE} {MEANT} split.json?"),
        ("train-sup scans --split split", 2, f"{MEANT} split.json?"),
        ("train-sup scans --split no.json", 2, "'llmseg split' writes it."),
        ("train-sup scans --init runs/sem", 2, f"{MEANT} runs/semi?"),
        ("train-semi scans --text embedings.safetensors", 2, f"{MEANT} embeddings.safetensors?"),
        ("train-semi scans --method sam-mining --pseudo runz/semi", 3, f"{MEANT} runs/semi?"),
        ("mine-sam --run runs/semi --data scans --split spilt.json", 2, f"{MEANT} split.json?"),
        ("suggest --data scans --split spilt.json -o o", 2, f"{MEANT} split.json?"),
        ("suggest --run runs/semy --data scans --split split.json -o o", 2, f"{MEANT} runs/semi?"),
        ("suggest --data scans --split split.json --masks run -o o", 3, f"{MEANT} runs?"),
        ("split --data scans --into spilt.json --add a -o o.json", 2, f"{MEANT} split.json?"),
        ("embed text.yaml -o e.safetensors", 2, f"text.yaml: {FILE} {MEANT} texts.yaml?"),
        ("describe --target x --llm file:text.yaml -o d.yaml", 2, f"--llm text.yaml: {EITHER}"),
        ("check scans --config text.yaml", 2, f"--config text.yaml: {FILE} {MEANT} texts.yaml?"),
        ("bench startup --data scan", 3, "--data scan: "),
    ],
)  # fmt: skip
def test_it_is_refused_with_the_nearest_name(place: Path, words: str, code: int, said: str):
    result = invoke(*words.split())
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_nothing_heavy_is_loaded_for_it(place: Path):
    modules, _ = loaded_by(["train-semi", "imgesTr"])
    assert modules & {"torch", "numpy", "nibabel"} == set()
