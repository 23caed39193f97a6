"""The OpenAI client against a server on this machine that speaks the protocol."""

import pytest
from completion_server import MODEL, TEXT, completion_server, faulted, raw_server, said
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


def asked(answer, *, model="m", retries=0, times=1):
    """What a client gets of a server that answers so, and the server."""
    with raw_server(answer) as server:
        client = EndpointModel(model, base_url=server.url)
        client.client.max_retries = retries
        found = [client.write("x", seed=5, sampling=SAMPLING) for _ in range(times)]
    return found[-1], client, server


@pytest.mark.parametrize(
    "content",
    ["<html>Welcome</html>", {"detail": "hello"}, {"choices": "none"}, {"choices": None}],
)
def test_an_answer_of_another_protocol_says_what_is_wrong(content):
    with pytest.raises(WeightsError, match=r"answers, but not as OpenAI's.*end in /v1"):
        asked(lambda _: (200, content))


def test_content_in_parts_is_joined():
    parts = [
        {"type": "thinking", "text": "hm"},
        {"type": "text", "text": "The liver "},
        "is ",
        {"type": "text", "text": "large."},
        {"type": "image_url", "image_url": "x"},
    ]
    assert asked(lambda _: said(parts))[0].text == "The liver is large."
    with pytest.raises(WeightsError, match="not as OpenAI's"):
        asked(lambda _: said(7))


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", {}),
        ("It is not supported with this model.", {"param": "max_tokens"}),
    ],
)
def test_a_limit_of_the_newer_name_is_asked_for_again(message, more):
    def answer(request):
        return faulted(400, message, **more) if "max_tokens" in request else said("Large.")

    found, client, server = asked(answer, times=2)
    assert found.text == "Large."
    assert [sorted(set(r) & {"max_tokens", "max_completion_tokens"}) for r in server.requests] == [
        ["max_tokens"],
        ["max_completion_tokens"],
        ["max_completion_tokens"],  # remembered
    ]
    assert client.about.unsent is None


def test_options_that_the_model_does_not_take_are_left_out_and_recorded():
    def answer(request):
        if "temperature" in request:
            return faulted(400, "Unsupported value: 'temperature'. Only the default (1) is.")
        if "top_p" in request:
            return faulted(422, "Unrecognized request argument supplied: top_p")
        return said("Large.")

    found, client, server = asked(answer)
    assert (found.text, client.about.unsent) == ("Large.", ("temperature", "top_p"))
    assert [("temperature" in r, "top_p" in r, r["seed"]) for r in server.requests] == [
        (True, True, 5),
        (False, True, 5),
        (False, False, 5),
    ]


def test_a_value_out_of_range_is_the_users_and_is_not_left_out():
    with pytest.raises(WeightsError, match=r"temperature must be below 2.*Check .* --temperature"):
        asked(lambda _: faulted(400, "temperature must be below 2", param="temperature"))


def test_a_server_that_refuses_whatever_is_sent_is_not_asked_for_ever():
    with pytest.raises(WeightsError, match="not supported"):
        asked(lambda _: faulted(400, "max_tokens and max_completion_tokens are not supported"))


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (429, r"Wait and run the same command again, or raise the quota"),
        (503, r"The server failed; run the same command again later"),
        (403, r"Set OPENAI_API_KEY to a key that may use this model"),
        (404, r"Check the model's name, and whether --base-url has to end in /v1"),
    ],
)
def test_the_remedy_fits_the_fault(status, remedy):
    with pytest.raises(WeightsError, match=remedy) as raised:
        asked(lambda _: faulted(status, "no"))
    assert raised.value.exit_code == 7


@pytest.mark.parametrize("key", ["sk-SECRET123", "my+key/of=mine", "abc"])
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_key_that_the_server_repeats_is_not_shown(monkeypatch, key, status):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(WeightsError) as raised:
        asked(lambda request: faulted(status, f"bad key {request['key']} \x1b[2J"))
    assert key not in str(raised.value)
    assert "bad key Bearer ***" in str(raised.value)
    assert "\x1b" not in str(raised.value)


def test_a_key_in_a_text_is_not_written_down(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    assert asked(lambda r: said(f"The liver. {r['key']}"))[0].text == "The liver. Bearer ***"


def test_a_long_page_of_a_proxy_is_cut():
    with pytest.raises(WeightsError) as raised:
        asked(lambda _: (502, "<html>" + "x" * 10_000))
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    "answer",
    [
        said(None, refusal="I can't help with that."),
        said("The liv", reason="content_filter"),
    ],
)
def test_a_refusal_of_the_protocol_is_no_text(answer):
    with pytest.raises(WeightsError, match=r"declines to describe this.*--template.*library"):
        asked(lambda _: answer)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host/v1", "http://", "http://[x/v1"])
def test_what_is_no_address(url):
    with pytest.raises(UsageError, match="expected an address such as"):
        EndpointModel("m", base_url=url)


def test_a_key_with_a_line_break_is_refused_before_it_is_sent(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one\ntwo")
    with pytest.raises(WeightsError, match="characters that are in no key"):
        EndpointModel("m", base_url="http://127.0.0.1:9/v1")
