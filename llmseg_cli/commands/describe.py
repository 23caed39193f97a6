"""`llmseg describe`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.files import refuse_existing
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import Cache, Device, DryRun, Force, Offline, OutputFile, Seed

LLMS = {
    "library": "texts that llmseg ships",
    "smollm2": "",
    "openai:MODEL": "",
    "file:PATH": "your own texts",
    "FILE.gguf": "",
}


def _targets() -> list[str]:
    from llmseg_cli.knowledge.descriptions.library import load_library

    return [entry.target for entry in load_library()]


def _modalities() -> list[str]:
    from llmseg_cli.knowledge.descriptions.library import load_library

    return list(dict.fromkeys(entry.modality for entry in load_library()))


@command(example="llmseg describe --target 'left atrium' -o descriptions.yaml")
def describe(
    target: Annotated[
        str,
        typer.Option(help="What is segmented; the library has texts of these."),
        OneOf(_targets),
        BASIC,
    ],
    out: OutputFile,
    modality: Annotated[
        str | None,
        typer.Option(help="How it was imaged; the library's texts suppose these."),
        OneOf(_modalities),
        BASIC,
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="A class, in the order of the label values; repeat for more. "
            "Default: the library's classes, or one named as the target.",
            metavar="NAME",
        ),
        BASIC,
    ] = None,
    llm: Annotated[
        str,
        typer.Option(
            help="Who writes, besides a Hugging Face ID or a folder of a model.", metavar="MODEL"
        ),
        OneOf(LLMS),
        BASIC,
    ] = "library",
    base_url: Annotated[
        str | None,
        typer.Option(
            help="OpenAI-compatible server, such as http://127.0.0.1:8000/v1.", metavar="URL"
        ),
    ] = None,
    texts: Annotated[
        int | None,
        typer.Option(min=1, help="Texts per class; default: 4, or all of a file's."),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            help="Prompt template: text with {subject}, {target}, {class_name}, {modality}, "
            "{aspect}, {max_words}, {number}."
        ),
    ] = None,
    max_words: Annotated[int, typer.Option(min=5, help="Longest text, in words.")] = 60,
    seed: Seed = 0,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Randomness; 0 takes the most likely word always.")
    ] = 0.7,
    top_p: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of probability that is drawn from.")
    ] = 0.95,
    offline: Offline = False,
    device: Device = "auto",
    cache: Cache = None,
    force: Force = False,
    dry_run: DryRun = False,
) -> dict[str, Any] | None:
    """Have each class of the target described in words, and record who wrote them and how."""
    from llmseg_cli.workflows.describe import DescribeSettings, asks_a_model, queries, run

    if str(out) != "-":
        refuse_existing(out, force=force)
    names = tuple(classes or ())
    if dry_run and asks_a_model(llm):
        asked = queries(
            target,
            modality=modality,
            classes=names,
            texts=texts,
            template=template,
            max_words=max_words,
        )
        console.info("\n".join([f"Would ask {llm}, before its chat template:", *asked]))
        return {"llm": llm, "queries": asked}
    with console.progress("text") as progress:
        found = run(
            target,
            modality=modality,
            classes=names,
            llm=llm,
            texts=texts,
            settings=DescribeSettings(
                base_url=base_url,
                template=template,
                max_words=max_words,
                seed=seed,
                temperature=temperature,
                top_p=top_p,
                device=device,
            ),
            cache=cache,
            offline=offline,
            progress=progress,
        )
    for warning in found.warnings:
        console.warn(warning)
    if dry_run:
        console.info(f"Would write {len(found.rows())} texts for {', '.join(found.classes)}.")
        return found.to_dict()
    if str(out) == "-":
        console.data(found.to_text(suffix=".yaml"))
        return None
    found.save(out)
    console.info(f"{out}: {len(found.rows())} texts for {', '.join(found.classes)}.")
    console.next_step("embed", out, "-o", "embeddings.safetensors")
    return found.to_dict()
