"""What a server of OpenAI's protocol said: its text, or what to do about its refusal."""

import base64
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.descriptions.cleaning import printable

LONGEST = 300  # characters of a server's message that are repeated
SHORT = 6  # a key below it is hidden only where it stands alone
HIDDEN = "***"
KEY = re.compile(r"\bsk-[\w-]{8,}")  # OpenAI's, whoever's it is
DECLINED = ("content_filter",)  # reasons to finish that are none
UNSUPPORTED = re.compile(
    r"unsupported|not support|n't support|only the default|unrecogni[sz]ed|unknown|unexpected"
    r"|not (?:allowed|permitted|available)|deprecated|extra (?:fields|inputs)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Secrets:
    """What no message and no text may repeat.

    Args:
        words: The key, and what an address holds before its host, in every form it is sent in.
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, key: str | None, url: str) -> "Secrets":
        """Those of a client.

        A user's name is one only where there is no password: then it is a token.
        """
        parts = urlsplit(url)
        user, password = parts.username or "", parts.password or ""
        word = password or user
        pair = f"{unquote(user)}:{unquote(password)}"
        basic = base64.b64encode(pair.encode()).decode() if word else ""
        found = (key, basic, word, unquote(word))
        return cls(tuple(sorted({word for word in found if word}, key=len, reverse=True)))

    def hidden(self, text: str) -> str:
        """The text with the secrets replaced, and without control characters."""
        text = printable(text)
        for word in self.words:
            whole = re.escape(word)
            text = re.sub(whole if len(word) >= SHORT else rf"(?<!\w){whole}(?!\w)", HIDDEN, text)
        return KEY.sub(HIDDEN, text)

    def message(self, error: object) -> str:
        """What a server said of an error, short and without secrets."""
        said = " ".join(self.hidden(str(getattr(error, "message", error))).split()).rstrip(".")
        return said if len(said) <= LONGEST else f"{said[:LONGEST]}..."


@dataclass(frozen=True)
class Answer:
    """One text, and whether it ended by itself."""

    text: str
    finished: bool


def read_answer(answer: Any, *, endpoint: str | None, secrets: Secrets) -> Answer:
    """The text of an answer without secrets; empty where the server has none.

    Raises:
        WeightsError: If the answer is not of the protocol, or the server declines to write.
    """
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list):
        raise no_protocol(endpoint)
    choice = choices[0] if choices else None
    message, reason = getattr(choice, "message", None), getattr(choice, "finish_reason", None)
    if refusal := getattr(message, "refusal", None):
        raise declined(secrets.message(refusal))
    if reason in DECLINED:
        raise declined(f"finish_reason {reason}")
    text = _joined(getattr(message, "content", None), endpoint)
    return Answer(secrets.hidden(text), reason != "length")


def declined(said: str) -> WeightsError:
    """What to say of a model that does not want to write."""
    quoted = " ".join(printable(said).split())[:LONGEST]
    return WeightsError(
        f"The language model declines to describe this: '{quoted}'. Say in --template what the "
        "text is for, or use another --llm, such as library."
    )


def no_protocol(endpoint: str | None) -> WeightsError:
    """What to say of an answer that is a web page, or JSON of another kind."""
    return WeightsError(
        f"{endpoint} answers, but not as OpenAI's chat completions do. Correct --base-url: most "
        "servers want it to end in /v1."
    )


def refused_option(error: Any, given: dict[str, Any]) -> str | None:
    """The option of a request that the server or the model does not know, if that is the fault.

    Args:
        error: A bad request.
        given: What was sent, by name.
    """
    said = str(getattr(error, "message", error))
    if not UNSUPPORTED.search(f"{said} {getattr(error, 'code', '')}"):
        return None
    named = getattr(error, "param", None)
    if isinstance(named, str) and named in given:
        return named
    return next((name for name in given if re.search(rf"\b{name}\b", said)), None)


def remedy(status: int | None) -> str:
    """What to do about an HTTP status."""
    if status in (401, 403):
        return "Set OPENAI_API_KEY to a key that may use this model."
    if status == 404:
        return "Check the model's name, and whether --base-url has to end in /v1."
    if status == 429:
        return "Wait and run the same command again, or raise the quota of your account."
    if status is not None and status >= 500:
        return "The server failed; run the same command again later, or use another --llm."
    return "Check the model's name, --temperature and --top-p."


def _joined(content: Any, endpoint: str | None) -> str:
    """The text of a message, which may come in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise no_protocol(endpoint)
    return "".join(_text(part) for part in content)


def _text(part: Any) -> str:
    if isinstance(part, str):
        return part
    kind, text = (
        part.get(name) if isinstance(part, dict) else getattr(part, name, None)
        for name in ("type", "text")
    )
    return text if isinstance(text, str) and kind in (None, "text", "output_text") else ""
