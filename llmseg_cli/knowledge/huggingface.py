"""transformers and huggingface_hub, imported safely and told not to draw."""

from typing import Any

from llmseg_cli.numerics.torchvision_operators import ensure_torchvision


def load_transformers() -> Any:
    """The module `transformers`; it reports through exceptions only."""
    ensure_torchvision()
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    return transformers


def load_hub() -> Any:
    """The module `huggingface_hub`, without its progress bars."""
    import huggingface_hub

    huggingface_hub.utils.disable_progress_bars()
    return huggingface_hub
