"""Seconds an image of a first and of a second mining, and the peak memory.

    python examples/benchmarks/mining_rounds.py --run RUN --data DIR --split FILE [--images 20]

Both rounds in one process, with an empty cache of embeddings at the start, which the second finds
filled. Loading the networks is not counted.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from llmseg_cli.artifacts.cache_folder import default_cache
from llmseg_cli.artifacts.manifest import peak_rss_mb
from llmseg_cli.config_mining import MiningSettings
from llmseg_cli.data.cases import image_digest
from llmseg_cli.knowledge.sam.embedding_cache import EmbeddingCache
from llmseg_cli.numerics.memory import keep_freed_memory
from llmseg_cli.workflows.mine.case import open_sam_miner
from llmseg_cli.workflows.predict.choice import choose_cases
from llmseg_cli.workflows.runs.run_folder import open_run


def main() -> None:
    """Print both rounds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20)
    words = parser.parse_args()
    keep_freed_memory()
    cases = choose_cases(words.data, (), words.split, "unlabeled")[: words.images]
    opened = open_run(words.run)
    miner = open_sam_miner(MiningSettings(), device="auto", cache=default_cache())
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        miner.cache = EmbeddingCache(Path(folder), miner.cache.segmenter)
        for _ in range(2):
            begun = time.perf_counter()
            for case in cases:
                miner.mine(case, image_digest(case), opened)
            seconds.append((time.perf_counter() - begun) / len(cases))
    first, second = seconds
    print(
        f"{len(cases)} images, {torch.get_num_threads()} threads, {miner.cache.segmenter.dtype}: "
        f"first round {first:.2f} s an image, second {second:.2f} s, {first / second:.1f} times; "
        f"200 images {200 * first:.0f} s; peak memory {peak_rss_mb():.0f} MB"
    )


if __name__ == "__main__":
    main()
