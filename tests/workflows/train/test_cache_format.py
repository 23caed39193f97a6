"""`--cache-format` in a training: what is recorded, and what it changes."""

import pytest
from training_cli import invoke, train, weights

from llmseg_cli.artifacts.run_config import RunConfig


def trained(toy_data, toy_split, run, form, *words):
    words = ("--cache-format", form, *words)
    return train("supervised", toy_data, run, "--split", toy_split, *words, steps=3)


def test_blocks_train_the_same_network_and_the_run_says_how(toy_data, toy_split, quiet_place):
    for form in ("float32", "blocks", "float16"):
        trained(toy_data, toy_split, quiet_place / form, form)
        config = RunConfig.load(quiet_place / form / "config.yaml")
        assert config.settings["cache_format"] == form
    digests = [weights(quiet_place / form) for form in ("float32", "blocks", "float16")]
    assert digests[0] == digests[1] != digests[2]
    result = train(
        *("supervised", toy_data, quiet_place / "float16", "--split", toy_split, "--resume"),
        steps=3,
        code=2,
    )
    assert "--cache-format was float16, now float32" in result.stderr


@pytest.mark.parametrize("form", ["float64", "", "Blocks"])
def test_another_format_is_refused_with_those_that_there_are(form, toy_data, quiet_place):
    result = invoke("train-sup", "--data", toy_data, "-o", "run", "--cache-format", form)
    assert result.exit_code == 2
    assert "float16" in result.stderr
