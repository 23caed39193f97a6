"""`--loss mutation`: of every network with several heads, and refused for one head."""

import pytest
import torch
from training_cli import invoke, train

from llmseg_cli.losses.mutation import mutation
from llmseg_cli.methods.base import SemiBatch
from llmseg_cli.methods.supervised import Supervised
from llmseg_cli.methods.supervision import WithClassWeights
from llmseg_cli.models.cascade import Cascade
from llmseg_cli.models.unet import UNet

pytestmark = pytest.mark.usefixtures("quiet_place")
MUTATION = ("--loss", "mutation", "--patch", "32,16,16")


@pytest.mark.parametrize("method", ["supervised", "usl"])
@pytest.mark.parametrize(
    ("model", "option"), [("cascade", "join=add"), ("unet", "deep_supervision=true")]
)
def test_it_trains_and_predicts(toy_data, toy_split, quiet_place, method, model, option):
    out = quiet_place / "run"
    words = (*MUTATION, "--model", model, "--model-option", option)
    words += ("--model-option", "filters=4", "--class-weights", "balanced")
    train(method, toy_data, out, "--split", toy_split, *words, steps=2)
    done = invoke("predict", "--run", out, "--data", toy_data, "-o", quiet_place / "masks")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--model", "vit"), "'vit' has one here. Use --model cascade"),
        (("--model", "unet"), "Add --model-option deep_supervision=true"),
        (
            ("--model", "unetpp", "--model-option", "deep_supervision=true",
             "--model-option", "depth=7", "--patch", "128,128"),
            "at most 6 heads, and 'unetpp' has 7",
        ),
    ],
)  # fmt: skip
def test_one_head_and_too_many_are_refused(toy_data, toy_split, quiet_place, words, says):
    out = quiet_place / "run"
    found = train("supervised", toy_data, out, "--split", toy_split, *MUTATION, *words, code=2)
    assert says in " ".join(found.stderr.split())
    assert not out.exists()


@pytest.mark.parametrize(
    "build",
    [
        lambda: Cascade(1, 3, dimensions=2, filters=4),
        lambda: UNet(1, 3, dimensions=2, filters=4, dropout=0.0, deep_supervision=True),
    ],
)
@pytest.mark.parametrize("weights", [None, (0.2, 1.0, 2.0)])
def test_a_method_learns_by_it_from_the_labels_that_are_known(build, weights):
    torch.manual_seed(0)
    method = Supervised(build).eval()
    method.segmentation_loss = WithClassWeights(mutation, weights) if weights else mutation
    images, target = torch.randn(2, 1, 32, 32), torch.randint(3, (2, 32, 32))
    target[0, :5] = 255
    (term,) = method.losses(SemiBatch(images, target, has_unknown=True), progress=0.5).values()
    heads = method.networks()["network"](images, heads=True)
    options = {"weights": torch.tensor(weights)} if weights else {}
    expected = mutation.of_heads(heads, target, known=target != 255, **options)
    torch.testing.assert_close(term, expected)
