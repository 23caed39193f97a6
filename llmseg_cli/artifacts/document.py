"""Documents with a schema: load, check, save."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml

from llmseg_cli.artifacts.files import to_json, write_text
from llmseg_cli.errors import ArtifactError
from llmseg_cli.reading import read_text
from llmseg_cli.typed import fitted, parsed, shown


def llmseg_version() -> str:
    """The version of the installed llmseg."""
    return version("llmseg")


@dataclass(frozen=True, kw_only=True)
class Document:
    """Base of every artifact that is text: JSON, or YAML if the file's suffix says so.

    A subclass names its schema and the command that writes it:
    `class Split(Document, schema="llmseg/split/1", writer="split")`.
    """

    schema: ClassVar[str]
    writer: ClassVar[str]

    def __init_subclass__(cls, *, schema: str, writer: str) -> None:
        cls.schema, cls.writer = schema, writer

    def to_dict(self) -> dict[str, Any]:
        """Schema, llmseg version and all fields, as plain values."""
        return {"schema": self.schema, "llmseg": llmseg_version(), **asdict(self)}

    def to_text(self, *, suffix: str = ".json") -> str:
        """The document as text, JSON or, for `.yaml` and `.yml`, YAML."""
        if suffix in (".yaml", ".yml"):
            plain = _plain(self.to_dict())
            return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
        return to_json(self.to_dict())

    def save(self, path: Path) -> None:
        """Write the document whole; the suffix of *path* chooses JSON or YAML."""
        write_text(path, self.to_text(suffix=path.suffix))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a document.

        Raises:
            ArtifactError: If it is missing, not readable, of another schema, or incomplete.
        """
        text = read_text(path, error=ArtifactError, hint=f"'llmseg {cls.writer}' writes it.")
        return cls.from_text(text, name=str(path))

    @classmethod
    def from_text(cls, text: str, *, name: str) -> Self:
        """Parse and check a document; *name* stands for it in messages.

        Raises:
            ArtifactError: If it is not readable, of another schema, or does not fit it.
        """
        content = parsed(text, name=name, error=ArtifactError)
        if not isinstance(content, dict) or content.get("schema") != cls.schema:
            found = content.get("schema") if isinstance(content, dict) else None
            has = "no schema" if found is None else f"schema {shown(found)}"
            raise ArtifactError(
                f"{name} has {has}, expected '{cls.schema}'. Write it with 'llmseg {cls.writer}'."
            )
        return cls.from_dict(content, name=name, text=text)

    @classmethod
    def from_dict(cls, content: dict[str, Any], *, name: str, text: str = "") -> Self:
        """Build the document from plain values, without `schema` and `llmseg` if present.

        Args:
            content: The values.
            name: What stands for it in messages.
            text: What it was parsed from, for numbers of lines.

        Raises:
            ArtifactError: If the values do not fit.
        """
        values = {key: value for key, value in content.items() if key not in ("schema", "llmseg")}
        hint = f"Write it again with 'llmseg {cls.writer}'."
        found: Self = fitted(values, cls, name=name, text=text, error=ArtifactError, hint=hint)
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
