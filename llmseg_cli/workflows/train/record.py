"""`run.json` of a finished training."""

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.learned import LEARNED
from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.run_files import BEST, CONFIG, CURVE, WEIGHTS
from llmseg_cli.artifacts.split import SPLIT
from llmseg_cli.training.trained import Trained
from llmseg_cli.workflows.train.folder import plain
from llmseg_cli.workflows.train.little_learned import little_learned
from llmseg_cli.workflows.train.pseudo_rounds import pseudo_labeled
from llmseg_cli.workflows.train.request import Request

if TYPE_CHECKING:
    from llmseg_cli.workflows.train.run import Plan

logger = logging.getLogger(__name__)


def write_record(manifest: Manifest, request: Request, planned: "Plan", trained: Trained) -> None:
    """Write `run.json` of a run whose other files are in place, and say what validation lacked.

    Args:
        manifest: Begun with the run.
        request: What was asked.
        planned: Of the request.
        trained: The result.
    """
    split, data, config = request.split, planned.data, planned.config
    manifest.inputs = {
        "split": f"sha256:{config.split}",
        "images": f"sha256:{sha256_json(split.images)}",
    }
    if config.text:
        manifest.inputs["embeddings"] = f"sha256:{config.text['embeddings']}"
    if config.init:
        manifest.inputs["init"] = f"sha256:{config.init}"
    manifest.inputs |= planned.parts.inputs
    pseudo = planned.pseudo
    if pseudo.masks:
        assert pseudo.record is not None
        manifest.inputs["pseudo"] = f"sha256:{pseudo.record['masks']}"
    manifest.counts = {
        "labeled": len(data.labeled),
        "unlabeled": len(data.unlabeled),
        "validation": len(data.validation),
        "locked_test": len(split.test),
    }
    if pseudo.record:
        manifest.counts["pseudo_labeled"] = pseudo_labeled(pseudo, request.output)
    absent = planned.absences.warnings(config.classes)
    told = [*absent, *little_learned(request.output)]
    for sentence in told:
        logger.warning(sentence)
    manifest.warnings += [*planned.warnings, *told]
    manifest.details = {"trained": asdict(trained), "parameters": planned.parameters}
    if request.launch:
        manifest.details["processes"] = request.launch.size
    if planned.started:
        manifest.details["init"] = asdict(planned.started)
    if torch.cuda.is_available():
        manifest.details["peak_vram_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
        manifest.details["gpu"] = torch.cuda.get_device_name()
    made = [name for name in (BEST, CURVE) if (request.output / name).is_file()]
    manifest.write(
        request.output,
        outputs=(WEIGHTS, *made, CONFIG, SPLIT, LEARNED),
        config=plain(config).to_dict(),
    )
