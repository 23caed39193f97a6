"""A run says when its method took next to nothing of the unlabeled cases."""

import json
from pathlib import Path

import pytest
from training_cli import train

from llmseg_cli.workflows.train.little_learned import little_learned

pytestmark = pytest.mark.usefixtures("quiet_place")


@pytest.mark.parametrize(
    ("name", "shares", "told"),
    [
        ("observed_confident", (0.02, 0.04), "3.0 %"),
        ("observed_certain", (0.0, 0.1), "5.0 %"),
        ("observed_confident", (0.02, 0.2), ""),
        ("observed_zoom", (0.01, 0.01), ""),
    ],
)
def test_it_is_the_mean_over_the_log(tmp_path, name, shares, told):
    lines = [{"step": step, "learning_rate": 1, name: share} for step, share in enumerate(shares)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = little_learned(tmp_path)
    assert len(found) == bool(told)
    assert all(told in one and name in one for one in found)


@pytest.mark.parametrize(("threshold", "says"), [(1, True), (0.01, False)])
def test_a_run_says_it_and_records_it(toy_data, toy_split, quiet_place, threshold, says):
    run = quiet_place / "run"
    words = ("--split", toy_split, "--method-option", f"threshold={threshold}", "--log-every", 1)
    result = train("weak-to-strong", toy_data, run, *words, steps=2)
    said = "learned nearly from labels alone"
    assert (said in " ".join(result.stderr.split())) == says
    warnings = json.loads(Path(run / "run.json").read_text())["warnings"]
    assert any(said in one for one in warnings) == says
