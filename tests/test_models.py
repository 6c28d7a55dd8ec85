"""The network, its knobs, and weights that pair between arms."""

import pytest
import torch
from torch import nn

from batchnorm import models
from batchnorm.config import Model
from batchnorm.layers import TorchBatchNorm
from batchnorm.models.convnet import stages


def build(seed=0, **changes) -> nn.Module:
    config = Model(**{"name": "convnet", "width": 4, "depth": 10, **changes})
    return models.build(config, (32, 32, 3), 10, seed)


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize("depth", [5, 6, 10, 13, 24, 48])
def test_depth_is_the_number_of_weight_layers(depth):
    assert len(weights(build(depth=depth))) == depth
    assert min(stages(depth)) >= 1


def test_shapes_and_widths():
    model = build(width=6)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert [m.out_channels for m in model if isinstance(m, nn.Conv2d)] == (
        [6] + [12] * 2 + [24] * 6
    )


def test_arms_at_one_seed_start_from_the_same_weights():
    plain = weights(build())
    for changes in ({"norm": "batch"}, {"activation": "sigmoid"}, {"dropout": 0.4}):
        for ours, theirs in zip(plain, weights(build(**changes)), strict=True):
            assert torch.equal(ours, theirs), changes
    assert not torch.equal(plain[0], weights(build(seed=1))[0])


def test_norm_and_activation_stand_where_they_are_told():
    """Conv, then norm, then activation; no bias where beta takes its place."""
    kinds = [type(m) for m in build(norm="batch", activation="sigmoid")][:3]
    assert kinds == [nn.Conv2d, TorchBatchNorm, nn.Sigmoid]
    assert build(norm="batch")[0].bias is None
    assert build(norm="none")[0].bias is not None
    assert sum(isinstance(m, TorchBatchNorm) for m in build(norm="batch")) == 9


def test_dropout_is_before_the_classifier():
    model = build(dropout=0.3)
    assert isinstance(model[-2], nn.Dropout)
    assert model[-2].p == 0.3


def test_initial_weights_have_the_deviation_they_should():
    def deviations(**changes):
        return [float(w.detach().std()) for w in weights(build(width=32, **changes))[1:9]]

    fan_ins = [w[0].numel() for w in weights(build(width=32))[1:9]]
    he = [(2 / n) ** 0.5 for n in fan_ins]
    assert deviations(init="he") == pytest.approx(he, rel=0.05)
    assert deviations(init="gaussian") == pytest.approx([0.01] * 8, rel=0.05)
    assert deviations(init="he", init_scale=0.1) == pytest.approx([0.1 * d for d in he], rel=0.05)
    assert deviations(init="glorot")[1] == pytest.approx((2 / (2 * fan_ins[1])) ** 0.5, rel=0.05)
