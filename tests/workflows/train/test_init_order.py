"""Which network starts from which, and what a resumed run must share with its beginning."""

from pathlib import Path

import pytest
import torch
from torch import nn

from llmseg_cli.artifacts.run_files import WEIGHTS
from llmseg_cli.artifacts.split import Split
from llmseg_cli.methods.supervised import Supervised
from llmseg_cli.methods.usl import Usl
from llmseg_cli.models.vnet import VNet
from llmseg_cli.training.checkpoints import save_weights
from llmseg_cli.workflows.train.starting_weights import start_from


def tiny() -> nn.Module:
    return VNet(1, 2, dimensions=2, filters=2)


def first_weight(network: nn.Module) -> torch.Tensor:
    return next(network.parameters())


def saved(folder: Path, members: int) -> list[torch.Tensor]:
    method = Supervised(tiny, members=members)
    save_weights(folder / WEIGHTS, method.networks(), {})
    return [first_weight(network) for network in method.members]


def test_networks_without_a_common_name_pair_up_in_order(tmp_path: Path) -> None:
    given = saved(tmp_path, members=2)
    method = Usl(tiny)
    start_from(method, tmp_path)
    assert torch.equal(first_weight(method.first), given[0])
    assert torch.equal(first_weight(method.second), given[1])


def test_a_single_network_starts_all(tmp_path: Path) -> None:
    (given,) = saved(tmp_path, members=1)
    method = Usl(tiny)
    start_from(method, tmp_path)
    assert torch.equal(first_weight(method.first), given)
    assert torch.equal(first_weight(method.second), given)


def test_the_digest_of_a_split_is_that_of_its_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    def split(labeled: str) -> Split:
        return Split(
            labeled=(labeled,),
            unlabeled=("u",),
            validation=(),
            test=(),
            seed=0,
            images={labeled: "1", "u": "2"},
            groups={},
        )

    before = split("a").digest
    monkeypatch.setattr("llmseg_cli.artifacts.document.llmseg_version", lambda: "99.0")
    assert split("a").digest == before
    assert split("b").digest != before
