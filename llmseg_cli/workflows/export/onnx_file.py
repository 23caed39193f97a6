"""A traced network as ONNX, and what onnxruntime makes of it."""

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from llmseg_cli.errors import UsageError, is_out_of_memory
from llmseg_cli.workflows.export.answer import Ask

if TYPE_CHECKING:
    from torch.export import ExportedProgram

NEEDED = ("onnx", "onnxscript", "onnxruntime")
INPUT, OUTPUT = "image", "probabilities"
METADATA = "llmseg"  # the key under which a file says what it is


def refuse_without_packages() -> None:
    """Refuse to go on where a package is missing.

    Raises:
        UsageError: Naming it, and the command that installs it.
    """
    absent = [name for name in NEEDED if find_spec(name) is None]
    if absent:
        raise UsageError(
            f"--onnx needs the package {absent[0]}: python -m pip install 'llmseg[onnx]'."
        )


def save_onnx(program: "ExportedProgram", path: Path, text: str) -> None:
    """Write the network with its weights, and *text* among its metadata.

    Args:
        program: As of `traced`.
        path: Where to.
        text: JSON of `facts_of`.

    Raises:
        UsageError: If torch knows no ONNX for a part of it.
    """
    told = logging.getLogger("torch.onnx")
    before = told.level
    told.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                program,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamo=True,
                verbose=False,
            )
            assert made is not None  # it is where a program is given
            made.model.metadata_props[METADATA] = text
            made.save(path)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"torch.onnx cannot write this network ({first[:200]}). Leave --onnx out."
        ) from error
    finally:
        told.setLevel(before)


def load_onnx(path: Path) -> Ask:
    """What onnxruntime answers with the file on a CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def ask(image: Tensor) -> Tensor:
        (found,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(image.numpy())})
        return torch.from_numpy(found)

    return ask
