"""What would be parsed and ignored is refused where a user gave it, in words or in YAML."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from training_cli import invoke

from llmseg_cli.artifacts.split import Split
from llmseg_cli.commands import train_semi as semi
from llmseg_cli.commands import train_sup as sup
from llmseg_cli.commands._train import TrainOptions

SEMI = ("train-semi", "--data", "d", "--labeled", "2")
SUP = ("train-sup", "--data", "d", "--labeled", "2")
PREDICT = ("predict", "--run", "r", "--images", "i", "-o", "out")
DESCRIBE = ("describe", "--target", "left atrium", "--modality", "MRI", "-o", "out.yaml")
MINE = ("mine-sam", "--run", "r", "--data", "d", "--split", "s", "-o", "out")
ADD = ("split", "--data", "d", "--into", "s.json", "--add", "a", "-o", "more.json")
SUGGEST = ("suggest", "--data", "d", "--split", "s", "-o", "out")
MINING = (*SEMI, "--method", "sam-mining")
REFUSED = [  # command, options that do not count, what is said
    (SEMI, "--fusion token-map", "--text"),
    (SEMI, "--text-control random", "--text"),
    (SUP, "--optimizer adam --momentum 0.9", "sgd"),  # 0.9 is the default, and was said
    (SUP, "--optimizer adamw --momentum 0", "sgd"),
    (SUP, "--steps 2000 --budget 30m", "--budget 30m says when the training ends"),
    (SUP, "--validate-every 500", "llmseg split --validation"),
    (SEMI, "--method usl --validate-every 9", "no validation cases"),
    (SEMI, "--method supervised --unlabeled-batch 2", "labeled cases alone"),
    (("train-sup", "--data", "d", "--split", "s"), "--group-by (p)", "--split decides"),
    (SEMI, "--method usl --schedule one-time", "no pseudo-labels"),
    (SEMI, "--method mean-teacher --every 200", "no pseudo-labels"),
    (MINING, "--init r --every 200", "--schedule continuous"),
    (MINING, "--pseudo p --every 200", "--schedule continuous"),
    (SEMI, "--method usl --min-iou 0", "Segment Anything"),
    (SEMI, "--method usl --mirror", "asks neither Segment Anything"),
    (SEMI, "--method self-training --sam lite-medsam", "Segment Anything"),
    (MINING, "--positive-points 5", "--prompts box,points"),
    (MINE, "--negative-points 1", "--prompts box,points"),
    (MINE, "--prompts points --positive-points 1 --confident 0.5", "first point"),
    (MINE, "--prompts points --box-margin 0.1", "no box is asked"),
    (SUP, "--image-encoder-init random", "--image-encoder efficientnet-lite0"),
    (SUP, "--image-encoder-init shuffled", "--image-encoder efficientnet-lite0"),
    (SUP, "--image-encoder-freeze none", "--image-encoder efficientnet-lite0"),
    (
        SUP,
        "--image-encoder e --image-encoder-freeze all --image-encoder-learning-rate-factor 1",
        "it is not trained",
    ),
    (SUP, "--llm-layers=-1", "--model medvisionllama"),
    (SUP, "--model unet --no-llm-rotary", "--model medvisionllama"),
    (SUP, "--model medvisionllama --llm-block mlp --llm-layers=-1", "no layers"),
    (SEMI, "--method-option peer=clean --method-option decay=0.9", "moving average"),
    (SEMI, "--method-option pseudo-weight=1.0", "--pseudo DIR"),
    (SUP, "--model medvisionllama --model-option rank=4", "mapper=lora"),
    (PREDICT, "--stride 9,9,9 --overlap 0.5", "--stride says"),
    (DESCRIBE, "--temperature 0.7", "asks no language model"),
    (DESCRIBE, "--llm file:t.yaml --max-words 60", "asks no language model"),
    (DESCRIBE, "--seed 1", "nothing is drawn"),
    (DESCRIBE, "--llm openai:m --device cpu", "on this machine"),
    (DESCRIBE, "--llm smollm2 --temperature 0 --top-p 0.9", "--temperature 0 draws nothing"),
    (("score", "--pred", "p", "--ref", "r"), "--bootstrap 0 --seed 1", "--bootstrap 0"),
    (("split", "--data", "d", "-o", "s"), "--preset la-8 --seed 1", "--validation"),
    (ADD, "--labeled 3", "--add changes"),
    (ADD, "--label-map 2:1", "--add changes"),
    (ADD, "--seed 0", "--add changes"),
    (SUGGEST, "--by agreement --run r --seed 1", "only --by random"),
    (SUGGEST, "--run r --mirror", "--by random"),
    (SUGGEST, "--by both --run r --masks m --mirror", "--masks"),
    (SUGGEST, "--by agreement --masks m --device cpu", "no network is asked"),
    (("cache", "clean"), "--all --older-than 3", "--all removes everything"),
]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty working folder, and nobody's configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LLMSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def asked(place, monkeypatch, names_alone) -> dict[str, Any]:
    """Trainings go no further than their request, which is kept."""
    kept: dict[str, Any] = {}
    for module in (semi, sup):
        monkeypatch.setattr(module, "train", lambda request, options: kept.update(found=request))
    split = Split(labeled=(), unlabeled=(), validation=(), test=(), seed=0, images={}, groups={})
    monkeypatch.setattr(TrainOptions, "choose_split", lambda *_, **__: split)
    return kept


@pytest.mark.parametrize(("command", "words", "why"), REFUSED)
def test_on_the_command_line(place, command, words, why):
    result = invoke(*command, *words.split())
    assert result.exit_code == 2, result.output
    flags = [word.partition("=")[0] for word in words.split() if word.startswith("--")]
    said = result.stderr.strip()
    assert said.startswith("Error: --")
    assert any(said.startswith(f"Error: {f.replace('--no-', '--')}") for f in flags), said
    assert why in said
    assert said.count("\n") == 0
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("section", [None, "train-semi"])
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"fusion": "token-map"}, "--text"),
        ({"optimizer": "adam", "momentum": 0.9}, "sgd"),
        ({"method": "supervised", "unlabeled-batch": 2}, "labeled cases alone"),
        ({"method-option": {"peer": "noisy", "decay": 0.5}}, "moving average"),
    ],
)
def test_in_a_file(asked, place, options, why, section):
    content = {section: options} if section else options
    (place / "llmseg.yaml").write_text(yaml.safe_dump(content))
    result = invoke(*SEMI)
    assert result.exit_code == 2, result.output
    assert " (llmseg.yaml): " in result.stderr
    assert why in result.stderr
    assert not asked


@pytest.mark.parametrize(
    "words",
    [
        ["--recipe", "la-8", "--optimizer", "adam"],  # its momentum, and its fusion
        ["--recipe", "medvisionllama-v3", "--model-option", "mapper=linear"],  # its rank
        ["--recipe", "la-8"],
        ["--method", "sam-mining", "--schedule", "continuous", "--every", "5", "--pseudo", "p"],
        ["--method", "sam-mining", "--every", "5"],
        ["--method", "self-training", "--threshold", "labeled", "--mirror"],
        [
            *("--method", "sam-mining", "--prompts", "points", "--negative-points", "2"),
            *("--box-margin", "0.2", "--confident", "0.5"),
        ],
        ["--method", "usl", "--unlabeled-batch", "3", "--method-option", "decay=0.9"],
        ["--method", "mean-teacher", "--method-option", "decay=0.9"],
        ["--pseudo", "p", "--method-option", "pseudo_weight=0.5"],
        ["--model", "medvisionllama", "--llm-lora", "2", "--llm-rotary"],
    ],
)
def test_what_counts_goes_through_and_recipes_and_defaults_do_not_bind(asked, words):
    result = invoke(*SEMI, *words)
    assert result.exit_code == 0, result.output
    assert asked["found"].command == "train-semi"


def test_what_is_for_all_commands_binds_none(asked, place):
    """A seed, a device or a group at the top of the file are for the commands that have a use."""
    words = {"seed": 3, "device": "cpu", "group-by": "(p)", "split": "s.json"}
    (place / "llmseg.yaml").write_text(yaml.safe_dump(words))
    assert invoke("train-sup", "--data", "d").exit_code == 0
    assert "asks no language model" not in invoke(*DESCRIBE, "--dry-run").stderr
    (place / "llmseg.yaml").write_text(yaml.safe_dump({"describe": {"seed": 3}}))
    result = invoke(*DESCRIBE, "--dry-run")
    assert result.exit_code == 2
    assert "--seed 3 (llmseg.yaml): --llm library asks no language model" in result.stderr


def test_a_variable_of_the_machine_binds_none(place, monkeypatch):
    monkeypatch.setenv("LLMSEG_DEVICE", "cpu")
    assert invoke(*DESCRIBE, "--dry-run").exit_code == 0
