"""The connection to a server of OpenAI's protocol: what it may cost in time and memory."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.descriptions.addresses import check_proxies, check_server, wrong_server

DEADLINE_S = 600.0  # of a request with its repetitions; the library's own limit is per read
BODY_BYTES = 1 << 23  # of an answer; a text of thousands of words has some 50 kB
NO_KEY = "none"  # what a local server is given that asks for no key
Found = TypeVar("Found")


class EndlessError(WeightsError):
    """A server that takes too long, or says too much."""


def connect(base_url: str | None) -> Any:
    """A client of the package `openai`; without a key if *base_url* is given and there is none.

    Args:
        base_url: Address of the server; None is that of the environment, or OpenAI's.

    Raises:
        UsageError: If the address or a proxy of the environment is none.
        WeightsError: If there is no key.
    """
    address, name = base_url, "--base-url"
    if address is None:
        address, name = os.environ.get("OPENAI_BASE_URL") or None, "OPENAI_BASE_URL"
    if address is not None:
        check_server(address, name=name)
    web = _web_client()
    try:
        return _client(base_url, web)
    except Exception as error:
        if type(error).__name__ != "InvalidURL":  # of httpx2 or httpx, as the version has it
            raise
        raise wrong_server(str(address), name=name) from error


def _client(base_url: str | None, web: Any) -> Any:
    import openai

    try:
        return openai.OpenAI(base_url=base_url, http_client=web)
    except openai.OpenAIError as error:
        if base_url is None:
            raise WeightsError(
                "--llm openai:... needs a key in OPENAI_API_KEY, or --base-url of your own server."
            ) from error
        return openai.OpenAI(base_url=base_url, api_key=NO_KEY, http_client=web)


def within_deadline(ask: Callable[[], Found], *, endpoint: str | None) -> Found:
    """What *ask* returns or raises.

    It runs in a thread of its own, for no limit of the library ends a server that sends a byte now
    and then.

    Raises:
        EndlessError: If it takes longer than `DEADLINE_S`.
    """
    answer: Future[Found] = Future()
    threading.Thread(target=_settle, args=(answer, ask), daemon=True).start()
    try:
        return answer.result(timeout=DEADLINE_S)
    except TimeoutError as error:
        if answer.done():  # it is the answer itself
            raise
        raise EndlessError(
            f"{endpoint} has not answered within {DEADLINE_S:g} s. Ask a faster server with "
            "--base-url, or use another --llm, such as library."
        ) from error


def _settle(answer: "Future[Found]", ask: Callable[[], Found]) -> None:
    try:
        answer.set_result(ask())
    except BaseException as error:  # raised where it is waited for
        answer.set_exception(error)


def _web_client() -> Any:
    """The library's own client for the web, which reads no answer beyond `BODY_BYTES`."""
    import openai

    class Bounded(openai.DefaultHttpxClient):  # type: ignore[misc]  # an optional package
        def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            response = super().send(request, stream=True, **options)
            return _read(response)

    check_proxies()
    try:
        return Bounded()
    except ImportError as error:  # the only one that the client imports late
        raise UsageError(
            "A proxy of the environment (ALL_PROXY, HTTP_PROXY or HTTPS_PROXY) speaks SOCKS, which "
            "needs the package socksio: python -m pip install socksio. Or unset the variable."
        ) from error
    except OSError as error:
        raise UsageError(
            f"SSL_CERT_FILE or SSL_CERT_DIR names no readable certificates ({error.strerror}). Set "
            "it anew, or unset it."
        ) from error


def _read(response: Any) -> Any:
    """The response with its body, decoded."""
    parts: list[bytes] = []
    size = 0
    try:
        for part in response.iter_bytes():
            size += len(part)
            if size > BODY_BYTES:
                raise EndlessError(
                    f"{response.url.host} answers with more than {BODY_BYTES >> 20} MB, which is "
                    "no description. Correct --base-url: most servers want it to end in /v1."
                )
            parts.append(part)
    finally:
        response.close()
    headers = [
        (key, value)
        for key, value in response.headers.items()
        if key.lower() not in ("content-encoding", "content-length", "transfer-encoding")
    ]
    return type(response)(
        response.status_code, headers=headers, content=b"".join(parts), request=response.request
    )
