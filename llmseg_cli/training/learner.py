"""What the training loop needs of others: a method, and a score of its networks."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn


class Learner(Protocol):
    """What the loop needs of a method (methods/base.py)."""

    def losses(self, batch: Any, *, progress: float) -> dict[str, Tensor]: ...
    def after_step(self, step: int) -> None: ...
    def networks(self) -> dict[str, nn.Module]: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def train(self, mode: bool = True) -> Any: ...


Score = Callable[[Mapping[str, nn.Module]], float]
