"""Have each class of a target described."""

from dataclasses import dataclass
from pathlib import Path

from llmseg_cli.artifacts.descriptions import Descriptions, check_class_names
from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.descriptions import hand_written
from llmseg_cli.knowledge.descriptions.prompt_template import PromptTemplate, load_template
from llmseg_cli.knowledge.descriptions.providers import (
    DEFAULT_TEXTS,
    LIBRARY,
    Provided,
    Request,
    from_file,
    from_library,
    from_model,
    open_model,
)
from llmseg_cli.progress import Progress, silent


@dataclass(frozen=True)
class DescribeSettings:
    """How a language model is asked; the library and files need none of it.

    Args:
        base_url: Address of an OpenAI-compatible server.
        template: Prompt template; None is the default.
        max_words: Longer texts are cut after a whole sentence.
        seed: Seed of the first text.
        temperature: 0 takes the most likely token always.
        top_p: Share of probability that is drawn from.
        device: Where the model runs.
    """

    base_url: str | None = None
    template: Path | None = None
    max_words: int = 60
    seed: int = 0
    temperature: float = 0.7
    top_p: float = 0.95
    device: str = "auto"


def run(
    target: str,
    *,
    modality: str | None = None,
    classes: tuple[str, ...] = (),
    llm: str = LIBRARY,
    texts: int | None = None,
    settings: DescribeSettings | None = None,
    cache: Path | None = None,
    offline: bool = False,
    progress: Progress = silent,
) -> Descriptions:
    """Describe a target.

    Args:
        target: Such as `left atrium`.
        modality: Such as `late gadolinium MRI`; the library has its own.
        classes: Class names in the order of the label values; none means the library's, or one
            class named as the target.
        llm: `library`, `file:PATH`, `openai:MODEL`, `smollm2`, a folder, a GGUF file, or a hub id.
        texts: Texts per class; None means 4, or all of a file's.
        settings: How a language model is asked.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.
        progress: Told after each text.

    Raises:
        UsageError: If an option makes no sense, or the texts are not there.
        WeightsError: If the model cannot be had.
    """
    settings = settings or DescribeSettings()
    request = _request(target, modality, classes, texts)
    provided = _provided(
        llm, request, settings=settings, cache=cache, offline=offline, progress=progress
    )
    return Descriptions(
        target=request.target,
        modality=provided.modality,
        reviewed=provided.reviewed,
        classes=provided.classes,
        written_by=provided.written_by,
        warnings=provided.warnings,
    )


def asks_a_model(llm: str) -> bool:
    """Whether *llm* names a language model, rather than the library or a file."""
    return llm != LIBRARY and not llm.startswith(hand_written.PREFIX)


def queries(
    target: str,
    *,
    modality: str | None,
    classes: tuple[str, ...],
    texts: int | None,
    template: Path | None,
    max_words: int,
) -> list[str]:
    """What a language model would be asked, before its chat template; for `--dry-run`."""
    request = _request(target, modality, classes, texts)
    prompt: PromptTemplate = load_template(template)
    return [
        prompt.fill(
            target=request.target,
            class_name=name,
            modality=request.modality or "",
            max_words=max_words,
            number=number,
        )
        for name in request.classes or (request.target,)
        for number in range(1, (request.texts or DEFAULT_TEXTS) + 1)
    ]


def _request(
    target: str, modality: str | None, classes: tuple[str, ...], texts: int | None
) -> Request:
    if not target.strip():
        raise UsageError("--target is empty; name what is segmented, such as 'left atrium'.")
    check_class_names(classes)
    return Request(target.strip(), modality, classes, texts)


def _provided(
    llm: str,
    request: Request,
    *,
    settings: DescribeSettings,
    cache: Path | None,
    offline: bool,
    progress: Progress,
) -> Provided:
    if llm == LIBRARY:
        return from_library(request)
    if not asks_a_model(llm):
        return from_file(Path(llm.removeprefix(hand_written.PREFIX)).expanduser(), request)
    from llmseg_cli.training.precision import choose_device  # loads torch

    template = load_template(settings.template)
    model = open_model(
        llm,
        base_url=settings.base_url,
        cache=cache,
        offline=offline,
        device=str(choose_device(settings.device)),
    )
    return from_model(
        model,
        request,
        template=template,
        max_words=settings.max_words,
        seed=settings.seed,
        temperature=settings.temperature,
        top_p=settings.top_p,
        progress=progress,
    )
