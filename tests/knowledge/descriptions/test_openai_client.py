"""The OpenAI client against a server on this machine that speaks the protocol."""

import pytest
from completion_server import MODEL, TEXT, completion_server
from tiny_models import write_language_model

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.descriptions.llm import LocalModel, Sampling
from llmseg_cli.knowledge.descriptions.openai_client import EndpointModel

SAMPLING = Sampling(temperature=0.5, top_p=0.8, max_tokens=17)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """Nothing of the user's own."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


def test_everything_is_sent_and_recorded():
    with completion_server() as server:
        model = EndpointModel(MODEL, base_url=server.url, offline=True)
        found = model.write("Describe it.", seed=5, sampling=SAMPLING)
    assert (found.text, found.query, found.finished) == (TEXT, "Describe it.", True)
    request = server.requests[0]
    assert request["messages"] == [{"role": "user", "content": "Describe it."}]
    assert (request["temperature"], request["top_p"], request["seed"]) == (0.5, 0.8, 5)
    assert request["max_tokens"] == 17
    assert (model.about.provider, model.about.model) == ("openai", MODEL)
    assert model.about.endpoint.rstrip("/") == server.url
    assert model.about.parameters is model.about.digest is None


def test_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    with completion_server(key="secret-key") as server:
        model = EndpointModel(MODEL, base_url=server.url)
        assert model.write("x", seed=0, sampling=SAMPLING).text == TEXT
    assert "secret-key" not in repr(model.about)


def test_a_wrong_key_is_told_so():
    with completion_server(key="secret-key") as server:
        model = EndpointModel(MODEL, base_url=server.url)
        with pytest.raises(WeightsError, match=r"refuses the key.*Set OPENAI_API_KEY"):
            model.write("x", seed=0, sampling=SAMPLING)


def test_a_password_in_the_address_is_not_recorded():
    with completion_server() as server:
        url = server.url.replace("http://", "http://me:pass@")
        assert "pass" not in str(EndpointModel(MODEL, base_url=url).about.endpoint)


def test_an_unknown_model():
    with completion_server() as server:
        model = EndpointModel("other", base_url=server.url)
        with pytest.raises(WeightsError, match=r"refuses the request to 'other'.*no such model"):
            model.write("x", seed=0, sampling=SAMPLING)


@pytest.mark.parametrize(
    ("content", "reason"), [("half a", "length"), ("", "stop"), (None, "stop")]
)
def test_short_and_empty_answers(content, reason):
    with completion_server(lambda _: (content, reason)) as server:
        found = EndpointModel(MODEL, base_url=server.url).write("x", seed=0, sampling=SAMPLING)
    assert (found.text, found.finished) == (content or "", reason == "stop")


def test_nobody_listens():
    model = EndpointModel(MODEL, base_url="http://127.0.0.1:9/v1")
    model.client.max_retries = 0
    with pytest.raises(WeightsError, match=r"No answer from http://127\.0\.0\.1:9/v1"):
        model.write("x", seed=0, sampling=SAMPLING)


def test_openai_itself_needs_a_key():
    with pytest.raises(WeightsError, match=r"needs a key in OPENAI_API_KEY, or --base-url"):
        EndpointModel("gpt-x")


def test_offline_forbids_other_machines(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(WeightsError, match=r"--offline forbids to ask api\.openai\.com"):
        EndpointModel("gpt-x", offline=True)


def test_a_model_needs_a_name():
    with pytest.raises(UsageError, match="needs the name of a model"):
        EndpointModel("")


def test_a_served_model_writes_what_it_writes_here(tmp_path):
    local = LocalModel(str(write_language_model(tmp_path)))

    def answer(request):
        sampling = Sampling(request["temperature"], request["top_p"], request["max_tokens"])
        query = request["messages"][0]["content"]
        found = local.write(query, seed=request["seed"], sampling=sampling)
        return found.text, "stop" if found.finished else "length"

    with completion_server(answer) as server:
        remote = EndpointModel(MODEL, base_url=server.url)
        for seed in range(3):
            here = local.write("the heart", seed=seed, sampling=SAMPLING)
            there = remote.write("the heart", seed=seed, sampling=SAMPLING)
            assert (here.text, here.finished) == (there.text, there.finished)
