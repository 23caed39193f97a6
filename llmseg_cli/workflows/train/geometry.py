"""Patch and spacing of a training that leaves them open."""

import logging
from dataclasses import replace

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import CONFIG
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.sizes import read_sizes
from llmseg_cli.planning.geometry import ENCODER_STRIDE, STRIDE, choose_geometry, median_sizes
from llmseg_cli.planning.recommended import as_yaml
from llmseg_cli.workflows.machine import look_at_power
from llmseg_cli.workflows.train.request import Request

logger = logging.getLogger(__name__)


def settled(request: Request, *, resume: bool = False) -> Request:
    """The same request with a patch and a spacing.

    Those of the run that is resumed or of `init`, or what `llmseg plan` chooses, here from the
    headers of all scans but the locked ones. No label map is opened.

    Args:
        request: What to do.
        resume: Whether the output folder holds a run to be continued.

    Raises:
        DataError: If a header cannot be read.
        PolicyError: If the split is of other data.
        ArtifactError: If `config.yaml` of a run cannot be read.
    """
    settings = request.settings
    if settings.patch and settings.spacing:
        return request
    if settings.patch:
        return replace(request, settings=replace(settings, spacing=(0.0,)))
    for folder in (request.output if resume else None, request.init):
        if folder is not None and (folder / CONFIG).is_file():
            found = RunConfig.load(folder / CONFIG)
            spacing = settings.spacing or tuple(found.preprocessing["spacing"])
            return replace(request, settings=replace(settings, patch=found.patch, spacing=spacing))
    open_cases = set(request.split.images) - set(request.split.test)
    known = [case for case in find_cases(request.data).cases if case.id in open_cases]
    if not known:
        request.split.refuse_other_data({})
    power = look_at_power(settings.device)
    geometry = choose_geometry(
        median_sizes(*read_sizes(known)),
        {dimensions: power.patch_voxels(dimensions) for dimensions in (2, 3)},
        given=settings.spacing,
        covered=power.covered,
        flat_stride=ENCODER_STRIDE if settings.image_encoder else STRIDE,
    )
    for name, choice in (("patch", geometry.patch), ("spacing", geometry.spacing)):
        logger.info("%s %s: %s.", name, as_yaml(choice.value), choice.reason)
    wanted = replace(settings, patch=geometry.sides, spacing=geometry.millimeters)
    return replace(request, settings=wanted)
