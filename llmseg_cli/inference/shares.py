"""Which share of each voxel a window has where windows overlap, so that a voxel counts once."""

import torch
import torch.nn.functional as F
from torch import Tensor

from llmseg_cli.inference.sliding_window import Corners, side_weights
from llmseg_cli.inference.windows import Windows


class Shares:
    """Shares of the voxels of windows; over all windows, those of a voxel sum to 1.

    Along each axis a window's share is its weight in the blend by that of all windows there.

    Args:
        windows: Where they stand.
        begin: First voxel along Y that counts; those before it, and those that are not wanted, have
            a share of 0.
        device: Where they are needed.
    """

    def __init__(
        self, windows: Windows, *, begin: int = 0, device: torch.device | None = None
    ) -> None:
        self.windows = windows
        weights = side_weights(windows)
        self._shares: list[dict[int, Tensor]] = []  # per axis, by where windows start
        everything = zip(weights, windows.starts, windows.shape, windows.padding, strict=True)
        for axis, (own, starts, size, padding) in enumerate(everything):
            total = torch.zeros(size)
            for start in starts:
                total[start : start + len(own)] += own
            counted = torch.ones(size)
            if axis == 1:
                counted[: max(begin, windows.wanted[0])] = 0
                counted[windows.wanted[1] :] = 0
            own_shares = {}
            for start in starts:
                part = slice(start, start + len(own))
                share = counted[part] * own / total[part]
                own_shares[start] = F.pad(share, padding).to(device)
            self._shares.append(own_shares)

    def at(self, corners: Corners) -> Tensor:
        """Of the windows at some corners, `(B, X, Y[, Z])` float32; 0 beyond the volume."""
        found = []
        for corner in corners:
            x, y, z = (own[start] for own, start in zip(self._shares, corner, strict=True))
            plane = x[:, None] * y
            found.append(plane if len(self.windows.patch) == 2 else plane[..., None] * z)
        return torch.stack(found)
