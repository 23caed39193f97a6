"""PyMIC in a process of its own, on a CPU, for `accuracy.py`: train until a deadline, or predict.

What is PyMIC's own: data set, transforms, networks, losses, Adam, sliding windows, and the settings
of its published examples: for volumes those of its 3D prostate (`UNet` in 3D, 16 to 256 features,
four outputs that are supervised, Dice and cross entropy, flips, gamma, noise, Adam at 0.001, poly
of power 0.8), for thick slices those of its ACDC (the same in 2D on stacks of 8 slices, half of the
crops at a class), for pictures those of its fetal heads (2D, crops of 224 x 224). What is set, and
why:

- Its agents insist on a CUDA device; here the same parts are called with the CPU.
- Patches of at most 96 x 96 x 64 voxels and two a batch instead of four of 96 x 96 x 96, so that a
  CPU does many steps in the time.
- The steps end with the time, and its poly schedule is laid over them, step by step (`pace.py`).
- No process that reads beside (`num_worker = 0`): a new one each epoch, which is a few steps here,
  costs more than it saves.
- All labeled cases train; the last weights predict (`ckpt_mode = 0`), with windows that overlap by
  half.
- No post-processing: it is chosen by hand there, and nobody else has any.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pace import Pace, poly

RESERVE_S = 3.0  # to write the weights and to end
LEARNING_RATE, POWER = 1e-3, 0.8
LARGEST_PATCH = (96, 96, 64)  # X Y Z
THICK_SLICES = 32  # fewer slices, and fewer than half of a side, are a stack


def main() -> None:
    """Train or predict."""
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("work", choices=("train", "predict"))
    options.add_argument("--folder", type=Path, required=True, help="of this contestant")
    options.add_argument("--raw", type=Path, required=True, help="of the data set")
    options.add_argument("--threads", type=int, required=True)
    options.add_argument("--deadline", type=float, default=0.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--classes", type=int, required=True)
    options.add_argument("--channels", type=int, required=True)
    options.add_argument("--shape", type=lambda text: tuple(map(int, text.split(","))))
    options.add_argument("--pictures", action="store_true")
    chosen = options.parse_args()
    import torch

    from llmseg_cli.numerics.torchvision_operators import ensure_torchvision

    ensure_torchvision()  # PyMIC imports it
    torch.set_num_threads(chosen.threads)
    config = settings(
        chosen.shape,
        classes=chosen.classes,
        channels=chosen.channels,
        is_2d=chosen.pictures,
        raw=chosen.raw,
        folder=chosen.folder,
        seed=chosen.seed,
    )
    if chosen.work == "train":
        train(chosen, config)
    else:
        predict(chosen, config)


def patch_of(shape: tuple[int, int, int], *, is_2d: bool) -> list[int]:
    """Sides of a patch as PyMIC has them, slices first, for images of this size, X Y Z."""
    if is_2d:
        return [224, 224]
    if is_stack(shape):
        return [8, *(min(224, _multiple(side)) for side in shape[1::-1])]
    return [min(most, _multiple(side)) for most, side in zip(LARGEST_PATCH, shape, strict=True)][
        ::-1
    ]


def is_stack(shape: tuple[int, int, int]) -> bool:
    """Whether the last axis is few thick slices."""
    x, y, z = shape
    return z < THICK_SLICES and 2 * z < min(x, y)


def _multiple(side: int) -> int:
    return max(16, side // 16 * 16)  # four times halved


def settings(
    shape: tuple[int, int, int],
    *,
    classes: int,
    channels: int,
    is_2d: bool,
    raw: Path,
    folder: Path,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """PyMIC's configuration; keys are in lower case, as its reader makes them."""
    patch = patch_of(shape, is_2d=is_2d)
    is_flat = is_2d or is_stack(shape)
    first = ["Rescale"] if is_2d else ["Pad"]
    gray = [] if is_flat else ["GammaCorrection", "GaussianNoise"]
    train = [
        *first,
        "RandomCrop",
        "RandomFlip",
        "NormalizeWithMeanStd",
        *gray,
        "LabelToProbability",
    ]
    every = list(range(channels))
    dataset = {
        "tensor_type": "float",
        "task_type": "seg",
        "train_dir": str(raw),
        "train_csv": str(folder / "train.csv"),
        "test_dir": str(raw),
        "test_csv": str(folder / "test.csv"),
        "modal_num": 1 if is_2d else channels,
        "train_batch_size": 4 if is_2d else 2,
        "num_worker": 0,
        "patch_size": patch,
        "train_transform": train,
        "test_transform": [*first, "NormalizeWithMeanStd"],
        "rescale_output_size": [256, 256],
        "pad_output_size": patch,
        "randomcrop_output_size": patch,
        "randomcrop_foreground_focus": not is_2d and is_flat,
        "randomflip_flip_depth": not is_flat,
        "randomflip_flip_height": True,
        "randomflip_flip_width": True,
        "normalizewithmeanstd_channels": every,
        "gammacorrection_channels": every,
        "gammacorrection_gamma_min": 0.7,
        "gammacorrection_gamma_max": 1.5,
        "gaussiannoise_channels": every,
        "gaussiannoise_mean": 0,
        "gaussiannoise_std": 0.05,
        "gaussiannoise_probability": 0.5,
        "labeltoprobability_class_num": classes,
    }
    network = {
        "net_type": "UNet",
        "dimension": 2 if is_flat else 3,
        "class_num": classes,
        "in_chns": channels,
        "feature_chns": [16, 32, 64, 128, 256],
        "dropout": [0.0, 0.0, 0.3, 0.4, 0.5] if is_2d else [0.0, 0.0, 0.2, 0.2, 0.2],
        "multiscale_pred": not is_flat,
    }
    training = {
        "loss_type": ["DiceLoss", "CrossEntropyLoss"],
        "loss_weight": [1.0, 1.0],
        "deep_supervise": not is_flat,
        "optimizer": "Adam",
        "learning_rate": LEARNING_RATE,
        "momentum": 0.9,
        "weight_decay": 1e-5,
        "lr_scheduler": None,  # laid over the time by `train`
        "iter_valid": 1,
        "random_seed": seed,
    }
    windows = [224, 224] if is_2d else patch
    testing = {
        "output_dir": str(folder / "found"),
        "class_num": classes,
        "sliding_window_enable": True,
        "sliding_window_size": windows,
        "sliding_window_stride": [max(1, side // 2) for side in windows],
        "filename_replace_source": "_0000.",
        "filename_replace_target": ".",
    }
    return {"dataset": dataset, "network": network, "training": training, "testing": testing}


def rows(raw: Path, images: str, labels: str | None, files: int) -> list[str]:
    """Lines of PyMIC's table: the files of a case's channels, and its label map's."""
    names = sorted(path.name for path in (raw / images).iterdir() if "_0000." in path.name)
    table = [",".join([*(f"image{c}" for c in range(files)), *(["label"] if labels else [])])]
    for name in names:
        channels = [f"{images}/{name.replace('_0000.', f'_{c:04d}.')}" for c in range(files)]
        table.append(
            ",".join([*channels, *([f"{labels}/{name.replace('_0000.', '.')}"] if labels else [])])
        )
    return table


def _agent(config: dict[str, Any], stage: str) -> Any:
    import torch
    from pymic import TaskDict
    from pymic.net_run.agent_seg import SegmentationAgent

    config["dataset"]["task_type"] = TaskDict[config["dataset"]["task_type"]]
    agent = SegmentationAgent(config, stage)
    agent.create_dataset()
    agent.create_network()
    agent.device = torch.device("cpu")
    agent.net.to(agent.device)
    return agent


def train(chosen: argparse.Namespace, config: dict[str, Any]) -> None:
    """From raw files to `weights.pt`, before the deadline."""
    import torch

    files = config["dataset"]["modal_num"]
    table = rows(chosen.raw, "imagesTr", "labelsTr", files)
    Path(config["dataset"]["train_csv"]).write_text("\n".join(table), encoding="utf-8")
    agent = _agent(config, "train")
    agent.create_optimizer(agent.get_parameters_to_update())
    agent.create_loss_calculator()
    agent.trainIter = iter(agent.train_loader)
    pace = Pace(chosen.deadline - RESERVE_S)
    while (progress := pace.progress) < 1:
        for group in agent.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * poly(progress, POWER)
        found = agent.training()  # one iteration, for iter_valid is 1
        pace.tick()
        if pace.done % 10 == 0:
            print(f"step {pace.done} loss {found['loss']:.4f} Dice {found['avg_fg_dice']:.3f}")
            sys.stdout.flush()
    torch.save(agent.net.state_dict(), chosen.folder / "weights.pt")
    patch = " x ".join(map(str, config["dataset"]["patch_size"]))
    flat = "2D" if config["network"]["dimension"] == 2 else "3D"
    facts = {
        "steps": pace.done,
        "seconds_per_step": pace.seconds_per_step,
        "settings": f"UNet {flat}, patch {patch}, batch {config['dataset']['train_batch_size']}",
    }
    (chosen.folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def predict(chosen: argparse.Namespace, config: dict[str, Any]) -> None:
    """Masks of the test images, by PyMIC's inferer, inverse transforms and writer."""
    import torch
    from pymic.net_run.infer_func import Inferer

    table = rows(chosen.raw, "imagesTs", None, config["dataset"]["modal_num"])
    Path(config["dataset"]["test_csv"]).write_text("\n".join(table), encoding="utf-8")
    agent = _agent(config, "test")
    agent.net.load_state_dict(torch.load(chosen.folder / "weights.pt", weights_only=True))
    agent.net.eval()
    inferer = Inferer(config["testing"])
    with torch.no_grad():
        for data in agent.test_loader:
            found = inferer.run(agent.net, agent.convert_tensor_type(data["image"]))
            found = found[0] if isinstance(found, list | tuple) else found
            data["predict"] = found.numpy()
            for transform in agent.test_transforms[::-1]:
                if transform.inverse:
                    data = transform.inverse_transform_for_prediction(data)
            agent.save_outputs(data)


if __name__ == "__main__":
    main()
