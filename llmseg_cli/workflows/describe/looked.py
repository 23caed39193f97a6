"""Texts about each image by a model that looks at pictures of it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from llmseg_cli.artifacts.case_descriptions import CaseDescriptions, DescribedCase
from llmseg_cli.artifacts.descriptions import check_class_names
from llmseg_cli.errors import UsageError
from llmseg_cli.knowledge.descriptions import openai_client
from llmseg_cli.knowledge.descriptions.openai_client import EndpointModel
from llmseg_cli.knowledge.descriptions.prompt_template import PromptTemplate, load_template
from llmseg_cli.knowledge.descriptions.providers import Provided, Request, from_model
from llmseg_cli.knowledge.sights.looking import OF_IMAGES, LookingModel, Onlooker
from llmseg_cli.progress import Progress, silent
from llmseg_cli.workflows.describe.pictures import pictures_of
from llmseg_cli.workflows.describe.run import DescribeSettings
from llmseg_cli.workflows.describe.seen import Seen, sights_of


def look(
    target: str,
    *,
    modality: str | None,
    classes: tuple[str, ...],
    llm: str,
    images: Sequence[Path],
    texts: int | None = None,
    slices: int = 3,
    send_images: bool = False,
    settings: DescribeSettings | None = None,
    cache: Path | None = None,
    offline: bool = False,
    progress: Progress = silent,
) -> CaseDescriptions:
    """Have a vision-language model describe each class in each image.

    Args:
        target: What is segmented.
        modality: How it was imaged.
        classes: Names of the classes; none takes one named as the target.
        llm: `openai:MODEL`, a folder or an id of the hub.
        images: Images, and folders of them; no label map is opened.
        texts: Texts of each class of an image; None means 1.
        slices: Pictures of a volume, at most.
        send_images: Whether pictures may leave this machine.
        settings: How the model is asked.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.
        progress: Hears about every case.

    Raises:
        UsageError: If an option makes no sense, or the server is another machine without
            *send_images*.
        DataError: If an image cannot be read.
        WeightsError: If the model cannot be had, or does not take pictures.
    """
    settings = settings or DescribeSettings()
    if not target.strip():
        raise UsageError("--target is empty; name what is segmented, such as 'left atrium'.")
    check_class_names(classes)
    template = load_template(settings.template) if settings.template else PromptTemplate(OF_IMAGES)
    sights = sights_of(None, images, None, target=target.strip(), classes=classes)
    request = Request(target.strip(), modality, sights.class_names, texts or 1)
    if not modality:
        raise UsageError("Say how it was imaged with --modality, such as 'late gadolinium MRI'.")
    model = _opened(llm, settings, send_images=send_images, cache=cache, offline=offline)
    cases: dict[str, DescribedCase] = {}
    warnings: dict[str, None] = {}
    provided: Provided | None = None
    for seen in sights.each(progress):
        cases[seen.case.id], provided = _described(
            seen, model, request, template, settings, slices=slices
        )
        warnings |= dict.fromkeys(provided.warnings)
    assert provided is not None  # there is a case
    return CaseDescriptions(
        target=request.target,
        modality=modality,
        reviewed=False,
        class_names=sights.class_names,
        cases=cases,
        written_by=provided.written_by,
        warnings=tuple(warnings),
    )


def _described(
    seen: Seen,
    model: LookingModel,
    request: Request,
    template: PromptTemplate,
    settings: DescribeSettings,
    *,
    slices: int,
) -> tuple[DescribedCase, Provided]:
    pictures, hint = pictures_of(seen.volume, slices)
    provided = from_model(
        Onlooker(model, pictures, hint),
        request,
        template=template,
        max_words=settings.max_words,
        seed=settings.seed,
        temperature=settings.temperature,
        top_p=settings.top_p,
    )
    shown = tuple(hashlib.sha256(one.png).hexdigest() for one in pictures)
    return DescribedCase(image=seen.digest, classes=provided.classes, pictures=shown), provided


def _opened(
    llm: str,
    settings: DescribeSettings,
    *,
    send_images: bool,
    cache: Path | None,
    offline: bool,
) -> LookingModel:
    if llm.startswith(openai_client.PREFIX):
        name = llm.removeprefix(openai_client.PREFIX)
        served = EndpointModel(name, base_url=settings.base_url, offline=offline)
        if not served.is_here and not send_images:
            raise UsageError(
                f"--images: {served.about.endpoint} is another machine, and pictures of the images "
                "would leave this one. Pass --send-images if they may, or run the server here."
            )
        return served
    if settings.base_url is not None:
        raise UsageError(f"--base-url goes with --llm openai:MODEL, not with '{llm}'.")
    from llmseg_cli.knowledge.sights.local_model import LocalVision  # both load torch
    from llmseg_cli.training.precision import choose_device

    device = str(choose_device(settings.device))
    return LocalVision(llm, cache=cache, offline=offline, device=device)
