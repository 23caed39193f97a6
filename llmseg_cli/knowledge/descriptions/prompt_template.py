"""What a language model is asked."""

import string
from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.reading import read_text

DEFAULT = (
    "Describe the {subject} as seen in {modality}, for somebody who outlines it in a medical "
    "image. Lay stress on {aspect}. Write one paragraph of at most {max_words} words."
)
ASPECTS = (
    "its shape and size",
    "its position and the structures that border it",
    "how bright it looks and how clear its edge is",
    "similar structures nearby that are not part of it",
)
PLACEHOLDERS = ("subject", "target", "class_name", "modality", "aspect", "max_words", "number")


@dataclass(frozen=True)
class PromptTemplate:
    """A text with placeholders in braces.

    Args:
        text: It may use `{subject}` (the class, with its target if the name alone does not say it),
            `{target}`, `{class_name}`, `{modality}`, `{aspect}` (another one for each text),
            `{max_words}` and `{number}` (of the text, from 1); `{{` and `}}` are braces.

    Raises:
        UsageError: If it is empty, has an unknown placeholder, or a single brace.
    """

    text: str

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise UsageError("The prompt template is empty.")
        for name in self.placeholders():
            if name not in PLACEHOLDERS:
                raise unknown("placeholder of the prompt template", name, PLACEHOLDERS)

    def placeholders(self) -> set[str]:
        """Names of the placeholders it uses."""
        try:
            parts = list(string.Formatter().parse(self.text))
        except ValueError as error:
            raise UsageError(
                f"The prompt template is not readable ({error}); write a brace as {{{{ or }}}}."
            ) from error
        return {name for _, name, _, _ in parts if name is not None}

    def tells_texts_apart(self) -> bool:
        """Whether the texts of a class get different queries."""
        return bool(self.placeholders() & {"aspect", "number"})

    def fill(
        self, *, target: str, class_name: str, modality: str, max_words: int, number: int
    ) -> str:
        """The query for text *number* (from 1) of a class."""
        return self.text.format(
            subject=subject(target, class_name),
            target=target,
            class_name=class_name,
            modality=modality,
            aspect=ASPECTS[(number - 1) % len(ASPECTS)],
            max_words=max_words,
            number=number,
        ).strip()


def load_template(path: Path | None) -> PromptTemplate:
    """Read a template; None is the default one.

    Raises:
        UsageError: If it cannot be read or used.
    """
    if path is None:
        return PromptTemplate(DEFAULT)
    return PromptTemplate(read_text(path))


def subject(target: str, class_name: str) -> str:
    """What a text is about, such as `anterior of the hippocampus`."""
    words = set(class_name.lower().split())
    if words & set(target.lower().split()):
        return class_name
    return f"{class_name} of the {target}"
