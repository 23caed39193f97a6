"""Image embeddings on disk, so that another round of prompts pays for the decoder alone."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save

from llmseg_cli.artifacts.cache_folder import note_use
from llmseg_cli.artifacts.files import sha256_json
from llmseg_cli.artifacts.tensors import write_tensors
from llmseg_cli.knowledge.sam.interface import Embedding, PromptableSegmenter

VERSION = 3


class EmbeddingCache:
    """The embeddings that one segmenter made, each in a file.

    A file lies under the digest of the weights; its name is the hash of the caller's key, of the
    framing and of the number format. One image takes 2.1 MB with LiteMedSAM and SAM, 8.4 MB with
    SAM 2 and with SAM-HQ of ViT-B: the 88 slices of a left atrium 185 MB at the least.

    Args:
        folder: Where they lie; it may serve several segmenters.
        segmenter: Makes those that are not there.
    """

    def __init__(self, folder: Path, segmenter: PromptableSegmenter) -> None:
        self.segmenter = segmenter
        self.folder = folder / f"v{VERSION}" / segmenter.digest.replace(":", "-")
        self.hits = 0
        self.misses = 0

    def get(self, key: str, image: Callable[[], NDArray[np.float32]]) -> Embedding:
        """The embedding of an image, from its file or made and kept there.

        Args:
            key: Names the content of the image, such as a digest and a slice.
            image: Returns it, `(3, X, Y)` in [0, 1]; called only if there is no sound file.
        """
        path = self.path(key)
        found = _read(path)
        if found:
            self.hits += 1
            note_use(path)
            return found
        self.misses += 1
        made = self.segmenter.embed(image())
        write_tensors(path, save({str(i): part.contiguous() for i, part in enumerate(made)}))
        return made

    def path(self, key: str) -> Path:
        """The file of an image."""
        segmenter = self.segmenter
        content = [key, asdict(segmenter.framing), str(segmenter.dtype)]
        return self.folder / f"{sha256_json(content)}.safetensors"


def _read(path: Path) -> Embedding:
    """The tensors of a file; none if it is absent or damaged."""
    try:
        parts = load(path.read_bytes())
        return tuple(parts[name] for name in sorted(parts, key=int))
    except (FileNotFoundError, SafetensorError, ValueError):
        return ()
