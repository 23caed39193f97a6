"""transformers and huggingface_hub, imported safely and told not to draw."""

from collections.abc import Iterable
from typing import Any


def load_transformers() -> Any:
    """The module `transformers`; it reports through exceptions only."""
    from llmseg_cli.numerics.torchvision_operators import ensure_torchvision  # loads torch

    ensure_torchvision()
    import transformers
    from transformers import modeling_gguf_pytorch_utils as gguf
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    gguf.tqdm = _undrawn  # the one bar that knows no switch
    return transformers


def _undrawn(items: Iterable[Any], **_: Any) -> Iterable[Any]:
    return items


def load_hub() -> Any:
    """The module `huggingface_hub`, without its progress bars."""
    import huggingface_hub
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()
    return huggingface_hub
