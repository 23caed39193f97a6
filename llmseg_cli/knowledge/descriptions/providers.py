"""Who writes the descriptions: the library, a file, or a language model."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmseg_cli.artifacts.descriptions import Description, Writer
from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.descriptions import hand_written, openai_client
from llmseg_cli.knowledge.descriptions.cleaning import clean, is_refusal
from llmseg_cli.knowledge.descriptions.library import LibraryEntry, find_entry
from llmseg_cli.knowledge.descriptions.llm import SMALL, LanguageModel, Sampling
from llmseg_cli.knowledge.descriptions.openai_answers import declined
from llmseg_cli.knowledge.descriptions.openai_client import EndpointModel
from llmseg_cli.knowledge.descriptions.prompt_template import PromptTemplate
from llmseg_cli.progress import Progress, silent

LIBRARY = "library"
DEFAULT_TEXTS = 4
TOKENS_PER_WORD = 2.0  # anatomical English needs about 1.5


@dataclass(frozen=True)
class Request:
    """What is to be described.

    Args:
        target: Such as `left atrium`.
        modality: Such as `late gadolinium MRI`; None lets the library say it.
        classes: Class names; none means the library's own, or one class named as the target.
        texts: Texts per class; None means 4, or all of a file's.
    """

    target: str
    modality: str | None
    classes: tuple[str, ...]
    texts: int | None


@dataclass(frozen=True)
class Provided:
    """Texts by class, who wrote them, and what a reader must know."""

    modality: str
    classes: dict[str, tuple[Description, ...]]
    written_by: Writer
    reviewed: bool
    warnings: tuple[str, ...] = ()


def from_library(request: Request) -> Provided:
    """Texts that the package ships.

    Raises:
        UsageError: If the library lacks the target, a class, or so many texts.
    """
    entry = find_entry(request.target)
    names = request.classes or entry.default_classes
    found = {name: entry.find_class(name).texts for name in names}
    return Provided(
        modality=request.modality or entry.modality,
        classes=_described(_counted(found, request, most=DEFAULT_TEXTS), f"library:{entry.name}"),
        written_by=Writer(
            provider=LIBRARY,
            model=entry.name,
            digest=f"sha256:{entry.digest}",
            licence=entry.licence,
        ),
        reviewed=True,
        warnings=_other_modality(entry, request),
    )


def from_file(path: Path, request: Request) -> Provided:
    """Texts that a person wrote.

    Raises:
        UsageError: If the file lacks a class or so many texts, or no modality was given.
    """
    texts = hand_written.load_texts(path, request.classes or (request.target,))
    return Provided(
        modality=_needed(request),
        classes=_described(_counted(texts, request, most=None), f"file:{path.name}"),
        written_by=Writer(provider="file", model=path.name, digest=f"sha256:{sha256_file(path)}"),
        reviewed=True,
    )


def open_model(
    llm: str,
    *,
    base_url: str | None = None,
    cache: Path | None = None,
    offline: bool = False,
    device: str = "cpu",
) -> LanguageModel:
    """The language model that `--llm` names.

    Raises:
        UsageError: If the name, or *base_url* with it, makes no sense.
        WeightsError: If the model cannot be had.
    """
    if llm.startswith(openai_client.PREFIX):
        name = llm.removeprefix(openai_client.PREFIX)
        return EndpointModel(name, base_url=base_url, offline=offline)
    if base_url is not None:
        raise UsageError(f"--base-url goes with --llm openai:MODEL, not with '{llm}'.")
    from llmseg_cli.knowledge.descriptions.local_model import LocalModel  # loads transformers

    return LocalModel(llm, cache=cache, offline=offline, device=device)


def from_model(
    model: LanguageModel,
    request: Request,
    *,
    template: PromptTemplate,
    max_words: int,
    seed: int,
    temperature: float,
    top_p: float,
    progress: Progress = silent,
) -> Provided:
    """Ask a language model for each text of each class.

    Args:
        model: Who is asked.
        request: What about.
        template: How.
        max_words: Longer texts are cut after a whole sentence.
        seed: Text number i of all, from 0, is sampled with seed + i.
        temperature: 0 takes the most likely token always.
        top_p: Share of probability that is drawn from.
        progress: Told after each text.

    Raises:
        UsageError: If the texts would all be the same, or one comes out empty.
        WeightsError: If an endpoint fails, or the model declines to write.
    """
    modality, count = _needed(request), request.texts or DEFAULT_TEXTS
    if temperature == 0 and count > 1 and not template.tells_texts_apart():
        raise UsageError(
            f"--temperature 0 would write the same text {count} times. Pass --texts 1, or use "
            "{aspect} or {number} in the template."
        )
    sampling = Sampling(temperature, top_p, round(max_words * TOKENS_PER_WORD) + 16)
    names = request.classes or (request.target,)
    classes: dict[str, tuple[Description, ...]] = {}
    for place, name in enumerate(names):
        texts = []
        for number in range(1, count + 1):
            query = template.fill(
                target=request.target,
                class_name=name,
                modality=modality,
                max_words=max_words,
                number=number,
            )
            one_seed = seed + place * count + number - 1
            texts.append(_ask(model, query, seed=one_seed, sampling=sampling, max_words=max_words))
            progress("describe", place * count + number, len(names) * count)
        classes[name] = tuple(texts)
    unsent = model.about.unsent
    sent: Any = {k: v for k, v in sorted(vars(sampling).items()) if k not in (unsent or ())}
    about = replace(
        model.about,
        template=template.text,
        seed=seed,
        sampling=sent,
    )
    warnings = (*small_model_warning(about), *unsent_warning(about))
    return Provided(modality, classes, about, reviewed=False, warnings=warnings)


def small_model_warning(about: Writer) -> tuple[str, ...]:
    """What to say of a model too small to know anatomy."""
    if about.parameters is None or about.parameters >= SMALL:
        return ()
    return (
        f"{about.model} has {about.parameters / 1e6:.0f} million parameters; under one billion "
        "a model writes fluent but anatomically wrong text. Read and edit it, or use "
        "--llm library.",
    )


def unsent_warning(about: Writer) -> tuple[str, ...]:
    """What to say of options that the server's model does not take."""
    if not about.unsent:
        return ()
    return (
        f"{about.model} does not take {' and '.join(about.unsent)}; its texts are drawn as it does "
        "without, and another run may give others.",
    )


def _ask(
    model: LanguageModel, query: str, *, seed: int, sampling: Sampling, max_words: int
) -> Description:
    written = model.write(query, seed=seed, sampling=sampling)
    cleaned = clean(written.text, max_words=max_words, finished=written.finished)
    if is_refusal(cleaned.text):
        raise declined(cleaned.text)
    if not cleaned.text:
        raise UsageError(
            f"{model.about.model} wrote nothing for seed {seed}. Try another --seed, a higher "
            "--max-words or another --llm."
        )
    return Description(
        text=cleaned.text,
        source=model.about.model,
        cut=cleaned.cut,
        seed=seed,
        query=written.query,
    )


def _described(
    texts: dict[str, tuple[str, ...]], source: str
) -> dict[str, tuple[Description, ...]]:
    return {
        name: tuple(Description(text=text, source=source) for text in found)
        for name, found in texts.items()
    }


def _counted(
    texts: dict[str, tuple[str, ...]], request: Request, *, most: int | None
) -> dict[str, tuple[str, ...]]:
    for name, found in texts.items():
        if request.texts is not None and request.texts > len(found):
            raise UsageError(
                f"--texts {request.texts}: there are only {len(found)} texts for '{name}'."
            )
    return {name: found[: request.texts or most] for name, found in texts.items()}


def _needed(request: Request) -> str:
    if not request.modality:
        raise UsageError("Say how it was imaged with --modality, such as 'late gadolinium MRI'.")
    return request.modality


def _other_modality(entry: LibraryEntry, request: Request) -> tuple[str, ...]:
    if request.modality is None or entry.suits(request.modality):
        return ()
    return (
        f"The library describes '{entry.target}' in {entry.modality}, not in {request.modality}. "
        "Read and edit what the texts say about its appearance.",
    )
