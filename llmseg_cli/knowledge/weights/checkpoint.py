"""The tensors of a model's folder: which files hold them, and how they are read."""

import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.weights.strangers import read_mapping, refused

SAFE, PICKLED, INDEX = "model.safetensors", "pytorch_model.bin", ".index.json"
WRAPPERS = ("model", "state_dict", "model_state_dict")  # keys under which training scripts save
PART = re.compile(r"model-(\d+)-of-(\d+)\.safetensors")
FLOATS = {  # of safetensors, by their names there
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
WHOLE = {  # counters, indices and masks; `refuse_whole_numbers` sees to it that they are no weights
    **{f"I{bits}": getattr(torch, f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": getattr(torch, f"uint{bits}") for bits in (8, 16, 32, 64)},
    "BOOL": torch.bool,
}
FORMATS = FLOATS | WHOLE
READ = "llmseg reads weights in float64, float32, float16 and bfloat16."
UNQUANTIZED = f"{READ} Give the unquantized model."
PACKED = re.compile(r"(q?u?int|[IU])[248]$|float[48]|F[48]")  # what weights are quantized to


@dataclass(frozen=True)
class Checkpoint:
    """The files of a model's folder that hold its weights; no other file with weights is read.

    Args:
        files: Safetensors, or pickles.
        index: The file that names them, if there is one.
        places: Tensor to the name of its file, as the index says; empty without an index.
    """

    files: tuple[Path, ...]
    index: Path | None
    places: Mapping[str, str]

    @property
    def read(self) -> tuple[Path, ...]:
        """All files that are looked at."""
        return (*self.files, *((self.index,) if self.index else ()))

    def tensors(self, wanted: Callable[[str], bool] = lambda _: True) -> dict[str, Tensor]:
        """The tensors by name; safetensors are mapped into memory, and read when they are used.

        Args:
            wanted: Says of a name whether it is needed; others are not looked at.

        Raises:
            WeightsError: If a file is damaged, holds more than tensors, or numbers of a format that
                is not read.
        """
        found: dict[str, Tensor] = {}
        for path in self.files:
            read = _safe_tensors if path.suffix == ".safetensors" else _pickled_tensors
            found |= read(path, partial(self._is_needed, path, wanted))
        return found

    def holding(self, names: Callable[[str], bool]) -> "Checkpoint":
        """The same without the files in which the index places none of the tensors."""
        needed = {file for name, file in self.places.items() if names(name)}
        files = tuple(path for path in self.files if path.name in needed)
        return Checkpoint(files, self.index, self.places) if files else self

    def _is_needed(self, path: Path, wanted: Callable[[str], bool], name: str) -> bool:
        """Whether a tensor is wanted, and this is the file where the index places it, if any."""
        return self.places.get(name, path.name) == path.name and wanted(name)


def find_checkpoint(folder: Path) -> Checkpoint:
    """The weights of a folder, chosen in the order of transformers.

    `model.safetensors`, then the shards of its index, then `pytorch_model.bin`, then the shards of
    that index. Shards that are all there need no index.

    Raises:
        WeightsError: If there are none, shards are missing, or two sets contradict each other.
    """
    for name in (SAFE, PICKLED):
        single, index = folder / name, folder / f"{name}{INDEX}"
        places = _places(index)
        named = sorted(set(places.values()))
        if single.is_file() and named and named != [name]:
            raise WeightsError(
                f"{folder} holds {name} and an index that names other files, such as {named[0]}; "
                "one of the two is out of date. Delete the wrong one."
            )
        if single.is_file():
            return Checkpoint((single,), None, {})
        if named:
            return Checkpoint(_shards(folder, index, named), index, places)
        if name == SAFE and (parts := _numbered(folder)):
            return Checkpoint(parts, None, {})
    raise WeightsError(
        f"{folder} holds no .safetensors or .bin file with weights: expected {SAFE}, {PICKLED}, or "
        "an index of shards. Save the model with save_pretrained."
    )


def read_pickle(path: Path, *, wrappers: Collection[str] = WRAPPERS) -> dict[str, Tensor]:
    """The tensors of a `.pth`, `.pt` or `.bin` file, without running code that it may hold.

    Args:
        path: The file.
        wrappers: Keys under which they may lie beside other things, and under one another.

    Raises:
        WeightsError: If it holds anything but tensors by name, or is damaged.
    """
    refusal = (
        f"{path} is no checkpoint of tensors alone, and llmseg opens no other pickle, because "
        "one can run code"
    )
    with refused(refusal, remedy="Fetch it again, or save its weights as safetensors."):
        state = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    tensors = _named_tensors(state, wrappers)
    if tensors is None:
        raise WeightsError(
            f"{path} is no checkpoint of tensors alone: expected tensors by name, as state_dict() "
            "gives them. Save it so."
        )
    for name, tensor in tensors.items():
        if tensor.dtype not in FORMATS.values():
            raise strange_numbers(path, name, tensor.dtype)
    return {name: _narrow(tensor) for name, tensor in tensors.items()}


def _named_tensors(state: Any, wrappers: Collection[str]) -> dict[str, Tensor] | None:
    """Tensors by name in what a script saved, if that is what it holds."""
    for _ in wrappers:  # a dict may hold itself
        if isinstance(state, dict):
            state = next((state[k] for k in wrappers if isinstance(state.get(k), dict)), state)
    if not isinstance(state, dict) or not state:
        return None
    if all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        return dict(state)
    return None


def _pickled_tensors(path: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in read_pickle(path).items() if wanted(name)}


def _safe_tensors(path: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    with (
        refused(f"{path} is damaged", remedy="Fetch it again."),
        safe_open(path, framework="pt") as file,
    ):
        names = [name for name in file.keys() if wanted(name)]  # noqa: SIM118
        for name in names:
            if (kind := file.get_slice(name).get_dtype()) not in FORMATS:
                raise strange_numbers(path, name, kind)
        return {name: _narrow(file.get_tensor(name)) for name in names}


def _narrow(tensor: Tensor) -> Tensor:
    """A tensor in a format that networks compute with."""
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def strange_numbers(source: object, name: str, kind: object) -> WeightsError:
    """An error about a weight in a format that is not read.

    Args:
        source: Where the weights lie.
        name: Of the tensor.
        kind: Its format, by torch or by safetensors.
    """
    told = str(kind).removeprefix("torch.")
    if PACKED.match(told):
        return WeightsError(f"{source} holds '{name}' as {told}, so it is quantized. {UNQUANTIZED}")
    return WeightsError(
        f"{source} holds '{name}' as {told}, expected floating-point numbers. {READ} Save it so."
    )


def _places(index: Path) -> dict[str, str]:
    if not index.is_file():
        return {}
    places = read_mapping(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise WeightsError(f"{index} has no 'weight_map' of tensors. Fetch the model again.")
    for name, file in places.items():
        if not isinstance(file, str) or Path(file).name != file:
            raise WeightsError(
                f"{index} places '{name}' in {file!r}; expected the name of a file beside it."
            )
    return places


def _shards(folder: Path, index: Path, names: list[str]) -> tuple[Path, ...]:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            f"{index} names {len(names)} files with weights, of which {len(missing)} are not "
            f"there, such as {missing[0]}. Fetch the model again."
        )
    return tuple(folder / name for name in names)


def _numbered(folder: Path) -> tuple[Path, ...]:
    """Shards by their numbers, if they are all there."""
    found = {path: PART.fullmatch(path.name) for path in sorted(folder.glob("model-*.safetensors"))}
    numbers = {
        (int(match[1]), int(match[2])): path for path, match in found.items() if match is not None
    }
    whole = max((total for _, total in numbers), default=0)
    expected = [(number, whole) for number in range(1, whole + 1)]
    if not numbers:
        return ()
    if sorted(numbers) != expected:
        raise WeightsError(
            f"{folder} holds {len(numbers)} numbered files with weights without an index; expected "
            f"all of model-00001-of-{whole:05}. Fetch the model again."
        )
    return tuple(numbers[key] for key in expected)
