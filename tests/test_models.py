"""The network, its knobs, and weights that pair between arms."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from batchnorm import models
from batchnorm.config import Model
from batchnorm.layers import (
    BATCH_NORMS,
    KEEP_BIASES,
    NORMS,
    ShiftNoise,
    TorchBatchNorm,
    folded,
    gather_population_statistics,
)
from batchnorm.models.convnet import LocalResponseNorm, stages
from batchnorm.models.small_inception import TABLE, module


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


def test_noise_stands_before_the_nonlinearity():
    for norm in ("none", "batch"):
        kinds = [type(m) for m in build(norm=norm, noise=True)[:5]]
        ours = type(build(norm=norm)[1])
        assert kinds == [nn.Conv2d, ours, ShiftNoise, nn.MaxPool2d, nn.ReLU]
    assert not any(isinstance(m, ShiftNoise) for m in build(norm="batch").modules())


def test_a_norm_after_the_nonlinearity_leaves_the_bias_its_work():
    kinds = [type(m) for m in build(norm="batch", activation="sigmoid", norm_after=True)][:3]
    assert kinds == [nn.Conv2d, nn.Sigmoid, TorchBatchNorm]
    assert build(norm="batch", norm_after=True)[0].bias is not None


def test_a_bias_stays_where_the_norm_does_not_cancel_it():
    biased = {norm for norm in NORMS if build(norm=norm)[0].bias is not None}
    assert biased == set(KEEP_BIASES)
    for norm in NORMS:  # those that cancel it: the same output whatever is added to a map
        if not norm.startswith("batch") or norm in KEEP_BIASES:
            continue
        layer, maps = NORMS[norm](3, (4, 4)).train(), torch.randn(8, 3, 4, 4)
        assert torch.allclose(layer(maps), layer(maps + 5), atol=1e-4), norm


def test_pooling_before_a_relu_is_pooling_after_it():
    """Also among equal values, of which bfloat16 has many: outputs and gradients, to the bit."""
    network = build(norm="batch", width=8).bfloat16()
    layers = list(network)
    for i in [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]:
        assert isinstance(layers[i + 1], nn.ReLU)
        layers[i : i + 2] = layers[i + 1], layers[i]
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = []
    for each in (network, nn.Sequential(*layers)):
        outputs = each(images)
        gradients = torch.autograd.grad(outputs.square().sum(), list(network.parameters()))
        found.append([outputs, *gradients])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_pooling_stays_after_a_sigmoid_and_after_a_norm_that_follows():
    for changes in ({"activation": "sigmoid"}, {"norm": "batch", "norm_after": True}):
        names = [type(layer).__name__ for layer in build(**changes)]
        assert "ReLU" not in [names[i + 1] for i, n in enumerate(names) if n == "MaxPool2d"]


def test_lrn_is_where_it_is_told_and_nowhere_else():
    def found(**changes) -> list[str]:
        return [type(m).__name__ for m in build(**changes)]

    names = found(lrn=True)
    at = [i for i, name in enumerate(names) if name == "LocalResponseNorm"]
    pools = [i for i, name in enumerate(names) if name == "MaxPool2d"]
    assert at == [pools[0] + 2, pools[1] + 2]
    assert {names[i - 1] for i in at} == {"ReLU"}
    assert [name for name in names if name != "LocalResponseNorm"] == found()


def test_lrn_divides_by_its_neighbours_in_any_precision():
    x = torch.randn(2, 9, 4, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.empty_like(x)
    for c in range(9):
        near = x[:, max(0, c - 2) : c + 3].square().sum(1)
        expected[:, c] = x[:, c] / (1 + 0.3969 / 5 * near) ** 0.75
    assert (expected / x).max() < 1
    torch.testing.assert_close(LocalResponseNorm()(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        y = LocalResponseNorm()(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=8e-3, atol=0)


def inception(size=32, **changes) -> nn.Module:
    config = Model(**{"name": "small_inception", "width": 96, "depth": 12, **changes})
    return models.build(config, (size, size, 3), 10, 0)


def test_the_small_inception_has_the_published_number_of_parameters():
    """1,649,402 in both readings: biases and no BN, or BN with beta alone. 1,651,114 with gamma."""
    plain, normalized = inception(28), inception(28, norm="batch")
    gammas = sum(m.weight.numel() for m in normalized.modules() if isinstance(m, TorchBatchNorm))
    with_bn = sum(p.numel() for p in normalized.parameters())
    assert sum(p.numel() for p in plain.parameters()) == 1_649_402
    assert (with_bn, with_bn - gammas) == (1_651_114, 1_649_402)
    assert sum(p.numel() for p in inception(32).parameters()) == 1_649_402


@pytest.mark.parametrize(("size", "sizes"), [(28, (28, 14, 7)), (32, (32, 16, 8))])
def test_the_small_inception_has_the_published_maps(size, sizes):
    model, x, shapes = inception(size).eval(), torch.zeros(1, 3, size, size), []
    for row in model[: len(TABLE)]:
        x = row(x)
        shapes.append(tuple(x.shape[1:]))
    maps = [96, 64, 80, 160, 160, 160, 160, 144, 240, 336, 336]
    edges = [sizes[0]] * 3 + [sizes[1]] * 5 + [sizes[2]] * 3
    assert shapes == [(m, edge, edge) for m, edge in zip(maps, edges, strict=True)]
    assert len(TABLE) + 1 == 12, "the depth that validation asks for"
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 10)


def test_a_module_that_halves_passes_on_the_largest_of_its_inputs():
    config = Model(name="small_inception", width=8)
    halving = module("down", config, 4, [3], (5, 5))
    maps = torch.randn(2, 4, 10, 10)
    torch.testing.assert_close(halving(maps)[:, 3:], functional.max_pool2d(maps, 3, 2, 1))


def test_the_small_inception_at_other_widths():
    narrow = inception(width=24)
    maps = [m.out_channels for m in narrow.modules() if isinstance(m, nn.Conv2d)]
    full = [m.out_channels for m in inception().modules() if isinstance(m, nn.Conv2d)]
    assert [4 * m for m in maps] == full
    inception(width=1)(torch.zeros(2, 3, 32, 32))
    for ours, theirs in zip(
        weights(narrow), weights(inception(width=24, norm="batch")), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm != "none"])
@pytest.mark.parametrize(
    "name",
    [("convnet", 4, 5), ("small_inception", 12, 12), ("mlp", 7, 4)],
    ids=lambda name: name[0],
)
def test_folding_changes_no_network(name, norm, after):
    """Whatever the norm and wherever it stands; and it goes only where it directly follows a
    weight layer whose every feature it treats as one."""
    config = Model(name[0], norm, after, width=name[1], depth=name[2], lrn=name[0] == "convnet")
    model = models.build(config, (16, 16, 3), 10, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    batches = [torch.randn(8, 3, 16, 16, generator=generator) * (1 + i) + i for i in range(3)]
    gather_population_statistics(model, batches)
    expected, short = model.eval()(batches[1]), folded(model)
    torch.testing.assert_close(short(batches[1]), expected, rtol=1e-3, atol=1e-4)
    assert expected.std(0).min() > 1e-3, "the images are told apart"
    before, left = (sum(isinstance(m, BATCH_NORMS) for m in n.modules()) for n in (model, short))
    per_map = norm != "batch_per_activation" or name[0] == "mlp"
    assert left == (0 if per_map and not after else before)


NETWORKS = {  # by name: what is its own, and the shape of an image
    "convnet": ({"depth": 10}, (32, 32, 3)),
    "inception": ({"depth": 0, "width": 4}, (64, 64, 3)),
    "lstm": ({"depth": 1, "time_steps": 7, "activation": "tanh"}, (28, 28, 1)),
    "mlp": ({"depth": 3}, (28, 28, 1)),
    "small_inception": ({"depth": 12}, (32, 32, 3)),
}


@pytest.mark.parametrize("name", models.MODELS)
def test_dropout_is_before_the_classifier(name):
    changes, shape = NETWORKS[name]
    config = Model(**{"name": name, "width": 4, "dropout": 0.3, **changes})
    model = models.build(config, shape, 10, 0)
    *_, dropout, head = (m for m in model.modules() if not list(m.children()))
    assert isinstance(dropout, nn.Dropout)
    assert dropout.p == 0.3
    assert isinstance(head, nn.Linear)


def test_initial_weights_have_the_deviation_they_should():
    def deviations(**changes):
        return [float(w.detach().std()) for w in weights(build(width=32, **changes))[1:9]]

    fan_ins = [w[0].numel() for w in weights(build(width=32))[1:9]]
    he = [(2 / n) ** 0.5 for n in fan_ins]
    assert deviations(init="he") == pytest.approx(he, rel=0.05)
    assert deviations(init="gaussian") == pytest.approx([0.01] * 8, rel=0.05)
    assert deviations(init="he", init_scale=0.1) == pytest.approx([0.1 * d for d in he], rel=0.05)
    assert deviations(init="glorot")[1] == pytest.approx((2 / (2 * fan_ins[1])) ** 0.5, rel=0.05)
