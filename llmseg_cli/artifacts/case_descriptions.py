"""`descriptions.yaml` with texts of each case: what was measured or seen of its image."""

from dataclasses import dataclass, field
from typing import Any

import yaml

from llmseg_cli.artifacts.descriptions import Description, Dumper, Writer, telling
from llmseg_cli.artifacts.document import Document
from llmseg_cli.errors import ArtifactError

SCHEMA = "llmseg/descriptions/2"


@dataclass(frozen=True, kw_only=True)
class DescribedCase:
    """The texts of one case.

    Args:
        image: Digest of its image, without prefix.
        classes: Class name to its texts.
        mask: Digest of the predicted mask that was looked at, or None.
        pictures: Digests of the pictures that a model was shown, or None.
    """

    image: str
    classes: dict[str, tuple[Description, ...]]
    mask: str | None = None
    pictures: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class CaseDescriptions(Document, schema=SCHEMA, writer="describe"):
    """Texts by case and class, and who wrote them; made to be read and edited.

    Args:
        target: What is segmented.
        modality: How it was imaged; empty if nobody said.
        reviewed: Whether a person vouches for the texts, or they are true by construction.
        class_names: The classes, in the order of the label values.
        cases: Case to its texts; each has all classes.
        written_by: Who wrote them.
        warnings: What `describe` warned of.

    Raises:
        ArtifactError: If there is no case or class, or a case lacks a text.
    """

    target: str
    modality: str
    reviewed: bool
    class_names: tuple[str, ...]
    cases: dict[str, DescribedCase]
    written_by: Writer
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.cases or not self.class_names:
            raise ArtifactError("Descriptions need a case under 'cases' and a name in class_names.")
        for case, found in self.cases.items():
            if tuple(found.classes) != self.class_names:
                raise ArtifactError(
                    f"case {case} has texts of {', '.join(found.classes) or 'no class'}, expected "
                    f"{', '.join(self.class_names)}."
                )
            for name, texts in found.classes.items():
                if not texts or not all(one.text for one in texts):
                    raise ArtifactError(f"case {case}, class '{name}' has no text.")

    def to_dict(self) -> dict[str, Any]:
        """As of every document, without what does not apply, so that it reads well."""
        content = super().to_dict()
        content["written_by"] = telling(content["written_by"])
        for case in content["cases"].values():
            case["classes"] = {
                name: [telling(text) for text in texts] for name, texts in case["classes"].items()
            }
        content["cases"] = {name: telling(case) for name, case in content["cases"].items()}
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
        return self.class_names

    def rows(self) -> list[tuple[str, str, str]]:
        """All texts as (case, class, text), those of a case together."""
        return [
            (case, name, one.text)
            for case, found in self.cases.items()
            for name, texts in found.classes.items()
            for one in texts
        ]
