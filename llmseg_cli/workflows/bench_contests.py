"""What `llmseg bench` measures: each name makes the data and the ways of one comparison."""

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cache import prepare_image
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.preprocessing import Preprocessing
from llmseg_cli.data.volumes import Grid, load_image, load_label_map, save_map
from llmseg_cli.errors import UsageError, WeightsError
from llmseg_cli.inference.sliding_window import Windows, sliding_window
from llmseg_cli.metrics.pair import mask_pairs
from llmseg_cli.metrics.surface import asd, hd95
from llmseg_cli.registry import METHODS
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.precision import choose_device, choose_dtype
from llmseg_cli.training.stop import StopRequest
from llmseg_cli.workflows.bench import Contest, MakeContest, SkippedError, Way, Wish
from llmseg_cli.workflows.training import plan, start
from llmseg_cli.workflows.training_request import Request

CASES = 6  # of a made cohort: three labeled, three not
MARGIN = 1.5  # sides of a made image over those of the patch
STEPS = 4  # of a comparison with and without loading
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
    stepping = {name: _Stepping(wish, settings, name) for name, settings in ways.items()}
    batch = next(iter(stepping.values())).batch
    yield Contest(
        f"a step of {wish.method} with {wish.settings.model}",
        tuple(Way(name, partial(s.step, batch)) for name, s in stepping.items()),
        lambda a, b: abs(a - b) / abs(b),
        SAME_LOSS,
    )


@contextmanager
def data_path(wish: Wish) -> Iterator[Contest]:
    """Steps with one batch again and again, and with the batches that are read and augmented."""
    stepping = _Stepping(wish, wish.settings, "steps", steps=10**6)

    def without() -> None:
        for _ in range(STEPS):
            stepping.step(stepping.batch)

    def loading() -> None:
        for _ in range(STEPS):
            stepping.step(next(stepping.batches))

    ways = (Way("without loading", without), Way("with loading", loading))
    yield Contest(f"{STEPS} steps of {wish.method} with {wish.settings.model}", ways)


@contextmanager
def patch_reading(wish: Wish) -> Iterator[Contest]:
    """Patches from prepared cases, and from whole NIfTI files."""
    cases = find_cases(_data(wish)).cases[:CASES]
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
        f"{READS} patches of {_cross(sides)}",
        (Way("prepared case, memory map", mapped), Way("file and crop", whole)),
        lambda a, b: max(_apart(x, y) for x, y in zip(a, b, strict=True)),
    )


@contextmanager
def preprocessing(wish: Wish) -> Iterator[Contest]:
    """A case found in the cache, and prepared anew at another spacing."""
    case = find_cases(_data(wish)).cases[0]
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
    yield Contest(f"a case of {_cross(load_image(case.images).array.shape[1:])}", ways, _apart)


@contextmanager
def windows(wish: Wish) -> Iterator[Contest]:
    """A scan window by window, by llmseg and by MONAI, half overlapping, the same network."""
    from monai.inferers import sliding_window_inference

    if len(wish.settings.patch) != 3:
        raise SkippedError("MONAI's inferer takes no slices of a volume; give a --patch in 3D")
    stepping = _Stepping(wish, wish.settings, "network")
    network = next(iter(stepping.loop.learner.networks().values())).eval()
    device, dtype = stepping.loop.device, stepping.loop.dtype
    image = torch.from_numpy(load_image(find_cases(_data(wish)).cases[0].images).array)
    image = (image - image.mean()) / image.std()

    @torch.inference_mode()
    def predict(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            found: torch.Tensor = network(batch.to(device)).float().softmax(dim=1)
        return found

    def ours() -> torch.Tensor:
        placed = Windows(tuple(image.shape[1:]), wish.settings.patch)
        workers = 1 if device.type != "cpu" else min(torch.get_num_threads(), 4)
        slabs = sliding_window(image, predict, placed, batch=1, workers=workers)
        return torch.cat([slab.cpu().clone() for _, slab in slabs], dim=1)

    @torch.inference_mode()
    def monais() -> torch.Tensor:
        options = {"roi_size": wish.settings.patch, "sw_batch_size": 1, "predictor": predict}
        found: Any = sliding_window_inference(
            image[None].to(device), overlap=0.5, mode="gaussian", **options
        )
        return torch.as_tensor(found[0].cpu())

    yield Contest(
        "a scan of " + _cross(image.shape[1:]),
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
    case = next(case for case in find_cases(_data(wish)).cases if case.label is not None)
    assert case.label is not None
    found = load_label_map(case.label)
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
        "HD95 and ASD of a label map of " + _cross(reference.shape),
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
    "data-path": data_path,
    "patch-reading": patch_reading,
    "preprocessing": preprocessing,
    "sliding-window": windows,
    "distances": distances,
    "mining": mining,
}


class _Stepping:
    """A training run that takes a step when it is asked to."""

    def __init__(self, wish: Wish, settings: Any, name: str, *, steps: int = 1000) -> None:
        request = _request(wish, replace(settings, steps=steps), wish.folder / name)
        planned = plan(request)
        request.output.mkdir()
        self.loop: Loop
        self.loop, self.batches = start(
            request, planned, StopRequest(), lambda *_, **__: None, resume=False
        )
        self.batch = next(self.batches)
        self.loop.learner.train()

    def step(self, batch: Any) -> float:
        """Take the first step of the run; returns its loss."""
        self.loop.step = 0
        terms = self.loop.take_step(batch)
        return sum(float(term) for term in terms.values())


def _request(wish: Wish, settings: Any, output: Path) -> Request:
    data = _data(wish)
    found = find_cases(data).cases
    labeled = [case.id for case in found if case.label is not None]
    half = max(1, min(CASES, len(labeled)) // 2)
    others = [case.id for case in found if case.id not in labeled[:half]][: CASES - half]
    needs_more = METHODS.load(wish.method).uses_unlabeled and not others
    if not labeled or needs_more:
        raise UsageError(f"--data {data}: a benchmark needs a labeled case and another one.")
    digests = {c.id: image_digest(c) for c in found if c.id in (*labeled[:half], *others)}
    split = Split(
        labeled=tuple(labeled[:half]),
        unlabeled=tuple(others),
        validation=(),
        test=(),
        seed=0,
        images=digests,
        groups={},
    )
    return Request(
        command="train-sup" if wish.method == "supervised" else "train-semi",
        data=data,
        split=split,
        output=output,
        settings=settings,
        method=wish.method,
        method_option=wish.method_option,
        cache=wish.folder / "cache",
        offline=True,
    )


def _data(wish: Wish) -> Path:
    """The data set of the wish, or one that is made: noise with a bright ball, as NIfTI."""
    if wish.data is not None:
        return wish.data
    root = wish.folder / "data"
    if root.is_dir():
        return root
    sides = tuple(round(MARGIN * side) for side in (*wish.settings.patch, 32)[:3])
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    place = Grid(
        (sides[0], sides[1], sides[2]), np.eye(4), "mm", "hdf5", None
    )  # has no header of its own
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, side) for side in sides), indexing="ij"))
    for number in range(CASES):
        random = np.random.default_rng(number)
        center = random.uniform(-0.2, 0.2, (3, 1, 1, 1))
        ball = (np.square(grid - center).sum(axis=0) < 0.2).astype(np.float32)
        image = ball + ndimage.gaussian_filter(random.standard_normal(sides), 1)
        for folder, array in (("images", image), ("labels", ball)):
            save_map(root / folder / f"made{number}.nii.gz", array, place)
    return root


def _apart(first: NDArray[Any], second: NDArray[Any]) -> float:
    return float(abs(first - second).max())


def _cross(sides: Iterable[int]) -> str:
    return "x".join(map(str, sides))
