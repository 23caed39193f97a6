"""A scan window by window, by llmseg, MONAI, PyMIC and the loop of the papers' code.

Each way has a process of its own: llmseg's predict lets the C library keep freed memory
(`keep_freed_memory`), a setting of a whole process that other tools do not make. All load the same
scan and the same weights, and return a label map.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from own_process import own_process
from window_rules import LLMSEG, PYMIC, LabelMap, Rule, by_rules

from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.volumes import load_image
from llmseg_cli.inference.folding import fold_normalization, hold_convolutions_as
from llmseg_cli.inference.sliding_window import sliding_window
from llmseg_cli.inference.to_image_grid import to_image_grid
from llmseg_cli.inference.windows import Windows
from llmseg_cli.losses.dice_cross_entropy import dice_cross_entropy
from llmseg_cli.models.vnet import VNet
from llmseg_cli.numerics.class_softmax import class_softmax
from llmseg_cli.numerics.memory import keep_freed_memory
from llmseg_cli.numerics.torchvision_operators import ensure_torchvision
from llmseg_cli.training.precision import choose_device, choose_memory_format
from llmseg_cli.workflows.bench.run import Contest, Way, Wish
from llmseg_cli.workflows.predict.image import SIDE_BY_SIDE, fast_batch

STRIDE = (18, 18, 4)  # of the papers
SAME_MAP = 0.001  # one minus Dice; bfloat16
Predict = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def windows_at_stride(wish: Wish) -> Iterator[Contest]:
    """A scan at the papers' stride; all windows count alike, as in the papers' code."""
    shape = _prepare(wish)
    placed = Windows(shape, wish.settings.patch, stride=STRIDE)
    ours = own_process(llmsegs, wish, STRIDE, "constant")
    with ours as quick, own_process(numpys, wish) as loop:
        yield Contest(
            f"{len(placed)} windows of a scan of {cross(shape)} at stride 18, 18, 4",
            (Way("llmseg, --blend constant", quick), Way("numpy loop, fp32", loop)),
            _dice_loss,
            SAME_MAP,
        )


@contextmanager
def windows_half_overlapping(wish: Wish) -> Iterator[Contest]:
    """A scan at overlap 0.5, each tool with its defaults."""
    shape = _prepare(wish)
    placed = Windows(shape, wish.settings.patch)
    with (
        own_process(llmsegs, wish) as ours,
        own_process(monais, wish) as plain,
        own_process(monais_of_llmseg, wish) as quick,
    ):
        yield Contest(
            f"{len(placed)} windows of a scan of {cross(shape)}, half overlapping",
            (
                Way("llmseg", ours),
                Way("MONAI, fp32", plain),
                Way("MONAI, llmseg's predictor", quick),
            ),
            _dice_loss,
            SAME_MAP,
        )


@contextmanager
def windows_of_pymic(wish: Wish) -> Iterator[Contest]:
    """The same by PyMIC, which sums windows by another rule.

    The two label maps differ, on the first scan of the Left Atrium by 0.003 of Dice with windows of
    112 x 112 x 80; so each is compared with what its own rule, written out in numpy
    (`window_rules.py`), makes of the same network's answers.
    """
    shape, patch = _prepare(wish), wish.settings.patch
    stride = tuple(side // 2 for side in patch)
    asked = 1 + math.prod(math.ceil(n / step) for n, step in zip(shape, stride, strict=True))
    apart = _apart_from(wish, stride, LLMSEG, PYMIC)
    with own_process(llmsegs, wish) as ours, own_process(pymics, wish) as theirs:
        yield Contest(
            f"{len(Windows(shape, patch))} windows of a scan of {cross(shape)}, half overlapping",
            (Way("llmseg", ours), Way(f"PyMIC, fp32, which asks {asked}", theirs)),
            apart,
            SAME_MAP,
        )


def _apart_from(
    wish: Wish, stride: tuple[int, ...], *rules: Rule
) -> Callable[[LabelMap, LabelMap], float]:
    """How far two label maps are from those of their rules, the network in float32."""
    network, image = _load(wish)
    device = choose_device(wish.settings.device)

    def ask(window: torch.Tensor) -> torch.Tensor:
        return network(window.to(device)).softmax(dim=1)

    with torch.inference_mode():
        expected = by_rules(ask, image, wish.settings.patch, stride=stride, rules=rules)
    return lambda *found: max(map(_dice_loss, found, expected))


def cross(sides: Iterable[int]) -> str:
    """Sides of a box in words."""
    return "x".join(map(str, sides))


def _dice_loss(first: LabelMap, second: LabelMap) -> float:
    """One minus the Dice of the two label maps."""
    a, b = (found.astype(bool) for found in (first, second))
    return 1 - float(2 * (a & b).sum() / (a.sum() + b.sum()))


def llmsegs(
    wish: Wish, stride: tuple[int, ...] | None = None, blend: str = "gaussian"
) -> Callable[[], LabelMap]:
    """As `predict` does."""
    keep_freed_memory()
    network, image = _load(wish)
    device = choose_device(wish.settings.device)
    predict = _predictor(network, device)
    shape = tuple(image.shape[1:])
    placed = Windows(shape, wish.settings.patch, stride=stride, blend=blend)
    on_cpu = device.type == "cpu"
    workers = min(torch.get_num_threads(), SIDE_BY_SIDE) if on_cpu else 1
    batch = fast_batch(wish.settings.patch, 2, device)

    @torch.inference_mode()
    def labels() -> LabelMap:
        slabs = sliding_window(image, predict, placed, batch=batch, workers=workers, store=device)
        return to_image_grid(slabs, grid=shape, shape=shape)

    return labels


def numpys(wish: Wish) -> Callable[[], LabelMap]:
    """Window by window in float32, sums in numpy, as UA-MT's and SSL4MIS' test code does."""
    network, image = _load(wish)
    device = choose_device(wish.settings.device)
    placed = Windows(tuple(image.shape[1:]), wish.settings.patch, stride=STRIDE)

    @torch.no_grad()
    def labels() -> LabelMap:
        sums = np.zeros((2, *image.shape[1:]), np.float32)
        counts = np.zeros(image.shape[1:], np.float32)
        for corner in itertools.product(*placed.starts):
            place = tuple(
                slice(at, at + side) for at, side in zip(corner, placed.patch, strict=True)
            )
            found = network(image[None, :, *place].to(device)).softmax(dim=1)
            sums[:, *place] += found[0].cpu().numpy()
            counts[place] += 1
        return (sums / counts).argmax(axis=0).astype(np.uint8)

    return labels


def monais(wish: Wish) -> Callable[[], LabelMap]:
    """MONAI's inferer and the network as it was trained."""
    network, image = _load(wish)
    return _monais(wish, image, lambda batch: network(batch).softmax(dim=1))


def monais_of_llmseg(wish: Wish) -> Callable[[], LabelMap]:
    """MONAI's inferer, asking the network as llmseg does."""
    network, image = _load(wish)
    return _monais(wish, image, _predictor(network, choose_device(wish.settings.device)))


def _monais(wish: Wish, image: torch.Tensor, predict: Predict) -> Callable[[], LabelMap]:
    patch, device = wish.settings.patch, choose_device(wish.settings.device)

    @torch.inference_mode()
    def labels() -> LabelMap:
        found: Any = sliding_window_inference(
            image[None].to(device), patch, 4, predict, overlap=0.5, mode="gaussian"
        )
        return _label_map(found[0])

    return labels


def pymics(wish: Wish) -> Callable[[], LabelMap]:
    """PyMIC's inferer and the network as it was trained."""
    ensure_torchvision()  # PyMIC imports it
    from pymic.net_run.infer_func import Inferer  # type: ignore[import-not-found]

    network, image = _load(wish)
    patch, device = wish.settings.patch, choose_device(wish.settings.device)
    inferer = Inferer(
        {
            "sliding_window_enable": True,
            "sliding_window_size": list(patch),
            "sliding_window_stride": [side // 2 for side in patch],
            "class_num": 2,
        }
    )

    @torch.no_grad()
    def labels() -> LabelMap:
        found = inferer.run(lambda batch: network(batch).softmax(dim=1), image[None].to(device))
        return _label_map(found[0])

    return labels


def _label_map(probabilities: torch.Tensor) -> LabelMap:
    found: LabelMap = probabilities.argmax(dim=0).to(torch.uint8).cpu().numpy()
    return found


def _prepare(wish: Wish) -> tuple[int, ...]:
    """Save a scan, and weights of a V-Net, for all processes; returns the scan's shape.

    The network is trained a little, to see what is bright: of random weights all voxels are
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
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.save((network.state_dict(), image), _saved(wish))
    return tuple(image.shape[1:])


def _load(wish: Wish) -> tuple[VNet, torch.Tensor]:
    """The network in float32, and the scan."""
    device = choose_device(wish.settings.device)
    weights, image = torch.load(_saved(wish), map_location="cpu", weights_only=True)
    network = VNet(1, 2, dropout=0.0)
    network.load_state_dict(weights)
    return network.to(device).eval().requires_grad_(False), image


def _saved(wish: Wish) -> Path:
    return wish.folder / "scan-and-network.pt"


def _predictor(network: VNet, device: torch.device) -> Predict:
    """How llmseg asks a network."""
    quick = deepcopy(network)
    fold_normalization(quick)
    hold_convolutions_as(quick, torch.bfloat16)
    layout = choose_memory_format("auto", dimensions=3)
    quick = quick.to(memory_format=layout)  # type: ignore[call-overload]

    @torch.inference_mode()
    def predict(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            found = quick(batch.to(device, memory_format=layout))
        return class_softmax(found)

    return predict
