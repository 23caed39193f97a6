"""Language models behind an OpenAI-compatible endpoint."""

import importlib.util
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from llmseg_cli.artifacts.descriptions import Writer
from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.descriptions.llm import Sampling, Written
from llmseg_cli.knowledge.descriptions.openai_answers import (
    Secrets,
    no_protocol,
    read_answer,
    refused_option,
    remedy,
)
from llmseg_cli.knowledge.descriptions.openai_connection import NO_KEY, connect, within_deadline

PREFIX = "openai:"
PNG = "data:image/png;base64,"
LIMITS = ("max_tokens", "max_completion_tokens")  # OpenAI renamed it; other servers know the first
DISPENSABLE = ("temperature", "top_p", "seed")  # some models draw in their own way alone
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_AGAIN = object()  # in place of an answer: it is worth to ask once more


class Pictured(Protocol):
    """A picture."""

    @property
    def png(self) -> bytes:
        """The file."""


class EndpointModel:
    """A model that a server runs: OpenAI's, or any that speaks its protocol.

    The client takes the key from `OPENAI_API_KEY`; with *base_url* it may be absent.

    Args:
        model: Its name there.
        base_url: Address such as `http://127.0.0.1:8000/v1`; None is OpenAI's.
        offline: Refuse any server but one on this machine.

    Raises:
        UsageError: If the package `openai` is not installed, or *base_url* is no address.
        WeightsError: If there is no key, or *offline* forbids the server.
    """

    def __init__(self, model: str, *, base_url: str | None = None, offline: bool = False) -> None:
        if not model:
            raise UsageError("--llm openai: needs the name of a model, such as openai:gpt-4o.")
        self.client = _client(base_url)
        address = urlsplit(str(self.client.base_url))
        if offline and address.hostname not in _LOOPBACK:
            raise WeightsError(
                f"--offline forbids to ask {address.hostname}; a server on this machine is allowed."
            )
        key = None if self.client.api_key == NO_KEY else str(self.client.api_key)
        self.is_here = address.hostname in _LOOPBACK  # on this machine, which nothing leaves
        self._secrets = Secrets.of(key, str(self.client.base_url))
        self._limit = LIMITS[0 if base_url is not None else 1]
        host = address.netloc.rpartition("@")[2]
        self.about = Writer(
            provider="openai",
            model=model,
            endpoint=urlunsplit((address.scheme, host, address.path, "", "")),
        )

    def write(self, query: str, *, seed: int, sampling: Sampling) -> Written:
        """Ask the server; without options that its model does not take, which `about` then names.

        Raises:
            WeightsError: If it does not answer, refuses, or speaks another protocol.
        """
        return self._written(query, query, seed, sampling)

    def look(
        self, query: str, pictures: Sequence[Pictured], *, seed: int, sampling: Sampling
    ) -> Written:
        """Ask about pictures, which are sent along as PNG; else and errors as `write`."""
        images = [
            {"type": "image_url", "image_url": {"url": PNG + b64encode(one.png).decode()}}
            for one in pictures
        ]
        return self._written(query, [{"type": "text", "text": query}, *images], seed, sampling)

    def _written(self, query: str, content: Any, seed: int, sampling: Sampling) -> Written:
        """The answer to a query, whose *content* is what is sent of it."""
        limit = self._limit
        wanted = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": seed}
        while True:
            unsent = self.about.unsent or ()
            given = {name: value for name, value in wanted.items() if name not in unsent}
            answer = self._ask(content, {**given, self._limit: sampling.max_tokens}, limit)
            if answer is not _AGAIN:
                break
        found = read_answer(answer, endpoint=self.about.endpoint, secrets=self._secrets)
        return Written(text=found.text, query=query, finished=found.finished)

    def _ask(self, content: Any, given: dict[str, Any], limit: str) -> Any:
        """The answer; `_AGAIN` if an option was left out or renamed.

        Args:
            content: What is asked: text, or parts of text and pictures.
            given: Options.
            limit: How the limit of tokens was called at first.
        """
        import openai

        try:
            return within_deadline(
                lambda: self.client.chat.completions.create(
                    model=self.about.model, messages=[{"role": "user", "content": content}], **given
                ),
                endpoint=self.about.endpoint,
            )
        except openai.APIConnectionError as error:
            raise WeightsError(
                f"No answer from {self.about.endpoint}: "
                f"{self._secrets.message(error.__cause__ or error)}. Start the server, or correct "
                "--base-url."
            ) from error
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if self._adapted(refused_option(error, given), limit):
                return _AGAIN
            raise self._refused(error) from error
        except openai.APIStatusError as error:
            raise self._refused(error) from error
        except (openai.OpenAIError, ValueError, RecursionError) as error:  # no JSON, or too deep
            raise no_protocol(self.about.endpoint) from error

    def _adapted(self, option: str | None, limit: str) -> bool:
        """Whether the next request leaves the option out, or calls it by its other name."""
        if option in DISPENSABLE:
            self.about = replace(self.about, unsent=(*(self.about.unsent or ()), option))
            return True
        if option == limit and self._limit == limit:
            self._limit = LIMITS[1 - LIMITS.index(limit)]
            return True
        return False

    def _refused(self, error: Any) -> WeightsError:
        status = error.status_code
        what = "the key" if status == 401 else f"the request to '{self.about.model}'"
        return WeightsError(
            f"{self.about.endpoint} refuses {what}: {self._secrets.message(error)}. "
            f"{remedy(status)}"
        )


def _client(base_url: str | None) -> Any:
    if importlib.util.find_spec("openai") is None:
        raise UsageError(
            "--llm openai:... needs the package openai: python -m pip install 'llmseg[openai]'."
        )
    client = connect(base_url)
    sent = {
        "OPENAI_API_KEY": client.api_key,
        "OPENAI_ORG_ID": client.organization,
        "OPENAI_PROJECT_ID": client.project,
    }
    for variable, word in sent.items():
        if word and not (word.isascii() and word.isprintable()):
            raise WeightsError(
                f"{variable} holds characters that are in no key, such as a line break. Set it "
                "anew."
            )
    return client
