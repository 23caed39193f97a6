"""Sound inputs of every kind, as llmseg and the libraries write them; examples damage copies."""

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from fuzz.forking import Forks
from fuzz.texts import write_yaml
from fuzz.tiny_gguf import write_gguf
from numpy.typing import NDArray
from PIL import Image
from tiny_data import write_dicom
from tiny_models import write_encoder, write_language_model
from tiny_sam import original_sam, write_sam

SHAPE = (18, 17, 16)
CASES = 4
AFFINE = np.diag([1.0, 1.0, 1.5, 1.0])
ROLES = ("--labeled", "0.34", "--test", "1", "--seed", "0")
TINY = (
    "--model",
    "vnet",
    "--model-option",
    "filters=2",
    "--steps",
    "2",
    "--batch",
    "2",
    "--workers",
    "0",
)
BOX = ("--patch", "16,16,16")
SQUARE = ("--patch", "16,16")
VIT = (
    "--model", "medvisionllama", "--model-option", "filters=8", "--model-option", "token=8",
    "--model-option", "depth=2", "--model-option", "heads=2", "--llm-block", "mlp", "--llm-model",
    "in/llama", "--steps", "2", "--batch", "1", "--workers", "0",
)  # fmt: skip
PICTURE_SUFFIXES = (".png", ".tif", ".jpg", ".bmp")
ITK_SUFFIXES = (".mhd", ".nrrd", ".mha", ".nhdr")


def scan(index: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """An image `(X, Y, Z)` and its label map, with two classes that are brighter than the rest."""
    label = np.zeros(SHAPE, np.uint8)
    label[3 + index : 9 + index, 4:11, 5:12] = 1
    label[12:16, 5 + index : 10 + index, 6:11] = 2
    noise = np.random.default_rng(index).normal(0, 1, SHAPE)
    return (100 + 40 * label + 5 * noise).astype(np.float32), label


class Sound:
    """Makes each folder of inputs once.

    Args:
        root: Where they are made, each with `in` and, if a command continues something, `out`.
        forks: Runs llmseg.
    """

    def __init__(self, root: Path, forks: Forks) -> None:
        self.root, self.forks = root, forks

    def folder(self, name: str) -> Path:
        """The folder of inputs of that name; a leading `a.` says which it starts from."""
        folder = self.root / name
        if not folder.exists():
            (folder / "in").mkdir(parents=True)
            MAKERS[name](self, folder)
        return folder

    def run(self, folder: Path, words: str, *more: str, codes: Sequence[int] = (0,)) -> None:
        """Run llmseg there; what commands import is thereby known for all that follow."""
        ended = self.forks.run((*words.split(), *more), folder, limit_s=300, rehearse=True)
        assert ended.code in codes, f"llmseg {words} {more}: {ended}"


def _scans(sound: Sound, folder: Path) -> None:
    """NIfTI with a split, a trained run, predictions and their scores."""
    for index in range(CASES):
        image, label = scan(index)
        _write_nifti(folder / f"in/data/images/case{index}.nii.gz", image)
        _write_nifti(folder / f"in/data/labels/case{index}.nii.gz", label)
    _write_nifti(folder / "in/scan.nii", scan(7)[0])
    sound.run(folder, "split --data in/data -o in/split.json", *ROLES)
    sound.run(folder, "train-sup --data in/data --split in/split.json -o in/run", *BOX, *TINY)
    sound.run(
        folder, "predict --run in/run --data in/data --split in/split.json --centres 3 -o in/pred"
    )
    unlabeled = json.loads((folder / "in/split.json").read_text())["unlabeled"]
    (folder / "in/suggested.csv").write_text(f"rank,case\n1,{unlabeled[0]}\n")
    words = "--split in/split.json --subset test --bootstrap 10 -o in/scores.json"
    sound.run(folder, f"score --pred in/pred --ref in/data {words}")


def _write_nifti(path: Path, array: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, AFFINE)
    image.header.set_xyzt_units("mm")
    image.set_qform(AFFINE, code=1)
    nib.save(image, path)


def _copied(sound: Sound, name: str, folder: Path, *parts: str) -> None:
    for part in parts:
        source, target = sound.folder(name) / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)


def _itk(sound: Sound, folder: Path) -> None:
    """MetaImage and NRRD, with the voxels behind the header and beside it; and a run."""
    _copied(sound, "scans", folder, "in/run")
    for index, suffix in enumerate(ITK_SUFFIXES):
        for kind, array in zip(("images", "labels"), scan(index), strict=True):
            image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
            image.SetSpacing((1.0, 1.0, 1.5))
            place = folder / f"in/data/{kind}"
            place.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(image, str(place / f"case{index}{suffix}"), useCompression=False)


def _dicom(sound: Sound, folder: Path) -> None:
    """Two series in folders of their own; and a run."""
    _copied(sound, "scans", folder, "in/run")
    for index in range(2):
        image = scan(index)[0][:, :, :5].astype(np.int16)
        write_dicom(folder / f"in/data/images/case{index}", image)


def _pictures(sound: Sound, folder: Path) -> None:
    """Color and grey pictures of four formats with label maps, a split and a run in 2D."""
    for kind in ("images", "labels"):
        (folder / "in/data" / kind).mkdir(parents=True)
    for index, suffix in enumerate((*PICTURE_SUFFIXES, ".png", ".png")):
        label = np.zeros((24, 20), np.uint8)
        label[5 + index : 14 + index, 4:13] = 1
        noise = np.random.default_rng(index).integers(0, 60, (24, 20, 3))
        color = (noise + 120 * label[..., np.newaxis]).astype(np.uint8)
        Image.fromarray(color).save(folder / f"in/data/images/case{index}{suffix}")
        Image.fromarray(label).save(folder / f"in/data/labels/case{index}.png")
    sound.run(folder, "split --data in/data -o in/split.json", *ROLES)
    sound.run(folder, "train-sup --data in/data --split in/split.json -o in/run", *SQUARE, *TINY)
    sound.run(folder, "predict --run in/run --data in/data --split in/split.json -o in/pred")


def _hdf5(sound: Sound, folder: Path) -> None:
    """Files with `image` and `label`, and lists of them; and a run."""
    _copied(sound, "scans", folder, "in/run")
    (folder / "in/data/data").mkdir(parents=True)
    for index in range(CASES):
        image, label = scan(index)
        with h5py.File(folder / f"in/data/data/case{index}.h5", "w") as file:
            file.create_dataset("image", data=image, compression="gzip")
            file.create_dataset("label", data=label)
    (folder / "in/data/train.list").write_text("case0\ncase1\n")
    (folder / "in/data/test.list").write_text("case2\ncase3\n")


def _decathlon(sound: Sound, folder: Path) -> None:
    """A `dataset.json` that lists its cases."""
    for index in range(CASES):
        image, label = scan(index)
        held_out = index == CASES - 1
        _write_nifti(folder / f"in/data/images{'Ts' if held_out else 'Tr'}/c{index}.nii.gz", image)
        if not held_out:
            _write_nifti(folder / f"in/data/labelsTr/c{index}.nii.gz", label)
    listed = [f"./{{}}Tr/c{index}.nii.gz" for index in range(CASES - 1)]
    content = {
        "name": "toy",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "near", "2": "far"},
        "numTraining": CASES - 1,
        "training": [{"image": e.format("images"), "label": e.format("labels")} for e in listed],
        "test": [f"./imagesTs/c{CASES - 1}.nii.gz"],
    }
    (folder / "in/data/dataset.json").write_text(json.dumps(content, indent=1))


def _nnunet(sound: Sound, folder: Path) -> None:
    """A `dataset.json` that names channels, and files of one channel each."""
    for index in range(3):
        image, label = scan(index)
        for channel in range(2):
            _write_nifti(folder / f"in/data/imagesTr/c{index}_000{channel}.nii.gz", image + channel)
        _write_nifti(folder / f"in/data/labelsTr/c{index}.nii.gz", label)
    content = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "near": 1, "far": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (folder / "in/data/dataset.json").write_text(json.dumps(content, indent=1))


def _lists(sound: Sound, folder: Path) -> None:
    """`cases.csv` and `cases.json` of the same cases; and a run."""
    _copied(sound, "scans", folder, "in/run")
    rows = []
    for index in range(3):
        image, label = scan(index)
        _write_nifti(folder / f"in/data/scans/{index}.nii.gz", image)
        _write_nifti(folder / f"in/data/maps/case{index}.nii.gz", label)
        names = {"image": f"scans/{index}.nii.gz", "label": f"maps/case{index}.nii.gz"}
        rows.append({"id": f"case{index}", **names, "group": f"patient{index}"})
    with (folder / "in/data/list.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    content = {"classes": {"1": "near", "2": "far"}, "cases": rows}
    (folder / "in/data/list.json").write_text(json.dumps(content, indent=1))


def _texts(sound: Sound, folder: Path) -> None:
    """Descriptions, a text encoder, a language model in two formats, and texts by hand."""
    write_encoder(folder / "in/encoder")
    write_language_model(folder / "in/llama")
    write_gguf(folder / "in/llama.gguf")
    mine = {"near": ["The near one is bright.", "It lies left."], "far": ["It is dark."]}
    (folder / "in/mine.yaml").write_text(json.dumps(mine, indent=1))
    (folder / "in/template.txt").write_text(
        "Describe {class_name} of {target} in {max_words} words."
    )
    classes = ("--class", "near", "--class", "far")
    words = "describe --target toy --modality MRI --llm file:in/mine.yaml -o in/descriptions.yaml"
    sound.run(folder, words, *classes)
    words = "embed in/descriptions.yaml --encoder in/encoder -o in/embeddings.safetensors"
    sound.run(folder, words)
    _copied(sound, "scans", folder, "in/data")
    words = "describe --target toy --llm measured --data in/data -o in/of-cases.yaml"
    sound.run(folder, words)
    words = (
        "describe --target toy --modality MRI --llm in/llama --texts 1 --max-words 5 -o out.yaml"
    )
    sound.run(folder, words, codes=(0, 7))
    (folder / "out.yaml").unlink(missing_ok=True)


def _guided(sound: Sound, folder: Path) -> None:
    """What a training with text reads."""
    _copied(sound, "scans", folder, "in/data", "in/split.json")
    _copied(sound, "texts", folder, "in/embeddings.safetensors")


def _mining(sound: Sound, folder: Path) -> None:
    """Pictures, a run, and Segment Anything in two formats."""
    _copied(sound, "pictures", folder, "in/data", "in/split.json", "in/run")
    write_sam(folder / "in/sam")
    torch.save(original_sam().state_dict(), folder / "in/sam.pth")
    words = "mine-sam --run in/run --data in/data --split in/split.json --sam transformers:in/sam"
    sound.run(folder, f"{words} -o in/pseudo --cache cache")


def _explained(sound: Sound, folder: Path) -> None:
    """A run of MedVisionLlama."""
    _copied(sound, "scans", folder, "in/data", "in/split.json")
    _copied(sound, "texts", folder, "in/llama")
    words = "train-sup --data in/data --split in/split.json -o in/run"
    sound.run(folder, words, *BOX, *VIT)


def _resumed(sound: Sound, folder: Path) -> None:
    """Outputs that a command continues: of a training, of `predict`, and of `mine-sam`."""
    _copied(sound, "scans", folder, "in/data", "in/split.json", "in/run")
    words = "train-sup --data in/data --split in/split.json -o out-run --cache cache --keep-state"
    sound.run(folder, words, *BOX, *TINY)
    (folder / "out-run/run.json").unlink()  # as if it had been stopped
    sound.run(folder, "predict --run in/run --data in/data --split in/split.json -o out-pred")
    for output in ("out-run", "out-pred"):
        (folder / output / "notes.txt").write_text("of the user\n")


def _settings(sound: Sound, folder: Path) -> None:
    """A project with `llmseg.yaml`, and a recipe."""
    _copied(sound, "scans", folder, "in/data", "in/split.json", "in/run", "in/pred")
    content = {
        "seed": 3,
        "label-map": ["3:1"],
        "patch": [16, 16, 16],
        "steps": 2,
        "batch": 2,
        "workers": 0,
        "spacing": [0.0],
        "model": "vnet",
        "model-option": {"filters": 2},
        "train-semi": {"method": "mean-teacher", "unlabeled-batch": 2},
        "predict": {"overlap": 0.25, "stride": [8, 8, 8], "mirror": False},
        "score": {"tolerance-mm": 2, "bootstrap": 10, "classes": ["1", "2"]},
        "split": {"labeled": 0.34, "test": 1},
    }
    (folder / "llmseg.yaml").write_text(write_yaml(content))
    (folder / "in/recipe.yaml").write_text(write_yaml(content))


MAKERS: dict[str, Callable[[Sound, Path], None]] = {
    "scans": _scans, "itk": _itk, "dicom": _dicom, "pictures": _pictures, "hdf5": _hdf5,
    "decathlon": _decathlon, "nnunet": _nnunet, "lists": _lists, "texts": _texts,
    "guided": _guided, "mining": _mining, "explained": _explained, "resumed": _resumed,
    "settings": _settings,
}  # fmt: skip
