"""`llmseg describe`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmseg_cli import console
from llmseg_cli.artifacts.files import refuse_existing
from llmseg_cli.artifacts.text import counted
from llmseg_cli.commands._command import command
from llmseg_cli.commands._hints import BASIC, OneOf
from llmseg_cli.commands._options import (
    Cache,
    DataChoice,
    Device,
    DryRun,
    Force,
    Offline,
    OutputFile,
    Seed,
)

if TYPE_CHECKING:
    from llmseg_cli.artifacts.case_descriptions import CaseDescriptions
    from llmseg_cli.artifacts.descriptions import Descriptions

LLMS = {
    "library": "texts that llmseg ships",
    "measured": "sentences from numbers of each image",
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
    data: DataChoice = None,
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", help="Image, or folder of images; texts of each.", metavar="PATH"),
        BASIC,
    ] = None,
    pred: Annotated[
        Path | None,
        typer.Option(
            help="Masks of 'llmseg predict' that the measured sentences tell of.", metavar="FOLDER"
        ),
        BASIC,
    ] = None,
    slices: Annotated[
        int, typer.Option(min=1, help="Pictures of a volume that a model is shown.")
    ] = 3,
    send_images: Annotated[
        bool,
        typer.Option(
            "--send-images",
            help="Pictures of --images may leave this machine, to the server of --llm openai:.",
        ),
    ] = False,
    offline: Offline = False,
    device: Device = "auto",
    cache: Cache = None,
    force: Force = False,
    dry_run: DryRun = False,
) -> dict[str, Any] | None:
    """Have each class of the target described in words, and record who wrote them and how."""
    from llmseg_cli.workflows.describe.run import DescribeSettings, asks_a_model, queries, run

    if str(out) != "-":
        refuse_existing(out, force=force)
    names = tuple(classes or ())
    if llm == "measured":
        from llmseg_cli.workflows.describe.measured import measure

        with console.progress("case") as progress:
            texts_of_cases = measure(
                target,
                modality=modality,
                classes=names,
                data=data,
                images=images or (),
                pred=pred,
                progress=progress,
            )
        return _told(texts_of_cases, out, dry_run=dry_run)
    settings = DescribeSettings(
        base_url=base_url,
        template=template,
        max_words=max_words,
        seed=seed,
        temperature=temperature,
        top_p=top_p,
        device=device,
    )
    if images:
        from llmseg_cli.workflows.describe.looked import look

        if dry_run:
            from llmseg_cli.workflows.predict.choice import choose_cases

            cases = choose_cases(None, images, None, None)
            console.info(f"Would show {llm} pictures of {counted(len(cases), 'image')}.")
            return {"llm": llm, "cases": [case.id for case in cases]}
        with console.progress("case") as progress:
            seen = look(
                target,
                modality=modality,
                classes=names,
                llm=llm,
                images=images,
                texts=texts,
                slices=slices,
                send_images=send_images,
                settings=settings,
                cache=cache,
                offline=offline,
                progress=progress,
            )
        return _told(seen, out, dry_run=False)
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
            settings=settings,
            cache=cache,
            offline=offline,
            progress=progress,
        )
    return _told(found, out, dry_run=dry_run)


def _told(
    found: "Descriptions | CaseDescriptions", out: Path, *, dry_run: bool
) -> dict[str, Any] | None:
    """Say and write what was described; the document, unless stdout is taken by it."""
    for warning in found.warnings:
        console.warn(warning)
    if dry_run:
        console.info(f"Would write {_counted(found)}.")
        return found.to_dict()
    if str(out) == "-":
        console.data(found.to_text(suffix=".yaml"))
        return None
    found.save(out)
    console.info(f"{out}: {_counted(found)}.")
    console.next_step("embed", out, "-o", "embeddings.safetensors")
    return found.to_dict()


def _counted(found: "Descriptions | CaseDescriptions") -> str:
    """Such as `4 texts for left atrium`, or `24 texts of 12 cases for ...`."""
    texts, names = counted(len(found.rows()), "text"), ", ".join(found.names)
    cases = getattr(found, "cases", None)
    of = "" if cases is None else f" of {counted(len(cases), 'case')}"
    return f"{texts}{of} for {names}"
