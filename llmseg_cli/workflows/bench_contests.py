"""What `llmseg bench` measures: each name makes the data and the ways of one comparison."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.utils.flop_counter import FlopCounterMode

from llmseg_cli.data.cache import prepare_image
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.preprocessing import Preprocessing
from llmseg_cli.data.sampling import QUEUED
from llmseg_cli.data.volumes import load_image, load_label_map
from llmseg_cli.errors import WeightsError
from llmseg_cli.inference.sliding_window import Windows, sliding_window
from llmseg_cli.metrics.pair import mask_pairs
from llmseg_cli.metrics.surface import asd, hd95
from llmseg_cli.training.compilation import are_compiled
from llmseg_cli.training.precision import choose_device, choose_dtype
from llmseg_cli.workflows.bench import Contest, MakeContest, SkippedError, Way, Wish
from llmseg_cli.workflows.bench_work import (
    CASES,
    Stepping,
    apart,
    cross,
    data_of,
    fastest_convolution,
)
from llmseg_cli.workflows.network_cost import ON_CPU
from llmseg_cli.workflows.predict_image import SIDE_BY_SIDE, fast_batch

STEPS = 5  # per batch that waits, of a comparison with and without loading
READS = 16  # patches
SAME_LOSS = 0.02  # relative; bfloat16 has 8 bits
SAME_PROBABILITY = 0.02
Spacing = tuple[float, float, float]


@contextmanager
def start_up(wish: Wish) -> Iterator[Contest]:
    """The program's first answer, beside the import of torch that other tools begin with."""

    def call(*words: str) -> Callable[[], Any]:
        command = [sys.executable, *words]
        return lambda: subprocess.run(command, check=True, capture_output=True)

    ours = Way("llmseg --version", call("-m", "llmseg_cli", "--version"))
    yield Contest("a process", (ours, Way("import torch", call("-c", "import torch"))))


@contextmanager
def training_step(wish: Wish) -> Iterator[Contest]:
    """A step as set, and as the field's scripts do it: float32, contiguous memory."""
    field = replace(wish.settings, precision="fp32", memory_format="contiguous")
    ways = {"as set": wish.settings, "fp32, contiguous": field}
    stepping = {name: Stepping(wish, settings, name) for name, settings in ways.items()}
    yield Contest(
        f"a step of {wish.method} with {wish.settings.model}",
        tuple(Way(name, s.first_step) for name, s in stepping.items()),
        lambda a, b: abs(a - b) / abs(b),
        SAME_LOSS,
    )


@contextmanager
def convolution_floor(wish: Wish) -> Iterator[Contest]:
    """A step, and as many operations of the fastest of some convolutions here."""
    stepping = Stepping(wish, wish.settings, "step")
    with FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
        stepping.first_step()
    total = counter.get_total_flops()
    loop = stepping.loop
    convolve, each = fastest_convolution(loop.device, loop.dtype, wish.settings.dimensions)
    times = max(1, round(total / each))

    def convolutions() -> None:
        for _ in range(times):
            convolve()

    yield Contest(
        f"{total / 1e9:.3g} GFLOP in a step of {wish.method} with {wish.settings.model}",
        (Way("the step", stepping.first_step), Way("convolutions alone", convolutions)),
    )


@contextmanager
def compilation(wish: Wish) -> Iterator[Contest]:
    """A step, and the same with networks through torch.compile, which draws the same dropout."""
    from torch._inductor import config  # takes a second

    ways = {
        "as they are": replace(wish.settings, compile=False),
        "torch.compile": replace(wish.settings, compile=True, gradient_checkpointing=False),
    }
    stepping = {name: Stepping(wish, settings, name) for name, settings in ways.items()}
    with config.patch(fallback_random=True):
        for one in stepping.values():
            one.first_step()
        if not are_compiled(stepping["torch.compile"].loop.learner.networks()):
            raise SkippedError("torch.compile does not work here; the warning says why")
        yield Contest(
            f"a step of {wish.method} with {wish.settings.model}",
            tuple(Way(name, s.first_step) for name, s in stepping.items()),
            lambda a, b: abs(a - b) / abs(b),
            SAME_LOSS,
        )


@contextmanager
def data_path(wish: Wish) -> Iterator[Contest]:
    """Steps with one batch again and again, and with batches that are read and augmented.

    The steps are many more than the batches that wait ahead; these are made within the time, too.
    """
    stepping = Stepping(wish, wish.settings, "steps")
    settings = stepping.loop.settings
    steps = STEPS * (settings.workers + QUEUED)

    def without() -> None:
        for _ in range(steps):
            stepping.step(stepping.batch)

    def loading() -> None:
        with closing(stepping.batches(steps)) as batches:
            for batch in batches:
                stepping.step(batch)

    ways = (Way("without loading", without), Way("with loading", loading))
    yield Contest(f"{steps} steps of {wish.method} with {wish.settings.model}", ways)


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
            found: torch.Tensor = network(batch.to(device)).float().softmax(dim=1)
        return found

    def ours() -> torch.Tensor:
        placed = Windows(tuple(image.shape[1:]), wish.settings.patch)
        workers = 1 if device.type != "cpu" else min(torch.get_num_threads(), SIDE_BY_SIDE)
        batch = fast_batch(wish.settings.patch, device)
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
    from llmseg_cli.knowledge.prompts import Prompt
    from llmseg_cli.knowledge.sam.choose import open_segmenter
    from llmseg_cli.knowledge.sam.embedding_cache import EmbeddingCache

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
    "start-up": start_up,
    "training-step": training_step,
    "convolution-floor": convolution_floor,
    "torch-compile": compilation,
    "data-path": data_path,
    "patch-reading": patch_reading,
    "preprocessing": preprocessing,
    "sliding-window": windows,
    "distances": distances,
    "mining": mining,
}
