"""SAM, SAM 2 and SAM-HQ of transformers against the library's own model and processor."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_sam import SIDE, picture, write_sam

from llmseg_cli.errors import WeightsError
from llmseg_cli.knowledge.sam.choose import open_segmenter
from llmseg_cli.knowledge.sam.framing import Framing
from llmseg_cli.knowledge.sam.huggingface import transformers_sam
from llmseg_cli.knowledge.sam.prompt import Prompt
from llmseg_cli.knowledge.weights.model_files import FoundModel
from llmseg_cli.knowledge.weights.transformers import load_transformers

KINDS = ("sam", "sam_hq", "sam2", "sam2_video")
LIBRARY = {"sam": "Sam", "sam_hq": "SamHQ", "sam2": "Sam2", "sam2_video": "Sam2"}
CPU = {"device": torch.device("cpu"), "dtype": torch.float32}
SHAPE = (50, 39)  # on a square of 64 pixels and a grid of 16 neither side is whole
POINTS = ((20, 11), (33, 17), (5, 30))
BOX = (8.5, 4.0, 40.0, 31.0)


def prompt(shape=SHAPE, *, box=None, points=()):
    places = np.array(points, np.float32).reshape(-1, 2)
    return Prompt(np.zeros(shape, bool), box, places, np.arange(len(places)) < 2)


ASKED = {
    "box": prompt(box=BOX),
    "points": prompt(points=POINTS),
    "one point": prompt(points=POINTS[:1]),
    "box and points": prompt(box=BOX, points=POINTS),
}


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    return write_sam(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture(scope="module")
def segmenter(folder):
    return open_segmenter(f"transformers:{folder}", **CPU)


@pytest.fixture(scope="module")
def library(folder):
    hf, kind = load_transformers(), LIBRARY[folder.name]
    model = getattr(hf, f"{kind}Model").from_pretrained(folder).eval()
    return model, getattr(hf, f"{kind}Processor").from_pretrained(folder)


def processed(processor, image, asked=None):
    given = {}
    if asked is not None and len(asked.points):
        given["input_points"] = [[asked.points.tolist()]]
        given["input_labels"] = [[asked.inside.astype(int).tolist()]]
    if asked is not None and asked.box is not None:
        given["input_boxes"] = [[list(asked.box)]]
    rows = image.swapaxes(1, 2)
    return processor(images=rows, do_rescale=False, return_tensors="pt", **given)


@pytest.mark.parametrize("shape", [SHAPE, (38, 50), (64, 64), (90, 17), (201, 403)], ids=str)
def test_an_image_is_laid_as_by_the_librarys_processor(segmenter, library, shape):
    image = picture(shape)
    expected = processed(library[1], image)["pixel_values"][0]
    torch.testing.assert_close(segmenter.framing.square(image), expected, atol=1e-5, rtol=0)


def test_bytes_are_laid_as_by_the_librarys_processor(segmenter, library):
    image = picture((201, 403))
    given = (image.T * 255).round().astype(np.uint8)
    expected = library[1](images=given, return_tensors="pt")["pixel_values"][0]
    level = 1 / 57  # the processor rounds to bytes after scaling
    torch.testing.assert_close(segmenter.framing.square(image), expected, atol=level, rtol=0)


@pytest.mark.parametrize("refined", [False, True], ids=["alone", "with a mask"])
@pytest.mark.parametrize("name", ASKED)
def test_an_answer_is_that_of_the_librarys_model(segmenter, library, name, refined):
    model, processor = library
    asked, image = ASKED[name], picture(SHAPE)
    mask = torch.randn(16, 16, generator=torch.Generator().manual_seed(1)) if refined else None
    inputs = processed(processor, image, asked)
    masks = None if mask is None else mask[None, None]
    with torch.no_grad():
        found = model(**inputs, input_masks=masks, multimask_output=name == "one point")
    sizes = [inputs["original_sizes"].tolist()]
    if "reshaped_input_sizes" in inputs:
        sizes.append(inputs["reshaped_input_sizes"].tolist())
    whole = processor.post_process_masks(found.pred_masks, *sizes, binarize=False)[0][0]
    best = int(found.iou_scores[0, 0].argmax())

    (answer,) = segmenter.ask([in_full(segmenter, image)], [asked], previous=[mask])
    size = float(found.pred_masks.abs().max())
    assert answer.logits.std() > 1e-3
    np.testing.assert_allclose(answer.logits, whole[best].numpy().T, atol=1e-4 * size)
    torch.testing.assert_close(
        answer.low_logits, found.pred_masks[0, 0, best], atol=1e-4 * size, rtol=0
    )
    assert answer.predicted_iou == pytest.approx(float(found.iou_scores[0, 0, best]), abs=1e-4)


@torch.no_grad()
def in_full(segmenter, image):
    """The embedding before it is halved."""
    return tuple(part[0] for part in segmenter.parts(segmenter.framing.square(image)[None]))


def test_an_embedding_is_the_encoders_in_half_precision(segmenter):
    image = picture(SHAPE)
    halves, whole = segmenter.embed(image), in_full(segmenter, image)
    assert (
        len(halves)
        == len(whole)
        == {"TransformersSam": 1, "TransformersSamHq": 2}.get(type(segmenter).__name__, 3)
    )
    for half, part in zip(halves, whole, strict=True):
        assert half.dtype == torch.float16
        torch.testing.assert_close(half.float(), part, rtol=2**-10, atol=1e-5)


def test_prompts_on_different_images_are_answered_as_on_each_alone(segmenter):
    embeddings = [segmenter.embed(picture(SHAPE, seed)) for seed in (1, 2)]
    asked = [prompt(box=BOX), prompt(box=(2, 3, 20, 37)), prompt(box=BOX)]
    places = [embeddings[0], embeddings[1], embeddings[1]]
    together = segmenter.ask(places, asked)
    for answer, embedding, one in zip(together, places, asked, strict=True):
        (alone,) = segmenter.ask([embedding], [one])
        size = float(alone.low_logits.abs().max())
        np.testing.assert_allclose(answer.logits, alone.logits, atol=1e-4 * size)
    assert not np.allclose(together[0].logits, together[2].logits)


def test_the_encoder_runs_in_the_format_asked_for(folder, segmenter):
    image = picture(SHAPE)
    other = open_segmenter(
        f"transformers:{folder}", device=torch.device("cpu"), dtype=torch.bfloat16
    )
    for rough, exact in zip(other.embed(image), segmenter.embed(image), strict=True):
        error = (rough.float() - exact.float()).abs().mean() / exact.float().abs().mean()
        assert 0 < error < 0.1


def test_the_processors_settings_are_read_in_the_form_of_transformers_4(tmp_path):
    folder = write_sam(tmp_path)
    settings = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3], "size": 64}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    framing = transformers_sam(FoundModel("", folder), name="", **CPU).framing
    assert framing == Framing(SIDE, mean=(0.1, 0.2, 0.3), deviation=(1, 2, 3))


def test_a_processor_that_does_not_normalize(tmp_path):
    folder = write_sam(tmp_path)
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    assert transformers_sam(FoundModel("", folder), name="", **CPU).framing == Framing(SIDE)


def test_a_processor_of_another_size_is_refused(tmp_path):
    folder = write_sam(tmp_path, "sam2")
    (folder / "preprocessor_config.json").write_text('{"size": {"height": 96, "width": 64}}')
    with pytest.raises(WeightsError, match="processor's height is 96, the model's 64"):
        transformers_sam(FoundModel("", folder), name="", **CPU)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"image_std": [1, {}, 3]}, r"'image_std\[1\]' is a mapping, expected a number"),
        ({"image_processor": {"image_mean": "half"}}, "'image_mean' is 'half', expected a list"),
        ({"image_processor": [1]}, "a list, expected a mapping"),
        ({"image_mean": [0.5, 0.5]}, "expected three numbers each"),
        ({"image_std": [1, 0, 1]}, "deviations above 0"),
        ({"do_normalize": "no"}, "'do_normalize' is 'no', expected true or false"),
    ],
)
def test_a_processor_with_damaged_settings_is_refused(tmp_path, settings, says):
    folder = write_sam(tmp_path)
    (folder / "processor_config.json").write_text(json.dumps(settings))
    with pytest.raises(WeightsError, match=says):
        transformers_sam(FoundModel("", folder), name="", **CPU)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"model_type": "bert"}'])
def test_a_folder_of_no_sam_is_told_what_is_expected(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    says = {
        "{": "config.json is not JSON",
        "[]": "config.json holds no JSON object",
        '{"model_type": "bert"}': " holds a model 'bert'; expected one of sam, sam2, sam2_video",
    }.get(content, " holds no config.json.*; expected one of sam, sam2, sam2_video")
    with pytest.raises(WeightsError, match=f"{tmp_path}/?{says}"):
        open_segmenter(f"transformers:{tmp_path}", **CPU)


def test_weights_that_lack_a_tensor_are_not_filled_with_noise(tmp_path):
    folder = write_sam(tmp_path)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["mask_decoder.iou_token.weight"]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks 1 tensor .*'mask_decoder.iou_token.weight'"):
        open_segmenter(f"transformers:{folder}", **CPU)


def test_weights_of_another_width_are_refused(tmp_path):
    folder = write_sam(tmp_path)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["mask_decoder.iou_token.weight"] = torch.zeros(1, 8)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"does not fit SamModel: .*\(1, 8\), expected"):
        open_segmenter(f"transformers:{folder}", **CPU)


def test_a_folder_without_weights(tmp_path):
    folder = write_sam(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"holds no .* file with weights"):
        open_segmenter(f"transformers:{folder}", **CPU)
