"""`descriptions.yaml`: what a language model, the library or a person wrote about each class."""

from dataclasses import dataclass, field
from typing import Any, TypedDict

import yaml

from llmseg_cli.artifacts.document import Document
from llmseg_cli.errors import ArtifactError, UsageError


class Dumper(yaml.SafeDumper):
    """Writes text with line breaks as a block, and tuples as lists."""


def _as_block(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, _as_block)
Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)


@dataclass(frozen=True, kw_only=True)
class Description:
    """One text.

    Args:
        text: One paragraph.
        source: Who wrote it: `library:NAME`, `smollm2`, a model's name, `file:NAME`, or `hand`.
        cut: Whether the writer went on and the text was cut after its last whole sentence.
        seed: Seed it was sampled with, or None.
        query: Exactly what the model was sent, chat template included, or None.
    """

    text: str
    source: str = "hand"
    cut: bool = False
    seed: int | None = None
    query: str | None = None

    @classmethod
    def from_text(cls, text: str) -> "Description":
        """A text alone, as a person may write it."""
        return cls(text=text)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", " ".join(self.text.split()))


class _Sampling(TypedDict, total=False):
    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Who wrote the texts, so that they can be written again.

    Args:
        provider: `library`, `transformers`, `openai` or `file`.
        model: The model, library entry or file.
        revision: Commit of the model on the hub, or None.
        digest: `sha256:` of its weights or file; None for a model behind an endpoint.
        licence: Licence of the model or the texts, where known.
        parameters: Number of parameters, where known.
        endpoint: Address of the OpenAI-compatible server, or None.
        template: The prompt template, or None.
        chat_template: Whether the model's own chat template was applied; None if unknown.
        seed: Seed of the first text; text number i of all has seed + i.
        sampling: `temperature`, `top_p` and `max_tokens`, as far as they were sent, or None.
        unsent: Options that the server's model does not take, or None.
    """

    provider: str
    model: str
    revision: str | None = None
    digest: str | None = None
    licence: str | None = None
    parameters: int | None = None
    endpoint: str | None = None
    template: str | None = None
    chat_template: bool | None = None
    seed: int | None = None
    sampling: _Sampling | None = None
    unsent: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Descriptions(Document, schema="llmseg/descriptions/1", writer="describe"):
    """Texts by class, and who wrote them; made to be read and edited.

    Args:
        target: What is segmented, such as `left atrium`.
        modality: How it was imaged.
        reviewed: Whether a person vouches for the texts; whoever edits them sets it to true.
        classes: Class name to its texts, in the order of the label values.
        written_by: Who wrote them.
        warnings: What `describe` warned of.

    Raises:
        ArtifactError: If there is no class, or a class has no text.
    """

    target: str
    modality: str
    reviewed: bool
    classes: dict[str, tuple[Description, ...]]
    written_by: Writer
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.classes:
            raise ArtifactError("Descriptions need at least one class under 'classes'.")
        for name, texts in self.classes.items():
            if not texts:
                raise ArtifactError(f"Class '{name}' has no text.")
            for number, found in enumerate(texts, start=1):
                if not found.text:
                    raise ArtifactError(f"class '{name}', text {number} has no text.")

    def to_dict(self) -> dict[str, Any]:
        """As of every document, without what does not apply, so that it reads well."""
        content = super().to_dict()
        content["written_by"] = telling(content["written_by"])
        content["classes"] = {
            name: [telling(text) for text in texts] for name, texts in content["classes"].items()
        }
        return content

    def to_text(self, *, suffix: str = ".yaml") -> str:
        """YAML in which a query of several lines stands as it was sent; JSON for `.json`."""
        if suffix not in (".yaml", ".yml"):
            return super().to_text(suffix=suffix)
        return yaml.dump(
            self.to_dict(), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return tuple(self.classes)

    def rows(self) -> list[tuple[str, str]]:
        """All texts as (class, text), the texts of a class together."""
        return [(name, found.text) for name, texts in self.classes.items() for found in texts]


def telling(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None and value is not False}


def check_class_names(names: tuple[str, ...]) -> None:
    """Refuse a class that is empty or named twice.

    Raises:
        UsageError: Naming it.
    """
    for name in names:
        if not name.strip() or names.count(name) > 1:
            raise UsageError(f"--class '{name}': each class needs a name of its own.")
