"""What a run has seen stands in its folder, and `predict` and `score` heed it."""

import json

import pytest
from training_cli import ROLES, invoke, train, write_split

from llmseg_cli.artifacts.learned import Learned
from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.digests import voxels_of

pytestmark = pytest.mark.usefixtures("quiet_place")
OTHER = {
    "labeled": ("toy06", "toy07"),
    "unlabeled": ("toy05",),
    "validation": (),
    "test": ("toy00", "toy03"),
}


@pytest.fixture(scope="module")
def digests(toy_data) -> dict[str, str]:
    return {case.id: image_digest(case) for case in find_cases(toy_data).cases}


def test_from_the_first_run_to_the_scores(toy_data, toy_split, quiet_place, digests):
    first, second = quiet_place / "first", quiet_place / "second"
    train("mean-teacher", toy_data, first, "--split", toy_split, steps=2)
    found = Learned.load(first / "learned.json")
    assert found.split == Split.load(toy_split).digest
    known = {digests[case] for case in (*ROLES["labeled"], *ROLES["unlabeled"])}
    assert set(found.trained) == known
    assert set(found.chose) == {digests[case] for case in ROLES["validation"]}
    assert "learned.json" in load_manifest(first)["outputs"]
    shown = voxels_of(find_cases(toy_data).cases)
    cases = (*ROLES["labeled"], *ROLES["unlabeled"])
    assert set(found.trained_voxels) == {shown[case] for case in cases}
    assert set(found.chose_voxels) == {shown[case] for case in ROLES["validation"]}

    # Another run goes on from it with other cases, and its own test cases are new to it alone.
    innocent = {**OTHER, "test": ("toy01",)}
    path = write_split(quiet_place / "innocent.json", toy_data, **innocent)
    refused = train("supervised", toy_data, second, "--split", path, "--init", first, code=4)
    assert "has learned from 1 test or validation cases" in refused.stderr
    path = write_split(quiet_place / "blind.json", toy_data, **{**OTHER, "test": ()})
    train("supervised", toy_data, second, "--split", path, "--init", first, steps=2)
    assert known < set(Learned.load(second / "learned.json").trained)

    words = ("predict", "--run", second, "--data", toy_data, "--overlap", "0")
    other = write_split(quiet_place / "other.json", toy_data, **OTHER)
    result = invoke(*words, "--split", other, "-o", quiet_place / "masks")
    assert result.exit_code == 4
    assert "2 test or validation cases of this split (toy00, toy03)" in result.stderr
    assert not (quiet_place / "masks" / "cases.jsonl").exists()

    everything = quiet_place / "everything"
    result = invoke(*words, "-o", everything, "--json")
    assert result.exit_code == 0
    named = set(json.loads(result.stdout)["training_cases"])
    assert named == {*ROLES["labeled"], *ROLES["unlabeled"], *OTHER["labeled"]}
    assert "7 of the masks are of cases that the run has learned from" in result.stderr
    scores = ("score", "--pred", everything, "--ref", toy_data, "--bootstrap", "0")
    for more in ((), ("--split", other)):
        result = invoke(*scores, *more)
        assert result.exit_code == 4
        assert "scores would flatter it" in result.stderr
    assert invoke(*scores, "--split", toy_split, "--subset", "validation").exit_code == 0
    result = invoke(*scores, "--split", other, "--subset", "labeled", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["predictions"]["training_cases"] == [*OTHER["labeled"]]
    assert "2 of 2 cases in everything are training cases of the run" in result.stderr


def test_an_older_run_is_resumed_and_gets_the_file(toy_data, toy_split, quiet_place):
    run, words = quiet_place / "run", ("--split", toy_split)
    train("supervised", toy_data, run, *words, steps=2)
    kept = (run / "learned.json").read_bytes()
    (run / "learned.json").unlink()
    train("supervised", toy_data, run, *words, "--resume", steps=2)
    assert (run / "learned.json").read_bytes() == kept
