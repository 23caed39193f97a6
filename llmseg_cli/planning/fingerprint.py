"""The facts of a data set and of a machine that settings depend on."""

from dataclasses import dataclass

GPU_VOXELS_PER_GB = 150_000  # of two 3D patches with their activations, networks of 32 filters
CPU_VOXELS = {2: 256 * 256, 3: 64 * 64 * 32}  # of one patch; about a second for a step of two
GPU_COVERED = {2: 0.5, 3: 0.25}  # share of the median scan that a patch sees, nnU-Net's in 3D
CPU_COVERED = {2: 0.5, 3: 0.75}  # fewer steps fit, and each has to teach more
MOST_VOXELS = {2: 1024 * 1024, 3: 128 * 128 * 128}


@dataclass(frozen=True)
class Sizes:
    """How large the scans of a data set are.

    Args:
        cases: Scans that were looked at.
        shape: Median voxels along X, Y, Z.
        spacing: Median distance of voxels along X, Y, Z, in units of `unit`.
        is_even: Whether all scans have that spacing, up to a twentieth.
        unit: `mm`; `px` of pictures; `voxel` where the files store no spacing.
    """

    cases: int
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    is_even: bool = True
    unit: str = "mm"


@dataclass(frozen=True)
class Fingerprint:
    """What the scans and label maps of a data set are like.

    Args:
        sizes: Of all scans.
        channels: Of an image.
        classes: Names of the foreground classes, by value.
        labeled: Cases with a label map.
        extents: Median sides of the box around each class, in units of the spacing.
        low: Median over scans of the first percentile of the intensities.
        high: Of the 99th.
        window: The 0.5th and 99.5th percentile of the intensities of the foreground, or None where
            no label map was looked at.
        telling: A few cases whose label maps show all of the classes.
        silent: A few cases without a label map that may be used.
        sides: Pairs of classes that lie left and right of the middle in every scan.
    """

    sizes: Sizes
    channels: int
    classes: dict[int, str]
    labeled: int
    extents: dict[int, tuple[float, float, float]]
    low: float
    high: float
    window: tuple[float, float] | None = None
    telling: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    sides: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Power:
    """What a machine can do.

    Args:
        processors: Usable ones.
        memory: Usable bytes.
        gpu: Name of the GPU that trains, or empty.
        gpu_memory: Its bytes.
    """

    processors: int
    memory: int
    gpu: str = ""
    gpu_memory: int = 0

    @property
    def covered(self) -> dict[int, float]:
        """Share of the median scan that a patch should see, by dimensions.

        On a CPU five minutes of 8 left atria gave a Dice of 0.62 at 1.05 mm, where a patch sees a
        quarter, and 0.81 at 1.5 mm, where the same sees 70 % (examples/defaults/RESULTS.md).
        """
        return GPU_COVERED if self.gpu else CPU_COVERED

    def patch_voxels(self, dimensions: int) -> int:
        """Voxels of one patch that a step can take at a useful pace, for 2 or 3 dimensions."""
        if not self.gpu:
            return CPU_VOXELS[dimensions]
        affordable = int(self.gpu_memory / 1e9 * GPU_VOXELS_PER_GB)
        return max(CPU_VOXELS[dimensions], min(MOST_VOXELS[dimensions], affordable))


@dataclass(frozen=True)
class Choice:
    """A setting and the reason for it, one sentence without its full stop."""

    value: object
    reason: str
