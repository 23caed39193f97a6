"""Who describes what, how many times, and what is written down about it."""

import pytest
from completion_server import MODEL, completion_server, faulted, raw_server, said
from tiny_models import write_language_model

from llmseg_cli.artifacts.descriptions import Descriptions
from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.descriptions.library import find_entry
from llmseg_cli.knowledge.descriptions.providers import small_model_warning
from llmseg_cli.workflows.describe.run import DescribeSettings, queries, run


def served(server, **values) -> DescribeSettings:
    return DescribeSettings(base_url=server.url, **values)


def test_the_library_answers_by_default():
    found = run("left atrium")
    entry = find_entry("left atrium")
    assert [text for _, text in found.rows()] == list(entry.classes[0].texts[:4])
    assert (found.modality, found.reviewed) == (entry.modality, True)
    assert (found.written_by.provider, found.written_by.model) == ("library", "left-atrium")
    assert found.written_by.digest == f"sha256:{entry.digest}"
    assert {text.source for text in found.classes["left atrium"]} == {"library:left-atrium"}
    assert found.warnings == ()


def test_classes_keep_the_users_names_and_order():
    found = run("hippocampus", classes=("tail", "head"), texts=2)
    library = {c.name: c.texts for c in find_entry("hippocampus").classes}
    assert list(found.classes) == ["tail", "head"]
    assert [text for name, text in found.rows() if name == "head"] == list(library["anterior"][:2])
    assert list(run("hippocampus").classes) == ["anterior", "posterior"]


def test_another_modality_is_warned_of():
    found = run("left atrium", modality="CT")
    assert found.modality == "CT"
    assert "late gadolinium MRI, not in CT" in found.warnings[0]


def test_more_texts_than_there_are():
    with pytest.raises(UsageError, match="there are only 5 texts for 'left atrium'"):
        run("left atrium", texts=6)


def test_a_file_gives_all_its_texts(tmp_path):
    (tmp_path / "mine.txt").write_text("One.\nTwo.\nThree.\nFour.\nFive.\n")
    found = run("spleen", modality="CT", llm=f"file:{tmp_path / 'mine.txt'}")
    assert len(found.rows()) == 5
    assert found.reviewed
    assert found.classes["spleen"][0].source == "file:mine.txt"
    assert str(tmp_path) not in found.to_text()
    assert (
        len(run("spleen", modality="CT", llm=f"file:{tmp_path / 'mine.txt'}", texts=2).rows()) == 2
    )


def test_a_model_is_asked_once_per_text_with_a_seed_of_its_own():
    with completion_server() as server:
        found = run(
            "heart",
            modality="cine MRI",
            classes=("left ventricle", "myocardium"),
            llm=f"openai:{MODEL}",
            texts=3,
            settings=served(server, seed=10, temperature=0.3, top_p=0.9, max_words=20),
            offline=True,
        )
    assert [request["seed"] for request in server.requests] == list(range(10, 16))
    assert [text.seed for texts in found.classes.values() for text in texts] == list(range(10, 16))
    sent = [request["messages"][0]["content"] for request in server.requests]
    assert sent == [text.query for texts in found.classes.values() for text in texts]
    assert len(set(sent)) == 6
    assert sent[0].startswith("Describe the left ventricle of the heart as seen in cine MRI")
    assert found.written_by.sampling == {"temperature": 0.3, "top_p": 0.9, "max_tokens": 56}
    assert (found.written_by.seed, found.written_by.endpoint) == (10, server.url + "/")
    assert not found.reviewed


def test_long_answers_are_cut_and_marked():
    long = "One two three four five. Six seven eight nine ten. Eleven twelve"
    with completion_server(lambda _: (long, "length")) as server:
        settings = served(server, max_words=9)
        found = run("x", modality="MRI", llm=f"openai:{MODEL}", texts=1, settings=settings)
    text = found.classes["x"][0]
    assert (text.text, text.cut) == ("One two three four five.", True)


def test_an_empty_answer_is_refused():
    with (
        completion_server(lambda _: ("<think>hm</think>", "stop")) as server,
        pytest.raises(UsageError, match="wrote nothing for seed 0"),
    ):
        run("x", modality="MRI", llm=f"openai:{MODEL}", settings=served(server))


def test_a_refusal_is_no_description():
    refusal = "Okay.</think> I'm sorry, but I can't help with that."
    with (
        completion_server(lambda _: (refusal, "stop")) as server,
        pytest.raises(WeightsError, match=r"declines to describe this: 'I'm sorry.*--llm, such"),
    ):
        run("liver", modality="CT", llm=f"openai:{MODEL}", settings=served(server))


def test_options_that_were_not_sent_are_recorded_and_warned_of():
    def answer(request):
        if "temperature" in request:
            return faulted(400, "Unsupported value: 'temperature' does not support 0.7")
        return said("The liver is large.")

    with raw_server(answer) as server:
        found = run("liver", modality="CT", llm="openai:o9", texts=2, settings=served(server))
    assert found.written_by.unsent == ("temperature",)
    assert sorted(found.written_by.sampling) == ["max_tokens", "top_p"]
    assert "o9 does not take temperature" in found.warnings[0]
    assert Descriptions.from_text(found.to_text(), name="d.yaml").to_text() == found.to_text()


def test_the_same_text_four_times_is_refused(tmp_path):
    (tmp_path / "same.txt").write_text("Describe {subject}.")
    with completion_server() as server:
        settings = served(server, temperature=0.0, template=tmp_path / "same.txt")
        with pytest.raises(UsageError, match="the same text 4 times"):
            run("x", modality="MRI", llm=f"openai:{MODEL}", settings=settings)
        one = run("x", modality="MRI", llm=f"openai:{MODEL}", texts=1, settings=settings)
    assert one.classes["x"][0].query == "Describe x."
    assert one.written_by.template == "Describe {subject}."


def test_a_small_local_model_is_warned_of_and_repeatable(tmp_path):
    folder = str(write_language_model(tmp_path / "tiny"))
    settings = DescribeSettings(seed=1, max_words=8, device="cpu")
    first = run("left atrium", modality="MRI", llm=folder, texts=2, settings=settings)
    assert first == run("left atrium", modality="MRI", llm=folder, texts=2, settings=settings)
    assert not first.reviewed
    assert "writes fluent but anatomically wrong text" in first.warnings[0]
    assert "--llm library" in first.warnings[0]
    assert first.written_by.chat_template is True
    assert first.classes["left atrium"][0].query.startswith("user Describe the left atrium")
    assert str(tmp_path) not in first.to_text()


def test_large_and_unknown_models_are_not_warned_of(tmp_path):
    about = run("left atrium").written_by
    from dataclasses import replace

    assert small_model_warning(replace(about, parameters=2_000_000_000)) == ()
    assert small_model_warning(replace(about, parameters=None)) == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"llm": "openai:m", "modality": None}, "--modality"),
        (
            {"llm": "somebody/model", "settings": DescribeSettings(base_url="http://x")},
            "--base-url",
        ),
        ({"classes": ("a", "a")}, "a name of its own"),
        ({"target": " "}, "--target is empty"),
    ],
)
def test_nonsense_is_a_usage_error(monkeypatch, options, message):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    values = {"target": "left atrium", "modality": "MRI"} | options
    with pytest.raises(UsageError, match=message):
        run(values.pop("target"), **values)


def test_dry_run_shows_every_query():
    asked = queries(
        "x", modality="MRI", classes=("a", "b"), texts=None, template=None, max_words=30
    )
    assert len(asked) == len(set(asked)) == 8
    assert "at most 30 words" in asked[0]
