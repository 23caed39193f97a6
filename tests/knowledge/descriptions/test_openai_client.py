"""The OpenAI client against a server on this machine that speaks the protocol."""

import itertools
import threading
import time

import pytest
from completion_server import MODEL, TEXT, completion_server, faulted, raw_server, said
from tiny_models import write_language_model

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.descriptions import openai_connection
from llmseg_cli.knowledge.descriptions.llm import Sampling
from llmseg_cli.knowledge.descriptions.local_model import LocalModel
from llmseg_cli.knowledge.descriptions.openai_client import EndpointModel

SAMPLING = Sampling(temperature=0.5, top_p=0.8, max_tokens=17)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """Nothing of the user's own."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


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
    [
        "<html>Welcome</html>",
        {"detail": "hello"},
        {"choices": "none"},
        {"choices": None},
        None,
        [],
        5,
        b"[" * 100_000,
        b'{"choices": ' + b'{"a": ' * 100_000,
        b'{"choices": [{"message": {"content": ' + b"[" * 2000 + b"]" * 2000 + b"}}]}",
    ],
    ids=lambda content: str(content)[:30],
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


@pytest.mark.parametrize("param", [["temperature"], {"name": "temperature"}, 5])
def test_an_error_that_names_no_option_by_a_word_is_the_users(param):
    with pytest.raises(WeightsError, match=r"refuses the request to 'm'.*This is not supported"):
        asked(lambda _: faulted(400, "This is not supported", param=param))


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


def test_a_key_in_a_refusal_is_not_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    with pytest.raises(WeightsError, match=r"declines .* 'Not with Bearer \*\*\*'"):
        asked(lambda r: said(None, refusal=f"Not with {r['key']}."))


@pytest.mark.parametrize(
    ("before", "secrets"),
    [
        ("me:p%40ss%2Fword", ("p%40ss%2Fword", "p@ss/word", "bWU6cEBzcy93b3Jk")),
        ("a-token-of-mine", ("a-token-of-mine", "YS10b2tlbi1vZi1taW5lOg==")),
        ("a%20token:", ("a%20token", "a token", "YSB0b2tlbjo=")),
    ],
)
def test_what_stands_before_the_host_is_not_shown_in_any_form(before, secrets):
    with raw_server(lambda _: faulted(401, f"no: {' '.join(secrets)}, me")) as server:
        url = server.url.replace("http://", f"http://{before}@")
        client = EndpointModel("m", base_url=url)
        with pytest.raises(WeightsError) as raised:
            client.write("x", seed=0, sampling=SAMPLING)
    assert not [secret for secret in secrets if secret in str(raised.value)]
    assert "me." in str(raised.value)  # a user's name beside a password is none


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


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://host/v1",
        "http://",
        "http://[x/v1",
        "http://h/v1\n",
        "http://h/\x01v1",
        "http://a..b/v1",
        "http://a b/v1",
        f"http://{'a' * 64}/v1",
        "http://1.2.3.999/v1",
        "http://\U0001f600/v1",
        "http://h:99999/v1",
        f"http://h/{'a' * 100_000}",
    ],
    ids=lambda url: url[:20],
)
def test_what_is_no_address(url, monkeypatch):
    with pytest.raises(UsageError, match=r"^--base-url .*expected an address such as") as raised:
        EndpointModel("m", base_url=url)
    assert len(str(raised.value)) < 200
    assert str(raised.value).isprintable()
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    if url:
        with pytest.raises(UsageError, match=r"^OPENAI_BASE_URL .*expected an address such as"):
            EndpointModel("m")


@pytest.mark.parametrize("url", ["ftp://u:secret@h/v1", "http://u:se/cret@h/", "http://u:secret@"])
def test_a_password_of_what_is_no_address_is_not_shown(url):
    with pytest.raises(UsageError, match=r"\*\*\*@") as raised:
        EndpointModel("m", base_url=url)
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize("url", ["http://[::1]:8/v1", "http://a_b.c:8/v1", "https://me:x@h./v1"])
def test_addresses_of_many_forms(url):
    host = url.rpartition("@")[2].removeprefix("http://")
    assert host in str(EndpointModel("m", base_url=url).about.endpoint)


@pytest.mark.parametrize("name", ["ALL_PROXY", "http_proxy"])
@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("socks5://127.0.0.1:1", "needs the package socksio"),
        ("foo://me:secret@x", r"_PROXY foo://\*\*\*@x: expected a proxy such as"),
        ("http://[::1", "expected a proxy such as"),
        ("h:99999", "expected a proxy such as"),
        ("a\x01b", "expected a proxy such as"),
    ],
)
def test_a_proxy_that_no_request_can_go_through_is_named(name, proxy, said, monkeypatch):
    monkeypatch.setenv(name, proxy)
    with pytest.raises(UsageError, match=said) as raised:
        EndpointModel("m", base_url="http://127.0.0.1:9/v1")
    assert name.upper() in str(raised.value)


def test_certificates_that_are_none_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    with pytest.raises(UsageError, match=r"SSL_CERT_FILE .*No such file"):
        EndpointModel("m", base_url="http://127.0.0.1:9/v1")


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"])
def test_a_key_with_a_line_break_is_refused_before_it_is_sent(monkeypatch, name):
    monkeypatch.setenv(name, "sk-one\ntwo")
    with pytest.raises(WeightsError, match=f"{name} holds characters that are in no key"):
        EndpointModel("m", base_url="http://127.0.0.1:9/v1")


@pytest.mark.parametrize("status", [200, 400])
def test_a_server_that_dribbles_is_left_at_the_deadline(monkeypatch, status):
    monkeypatch.setattr(openai_connection, "DEADLINE_S", 0.2)
    left = threading.Event()

    def drops():
        while not left.wait(0.02):
            yield b" "

    started = time.monotonic()
    try:
        with pytest.raises(WeightsError, match=r"has not answered within 0\.2 s.*--llm"):
            asked(lambda _: (status, drops()))
    finally:
        left.set()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("status", [200, 500])
def test_a_server_that_never_ends_is_left(monkeypatch, status):
    monkeypatch.setattr(openai_connection, "BODY_BYTES", 1 << 20)
    with pytest.raises(WeightsError, match=r"answers with more than 1 MB.*--base-url"):
        asked(lambda _: (status, itertools.repeat(b"x" * 4096)))
