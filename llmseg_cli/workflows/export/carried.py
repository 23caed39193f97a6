"""From a scan to a mask around the network of this bundle, as `llmseg predict` does it.

`llmseg export --monai-bundle` copies this file into a bundle as `scripts/llmseg_bundle.py`. It
needs MONAI, nibabel, numpy and torch, and imports nothing of llmseg.
"""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, sliding_window_inference
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor, nn

AFFINE, SHAPE = "llmseg_affine", "llmseg_shape"  # of the image's file, in its meta data
SIGMA = 0.125  # of a window's side
LEFT = ("affine", AFFINE, "original_channel_dim")  # meta data that are set anew, or true no more
BYTE = 255
NIFTI = ".nii.gz"


class Exported(nn.Module):
    """The network of `models/model.pt2`: probabilities `(B, K, *patch)` of `(B, C, *patch)`.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.program = torch.export.load(path).module()

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities of windows."""
        found: Tensor = self.program(image)
        return found

    def train(self, mode: bool = True) -> Self:
        """Nothing: an exported network has one mode, and refuses to be asked for another."""
        return self


class ToNetwork(MapTransform):
    """Turns an image `(C, I, J[, K])` to RAS+, resamples and normalizes it: `(C, X, Y, Z)`.

    Args:
        keys: Of the images.
        spacing: mm per voxel, one number or three; 0 keeps the image's own.
        normalize: `zscore`, `zscore-nonzero`, `minmax`, `window:LOW:HIGH` or `none`.
    """

    def __init__(self, keys: Any, spacing: Sequence[float], normalize: str) -> None:
        super().__init__(keys)
        self.spacing = tuple(spacing) * 3 if len(spacing) == 1 else tuple(spacing)
        self.normalize = normalize

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with images that are ready."""
        found = dict(data)
        for key in self.key_iterator(found):
            found[key] = self.prepared(found[key])
        return found

    def prepared(self, image: MetaTensor) -> MetaTensor:
        """One image; what `ToImage` needs goes along as meta data."""
        stored = plain(image).cpu().numpy().astype(np.float32)
        shape = stored.shape[1:]
        is_flat = stored.ndim == 3
        affine = np.eye(4) if is_flat else image.affine.cpu().numpy().astype(np.float64)
        whole = stored[..., None] if is_flat else stored
        turned = turn(whole, nib.io_orientation(affine))
        ras = affine @ nib.orientations.inv_ornt_aff(nib.io_orientation(affine), whole.shape[1:])
        lengths = np.linalg.norm(ras[:3, :3], axis=0)
        sizes = self.sizes(turned.shape[1:], lengths)
        resampled = resample(torch.from_numpy(turned), sizes).numpy()
        ready = np.stack([normalized(channel, self.normalize) for channel in resampled])
        scale = np.array(turned.shape[1:]) / np.array(sizes)
        grid = np.diag([*scale, 1.0])
        grid[:3, 3] = (scale - 1) / 2
        meta = {name: value for name, value in image.meta.items() if name not in LEFT}
        meta |= {AFFINE: torch.from_numpy(affine), SHAPE: torch.tensor(shape)}
        return MetaTensor(torch.from_numpy(ready), affine=torch.from_numpy(ras @ grid), meta=meta)

    def sizes(self, shape: Sequence[int], spacing_mm: NDArray[np.float64]) -> tuple[int, ...]:
        """Voxels along X, Y, Z after resampling."""
        return tuple(
            max(1, round(size * have / want)) if want and size > 1 else size
            for size, have, want in zip(shape, spacing_mm.tolist(), self.spacing, strict=True)
        )


class Windows(Inferer):
    """Asks the network window by window; overlapping ones count by a Gaussian.

    Args:
        patch: Sides of a window; two of them take each slice along Z on its own.
        overlap: Share of a window that the next one covers.
        batch: Windows at a time.
        slices: What two sides see along Z: a slice and its neighbors, as channels.
    """

    def __init__(
        self, patch: Sequence[int], overlap: float = 0.5, batch: int = 1, slices: int = 1
    ) -> None:
        super().__init__()
        self.patch, self.overlap, self.batch, self.slices = tuple(patch), overlap, batch, slices

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Probabilities `(B, K, X, Y, Z)` of prepared images `(B, C, X, Y, Z)`."""
        image = plain(inputs)
        if len(self.patch) == 3:
            return self._asked(image, network)
        depth = image.shape[-1]
        planes = [self._asked(self._seen(image, z), network) for z in range(depth)]
        return torch.stack(planes, dim=-1)

    def _seen(self, image: Tensor, z: int) -> Tensor:
        """A slice with its neighbors, `(B, C * slices, X, Y)`; at an edge, the slice repeats."""
        beside = range(z - self.slices // 2, z + self.slices // 2 + 1)
        places = [min(max(one, 0), image.shape[-1] - 1) for one in beside]
        return image[..., places].movedim(-1, 2).flatten(1, 2)

    def _asked(self, image: Tensor, network: Any) -> Tensor:
        found: Any = sliding_window_inference(
            image,
            self.patch,
            self.batch,
            network,
            overlap=self.overlap,
            mode="gaussian",
            sigma_scale=SIGMA,
            padding_mode="constant",
        )
        return plain(found)


class ToImage(MapTransform):
    """Turns probabilities `(K, X, Y, Z)` into a label map on the voxels of the image's file.

    Args:
        keys: Of the probabilities.
        values: Value of each class in the label map.
        image: Key of the image that `ToNetwork` has prepared.
    """

    def __init__(self, keys: Any, values: Sequence[int], image: str = "image") -> None:
        super().__init__(keys)
        self.values, self.image = tuple(values), image

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The data with label maps `(1, I, J[, K])`."""
        found = dict(data)
        for key in self.key_iterator(found):
            found[key] = self.labeled(found[key], found[self.image].meta)
        return found

    def labeled(self, probabilities: Tensor, meta: Mapping[str, Any]) -> MetaTensor:
        """The most probable class of each voxel, the first where several are equal."""
        shape = [int(size) for size in meta[SHAPE]]
        affine = torch.as_tensor(meta[AFFINE]).cpu().numpy().astype(np.float64)
        whole = (*shape, 1)[:3]
        orientation = nib.io_orientation(affine)
        ras = nib.orientations.axcodes2ornt("RAS")
        turned_shape = [0, 0, 0]
        for axis, target in enumerate(orientation[:, 0].astype(int)):
            turned_shape[target] = whole[axis]
        numbers = most_probable(plain(probabilities).float().cpu(), turned_shape)
        kind = np.uint8 if max(self.values) <= BYTE else np.uint16
        labels = np.asarray(self.values, kind)[numbers]
        stored = turn(labels[None], nib.orientations.ornt_transform(ras, orientation))
        kept = {name: value for name, value in meta.items() if name not in LEFT}
        array = torch.from_numpy(stored.reshape(1, *shape).astype(np.int32))
        return MetaTensor(array, affine=torch.from_numpy(affine), meta=kept)


class Evaluator:
    """What `python -m monai.bundle run` runs: scan after scan, each mask written.

    Args:
        device: Where the network is.
        dataset: Prepared scans.
        network: As of `Exported`.
        inferer: As of `Windows`.
        postprocessing: Makes a mask of probabilities.
        output_dir: Folder for the masks, which are named like their scans.
    """

    def __init__(
        self,
        device: Any,
        dataset: Any,
        network: Any,
        inferer: Any,
        postprocessing: Any,
        output_dir: str,
    ) -> None:
        self.device, self.dataset, self.network = device, dataset, network
        self.inferer, self.postprocessing = inferer, postprocessing
        self.folder = Path(output_dir)

    def run(self) -> None:
        """Predict all scans."""
        with torch.no_grad():
            for index in range(len(self.dataset)):
                data = dict(self.dataset[index])
                image = plain(data["image"])[None].to(self.device)
                data["pred"] = self.inferer(image, self.network)[0].cpu()
                self.save(self.postprocessing(data)["pred"])

    def save(self, mask: MetaTensor) -> None:
        """Write a mask `(1, I, J[, K])` as NIfTI, on the voxels of its scan."""
        scan = Path(str(mask.meta["filename_or_obj"])).name
        stem = scan[: -len(NIFTI)] if scan.endswith(NIFTI) else Path(scan).stem
        labels = plain(mask).cpu().numpy()[0]
        kind = np.uint8 if labels.max() <= BYTE else np.uint16
        affine = plain(mask.affine).cpu().numpy()
        self.folder.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image(labels.astype(kind), affine)
        nib.save(image, self.folder / f"{stem}{NIFTI}")


def plain(values: Any) -> Tensor:
    """A tensor without MONAI's meta data."""
    return values.as_tensor() if isinstance(values, MetaTensor) else torch.as_tensor(values)


def turn(array: NDArray[Any], orientation: NDArray[np.float64]) -> NDArray[Any]:
    """Turn the last three axes of `(C, I, J, K)`, as nibabel's *orientation* says."""
    front = nib.apply_orientation(np.moveaxis(array, 0, -1), orientation)
    return np.ascontiguousarray(np.moveaxis(front, -1, 0))


def axis_weights(size: int, new_size: int) -> Tensor:
    """Weights of linear interpolation along one axis whose extent stays, `(new_size, size)`.

    Voxel i of the result has its center at (i + 1/2) s - 1/2, with s = size / new_size. Where s is
    above 1, the triangle is s voxels wide, so that fine detail is averaged.
    """
    scale = size / new_size
    width = max(scale, 1.0)
    centers = (np.arange(new_size) + 0.5) * scale - 0.5
    if scale <= 1:
        centers = centers.clip(0, size - 1)
    weights = (1 - np.abs(np.arange(size)[None, :] - centers[:, None]) / width).clip(0)
    return torch.from_numpy((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def resample(array: Tensor, shape: Sequence[int]) -> Tensor:
    """Resample the last three axes of *array*, linearly, axis by axis."""
    for axis, new_size in zip((-3, -2, -1), shape, strict=True):
        size = array.shape[axis]
        if size != new_size:
            moved = array.movedim(axis, -1) @ axis_weights(size, new_size).T
            array = moved.movedim(-1, axis)
    return array.contiguous()


def normalized(channel: NDArray[np.float32], normalize: str) -> NDArray[np.float32]:
    """Intensities of one channel as the training saw them."""
    if normalize == "none":
        return channel
    if normalize.startswith("window:"):
        low, high = map(float, normalize.split(":")[1:])
        clipped = np.clip(channel, low, high)
        return (clipped - np.float32(low)) / np.float32(high - low)
    if normalize == "minmax":
        low, high = float(channel.min()), float(channel.max())
        return (channel - np.float32(low)) / np.float32(max(high - low, 1e-8))
    voxels = channel[channel != 0] if normalize == "zscore-nonzero" else channel
    voxels = voxels if voxels.size else channel
    mean, deviation = float(voxels.mean()), max(float(voxels.std()), 1e-8)
    return (channel - np.float32(mean)) / np.float32(deviation)


def most_probable(probabilities: Tensor, shape: Sequence[int]) -> NDArray[np.int64]:
    """The class with the highest probability at each voxel of *shape*, class after class."""
    best = torch.zeros(tuple(shape))
    numbers = torch.zeros(tuple(shape), dtype=torch.int64)
    for number, share in enumerate(probabilities):
        values = resample(share[None], shape)[0]
        numbers[values > best] = number
        best = torch.maximum(best, values)
    return numbers.numpy()
