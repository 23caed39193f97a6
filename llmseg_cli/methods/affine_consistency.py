"""Consistency of affine views, which a small transformer chooses."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.losses._precision import widen
from llmseg_cli.losses.consistency import known_softmax_mse
from llmseg_cli.methods.base import SemiBatch, check_ranges
from llmseg_cli.methods.supervision import every, heads_of, mean_over_heads, together
from llmseg_cli.methods.teaching import Taught
from llmseg_cli.models.affine_views import AffineViews
from llmseg_cli.models.base import shape_of
from llmseg_cli.numerics.affine_views import (
    corner_zooms,
    identity,
    inside,
    label_view_of,
    softly_bounded,
    view_of,
)

LEARNED = ("easy", "hard")
VIEWS = (*LEARNED, "random", "fixed", "identity")
BOUNDS = ("smooth", "clamp")


class AffineConsistency(Taught):
    r"""A student learns on affine views what labels and its teacher say of the whole image.

    With $T_\theta$ a view, $L = L_{sup} + \gamma L_{seg}(p(T_\theta x_l), T_\theta y_l) + w(t)
    \frac{1}{|V|} \sum_{v \in V} (p(T_\theta x_u) - T_\theta q(x_u))_v^2$, where the teacher's
    probabilities $q$ are of the image as it is, $V$ are the voxels of a view that show the image,
    and the square is the mean over the classes. Pseudo-labels of a run stand in place of the
    teacher's probabilities where they are known.

    The $\theta$ come from a small transformer that sees the image (`AffineViews`) and is trained
    with the student, through the views of the images alone. A picture has four of them, a volume
    eight, which start as zooms into its corners; each step takes some, drawn for each image.

    Args:
        build: Returns a freshly initialized network.
        weight: $w$; published are 0.1 (Lizard) and 0.5 (CoNSeP).
        start: Fraction of training before which $w$ is 0; published 0.2 and 0.3.
        ramp: Fraction of training over which $w$ grows; 0 (published) is at once.
        decay: Decay of the teacher; published 0.999, for 160,000 steps.
        views: Where $\theta$ comes from. `easy`, published: the transformer lowers the loss, like
            the student. `hard` (ours): it raises it. `random`, the control of both: uniform within
            the same bounds. `fixed`: the zooms into the corners. `identity`: the image.
        count: Views of an image in a step; published are all four, of a single image.
        labeled_weight: $\gamma$; 0 leaves the views of labeled images out.
        zoom_low: Smallest scale of a side, as a share of the image's; published 0.2. These four
            defaults are ours, milder: organs have a size and an upright.
        zoom_high: Largest; published 2.
        shear: Largest share of another side that is added to a side; published 1.
        shift: Largest shift, in half sides of the image; published 0.5.
        bound: How $\theta$ is kept within them. `smooth` (ours): the gradient shrinks beyond, and
            never is 0. `clamp`, published: it is 0 beyond, and what has left stays there.
        rate: By how much what the transformer says counts, so that it moves slower than the
            student; published is a learning rate of a tenth.

    Raises:
        UsageError: If an option is out of its range.

    References:
        Huang et al., AC-Former, ICCV 2023. arXiv:2310.14154. There for points of nuclei, on labeled
        images alone, with the averaged network as the answer; masks, unlabeled images, 3D and
        the student as the answer are ours.
    """

    uses_pseudo = True
    low: Tensor  # of the entries of a map, (D, D + 1)
    high: Tensor
    first: Tensor  # maps, (2 ** D, D, D + 1)

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        weight: float = 0.1,
        start: float = 0.2,
        ramp: float = 0.0,
        decay: float = 0.99,
        views: str = "easy",
        count: int = 1,
        labeled_weight: float = 1.0,
        zoom_low: float = 0.5,
        zoom_high: float = 1.25,
        shear: float = 0.2,
        shift: float = 0.3,
        bound: str = "smooth",
        rate: float = 0.1,
    ) -> None:
        super().__init__(build, weight=weight, ramp=ramp, decay=decay)
        check_ranges(
            start=(start, 0, 1),
            count=(count, 1, 4),
            labeled_weight=(labeled_weight, 0, math.inf),
            zoom_low=(zoom_low, 0.1, 1),
            zoom_high=(zoom_high, 1, 4),
            shear=(shear, 0, 1),
            shift=(shift, 0, 1),
            rate=(rate, 0, 1),
        )
        if views not in VIEWS:
            raise unknown("--method-option views", views, VIEWS)
        if bound not in BOUNDS:
            raise unknown("--method-option bound", bound, BOUNDS)
        self.start_at, self.views, self.count = start, views, count
        self.labeled_weight, self.bound, self.rate = labeled_weight, bound, rate
        channels, _, dimensions = shape_of(self.student)
        low, high = _bounds(dimensions, zoom_low, zoom_high, shear, shift)
        first = corner_zooms(dimensions).clamp(low, high)
        for name, maps in (("low", low), ("high", high), ("first", first)):
            self.register_buffer(name, maps, persistent=False)  # they move to the device
        self.chooser = None
        if views in LEARNED:
            self.chooser = AffineViews(channels, dimensions=dimensions, views=len(first))

    @classmethod
    def mixes_cases(cls, options: Mapping[str, Any]) -> str:
        return ""

    def losses(self, batch: SemiBatch, *, progress: float) -> dict[str, Tensor]:
        assert batch.unlabeled is not None
        labeled = len(batch.image)
        maps = self.maps_of(batch.all_images())
        labeled_views, targets = self._labeled_views(batch, maps[:labeled])
        maps_unlabeled = maps[labeled:].flatten(0, 1)
        views = view_of(self._repeated(batch.unlabeled), maps_unlabeled)
        images = torch.cat([batch.image, labeled_views, views])

        def terms_of(logits: Tensor, step: int) -> Tensor:
            own, of_views = logits[:labeled], logits[labeled : labeled + len(targets)]
            target, viewed = every(step, batch.target), every(step, targets)
            known = every(step, batch.known)
            supervised = self.segmentation_loss(own, target, known=known)
            if not len(viewed):
                return torch.stack([supervised, supervised.new_zeros(())])
            return torch.stack([supervised, self.pseudo_loss(of_views, viewed)])

        heads = heads_of(self.student, images, texts=self._texts(batch, len(targets)))
        supervised, of_views = mean_over_heads(heads, images, terms_of)
        student = together(self.student, heads)[labeled + len(targets) :]
        probabilities = self._repeated(self._probabilities(batch))
        taught = view_of(probabilities, maps_unlabeled.detach(), beyond="border")
        seen = inside(views[:, 0], maps_unlabeled)
        self._note(maps, seen)
        consistency = known_softmax_mse(student, taught, known=seen)
        weight = self.grown_weight(progress) if progress >= self.start_at else 0.0
        terms = {"supervised": supervised, "consistency": weight * consistency}
        if self.labeled_weight:
            terms["labeled_views"] = self.labeled_weight * of_views
        return terms

    def maps_of(self, images: Tensor) -> Tensor:
        """The maps of some views of each image, `(B, N, D, D + 1)`, within their bounds.

        Args:
            images: `(B, C, X, Y[, Z])`.
        """
        low, high, first = self.low, self.high, self.first
        if self.views == "random":
            draws = torch.rand(len(images), self.count, *low.shape)
            draws = draws.to(images.device, non_blocking=True)
            return low + draws * (high - low)
        if self.views == "identity":
            same = identity(len(low)).to(images.device, non_blocking=True)
            return same.expand(len(images), self.count, -1, -1)
        chosen = chosen_views(len(images), len(first), self.count)  # (B, N)
        chosen = chosen.to(images.device, non_blocking=True)
        if self.chooser is None:
            return first[chosen]
        _refuse_nondeterministic(images.device)
        with torch.autocast(images.device.type, enabled=False):
            said = self.chooser(widen(images))  # (B, 2 ** D, D, D + 1)
        said = said[torch.arange(len(images), device=images.device)[:, None], chosen]
        if self.views == "hard":
            said = 2 * said.detach() - said  # the same value, the opposite gradient
        moved = first[chosen] + self.rate * said
        return moved.clamp(low, high) if self.bound == "clamp" else softly_bounded(moved, low, high)

    def _labeled_views(self, batch: SemiBatch, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Views of the labeled images, and of their label maps; none at no weight."""
        if not self.labeled_weight:
            return batch.image[:0], batch.target[:0]
        maps = maps.flatten(0, 1)
        target = label_view_of(self._repeated(batch.target), maps, beyond=UNKNOWN)
        return view_of(self._repeated(batch.image), maps), target

    def _texts(self, batch: SemiBatch, labeled_views: int) -> Tensor | None:
        """Those of the labeled images, of their views and of views of the unlabeled images."""
        if batch.texts is None or batch.unlabeled_texts is None:
            return None
        viewed = self._repeated(batch.texts)[:labeled_views]
        return torch.cat([batch.texts, viewed, self._repeated(batch.unlabeled_texts)])

    def _repeated(self, values: Tensor) -> Tensor:
        """Each case as often as it has views, one behind the other."""
        return values.repeat_interleave(self.count, dim=0)

    def _probabilities(self, batch: SemiBatch) -> Tensor:
        """What is taught of the unlabeled images, `(U, K, X, Y[, Z])`."""
        assert batch.unlabeled is not None
        found = widen(self.taught(batch.unlabeled, batch.unlabeled_texts)).softmax(dim=1)
        if batch.pseudo is None:
            return found
        known = batch.pseudo != UNKNOWN
        classes = torch.arange(found.shape[1], device=found.device)
        sure = batch.pseudo[:, None] == classes.view(-1, *[1] * (batch.pseudo.ndim - 1))
        return sure.to(found.dtype).where(known[:, None], found)

    def _note(self, maps: Tensor, seen: Tensor) -> None:
        """Where the views are: a run whose views drift off the image has nothing to compare."""
        zooms = maps.detach().diagonal(dim1=2, dim2=3)
        self.observe(
            inside=seen.float().mean(), zoom=zooms.mean(), shift=maps.detach()[..., -1].abs().mean()
        )


def chosen_views(cases: int, views: int, count: int) -> Tensor:
    """Which of its views each case shows, drawn without repetition, `(cases, count)` int64."""
    return torch.rand(cases, views).argsort(dim=1)[:, :count]


def _bounds(
    dimensions: int, zoom_low: float, zoom_high: float, shear: float, shift: float
) -> tuple[Tensor, Tensor]:
    """Lowest and highest entries of a map, `(D, D + 1)` each."""
    most = torch.full((dimensions, dimensions + 1), shear)
    most[:, -1] = shift
    low, high = -most, most.clone()
    low.diagonal().fill_(zoom_low)
    high.diagonal().fill_(zoom_high)
    return low, high


def _refuse_nondeterministic(device: torch.device) -> None:
    """The gradient of a sampled image is summed in any order on a GPU, which torch refuses.

    Raises:
        UsageError: If torch was told to be deterministic there.
    """
    if device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
        raise UsageError(
            "--deterministic: views that are learned are not, on a GPU. Use --method-option "
            "views=random or views=fixed, or leave --deterministic out."
        )
