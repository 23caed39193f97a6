"""What a run answers as one module, and as a program that torch.export has traced."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.run_config import RunConfig
from llmseg_cli.errors import GateError, UsageError, is_out_of_memory
from llmseg_cli.workflows.predict.image import Manner, Prepared
from llmseg_cli.workflows.predict.labels import network_probabilities
from llmseg_cli.workflows.runs.run_folder import OpenRun

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Ask = Callable[[Tensor], Tensor]  # windows to probabilities
BATCHES = (2, 1)  # of random windows that are compared
ALIKE = 1e-4  # of probabilities, in float32
SMALLEST = 1e-30  # probability whose logarithm is taken


class Answer(nn.Module):
    """The mean probabilities of networks.

    Args:
        networks: In evaluation mode; they return logits `(B, K, X, Y[, Z])`.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities `(B, K, X, Y[, Z])` of windows `(B, C, X, Y[, Z])`."""
        shares = [network(image).float().softmax(dim=1) for network in self.networks]
        total = shares[0]
        for share in shares[1:]:
            total = total + share
        return total / len(shares)


def traced(answer: Answer, config: RunConfig) -> "ExportedProgram":
    """The answer as a program for windows of the training's size, and any number of them.

    Raises:
        UsageError: If torch.export cannot follow the network.
    """
    answer = answer.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    image = torch.zeros(BATCHES[0], config.channels, *config.patch)
    shapes = {"image": {0: torch.export.Dim("windows", min=1)}}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own parts
            return torch.export.export(answer, (image,), dynamic_shapes=shapes)
    except RuntimeError as error:  # all that torch.export raises, but for wrong calls
        if is_out_of_memory(error):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"torch.export cannot follow the network '{config.model}' of this run ({first[:200]}). "
            "Export a run of another --model."
        ) from error


def load_program(path: Path) -> Ask:
    """What a file of `torch.export.save` answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.export.load(path).module()

    def ask(image: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = module(image)
        return found

    return ask


def random_windows(config: RunConfig, *, seed: int = 0) -> Iterable[Tensor]:
    """Batches of noise of mean 0 and deviation 1, `(B, C, X, Y[, Z])`."""
    generator = torch.Generator().manual_seed(seed)
    for batch in BATCHES:
        yield torch.randn(batch, config.channels, *config.patch, generator=generator)


def compared(
    ask: Ask, answer: Answer, run: OpenRun, example: Prepared | None, *, name: str
) -> dict[str, Any]:
    """How far a written network is from the run's own, at most.

    Args:
        ask: The written one.
        answer: The run's own.
        run: It, in float32 on the CPU.
        example: A prepared scan that both are asked about, window by window; None for noise alone.
        name: Of what was written, for the message.

    Returns:
        The largest differences of probabilities, and how many were allowed.

    Raises:
        GateError: If they are not the same.
    """
    with torch.no_grad():
        noise = max(
            float((ask(window) - answer(window)).abs().max())
            for window in random_windows(run.config)
        )
    found: dict[str, Any] = {"random": noise, "allowed": ALIKE}
    if example is not None:
        found["example"] = _on_scan(ask, answer, run, example)
    worst = max(value for key, value in found.items() if key != "allowed")
    if not worst <= ALIKE:  # also of NaN
        raise GateError(
            f"{name} answers otherwise than the run: probabilities differ by {worst:.2g}, expected "
            f"at most {ALIKE:g}. Nothing was written."
        )
    return found


def _on_scan(ask: Ask, answer: Answer, run: OpenRun, example: Prepared) -> float:
    both = [
        network_probabilities(
            example, OpenRun(run.config, {"one": _AsLogits(one)}, run.device, run.dtype), Manner()
        )
        for one in (ask, answer)
    ]
    return float(np.abs(both[0] - both[1]).max())


class _AsLogits(nn.Module):
    """Scores whose softmax is what a network of probabilities says."""

    def __init__(self, ask: Ask) -> None:
        super().__init__()
        self.ask = ask

    def forward(self, image: Tensor) -> Tensor:
        return self.ask(image.contiguous()).clamp_min(SMALLEST).log()
