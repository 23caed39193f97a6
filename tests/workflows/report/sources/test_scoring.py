"""Names of files of scores in a report."""

from dataclasses import replace
from pathlib import Path

import pytest

from llmseg_cli.workflows.report.scored import ScoreFacts
from llmseg_cli.workflows.report.sources.scoring import told_apart


@pytest.fixture
def facts() -> ScoreFacts:
    return ScoreFacts(
        file="scores.json",
        folder="masks",
        run=None,
        made_by={},
        compared=None,
        seeds=None,
        subset="test",
        split=None,
        empty_policy="",
        classes=("polyp",),
        metrics=(),
        paired=(),
        cases=(),
        looks=("masks: second look at this test list.", "others: first look."),
        failed={},
        warnings=(),
    )


def test_folders_of_one_name_are_called_after_where_their_scores_are(facts, tmp_path):
    paths = [tmp_path / "start" / "scores.json", tmp_path / "round-1" / "scores.json"]
    first, second = told_apart([facts, facts], paths)
    assert (first.folder, second.folder) == ("start/masks", "round-1/masks")
    assert (first.file, second.file) == ("start/scores.json", "round-1/scores.json")
    assert first.looks == ("start/masks: second look at this test list.", "others: first look.")


def test_in_one_folder_they_are_called_after_their_files(facts, tmp_path):
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    named = [replace(facts, file=path.name) for path in paths]
    assert [one.folder for one in told_apart(named, paths)] == ["masks (a.json)", "masks (b.json)"]


def test_names_that_differ_stay(facts):
    paths = [Path("a/one.json"), Path("b/two.json")]
    named = [
        replace(facts, file=path.name, folder=folder)
        for path, folder in zip(paths, ("masks", "others"), strict=True)
    ]
    assert told_apart(named, paths) == tuple(named)
