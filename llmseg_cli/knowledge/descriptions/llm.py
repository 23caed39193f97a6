"""What a language model that writes descriptions is asked, and answers."""

from dataclasses import dataclass
from typing import Protocol

from llmseg_cli.artifacts.descriptions import Writer

SMALL = 1_000_000_000  # parameters below which a model is no source of anatomy


@dataclass(frozen=True)
class Sampling:
    """How text is drawn.

    Args:
        temperature: 0 takes the most likely token always.
        top_p: Share of probability that is drawn from.
        max_tokens: Most tokens of a text.
    """

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 136


@dataclass(frozen=True)
class Written:
    """What a model wrote.

    Args:
        text: As it came.
        query: Exactly what the model was sent.
        finished: Whether it ended by itself, rather than at `max_tokens`.
    """

    text: str
    query: str
    finished: bool


class LanguageModel(Protocol):
    """Something that answers a query."""

    @property
    def about(self) -> Writer:
        """Who it is, and what it was not sent."""

    def write(self, query: str, *, seed: int, sampling: Sampling) -> Written:
        """Answer *query*; the same seed gives the same text where the model allows it."""
