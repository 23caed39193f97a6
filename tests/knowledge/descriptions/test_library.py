"""The shipped descriptions: complete, of one form, found under the names people use."""

from dataclasses import replace
from unittest.mock import patch

import pytest

from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.descriptions import library
from llmseg_cli.knowledge.descriptions.library import (
    entry_of_classes,
    find_entry,
    library_texts,
    load_library,
)

TEXTS = [
    (entry.name, found.name, text)
    for entry in load_library()
    for found in entry.classes
    for text in found.texts
]


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        ("left atrium", ["left atrium"]),
        ("Pancreas", ["pancreas"]),
        ("whole brain tumor", ["whole tumor"]),
        ("hippocampus", ["anterior", "posterior"]),
        ("polyp", ["polyp"]),
        ("lungs", ["left lung", "right lung", "cardiomediastinum"]),
        ("heart", ["right ventricle", "myocardium", "left ventricle"]),
        ("brain-tissue", ["grey matter", "white matter"]),
    ],
)
def test_the_targets_of_the_papers_and_the_data_at_hand(target, classes):
    assert [found.name for found in find_entry(target).classes] == classes


def test_a_target_may_have_classes_that_are_meant_only_if_named():
    assert find_entry("lungs").default_classes == ("left lung", "right lung")
    assert find_entry("hippocampus").default_classes == ("anterior", "posterior")


@pytest.mark.parametrize("entry", load_library(), ids=lambda entry: entry.name)
def test_every_entry_is_complete(entry):
    assert entry.licence == "Apache-2.0"
    assert len(entry.references) >= 2
    assert entry.modality
    assert set(entry.default_classes) <= {found.name for found in entry.classes}
    assert all(4 <= len(found.texts) <= 6 for found in entry.classes)


@pytest.mark.parametrize(("entry", "name", "text"), TEXTS)
def test_every_text_is_one_paragraph_of_35_to_55_words(entry, name, text):
    assert 35 <= len(text.split()) <= 55
    assert "\n" not in text
    assert text.endswith(".")


def test_texts_differ():
    texts = [text for _, _, text in TEXTS]
    assert len(set(texts)) == len(texts)


def test_names_mean_one_thing():
    names = [n.lower() for e in load_library() for n in (e.target, *e.aliases)]
    assert len(set(names)) == len(names)
    for entry in load_library():
        of_classes = [n.lower() for c in entry.classes for n in {c.name, *c.aliases}]
        assert len(set(of_classes)) == len(of_classes)


@pytest.mark.parametrize(
    ("target", "alias", "name"),
    [
        ("hippocampus", "head", "anterior"),
        ("hippocampus", "Body and Tail", "posterior"),
        ("heart", "LV", "left ventricle"),
        ("brain", "gray_matter", "grey matter"),
    ],
)
def test_classes_have_other_names(target, alias, name):
    assert find_entry(target).find_class(alias).name == name


def test_an_unknown_target_is_told_what_there_is():
    with pytest.raises(UsageError, match=r"Did you mean 'pancreas'.*file:PATH"):
        find_entry("pancras")
    with pytest.raises(UsageError, match=r"no texts on 'kidney'\. It has: brain tissue"):
        find_entry("kidney")


def test_an_unknown_class_is_told_what_there_is():
    with pytest.raises(UsageError, match="Known: anterior, posterior"):
        find_entry("hippocampus").find_class("fimbria")


def test_modalities_are_compared_by_word():
    entry = find_entry("left atrium")
    assert entry.suits("cardiac mri")
    assert not entry.suits("CT")


def test_all_texts_by_target():
    assert set(library_texts()) == {entry.target for entry in load_library()}
    assert len(library_texts()["left atrium"]["left atrium"]) == 5


@pytest.mark.parametrize(
    ("names", "hints", "target"),
    [
        (["anterior", "posterior"], [], "hippocampus"),
        (["Posterior", "head"], [], "hippocampus"),
        (["RV", "Myo", "LV"], [], "cardiac ventricles"),
        (["left atrium"], ["scans"], "left atrium"),
        (["polyp"], [], "polyp"),
        (["class 1"], [], None),
        (["class 1"], ["hippocampus"], None),  # a folder's name alone tells no class
        (["anterior", "kidney"], [], None),
        (["anterior", "myocardium"], [], None),  # of two targets
        ([], ["hippocampus"], None),
    ],
)
def test_a_target_is_known_by_its_classes(names, hints, target):
    found = entry_of_classes(names, hints=hints)
    assert (found.target if found else None) == target


def test_a_hint_breaks_a_tie():
    names = ["heart"]  # such as of two entries
    fitting = [
        entry
        for entry in load_library()
        if any(alias == "heart" for one in entry.classes for alias in (one.name, *one.aliases))
    ]
    twin = replace(fitting[0], target="other heart", name="other-heart", aliases=("chest two",))
    with patch.object(library, "load_library", lambda: (*fitting, twin)):
        assert entry_of_classes(names) is None
        assert entry_of_classes(names, hints=["chest two"]).target == "other heart"
        assert entry_of_classes(names, hints=["nothing"]) is None
