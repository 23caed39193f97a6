"""Language models behind an OpenAI-compatible endpoint."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from llmseg_cli.artifacts.descriptions import Writer
from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.knowledge.descriptions.llm import Sampling, Written

PREFIX = "openai:"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NO_KEY = "none"  # what a local server is given that asks for no key


class EndpointModel:
    """A model that a server runs: OpenAI's, or any that speaks its protocol.

    The client takes the key from `OPENAI_API_KEY`; with *base_url* it may be absent.

    Args:
        model: Its name there.
        base_url: Address such as `http://127.0.0.1:8000/v1`; None is OpenAI's.
        offline: Refuse any server but one on this machine.

    Raises:
        UsageError: If the package `openai` is not installed.
        WeightsError: If there is no key, or *offline* forbids the server.
    """

    def __init__(self, model: str, *, base_url: str | None = None, offline: bool = False) -> None:
        if not model:
            raise UsageError("--llm openai: needs the name of a model, such as openai:gpt-4o.")
        self.own_server = base_url is not None
        self.client = _client(base_url)
        address = urlsplit(str(self.client.base_url))
        if offline and address.hostname not in _LOOPBACK:
            raise WeightsError(
                f"--offline forbids to ask {address.hostname}; a server on this machine is allowed."
            )
        host = address.netloc.rpartition("@")[2]
        self.about = Writer(
            provider="openai",
            model=model,
            endpoint=urlunsplit((address.scheme, host, address.path, "", "")),
        )

    def write(self, query: str, *, seed: int, sampling: Sampling) -> Written:
        """Ask the server once.

        Raises:
            WeightsError: If it does not answer, or refuses.
        """
        import openai

        # OpenAI renamed the limit for its newer models; other servers know the older name.
        limit = "max_tokens" if self.own_server else "max_completion_tokens"
        try:
            answer = self.client.chat.completions.create(
                model=self.about.model,
                messages=[{"role": "user", "content": query}],
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=seed,
                **{limit: sampling.max_tokens},
            )
        except openai.APIConnectionError as error:
            raise WeightsError(
                f"No answer from {self.about.endpoint}: {error.__cause__ or error}. Start the "
                "server, or correct --base-url."
            ) from error
        except openai.AuthenticationError as error:
            raise WeightsError(
                f"{self.about.endpoint} refuses the key: {_message(error)}. Set OPENAI_API_KEY."
            ) from error
        except openai.APIError as error:
            raise WeightsError(
                f"{self.about.endpoint} refuses the request to '{self.about.model}': "
                f"{_message(error)}. Check the model's name, --temperature and --top-p."
            ) from error
        choice = answer.choices[0] if answer.choices else None
        return Written(
            text=(choice.message.content or "") if choice else "",
            query=query,
            finished=choice is None or choice.finish_reason != "length",
        )


def _client(base_url: str | None) -> Any:
    try:
        import openai
    except ModuleNotFoundError as error:
        raise UsageError(
            "--llm openai:... needs the package openai: python -m pip install 'llmseg[openai]'."
        ) from error
    try:
        return openai.OpenAI(base_url=base_url)
    except openai.OpenAIError as error:
        if base_url is None:
            raise WeightsError(
                "--llm openai:... needs a key in OPENAI_API_KEY, or --base-url of your own server."
            ) from error
        return openai.OpenAI(base_url=base_url, api_key=_NO_KEY)


def _message(error: Exception) -> str:
    return str(getattr(error, "message", error)).strip().rstrip(".")
