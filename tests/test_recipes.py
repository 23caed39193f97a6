"""Every recipe is understood by the program, and holds the numbers of its paper."""

from typing import Any

import pytest
from typer.testing import CliRunner

from llmseg_cli.artifacts.split import Split
from llmseg_cli.cli import app
from llmseg_cli.commands._command import recipe_names

PAPERS = {  # steps of an "epoch" (labeled / 2), steps, patch, w_max, learning rate, noise
    "la-8": (4, 9000, (112, 112, 80), 0.3, 0.05, 0.2),
    "la-16": (8, 9000, (112, 112, 80), 1.0, 0.05, 0.2),
    "pancreas-6": (3, 10000, (96, 96, 96), 0.3, 0.025, 0.05),
    "pancreas-12": (6, 10000, (96, 96, 96), 1.0, 0.025, 0.05),
    "brats-25": (12, 30000, (96, 96, 96), 1.0, 0.05, 0.05),
    "brats-50": (25, 30000, (96, 96, 96), 1.0, 0.05, 0.05),
}


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, names_alone: None) -> dict[str, Any]:
    """Runs train-semi up to the point where it would train, and keeps the request."""
    found: dict[str, Any] = {}

    def keep(request: Any, *_: Any) -> None:
        found["request"] = request

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("llmseg_cli.commands.train_semi.train", keep)
    monkeypatch.setattr("llmseg_cli.commands.train_sup.train", keep)
    split = Split(labeled=(), unlabeled=(), validation=(), test=(), seed=0, images={}, groups={})
    monkeypatch.setattr(
        "llmseg_cli.commands._train.TrainOptions.choose_split", lambda *_, **__: split
    )
    return found


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("command", ["train-semi", "train-sup"])
def test_a_recipe_gives_settings_that_fit_together(
    name: str, command: str, captured: dict[str, Any]
) -> None:
    from llmseg_cli.options import parse_assignments
    from llmseg_cli.registry import METHODS, MODELS
    from llmseg_cli.workflows.runs.sides import sides_for

    result = CliRunner().invoke(app, [command, "--recipe", name, "--data", "d"])
    assert result.exit_code == 0, result.output
    request = captured["request"]
    options = parse_assignments(request.settings.model_option, flag="--model-option")
    MODELS.check_options(request.settings.model, options)
    model, patch = request.settings.model, request.settings.patch
    network = MODELS.load(model)(1, 2, **options, **sides_for(model, patch))
    assert network.grid_of(request.settings.patch)
    METHODS.check_options(
        request.method, parse_assignments(request.method_option, flag="--method-option")
    )


@pytest.mark.parametrize("name", PAPERS)
def test_a_paper_recipe_holds_the_papers_numbers(name: str, captured: dict[str, Any]) -> None:
    from llmseg_cli.options import parse_assignments

    result = CliRunner().invoke(app, ["train-semi", "--recipe", name, "--data", "d"])
    assert result.exit_code == 0, result.output
    request = captured["request"]
    settings = request.settings
    epoch, steps, patch, weight, rate, noise = PAPERS[name]
    options = parse_assignments(request.method_option, flag="--method-option")
    assert (settings.steps, settings.patch, settings.batch) == (steps, patch, 2)
    assert (settings.learning_rate, settings.momentum, settings.weight_decay) == (rate, 0.9, 1e-4)
    assert (settings.optimizer, settings.learning_rate_schedule) == ("sgd", "poly")
    assert options["weight"] == weight
    assert options["ramp"] * steps == pytest.approx(40 * epoch, rel=1e-3)
    assert (options["threshold_positive"], options["threshold_negative"]) == (0.65, 0.1)
    assert (options["noise"], options["cutmix_alpha"]) == (noise, 4.0)
    assert options["noise_unit"] == "absolute"
    assert settings.normalize in ("minmax", "window:-125:275")  # so that intensities are 0 to 1


def test_the_recipe_of_dec_seg_holds_the_numbers_of_its_code(captured: dict[str, Any]) -> None:
    from llmseg_cli.options import parse_assignments

    result = CliRunner().invoke(app, ["train-semi", "--recipe", "dec-seg", "--data", "d"])
    assert result.exit_code == 0, result.output
    request = captured["request"]
    settings = request.settings
    assert (settings.steps, settings.patch, settings.batch) == (10000, (352, 352), 3)
    assert (settings.learning_rate, settings.momentum, settings.weight_decay) == (0.01, 0.9, 1e-4)
    assert (settings.optimizer, settings.learning_rate_schedule) == ("sgd", "poly")
    assert (settings.loss, settings.augment) == ("dice-ce-background", "none")
    published = {"weight": 1.0, "ramp": 0.0, "brightness": 0.2, "hue": 0.05, "filters": 16}
    published |= {"jitter": "independent", "stop_gradient": False}
    published |= {"scale_weight": 1.0, "copies_weight": 1.0}
    options = parse_assignments(request.method_option, flag="--method-option")
    assert published.items() <= options.items()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("v1", {"mapper": "linear", "llm_position": "after-vit", "hybrid_attention": "inferred"}),
        ("v3", {"mapper": "lora", "rank": 4, "llm_position": "before-vit"}),
    ],
)
def test_recipes_of_medvisionllama_hold_the_papers_numbers(
    name: str, options: dict[str, Any], captured: dict[str, Any]
) -> None:
    from llmseg_cli.options import parse_assignments

    words = ["train-sup", "--recipe", f"medvisionllama-{name}", "--data", "d"]
    assert CliRunner().invoke(app, words).exit_code == 0
    settings = captured["request"].settings
    found = parse_assignments(settings.model_option, flag="--model-option")
    sizes = {"token": 8, "filters": 64, "depth": 16, "heads": 4, "dropout": 0.2, "positions": 16}
    assert (sizes | options).items() <= found.items()
    assert (settings.patch, settings.batch, settings.loss) == ((128, 128, 128), 4, "dice-bce")
    assert (settings.optimizer, settings.learning_rate) == ("adam", 0.002)
    assert (settings.learning_rate_schedule, settings.weight_decay) == ("plateau", 0)


def test_an_option_on_the_command_line_wins_over_the_recipe(captured: dict[str, Any]) -> None:
    words = ["train-semi", "--recipe", "la-8", "--data", "d", "--steps", "7"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert captured["request"].settings.steps == 7
    assert captured["request"].settings.patch == (112, 112, 80)


def test_an_unknown_recipe_lists_what_there_is() -> None:
    result = CliRunner().invoke(app, ["train-semi", "--recipe", "la-9", "--data", "d"])
    assert result.exit_code == 2
    assert "la-8" in result.output
