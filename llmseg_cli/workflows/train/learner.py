"""The method of a run with its networks, which have their first weights."""

import logging
import random
from pathlib import Path

import torch

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.artifacts.run_files import CONFIG
from llmseg_cli.knowledge.parts.feature_memory import remember
from llmseg_cli.knowledge.parts.image_encoder import encoders_of
from llmseg_cli.methods.base import Method
from llmseg_cli.methods.supervision import WithClassWeights
from llmseg_cli.registry import LOSSES, METHODS
from llmseg_cli.training.ranks import ALONE, Ranks
from llmseg_cli.training.rows import shared
from llmseg_cli.workflows.runs.pretrained import Pretrained
from llmseg_cli.workflows.runs.run_folder import network_builder
from llmseg_cli.workflows.train.foreign_weights import start_from_file
from llmseg_cli.workflows.train.request import Request
from llmseg_cli.workflows.train.starting_weights import (
    SAME_TASK,
    Started,
    other_task,
    refuse_other_network,
    start_from,
)

logger = logging.getLogger(__name__)


def make_learner(
    request: Request, config: RunConfig, parts: Pretrained, ranks: Ranks = ALONE
) -> tuple[Method, Started | None]:
    """The method, not yet on a device, and what its networks took of `--init`.

    Args:
        request: What to do.
        config: The run.
        parts: What the networks have of pre-trained models.
        ranks: Who trains it.

    Raises:
        UsageError: If an option is out of its range.
        ArtifactError: If `--init` is of another network.
    """
    torch.manual_seed(request.seed)  # after SAM, whose random first weights must not matter
    random.seed(request.seed)
    text = request.text[0] if request.text else None
    build = shared(network_builder(config, text, parts.layers), ranks)
    method: Method = METHODS.load(request.method)(build, **config.method_options)
    loss = LOSSES.load(request.settings.loss)
    method.segmentation_loss = loss
    if config.class_weights:
        method.segmentation_loss = WithClassWeights(loss, config.class_weights)
    if parts.encoder:
        parts.encoder.load_into(method.networks().values())
    started = None
    if request.init:
        started = _start(method, request.init, config, parts)
    if request.settings.views:
        remember(encoders_of(method.networks().values()))
    method.start()
    return method, started


def _start(method: Method, folder: Path, config: RunConfig, parts: Pretrained) -> Started:
    """Give the networks the weights of a run or a file, and say so if its task is another."""
    if folder.is_file():
        return start_from_file(method, folder, config, network_builder)
    given = RunConfig.load(folder / CONFIG)
    refuse_other_network(folder, given, config)
    task = other_task(config, given, lambda one: network_builder(one, llm=parts.layers))
    started = start_from(method, folder, task)
    if task != SAME_TASK:
        logger.info(
            "--init %s is of another task (%s; here %s): %s.",
            folder,
            _task_of(given),
            _task_of(config),
            started.in_words(),
        )
    return started


def _task_of(config: RunConfig) -> str:
    channels = f"{config.in_channels} channel{'s' * (config.in_channels != 1)}"
    return f"{channels}, {', '.join(config.classes)}"
