"""LiteMedSAM against its authors' code; SAM's checkpoints against segment-anything's predictor."""

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_sam import SIDE, original_sam, picture, published_picture

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.sam.choose import open_segmenter
from llmseg_cli.knowledge.sam.framing import Framing
from llmseg_cli.knowledge.sam.original import OriginalSam, checkpoint_sam
from llmseg_cli.knowledge.sam.prompt import Prompt

CPU = {"device": torch.device("cpu"), "dtype": torch.float32}
POINTS = np.array([[300, 200], [500, 450], [150, 600]], np.float32)
BOX = (120.5, 80.0, 700.0, 650.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small SAM whose square has the side of the published ones, and its file."""
    sam = original_sam(side=1024, depth=1)
    path = tmp_path_factory.mktemp("sam") / "sam.pth"
    torch.save(sam.state_dict(), path)
    return sam, path


@pytest.fixture(scope="module")
def small_builders():
    """The package builds networks of the checkpoint's size."""
    original_sam()
    import segment_anything

    with pytest.MonkeyPatch.context() as patch:
        for name in ("vit_b", "vit_l", "vit_h"):
            patch.setitem(segment_anything.sam_model_registry, name, build_small)
        yield


def build_small(checkpoint=None):
    assert checkpoint is None
    return original_sam(side=1024, depth=1, random=False)


@pytest.fixture(scope="module")
def predictor(checkpoint):
    from segment_anything import SamPredictor

    sam, _ = checkpoint
    sam.pixel_mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    sam.pixel_std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    return SamPredictor(sam)


@pytest.mark.weights
def test_a_box_gives_the_mask_of_the_authors_code(weights_cache):
    """Computed with github.com/bowang-lab/MedSAM, branch LiteMedSAM."""
    segmenter = open_segmenter("lite-medsam", cache=weights_cache, **CPU)
    embedding = segmenter.embed(published_picture())
    (answer,) = segmenter.ask([embedding], [prompt((256, 256), box=(60, 40, 180, 200))])
    expected = {(128, 128): -0.50124675, (10, 10): -18.5123158, (60, 100): -5.7467461}
    for place, value in expected.items():
        assert float(answer.low_logits[place]) == pytest.approx(value, abs=2e-3)
    assert abs(int(answer.mask.sum()) - 5153) <= 5
    np.testing.assert_allclose(answer.logits, answer.low_logits.T, atol=1e-5)


def test_prompts_on_two_images_are_answered_as_on_each_alone():
    sam = original_sam()
    segmenter = tiny(sam)
    images = [torch.randn(32, 4, 4, generator=torch.Generator().manual_seed(i)) for i in (1, 2)]
    asked = [prompt((64, 64), box=(5, 6, 40, 50)), prompt((64, 64), box=(20, 9, 60, 30))]
    first, second = (images[0],), (images[1],)
    order = [first, first, second, first]  # two alike side by side, and one come back to
    prompts = [asked[1], asked[0], asked[1], asked[1]]
    found = segmenter.ask(order, prompts)
    for answer, (image,), one in zip(found, order, prompts, strict=True):
        masks, quality = alone(sam, image, one.box)
        torch.testing.assert_close(answer.low_logits, masks[0, 0], atol=1e-4, rtol=1e-4)
        assert answer.predicted_iou == pytest.approx(float(quality[0, 0]), abs=1e-4)


@torch.no_grad()
def alone(sam, image, box):
    sparse, dense = sam.prompt_encoder(None, torch.tensor([box]).float(), None)
    places = sam.prompt_encoder.get_dense_pe()
    return sam.mask_decoder.predict_masks(image[None], places, sparse, dense)


@pytest.mark.parametrize("shape", [(1024, 700), (301, 403)], ids=str)
def test_a_checkpoint_answers_as_the_packages_predictor(
    checkpoint, small_builders, predictor, shape
):
    segmenter = open_segmenter(f"vit_b:{checkpoint[1]}", **CPU)
    image = picture(shape)
    scale = min(shape) / 700
    x, y = segmenter.framing.size(shape)
    rows = torch.from_numpy(image.swapaxes(1, 2).copy())[None] * 255
    scaled = F.interpolate(rows, (y, x), mode="bilinear", antialias=True)
    predictor.set_torch_image(scaled, shape[::-1])
    (embedding,) = segmenter.embed(image)
    torch.testing.assert_close(
        embedding.float(),
        predictor.features[0],
        atol=2e-3 * float(predictor.features.std()),
        rtol=1e-3,
    )
    predictor.features = embedding.float()[None]  # what follows is exact
    box = tuple(edge * scale for edge in BOX)
    earlier = None
    for asked in (
        prompt(shape, box=box),
        prompt(shape, points=POINTS * scale),
        prompt(shape, points=POINTS[:1] * scale),
        prompt(shape, box=box, points=POINTS * scale),
    ):
        (answer,) = segmenter.ask([(embedding,)], [asked], previous=[earlier])
        masks, quality, low = predictor.predict(
            point_coords=asked.points if len(asked.points) else None,
            point_labels=asked.inside if len(asked.points) else None,
            box=None if asked.box is None else np.array(asked.box),
            mask_input=None if earlier is None else earlier[None].numpy(),
            multimask_output=len(asked.points) == 1,
            return_logits=True,
        )
        best = quality.argmax()
        size = np.abs(low).max()
        np.testing.assert_allclose(answer.logits, masks[best].T, atol=1e-4 * size)
        np.testing.assert_allclose(answer.low_logits, low[best], atol=1e-4 * size)
        assert answer.predicted_iou == pytest.approx(quality[best], rel=1e-3)
        earlier = answer.low_logits


def test_medsam_is_given_a_stretched_image_without_normalization(checkpoint, small_builders):
    sam, path = checkpoint
    segmenter = open_segmenter(f"medsam:{path}", **CPU)
    image = picture((90, 61))
    rows = torch.from_numpy(image.swapaxes(1, 2).copy())[None]
    with torch.no_grad():
        expected = sam.image_encoder(F.interpolate(rows, (1024, 1024), mode="bilinear"))[0]
    (embedding,) = segmenter.embed(image)
    spread = float(expected.std())
    torch.testing.assert_close(embedding.float(), expected, atol=3e-3 * spread, rtol=2e-3)
    assert segmenter.name == "medsam"
    assert segmenter.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_nothing_of_a_loaded_checkpoint_is_left_out(checkpoint, small_builders):
    sam, path = checkpoint
    loaded = checkpoint_sam("vit_h", path, digest="", **CPU).networks.state_dict()
    for name, tensor in sam.state_dict().items():
        assert name.startswith("pixel_") or torch.equal(loaded[name], tensor)


@pytest.mark.parametrize(
    ("asked", "width", "found"),
    [("vit_b", 1024, "vit_l"), ("vit_l", 1280, "vit_h"), ("medsam", 1280, "vit_h")],
)
def test_a_checkpoint_of_another_size_names_the_right_one(tmp_path, asked, width, found):
    path = tmp_path / "sam.pth"
    torch.save({"image_encoder.patch_embed.proj.bias": torch.zeros(width)}, path)
    with pytest.raises(WeightsError, match=f"holds a {found}.*Pass --sam {found}:{path}"):
        open_segmenter(f"{asked}:{path}", **CPU)


def test_a_checkpoint_of_another_network_is_refused(tmp_path, small_builders):
    path = tmp_path / "other.pth"
    torch.save({"layer.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"lacks .* of a vit_b of segment-anything, such as '"):
        open_segmenter(f"vit_b:{path}", **CPU)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(print, path) if content is None else path.write_bytes(content)
    with pytest.raises(WeightsError, match="is no checkpoint of tensors alone"):
        open_segmenter(f"vit_b:{path}", **CPU)


def test_a_checkpoint_with_its_training_state_is_read(checkpoint, small_builders, tmp_path):
    sam, _ = checkpoint
    path = tmp_path / "medsam.pth"
    torch.save({"model": sam.state_dict(), "epoch": 3}, path)
    open_segmenter(f"medsam:{path}", **CPU)


def prompt(shape, *, box=None, points=None):
    places = np.zeros((0, 2), np.float32) if points is None else np.float32(points)
    inside = np.arange(len(places)) < 2  # the third is negative
    return Prompt(np.zeros(shape, bool), box, places, inside)


def tiny(sam):
    segmenter = OriginalSam(sam, name="tiny", digest="", framing=Framing(SIDE), **CPU)
    segmenter.low_side = SIDE // 4
    return segmenter
