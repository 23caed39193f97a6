"""Which Segment Anything model a user named."""

from pathlib import Path

import torch

from llmseg_cli.artifacts.absent import did_you_mean
from llmseg_cli.artifacts.files import sha256_file
from llmseg_cli.choices import SAM_NAMES
from llmseg_cli.errors import UsageError, WeightsError, unknown
from llmseg_cli.knowledge.sam.huggingface import model_type, transformers_sam
from llmseg_cli.knowledge.sam.interface import PromptableSegmenter
from llmseg_cli.knowledge.sam.original import checkpoint_sam, lite_medsam
from llmseg_cli.knowledge.weights.embedded import WEIGHTS, path_of, verify
from llmseg_cli.knowledge.weights.model_files import find_model

LITE = "lite-medsam"
TRANSFORMERS = "transformers"
CHECKPOINTS = ("vit_b", "vit_l", "vit_h", "medsam")


def open_segmenter(
    name: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    cache: Path | None = None,
    offline: bool = False,
) -> PromptableSegmenter:
    """Load a Segment Anything model.

    Args:
        name: `lite-medsam`; `vit_b:PATH`, `vit_l:PATH`, `vit_h:PATH` or `medsam:PATH` for a
            checkpoint of segment-anything; `transformers:PATH` or `transformers:ID` for a folder
            or a model of the hub.
        device: Where it runs.
        dtype: Number format of its encoder.
        cache: llmseg's cache folder, if it is not the usual one.
        offline: Never use the network.

    Raises:
        UsageError: If the name is unknown, or its path or id is missing.
        WeightsError: If the weights are missing, altered or of another model.
    """
    kind, _, place = name.partition(":")
    if name == LITE:
        path = path_of(LITE, cache=cache)
        digest = f"sha256:{verify(LITE, cache=cache)[WEIGHTS[LITE].entry]}"
        return lite_medsam(path, digest=digest, device=device, dtype=dtype)
    if kind not in (*CHECKPOINTS, TRANSFORMERS):
        raise unknown("SAM model", name, SAM_NAMES)
    if not place:
        wanted = _PATH_OR_ID if kind == TRANSFORMERS else f"{kind}:PATH"
        raise UsageError(f"The SAM model '{name}' does not say where it lies; expected {wanted}.")
    if kind == TRANSFORMERS:
        found = find_model(place, cache=cache, offline=offline)
        model_type(found.folder)  # refused before gigabytes are read
        return transformers_sam(
            found,
            name=f"{TRANSFORMERS}:{found.name}",
            device=device,
            dtype=dtype,
        )
    path = Path(place).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"There is no file {path}; expected a checkpoint of segment-anything."
            f"{did_you_mean(path)}"
        )
    digest = f"sha256:{sha256_file(path)}"
    return checkpoint_sam(kind, path, digest=digest, device=device, dtype=dtype)


_PATH_OR_ID = f"{TRANSFORMERS}:PATH-or-ID"
