"""The texts that a network is given: of its classes, or of each case."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextFeatures:
    """Texts of the foreground classes, the same number for each.

    Args:
        token_ids: `(N, T, L)` int64 for N foreground classes with T texts of at most L tokens; of
            B cases `(B, N, T, L)`, and so for all that follow.
        mask: `(N, T, L)` bool, true where there is a token and no padding.
        pooled: One vector per text, `(N, T, D)` float32.
        names: The classes that the texts are of, if that is known.
        tokens: One vector per token, `(N, T, L, D)` float32, for fusions that attend to them.

    Raises:
        ValueError: If the shapes do not fit or there is no text.
    """

    token_ids: Tensor
    mask: Tensor
    pooled: Tensor
    names: tuple[str, ...] = ()
    tokens: Tensor | None = None

    def __post_init__(self) -> None:
        shapes = [tuple(t.shape) for t in (self.token_ids, self.mask, self.pooled)]
        ids, mask, pooled = shapes
        if len(ids) not in (3, 4) or ids != mask or ids[:-1] != pooled[:-1]:
            raise ValueError(f"expected (N, T, L) twice and (N, T, D); got {shapes}")
        if self.tokens is not None and tuple(self.tokens.shape[:-1]) != ids:
            raise ValueError(f"tokens are {tuple(self.tokens.shape)}, expected {ids} and D")
        if not self.token_ids.numel():
            raise ValueError(f"there is no text: token ids are {ids}")

    def normalized_ids(self) -> Tensor:
        """Token ids from 0 to 1 within each text, `(N, T, L)` float32; padding counts as id 0.

        A text whose ids are all the same gives 0.

        References:
            Kumari et al., LLM-SegNet, 2024, authors' code. arXiv:2407.05088. Word-piece ids of
            BERT go straight in; no text encoder is run.
        """
        ids = torch.where(self.mask, self.token_ids, 0).float()
        low, high = ids.amin(dim=-1, keepdim=True), ids.amax(dim=-1, keepdim=True)
        return (ids - low) / (high - low).clamp(min=1)

    def of(self, change: Callable[[Tensor], Tensor]) -> "TextFeatures":
        """The same with every tensor changed, such as moved or indexed along its first axis."""
        tokens = None if self.tokens is None else change(self.tokens)
        return TextFeatures(
            change(self.token_ids), change(self.mask), change(self.pooled), self.names, tokens
        )


class TextBank:
    """The texts of many cases, which a network and all copies of it share; no part of its weights.

    Args:
        texts: Of M cases, `(M, N, T, ...)`.
        cases: Their names.
        images: Case to the digest of the image that its texts are about.

    Raises:
        ValueError: If the texts are not of so many cases, or a name stands twice.
    """

    def __init__(
        self, texts: TextFeatures, cases: Sequence[str], images: Mapping[str, str] | None = None
    ) -> None:
        if texts.token_ids.ndim != 4 or len(texts.token_ids) != len(cases):
            raise ValueError(f"texts {tuple(texts.token_ids.shape)} of {len(cases)} cases")
        self._texts = {torch.device("cpu"): texts}
        self.images = dict(images or {})
        self._rows = {case: row for row, case in enumerate(cases)}
        if len(self._rows) != len(cases):
            raise ValueError("a case stands twice")

    def __deepcopy__(self, memo: dict[int, Any]) -> "TextBank":
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The classes that the texts are of."""
        return self._on(torch.device("cpu")).names

    @property
    def cases(self) -> tuple[str, ...]:
        """The cases that have texts, in the order of their rows."""
        return tuple(self._rows)

    def row(self, case: str) -> int:
        """Where the texts of a case stand; `KeyError` if it has none."""
        return self._rows[case]

    def rows(self, index: Tensor) -> TextFeatures:
        """The texts at rows `(B,)`, on their device, `(B, N, T, ...)`."""
        return self._on(index.device).of(lambda held: held[index])

    def of_case(self, case: str, device: torch.device) -> TextFeatures:
        """The texts of one case, `(N, T, ...)`."""
        row = self.row(case)
        return self._on(device).of(lambda held: held[row])

    def nothing(self) -> TextFeatures:
        """Zeros in the place of the texts of a case, `(N, T, ...)`."""
        return self._on(torch.device("cpu")).of(lambda held: torch.zeros_like(held[0]))

    def _on(self, device: torch.device) -> TextFeatures:
        if device not in self._texts:
            self._texts[device] = self._texts[torch.device("cpu")].of(lambda held: held.to(device))
        return self._texts[device]


def choose(values: Tensor, *, batch: int, draw: bool) -> Tensor:
    """One row per case `(B, V)`, or one for all `(1, V)`.

    With *draw*, a text is drawn for every case and class; else the mean over texts is taken. The
    mean over classes is taken in either case.

    Args:
        values: Rows per class and text, `(N, T, V)`, or of each case its own, `(B, N, T, V)`.
        batch: Cases, B.
        draw: Whether to draw, from torch's global generator.
    """
    is_of_cases = values.ndim == 4
    if not draw:
        mean = values.mean(dim=(-3, -2))
        return mean if is_of_cases else mean.unsqueeze(0)
    index = torch.randint(values.shape[-2], (batch, values.shape[-3]), device=values.device)
    return picked(values, index, of_cases=is_of_cases).mean(dim=1)


def picked(values: Tensor, index: Tensor, *, of_cases: bool) -> Tensor:
    """The texts at an index `(B, N)`, `(B, N, ...)`.

    Args:
        values: `(N, T, ...)`, or of cases `(B, N, T, ...)`.
        index: Which text of each class, for each case.
        of_cases: Whether each case has its own.
    """
    classes = torch.arange(index.shape[1], device=values.device)
    if not of_cases:
        return values[classes, index]
    return values[torch.arange(len(index), device=values.device)[:, None], classes, index]
