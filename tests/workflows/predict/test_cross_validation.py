"""Each fold's validation cases by the run of that fold, and their score."""

import json
from pathlib import Path

import pytest
from training_cli import invoke, train

from llmseg_cli.artifacts.folds import load_folds
from llmseg_cli.artifacts.run_files import COURSE
from llmseg_cli.artifacts.scores import Scores
from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.digests import label_digest
from llmseg_cli.errors import PartialError
from llmseg_cli.workflows.predict.cost import Estimate
from llmseg_cli.workflows.predict.cross_validation import cross_validate
from llmseg_cli.workflows.predict.outcome import Predicted

pytestmark = pytest.mark.usefixtures("quiet_place")


def predict(run: Path, data: Path, out: Path, *words: str | Path, code: int = 0) -> str:
    fixed = ("--overlap", "0", "--data", data, "-o", out)
    result = invoke("predict", "--run", run, *fixed, *words)
    assert result.exit_code == code, result.output
    return result.stderr


def test_each_case_by_the_run_that_has_not_seen_it(toy_data: Path, tmp_path: Path) -> None:
    folds, runs, masks = tmp_path / "folds", tmp_path / "runs", tmp_path / "masks"
    words = ("--labeled", "5", "--test", "2", "--folds", "2", "-o", folds)
    assert invoke("split", "--data", toy_data, *words).exit_code == 0
    asked = ("--split", folds, "--seeds", "2")
    trained = train("supervised", toy_data, runs, *asked, steps=2)
    assert f"Next: llmseg predict --run {runs} --cross-validation" in trained.stderr
    said = predict(runs, toy_data, masks, "--cross-validation")

    splits = [*load_folds(folds).values()]
    for split in splits:
        single = tmp_path / f"single-{split.fold}"
        own = ("--split", folds / f"fold-{split.fold}.json", "--subset", "validation")
        predict(runs / f"fold-{split.fold}/seed-1", toy_data, single, *own)
        for case in split.validation:
            name = f"{case}.nii.gz"
            found = masks / f"seed-1/fold-{split.fold}" / name
            assert label_digest(found) == label_digest(single / name)
    record = json.loads((masks / "run.json").read_text())["details"]["folds"]
    assert record[1] == {"run": "fold-0/seed-1", "masks": "seed-1/fold-0"}

    course = tmp_path / "course"  # as 'llmseg auto' leaves it: the folder that it chose, by name
    course.mkdir()
    (course / COURSE).write_text("{}")
    (course / "run.json").write_text(json.dumps({"details": {"chosen": "supervised"}}))
    (course / "supervised").symlink_to(runs)
    predict(course, toy_data, tmp_path / "of-course", "--cross-validation")
    for mask in masks.rglob("*.nii.gz"):
        same = tmp_path / "of-course" / mask.relative_to(masks)
        assert label_digest(same) == label_digest(mask)

    next_words = said.split("Next: llmseg ")[1].split("\n")[0].split()
    assert next_words[0] == "score"
    assert invoke(*next_words, "--bootstrap", "20").exit_code == 0
    scores = Scores.load(Path(f"{masks}-scores.json"))
    cases = sorted(case for split in splits for case in split.validation)
    assert [case["case"] for case in scores.cases] == cases * 2
    assert Split.load(masks / "split.json").validation == tuple(cases)
    where = ("--pred", masks, "--ref", toy_data, "--split", folds, "--subset", "validation")
    again = invoke("score", *where, "--bootstrap", "20", "-o", tmp_path / "again.json")
    assert again.exit_code == 0, again.output
    assert Scores.load(tmp_path / "again.json").metrics == scores.metrics

    (masks / "seed-0/fold-1").rename(masks / "seed-0/fold-9")  # masks of training cases
    foreign = runs / "fold-0/seed-0"
    words = ("--split", folds / "fold-0.json", "--subset", "labeled")
    predict(foreign, toy_data, masks / "seed-0/fold-1", *words)
    refused = invoke("score", "--pred", masks / "seed-0", *where[2:])
    assert refused.exit_code == 3
    assert "A case is in the fold alone that validates with it" in refused.stderr
    for path in (masks / "seed-0/fold-9").iterdir():
        path.unlink()
    (masks / "seed-0/fold-9").rmdir()
    refused = invoke("score", "--pred", masks / "seed-0", *where[2:])
    assert refused.exit_code == 4
    assert "has learned from" in refused.stderr


def one_fails(run: Path, split: Path, masks: Path) -> Predicted:
    if run.name == "fold-1":
        raise PartialError(f"A case of {run.name} failed.")
    return Predicted(masks, Estimate({}, 1, 0, 0, ""), ())


def test_resume_and_refusals(toy_data: Path, toy_split: Path, tmp_path: Path) -> None:
    folds, runs, masks = tmp_path / "folds", tmp_path / "runs", tmp_path / "masks"
    words = ("--labeled", "4", "--folds", "2", "-o", folds)
    assert invoke("split", "--data", toy_data, *words).exit_code == 0
    train("supervised", toy_data, runs, "--split", folds, steps=1)
    predict(runs, toy_data, masks, "--cross-validation", "--dry-run")
    assert not masks.exists()
    predict(runs, toy_data, masks, "--cross-validation")
    assert "exists" in predict(runs, toy_data, masks, "--cross-validation", code=2)
    assert "2 kept from before" in predict(runs, toy_data, masks, "--cross-validation", "--resume")
    kept = {"resume": True, "force": False, "dry_run": False}
    with pytest.raises(PartialError, match="of fold-1"):
        cross_validate(runs, tmp_path / "some", one_fails, **kept)
    pooled = Split.load(tmp_path / "some/split.json")  # to score the others by
    assert pooled == Split.load(masks / "split.json")
    assert not (tmp_path / "some/run.json").exists()
    words = ("--cross-validation", "--split", toy_split)
    assert "their own splits" in predict(runs, toy_data, tmp_path / "m", *words, code=2)
    one = runs / "fold-0"
    said = predict(one, toy_data, tmp_path / "m", "--cross-validation", code=2)
    assert "is no finished set of runs of folds" in said
