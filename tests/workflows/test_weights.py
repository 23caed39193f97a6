"""Several weights at once: all faults, no half work."""

from pathlib import Path

import pytest

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.weights.embedded import WEIGHTS
from llmseg_cli.workflows import weights as workflow


def test_no_name_means_all(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(workflow, "fetch", lambda name, **_: asked.append(name) or Path(name))
    assert workflow.run(cache=tmp_path) == {name: Path(name) for name in WEIGHTS}
    assert asked == list(WEIGHTS)


def test_hub_models_go_to_the_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(workflow, "hub_folder", lambda model, **_: Path(model.id))
    assert workflow.run(["hf:owner/model@v1"], cache=tmp_path) == {
        "hf:owner/model@v1": Path("owner/model")
    }


def test_a_wrong_name_fetches_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(workflow, "fetch", None)
    with pytest.raises(UsageError, match="Unknown weights 'minilmm'"):
        workflow.run(["minilm", "minilmm"], cache=tmp_path)


def test_the_others_are_fetched_if_one_fails(monkeypatch, tmp_path):
    asked = []

    def fetch(name, **_):
        asked.append(name)
        if name in ("smollm2", "mni152"):
            raise WeightsError(f"no {name}")
        return Path(name)

    monkeypatch.setattr(workflow, "fetch", fetch)
    with pytest.raises(WeightsError, match="no smollm2\nno mni152"):
        workflow.run(cache=tmp_path)
    assert asked == list(WEIGHTS)


def test_states_of_an_empty_cache(tmp_path):
    states = workflow.states(cache=tmp_path)
    assert [state.name for state in states] == list(WEIGHTS)
    assert not any(state.fetched for state in states)
    assert all(str(tmp_path) in state.folder for state in states)


def test_verify_tells_all_faults(tmp_path):
    with pytest.raises(WeightsError, match="No weights are here"):
        workflow.check(cache=tmp_path)
    with pytest.raises(WeightsError, match=r"(?s)'minilm' are not in .*'smollm2' are not in "):
        workflow.check(["minilm", "smollm2"], cache=tmp_path)


def test_locate(tmp_path):
    with pytest.raises(WeightsError, match="llmseg weights fetch smollm2"):
        workflow.locate("smollm2", cache=tmp_path)
    with pytest.raises(WeightsError, match="in no cache here"):
        workflow.locate("hf:owner/no-such-model", cache=tmp_path)
