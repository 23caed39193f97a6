"""A file that people read and edit: round trip, leniency, refusals."""

import pytest

from llmseg_cli.artifacts.descriptions import (
    Description,
    Descriptions,
    Writer,
    check_class_names,
)
from llmseg_cli.errors import ArtifactError, UsageError

QUERY = "<|im_start|>user\n\nDescribe it.<|im_end|>\n"


@pytest.fixture
def written() -> Descriptions:
    return Descriptions(
        target="heart",
        modality="cine MRI",
        reviewed=False,
        classes={
            "right ventricle": (
                Description(text="A crescent.", source="m", seed=0, query=QUERY),
                Description(text="A triangle.", source="m", cut=True, seed=1),
            ),
            "myocardium": (Description(text="A ring.", source="m"),),
        },
        written_by=Writer(provider="transformers", model="m", seed=0, sampling={"top_p": 0.9}),
        warnings=("small",),
    )


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_round_trip(written, tmp_path, suffix):
    path = tmp_path / f"descriptions{suffix}"
    written.save(path)
    assert Descriptions.load(path) == written


def test_a_query_stands_as_it_was_sent(written):
    text = written.to_text(suffix=".yaml")
    assert "      <|im_start|>user\n\n      Describe it.<|im_end|>\n" in text
    assert "seed: 0" in text
    assert "null" not in text
    assert "cut: false" not in text


def test_rows_keep_the_order_of_classes(written):
    assert written.rows() == [
        ("right ventricle", "A crescent."),
        ("right ventricle", "A triangle."),
        ("myocardium", "A ring."),
    ]


def test_a_person_may_write_just_the_texts():
    text = (
        "schema: llmseg/descriptions/1\ntarget: heart\nmodality: MRI\nreviewed: true\n"
        "classes:\n  1:\n  - A\n    ring.\n  - text: Round.\n"
        "written_by: {provider: hand, model: me}\n"
    )
    found = Descriptions.from_text(text, name="mine")
    assert found.rows() == [("1", "A ring."), ("1", "Round.")]
    assert found.classes["1"][0].source == "hand"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("- text: A ring.\n", "- texts: A ring.\n"), r"mine:20: 'classes.myocardium\[0\].texts'"),
        (("text: A ring.\n", "text: '  '\n"), "class 'myocardium', text 1 has no text"),
        (("    source: m\n    seed: 0", "    sauce: m\n    seed: 0"), "Did you mean 'source'"),
        (("provider:", "supplier:"), "mine:23: 'written_by.supplier' is not known here"),
        (("llmseg/descriptions/1", "llmseg/descriptions/9"), "llmseg describe"),
        (("reviewed:", "revued:"), "Did you mean 'reviewed'"),
    ],
)
def test_faulty_files_are_refused(written, change, message):
    text = written.to_text(suffix=".yaml").replace(*change)
    assert text != written.to_text(suffix=".yaml")
    with pytest.raises(ArtifactError, match=message):
        Descriptions.from_text(text, name="mine")


@pytest.mark.parametrize("classes", [{}, {"a": ()}, {"a": None}])
def test_every_class_needs_a_text(written, classes):
    with pytest.raises(ArtifactError, match=r"at least one class|has no text"):
        Descriptions(
            target="x", modality="y", reviewed=True, classes=classes, written_by=written.written_by
        )


@pytest.mark.parametrize("names", [("a", "a"), ("a", " ")])
def test_class_names_are_each_their_own(names):
    with pytest.raises(UsageError, match="a name of its own"):
        check_class_names(names)
