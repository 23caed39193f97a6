"""`llmseg embed`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.files import refuse_existing
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC
from llmseg_cli.commands._options import Cache, Device, Force, Offline
from llmseg_cli.errors import UsageError
from llmseg_cli.reading import read_stdin_text


def _encoders() -> list[str]:
    return ["minilm"]


def _length(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise UsageError(f"--max-length '{text}': expected auto or a whole number of tokens.")
    return int(text)


@command(example="llmseg embed descriptions.yaml -o embeddings.safetensors")
def embed(
    descriptions: Annotated[
        str, typer.Argument(help="File of 'llmseg describe'; - is stdin.", metavar="DESCRIPTIONS")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="embeddings.safetensors to write."), BASIC
    ],
    encoder: Annotated[
        str,
        typer.Option(
            help="Text encoder: minilm, a Hugging Face ID or a folder.",
            metavar="MODEL",
            autocompletion=_encoders,
        ),
        BASIC,
    ] = "minilm",
    max_length: Annotated[
        str,
        typer.Option(
            help="Tokens per text: auto (the longest text's) or a number.", metavar="NUMBER"
        ),
    ] = "auto",
    offline: Offline = False,
    device: Device = "auto",
    cache: Cache = None,
    force: Force = False,
) -> dict[str, Any]:
    """Turn descriptions into token ids, token vectors and one vector per text."""
    from llmseg_cli.knowledge.embeddings.file import save_embeddings
    from llmseg_cli.workflows.embed import read_descriptions, run

    refuse_existing(out, force=force)
    length = _length(max_length)
    content = read_descriptions(descriptions, read_stdin_text() if descriptions == "-" else None)
    found = run(
        content,
        name="stdin" if descriptions == "-" else descriptions,
        encoder=encoder,
        max_length=length,
        cache=cache,
        offline=offline,
        device=device,
    )
    save_embeddings(out, found.embeddings)
    for warning in found.warnings:
        console.warn(warning)
    count, length, width = found.embeddings.tokens.shape
    console.info(f"{out}: {count} texts, {length} tokens each, {width} wide, by {encoder}.")
    console.next_step(
        *("train-semi", "--data", "SCANS", "--split", "SPLIT", "--text", out, "-o", "runs/text")
    )
    return {
        "path": str(out),
        "target": found.embeddings.target,
        "classes": list(found.embeddings.classes),
        "texts": count,
        "tokens": length,
        "width": width,
        "encoder": encoder,
        "metadata": found.embeddings.metadata,
        "warnings": list(found.warnings),
    }
