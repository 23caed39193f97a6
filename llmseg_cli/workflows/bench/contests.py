"""What `llmseg bench` measures: each name makes the data and the ways of one comparison."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.patches.cache import prepare_image
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.data.volumes import load_image, load_label_map
from llmseg_cli.errors import WeightsError
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.inference.windows import Windows
from llmseg_cli.metrics.pair import mask_pairs
from llmseg_cli.metrics.surface import asd, hd95
from llmseg_cli.numerics.class_softmax import class_softmax
from llmseg_cli.training.precision import choose_device, choose_dtype
from llmseg_cli.workflows.bench import diffusion
from llmseg_cli.workflows.bench.networks import forward, head_losses, steps
from llmseg_cli.workflows.bench.run import Contest, MakeContest, SkippedError, Way, Wish
from llmseg_cli.workflows.bench.startup import startup
from llmseg_cli.workflows.bench.training import (
    compilation,
    convolution_floor,
    data_path,
    training_step,
)
from llmseg_cli.workflows.bench.work import (
    CASES,
    Stepping,
    apart,
    cross,
    data_of,
)
from llmseg_cli.workflows.predict.image import SIDE_BY_SIDE, fast_batch

READS = 16  # patches
SAME_PROBABILITY = 0.02
Spacing = tuple[float, float, float]


@contextmanager
def patch_reading(wish: Wish) -> Iterator[Contest]:
    """Patches from prepared cases, and from whole NIfTI files."""
    cases = find_cases(data_of(wish)).cases[:CASES]
    as_it_is = Preprocessing((0.0,), "none")
    prepared = [prepare_image(c, image_digest(c), as_it_is, wish.folder / "cache") for c in cases]
    sides = (*wish.settings.patch, 1)[:3]
    random = np.random.default_rng(0)
    places = []
    for number in range(READS):
        shape = np.load(prepared[number % len(cases)].image, mmap_mode="r").shape[1:]
        rooms = [max(1, size - side + 1) for size, side in zip(shape, sides, strict=True)]
        corner = [int(random.integers(0, room)) for room in rooms]
        place = tuple(slice(at, at + side) for at, side in zip(corner, sides, strict=True))
        places.append((number % len(cases), place))

    def mapped() -> list[NDArray[np.float32]]:
        arrays = [np.load(case.image, mmap_mode="r") for case in prepared]
        return [np.array(arrays[index][:, *place]) for index, place in places]

    def whole() -> list[NDArray[np.float32]]:
        return [load_image(cases[index].images).array[:, *place] for index, place in places]

    yield Contest(
        f"{READS} patches of {cross(sides)}",
        (Way("prepared case, memory map", mapped), Way("file and crop", whole)),
        lambda a, b: max(apart(x, y) for x, y in zip(a, b, strict=True)),
    )


@contextmanager
def preprocessing(wish: Wish) -> Iterator[Contest]:
    """A case found in the cache, and prepared anew at another spacing."""
    case = find_cases(data_of(wish)).cases[0]
    digest = image_digest(case)
    spacing = load_image(case.images).spacing_mm
    coarser = Preprocessing(tuple(1.25 * side for side in spacing), wish.settings.normalize)

    def prepared(cache: Path) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.load(prepare_image(case, digest, coarser, cache).image)
        return found

    def anew() -> NDArray[np.float32]:
        with TemporaryDirectory(dir=wish.folder) as folder:
            return prepared(Path(folder))

    ways = (Way("found in the cache", partial(prepared, wish.folder / "cache")), Way("anew", anew))
    yield Contest(f"a case of {cross(load_image(case.images).array.shape[1:])}", ways, apart)


@contextmanager
def windows(wish: Wish) -> Iterator[Contest]:
    """A scan window by window, by llmseg and by MONAI, half overlapping, the same network."""
    from monai.inferers import sliding_window_inference

    if len(wish.settings.patch) != 3:
        raise SkippedError("MONAI's inferer takes no slices of a volume; give a --patch in 3D")
    stepping = Stepping(wish, wish.settings, "network")
    network = next(iter(stepping.loop.learner.networks().values())).eval()
    device, dtype = stepping.loop.device, stepping.loop.dtype
    image = torch.from_numpy(load_image(find_cases(data_of(wish)).cases[0].images).array)
    image = (image - image.mean()) / image.std()

    @torch.inference_mode()
    def predict(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return class_softmax(network(batch.to(device)))

    def ours() -> torch.Tensor:
        placed = Windows(tuple(image.shape[1:]), wish.settings.patch)
        workers = 1 if device.type != "cpu" else min(torch.get_num_threads(), SIDE_BY_SIDE)
        batch = fast_batch(wish.settings.patch, 2, device)
        slabs = sliding_window(image, predict, placed, batch=batch, workers=workers)
        return torch.cat([slab.cpu().clone() for _, slab in slabs], dim=1)

    @torch.inference_mode()
    def monais() -> torch.Tensor:
        options = {"roi_size": wish.settings.patch, "sw_batch_size": 4, "predictor": predict}
        found: Any = sliding_window_inference(
            image[None].to(device), overlap=0.5, mode="gaussian", **options
        )
        return torch.as_tensor(found[0].cpu())

    yield Contest(
        "a scan of " + cross(image.shape[1:]),
        (Way("llmseg", ours), Way("MONAI", monais)),
        lambda a, b: float((a - b).abs().max()),
        SAME_PROBABILITY,
    )


@contextmanager
def distances(wish: Wish) -> Iterator[Contest]:
    """HD95 and mean distance of two surfaces, by llmseg and by medpy, where that is installed."""
    try:
        from medpy.metric import binary
    except ImportError as error:
        raise SkippedError("medpy is not installed; python -m pip install medpy") from error
    labeled = [case.label for case in find_cases(data_of(wish)).cases if case.label is not None]
    maps = (load_label_map(path) for path in labeled)
    found = next((found for found in maps if found.array.any()), None)
    if found is None:
        raise SkippedError(f"{data_of(wish)} has no label map with foreground")
    reference = found.array > 0
    prediction = np.roll(ndimage.binary_dilation(reference, iterations=2), 1, axis=0)
    spacing: Spacing = found.spacing_mm

    def ours() -> tuple[float, float]:
        maps = (prediction.view(np.uint8), reference.view(np.uint8))
        pair = next(mask_pairs(*maps, classes=[1], spacing_mm=spacing))
        return hd95(pair) or 0.0, asd(pair) or 0.0

    def medpys() -> tuple[float, float]:
        return (
            float(binary.hd95(prediction, reference, spacing)),
            float(binary.asd(prediction, reference, spacing)),
        )

    yield Contest(
        "HD95 and ASD of a label map of " + cross(reference.shape),
        (Way("llmseg", ours), Way("medpy", medpys)),
        lambda a, b: max(abs(x - y) for x, y in zip(a, b, strict=True)),
        1e-6,
    )


@contextmanager
def mining(wish: Wish) -> Iterator[Contest]:
    """One box asked of LiteMedSAM, its image's embedding from the cache and made anew."""
    from llmseg_cli.knowledge.sam.choose import open_segmenter
    from llmseg_cli.knowledge.sam.embedding_cache import EmbeddingCache
    from llmseg_cli.knowledge.sam.prompt import Prompt

    try:
        segmenter = open_segmenter(
            "lite-medsam",
            device=choose_device(wish.settings.device),
            dtype=choose_dtype("auto", choose_device(wish.settings.device)),
            cache=wish.cache,
            offline=True,
        )
    except WeightsError as error:
        raise SkippedError(str(error)) from error
    region = np.zeros((256, 256), bool)
    region[80:160, 100:200] = True
    picture = np.stack([ndimage.gaussian_filter(region.astype(np.float32), 3)] * 3)
    none = np.zeros((0, 2), np.float32), np.zeros(0, bool)
    prompt = Prompt(region, (80.0, 100.0, 159.0, 199.0), *none)
    kept = EmbeddingCache(wish.folder / "kept", segmenter)

    def again() -> Any:
        return segmenter.ask([kept.get("picture", lambda: picture)], [prompt])[0].logits

    def anew() -> Any:
        return segmenter.ask([segmenter.embed(picture)], [prompt])[0].logits

    yield Contest(
        "a picture of 256x256 and one box",
        (Way("embedding from the cache", again), Way("embedding made anew", anew)),
        lambda a, b: float(abs(a - b).max()) / max(1.0, float(abs(b).max())),
        0.02,
    )


CONTESTS: dict[str, MakeContest] = {
    "startup": startup,
    "training-step": training_step,
    "convolution-floor": convolution_floor,
    "torch-compile": compilation,
    "data-path": data_path,
    "patch-reading": patch_reading,
    "preprocessing": preprocessing,
    "sliding-window": windows,
    "distances": distances,
    "mining": mining,
    "forward": forward,
    "network-steps": steps,
    "head-losses": head_losses,
    "diffusion-step": diffusion.step,
    "diffusion-sample": diffusion.sample,
}
