"""Every method that keeps texts of cases apart gives each image the text of its own case."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.models.vnet import VNet
from llmseg_cli.registry import METHODS

LEVELS = (1.0, 2.0, 4.0, 8.0, 16.0)  # image i is LEVELS[i] everywhere, and so known again
CLASSES = 3


class Witness(VNet):
    """A network that looks at which text comes with which image."""

    seen: ClassVar[list[tuple[torch.Tensor, torch.Tensor]]] = []

    def forward(self, image, *, heads=False, factors=None, texts=None):
        assert texts is not None, "a pass without texts"
        assert len(texts) == len(image)
        self.seen.append((image.detach().flatten(1).amax(1), texts))
        return super().forward(image, heads=heads, factors=factors)


def keeping() -> list[tuple[str, dict]]:
    """Methods, and what they must be told, to keep the texts of cases apart."""
    tried = [(name, changes) for name in METHODS for changes in ({}, {"cutmix": False})]
    known = [(name, one) for name, one in tried if set(one) <= set(METHODS.defaults(name))]
    return [
        (name, one)
        for name, one in known
        if not METHODS.load(name).mixes_cases({**METHODS.defaults(name), **one})
    ]


def make_batch() -> SemiBatch:
    """Two labeled and three unlabeled images; the text of an image has the number of its level."""
    torch.manual_seed(1)
    images = torch.tensor(LEVELS).view(-1, 1, 1, 1).expand(-1, 1, 32, 32).contiguous()
    target = torch.randint(CLASSES, (2, 32, 32))
    pseudo = torch.randint(CLASSES, (3, 32, 32))
    rows = torch.arange(5)
    return SemiBatch(
        images[:2], target, images[2:], pseudo, texts=rows[:2], unlabeled_texts=rows[2:]
    )


@pytest.mark.parametrize("extra", [{}, {"strong_views": 2}, {"count": 2}], ids=str)
@pytest.mark.parametrize(("name", "changes"), keeping(), ids=str)
def test_every_pass_has_the_text_of_each_image(name, changes, extra):
    if extra and not set(extra) <= set(METHODS.defaults(name)):
        pytest.skip("has no such option")
    Witness.seen.clear()
    torch.manual_seed(0)
    method = METHODS.load(name)(
        lambda: Witness(1, CLASSES, dimensions=2, filters=4, dropout=0), **changes, **extra
    ).train()
    method.losses(make_batch(), progress=1.0)
    assert Witness.seen
    levels = torch.tensor(LEVELS).log()
    for highest, texts in Witness.seen:
        nearest = (highest.log()[:, None] - levels).abs().argmin(dim=1)
        assert torch.equal(nearest, texts)


def test_methods_that_mix_cases_say_how():
    kept = {name for name, _ in keeping()}
    assert {"usl", "copy-paste", "volume-fusion"}.isdisjoint(kept)
    for name in set(METHODS) - kept:
        assert "cases" in METHODS.load(name).mixes_cases(METHODS.defaults(name))
    assert "cutmix=false" in METHODS.load("weak-to-strong").mixes_cases({"cutmix": True})


def test_the_texts_of_all_images_are_those_of_their_cases():
    batch = make_batch()
    assert batch.all_texts().tolist() == [0, 1, 2, 3, 4]
    assert replace(batch, unlabeled=None).all_texts().tolist() == [0, 1]
    assert replace(batch, texts=None).all_texts() is None
