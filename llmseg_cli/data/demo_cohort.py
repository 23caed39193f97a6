"""Many different brains from one: the demo's cohort, made from the MNI152 template."""

from pathlib import Path

import numpy as np
import torch
import torchio

from llmseg_cli.artifacts.files import atomic_path

TEMPLATE_FILES = {
    "image": "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
    "grey": "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz",
    "white": "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz",
}
CLASSES = {0: "background", 1: "grey matter", 2: "white matter"}
FULL_SCALE = 255.0  # of the template's files, for intensity and for probability alike
IMAGE_SCALE = 1000.0  # intensity of the template's brightest voxel in a made image


def load_template(folder: Path, *, spacing_mm: float) -> torchio.Subject:
    """Read the template and reduce it to the cohort's spacing.

    Args:
        folder: Where the three files of `TEMPLATE_FILES` lie.
        spacing_mm: Side of a voxel.

    Returns:
        `image`, `grey` and `white`, each `(1, X, Y, Z)` float32 from 0 to 1; the latter two are the
        probabilities that a voxel belongs to the tissue.

    References:
        Fonov et al., Unbiased nonlinear average age-appropriate brain templates from birth to
        adulthood, NeuroImage 47, S102, 2009.
    """
    volumes = {name: torchio.ScalarImage(folder / file) for name, file in TEMPLATE_FILES.items()}
    template = torchio.Subject(volumes)
    template.load()
    reduced: torchio.Subject = torchio.Resample(spacing_mm, antialias=True)(template)
    for volume in reduced.get_images():
        volume.set_data((volume.data / FULL_SCALE).clamp(0, 1))
    return reduced


def make_case(template: torchio.Subject, *, seed: int, index: int) -> torchio.Subject:
    """Make one brain: another shape, another contrast, another coil, another noise.

    Image and tissue maps are warped together and once; each voxel then gets the class that is the
    most probable there.

    Args:
        template: What `load_template` returned.
        seed: Seed of the cohort.
        index: Number of the case; it and *seed* decide all that is random.

    Returns:
        `image`, `(1, X, Y, Z)` int16, and `label`, `(1, X, Y, Z)` uint8 in `CLASSES`.
    """
    state = int(np.random.SeedSequence((seed, index)).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(state)
        warped = _shape()(template)
        scanned = _scanner()(warped.image)
    intensity = scanned.data.abs() * IMAGE_SCALE  # a magnitude image is nowhere negative
    tissue = torch.cat(
        [1 - warped.grey.data - warped.white.data, warped.grey.data, warped.white.data]
    )
    label = tissue.argmax(dim=0, keepdim=True)  # (1, X, Y, Z)
    affine = template.image.affine
    return torchio.Subject(
        image=torchio.ScalarImage(tensor=intensity.round().to(torch.int16), affine=affine),
        label=torchio.LabelMap(tensor=label.to(torch.uint8), affine=affine),
    )


def save_case(case: torchio.Subject, *, image: Path, label: Path) -> None:
    """Write the image and the label map of a case as NIfTI files, each whole or not at all."""
    for volume, target in ((case.image, image), (case.label, label)):
        with atomic_path(target) as temporary:
            volume.save(temporary)


def _shape() -> torchio.Transform:
    return torchio.RandomAffineElasticDeformation(
        affine_kwargs={"scales": 0.1, "degrees": 10, "translation": 5},
        elastic_kwargs={"num_control_points": 8, "max_displacement": 7.5},
    )


def _scanner() -> torchio.Transform:
    return torchio.Compose(
        [
            torchio.RandomGamma(log_gamma=(-0.3, 0.3)),
            torchio.RandomBlur(std=(0, 1.5)),
            torchio.RandomBiasField(coefficients=0.3),
            torchio.RandomNoise(std=(0.01, 0.06)),
        ]
    )
