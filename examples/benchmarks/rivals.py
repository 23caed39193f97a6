"""The same work by llmseg and by the field's own tools, in turns within one process.

    make bench DATA=/data/la             an environment with the rivals, and this program
    python examples/benchmarks/rivals.py --data /data/la [NAME ...] [--rounds 3] [-o rivals.json]

Same data, same patch, same batch, same number of windows; results are compared for equality first.
PyMIC's agents insist on a CUDA device; their own training code runs here unchanged, with the device
set. Its loss is replaced by llmseg's, so that both compute the same one.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from monai.data import PersistentDataset
from monai.inferers import sliding_window_inference
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, SpatialCrop

from llmseg_cli.artifacts.files import write_json
from llmseg_cli.config import TrainSettings
from llmseg_cli.data.cache import prepare_image
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.preprocessing import Preprocessing
from llmseg_cli.data.volumes import load_image
from llmseg_cli.inference.folding import fold_normalization, hold_convolutions_as
from llmseg_cli.inference.sliding_window import Windows, sliding_window
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.metrics.pair import mask_pairs
from llmseg_cli.metrics.surface import asd, hd95
from llmseg_cli.models.vnet import VNet
from llmseg_cli.numerics.torchvision_operators import ensure_torchvision
from llmseg_cli.options import parse_sizes
from llmseg_cli.registry import METHODS
from llmseg_cli.training.loop import Loop
from llmseg_cli.training.precision import choose_device, choose_memory_format
from llmseg_cli.workflows.bench import Contest, Outcome, Way, Wish, report, run

sys.path.insert(0, str(Path(__file__).parent))
from distances import load as disturbed_masks

STRIDE = (18, 18, 4)  # of the papers
READS = 16


def _batch(wish: Wish) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sides = wish.settings.patch
    images = torch.randn(4, 1, *sides, generator=generator)
    target = (torch.rand(2, *sides, generator=generator) > 0.9).long()
    return images[:2], target, images[2:]


def _ours(wish: Wish, method: Any) -> Callable[[], float]:
    """A step of llmseg's loop as `train-semi` takes it; returns the supervised loss."""
    device = choose_device(wish.settings.device)
    layout = choose_memory_format("auto", dimensions=3)
    learner = method.to(device).to(memory_format=layout).train()
    labeled, target, unlabeled = _batch(wish)
    batch = SemiBatch(
        labeled.to(device, memory_format=layout),
        target.to(device),
        unlabeled.to(device, memory_format=layout),
    )
    wish.folder.mkdir(exist_ok=True)
    loop = Loop(learner, wish.settings, folder=wish.folder, device=device)

    def step() -> float:
        loop.step = 0
        terms = loop.take_step(batch)
        return sum(float(value) for name, value in terms.items() if "supervised" in name)

    return step


class _TwoNetworks(torch.nn.Module):
    def __init__(self, first: torch.nn.Module, second: torch.nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.first(image), self.second(image)


def _pymics(wish: Wish, agent_type: Any, net: torch.nn.Module, **more: Any) -> Callable[[], float]:
    """PyMIC's own training code, one iteration; returns its supervised loss."""
    device = choose_device(wish.settings.device)
    labeled, target, unlabeled = _batch(wish)
    agent = agent_type.__new__(agent_type)
    agent.config = {
        "network": {"class_num": 2},
        "training": {"iter_valid": 1, "iter_max": wish.settings.steps},
        "semi_supervised_learning": {"regularize_w": 0.1, "rampup_end": wish.settings.steps},
    }
    agent.tensor_type, agent.device, agent.glob_it = "float", device, 0
    agent.net = net.to(device)
    for name, value in more.items():
        setattr(agent, name, value)
    settings = wish.settings
    agent.optimizer = torch.optim.SGD(
        agent.net.parameters(), settings.learning_rate, settings.momentum,
        weight_decay=settings.weight_decay,
    )  # fmt: skip
    shares = torch.nn.functional.one_hot(target, 2).movedim(-1, 1).float()
    agent.trainIter = itertools.repeat({"image": labeled, "label_prob": shares})
    agent.trainIter_unlab = itertools.repeat({"image": unlabeled})
    agent.get_loss_value = lambda data, prediction, truth: dice_cross_entropy(
        prediction, truth.argmax(dim=1)
    )

    def step() -> float:
        found = agent.training()
        return sum(float(found.get(name, 0)) for name in ("loss_sup", "loss_sup1", "loss_sup2"))

    return step


def _relative(first: float, second: float) -> float:
    return abs(first - second) / abs(second)


@contextmanager
def cross_pseudo_supervision(wish: Wish) -> Iterator[Contest]:
    """A step of co-training: two V-Nets, two labeled and two unlabeled patches."""
    from pymic.net_run.semi_sup import SSLCPS

    torch.manual_seed(0)
    method = METHODS.load("cross-pseudo-supervision")(lambda: VNet(1, 2, dropout=0.0))
    theirs = _TwoNetworks(deepcopy(method.first), deepcopy(method.second))
    ways = (
        Way("llmseg", _ours(wish, method)),
        Way("PyMIC", _pymics(wish, SSLCPS, theirs)),
    )
    yield Contest("a step of cross pseudo supervision, two V-Nets, 2+2", ways, _relative, 0.02)


@contextmanager
def uncertainty_aware(wish: Wish) -> Iterator[Contest]:
    """A step of UA-MT: a V-Net, its teacher, eight noisy passes of the teacher."""
    from pymic.net_run.semi_sup import SSLUncertaintyAwareMeanTeacher

    torch.manual_seed(0)
    method = METHODS.load("uncertainty-aware-mean-teacher")(lambda: VNet(1, 2, dropout=0.0))
    teacher = {"net_ema": deepcopy(method.student)}
    ways = (
        Way("llmseg", _ours(wish, method)),
        Way(
            "PyMIC",
            _pymics(wish, SSLUncertaintyAwareMeanTeacher, deepcopy(method.student), **teacher),
        ),
    )
    yield Contest("a step of UA-MT, V-Net, 2+2", ways, _relative, 0.02)


@contextmanager
def windows_at_stride(wish: Wish) -> Iterator[Contest]:
    """A scan at the papers' stride."""
    network, predict, image = _inference(wish)
    placed = Windows(tuple(image.shape[1:]), wish.settings.patch, stride=STRIDE)
    device = choose_device(wish.settings.device)

    @torch.no_grad()
    def loop() -> torch.Tensor:
        """Window by window in float32, sums in numpy, as UA-MT's and SSL4MIS' test code does."""
        sums = np.zeros((2, *image.shape[1:]), np.float32)
        counts = np.zeros(image.shape[1:], np.float32)
        for corner in itertools.product(*placed.starts):
            place = tuple(
                slice(at, at + side) for at, side in zip(corner, placed.patch, strict=True)
            )
            found = network(image[None, :, *place].to(device)).softmax(dim=1)
            sums[:, *place] += found[0].cpu().numpy()
            counts[place] += 1
        return torch.from_numpy(sums / counts)

    yield Contest(
        f"{len(placed)} windows of a scan of {_cross(image.shape[1:])} at stride 18, 18, 4",
        (Way("llmseg", lambda: _slabs(image, predict, placed)), Way("numpy loop, fp32", loop)),
        _dice_loss,
        0.001,
    )


@contextmanager
def windows_half_overlapping(wish: Wish) -> Iterator[Contest]:
    """A scan at overlap 0.5, each tool with its defaults."""
    from pymic.net_run.infer_func import Inferer

    network, predict, image = _inference(wish)
    patch, device = wish.settings.patch, choose_device(wish.settings.device)
    placed = Windows(tuple(image.shape[1:]), patch)
    inferer = Inferer(
        {
            "sliding_window_enable": True,
            "sliding_window_size": list(patch),
            "sliding_window_stride": [side // 2 for side in patch],
            "class_num": 2,
        }
    )

    def monais(predictor: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        with torch.inference_mode():
            found: Any = sliding_window_inference(
                image[None].to(device), patch, 4, predictor, overlap=0.5, mode="gaussian"
            )
        return torch.as_tensor(found[0].cpu())

    def plain(batch: torch.Tensor) -> torch.Tensor:
        return network(batch).softmax(dim=1)

    @torch.no_grad()
    def pymics() -> torch.Tensor:
        found: torch.Tensor = inferer.run(plain, image[None].to(device))
        return found[0].cpu().float()

    yield Contest(
        f"{len(placed)} windows of a scan of {_cross(image.shape[1:])}, half overlapping",
        (
            Way("llmseg", lambda: _slabs(image, predict, placed)),
            Way("MONAI, fp32", lambda: monais(plain)),
            Way("MONAI, llmseg's predictor", lambda: monais(predict)),
            Way("PyMIC, which asks windows at the border again", pymics),
        ),
        _dice_loss,
        0.001,
    )


def _inference(
    wish: Wish,
) -> tuple[torch.nn.Module, Callable[[torch.Tensor], torch.Tensor], torch.Tensor]:
    """A V-Net in float32, how llmseg asks it, and a scan.

    The network has been trained a little, to see what is bright: of random weights all voxels are
    doubtful, and rounding decides.
    """
    assert wish.data is not None
    device = choose_device(wish.settings.device)
    image = torch.from_numpy(load_image(find_cases(wish.data).cases[0].images).array)
    image = (image - image.mean()) / image.std()
    torch.manual_seed(0)
    network = VNet(1, 2, dropout=0.0).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for number in range(30):
        rooms = [size - 48 for size in image.shape[1:]]
        corner = [7 * number * k % room for k, room in enumerate(rooms, start=1)]
        part = image[None, :, *(slice(at, at + 48) for at in corner)].to(device)
        with torch.autocast(device.type, torch.bfloat16):
            loss = dice_cross_entropy(network(part), (part[:, 0] > 1).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval().requires_grad_(False)
    quick = deepcopy(network)
    fold_normalization(quick)
    hold_convolutions_as(quick, torch.bfloat16)
    layout = choose_memory_format("auto", dimensions=3)
    quick = quick.to(memory_format=layout)

    @torch.inference_mode()
    def predict(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            found = quick(batch.to(device, memory_format=layout))
        return found.float().softmax(dim=1)

    return network, predict, image


def _slabs(image: torch.Tensor, predict: Any, placed: Windows) -> torch.Tensor:
    slabs = sliding_window(image, predict, placed, batch=1, workers=torch.get_num_threads())
    return torch.cat([slab.clone() for _, slab in slabs], dim=1)


def _dice_loss(first: torch.Tensor, second: torch.Tensor) -> float:
    """One minus the Dice of the two label maps."""
    a, b = (found.argmax(dim=0) for found in (first, second))
    return 1 - float(2 * (a & b).sum() / (a.sum() + b.sum()))


def _cross(sides: Iterable[int]) -> str:
    return "x".join(map(str, sides))


@contextmanager
def distances(wish: Wish) -> Iterator[Contest]:
    """HD95 and mean surface distance of masks that are nearly right."""
    from medpy.metric import binary

    assert wish.data is not None
    problems = disturbed_masks(wish.data, 16)

    def ours() -> list[tuple[float, float]]:
        found = []
        for prediction, reference, spacing in problems:
            maps = (prediction.view(np.uint8), reference.view(np.uint8))
            pair = next(mask_pairs(*maps, classes=[1], spacing_mm=spacing))
            found.append((hd95(pair) or 0.0, asd(pair) or 0.0))
        return found

    def medpys() -> list[tuple[float, float]]:
        return [
            (float(binary.hd95(p, r, spacing)), float(binary.asd(p, r, spacing)))
            for p, r, spacing in problems
        ]

    def monais() -> list[tuple[float, float]]:
        found = []
        for prediction, reference, spacing in problems:
            p, r = (torch.from_numpy(mask[None, None]).float() for mask in (prediction, reference))
            both = {"include_background": True, "spacing": list(spacing)}
            hausdorff = compute_hausdorff_distance(p, r, percentile=95, **both)
            surface = compute_average_surface_distance(p, r, symmetric=False, **both)
            found.append((float(hausdorff), float(surface)))
        return found

    def apart(first: Any, second: Any) -> float:
        """Of ASD alone: MONAI's HD95 is the larger of two percentiles, medpy's that of all."""
        return max(abs(a[1] - b[1]) for a, b in zip(first, second, strict=True))

    ways = (Way("llmseg", ours), Way("medpy", medpys), Way("MONAI", monais))
    yield Contest(f"HD95 and ASD of {len(problems)} masks", ways, apart, 1e-4)


@contextmanager
def patches(wish: Wish) -> Iterator[Contest]:
    """Patches at given places: of prepared cases, of files, and of MONAI's cached volumes."""
    assert wish.data is not None
    cases = find_cases(wish.data).cases[:4]
    as_it_is = Preprocessing((0.0,), "none")
    prepared = [prepare_image(c, image_digest(c), as_it_is, wish.folder / "cache") for c in cases]
    random = np.random.default_rng(0)
    sides, corners = wish.settings.patch, []
    for number in range(READS):
        shape = np.load(prepared[number % len(cases)].image, mmap_mode="r").shape[1:]
        rooms = [size - side + 1 for size, side in zip(shape, sides, strict=True)]
        corners.append([int(random.integers(0, room)) for room in rooms])

    def ours() -> list[np.ndarray]:
        found = []
        for number, corner in enumerate(corners):
            array = np.load(prepared[number % len(cases)].image, mmap_mode="r")
            place = [slice(at, at + side) for at, side in zip(corner, sides, strict=True)]
            found.append(np.array(array[:, *place]))
        return found

    loading = Compose([LoadImaged("image"), EnsureChannelFirstd("image")])
    items = [{"image": str(case.images[0])} for case in cases]
    kept = PersistentDataset(items, loading, cache_dir=wish.folder / "monai")
    for number in range(len(items)):
        _ = kept[number]

    def cropped(volume: Any, corner: list[int]) -> np.ndarray:
        end = [at + side for at, side in zip(corner, wish.settings.patch, strict=True)]
        return np.asarray(SpatialCrop(roi_start=corner, roi_end=end)(volume))

    def from_files() -> list[np.ndarray]:
        return [
            cropped(loading(items[n % len(items)])["image"], corner)
            for n, corner in enumerate(corners)
        ]

    def from_cache() -> list[np.ndarray]:
        return [cropped(kept[n % len(items)]["image"], corner) for n, corner in enumerate(corners)]

    yield Contest(
        f"{READS} patches of " + _cross(wish.settings.patch),
        (
            Way("llmseg, prepared cases", ours),
            Way("MONAI, NIfTI and crop", from_files),
            Way("MONAI, PersistentDataset", from_cache),
        ),
        lambda a, b: max(float(abs(x - y).max()) for x, y in zip(a, b, strict=True)),
    )


CONTESTS = {
    "cross-pseudo-supervision": cross_pseudo_supervision,
    "ua-mt": uncertainty_aware,
    "windows-at-stride": windows_at_stride,
    "windows-half-overlapping": windows_half_overlapping,
    "distances": distances,
    "patches": patches,
}


def main() -> None:
    """Hold the contests and print a Markdown table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CONTESTS))
    options.add_argument("--data", type=Path, required=True, help="scans of the Left Atrium")
    options.add_argument("--patch", type=parse_sizes, default=(112, 112, 80))
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--device", default="auto")
    options.add_argument("-o", "--out", type=Path)
    chosen = options.parse_args()
    ensure_torchvision()  # PyMIC imports it
    settings = replace(TrainSettings(), patch=chosen.patch, device=chosen.device)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        wish = Wish(settings, "cross-pseudo-supervision", (), chosen.data, place, place)
        print("| work | way | median s | times llmseg | each round |")
        print("|---|---|---|---|---|")
        outcomes = run(
            CONTESTS,
            chosen.names,
            wish,
            rounds=chosen.rounds,
            on_outcome=_print,  # type: ignore[arg-type]
        )
    if chosen.out:
        write_json(chosen.out, report(outcomes, wish, chosen.rounds))


def _print(outcome: Outcome) -> None:
    for way, seconds in outcome.seconds.items():
        ratio = f"{outcome.ratios[way]:.2f}" if way in outcome.ratios else ""
        each = " ".join(f"{value:.3g}" for value in seconds)
        print(f"| {outcome.work} | {way} | {outcome.medians[way]:.3g} | {ratio} | {each} |")
    print(f"| | results differ by {outcome.difference:.3g} | | | {outcome.status} |", flush=True)


if __name__ == "__main__":
    main()
