"""The paper's Inception: its table, its counts, its knobs."""

import pytest
import torch
from torch import nn

from batchnorm import models
from batchnorm.config import Model
from batchnorm.layers import (
    BATCH_NORMS,
    ActivationBatchNorm,
    TorchBatchNorm,
    folded,
    gather_population_statistics,
)
from batchnorm.models.inception import MODULES, inception
from batchnorm.models.unit import Branches, LocalResponseNorm
from batchnorm.validation import FIXED_DEPTHS
from conftest import script

OUTPUTS = {  # of Figure 5 at 224 x 224, with 3c and 4e as they are after their stride of 2
    "convolution_1": (64, 112),
    "pool_1": (64, 56),
    "convolution_2": (192, 56),
    "pool_2": (192, 28),
    "inception_3a": (256, 28),
    "inception_3b": (320, 28),
    "inception_3c": (576, 14),
    "inception_4a": (576, 14),
    "inception_4b": (576, 14),
    "inception_4c": (576, 14),
    "inception_4d": (576, 14),
    "inception_4e": (1024, 7),
    "inception_5a": (1024, 7),
    "inception_5b": (1024, 7),
}
AS_PRINTED = {"inception_4c": (608, 14), "inception_4d": (608, 14), "inception_4e": (1056, 7)}


def config(**changes) -> Model:
    return Model(**{"name": "inception", "width": 64, "depth": 34, **changes})


def empty(**changes) -> nn.Sequential:
    """The network at the paper's size, without memory for its weights."""
    with torch.device("meta"):
        return inception(config(**changes), (224, 224, 3), 1000)


def build(size=64, **changes) -> nn.Sequential:
    changes = {"width": 8, **changes}
    return models.build(config(**changes), (size, size, 3), 10, 0)


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize(("maps", "differing"), [(576, {}), (608, AS_PRINTED)])
def test_every_row_has_the_size_of_the_table(maps, differing):
    x, found = torch.empty(1, 3, 224, 224, device="meta"), {}
    for name, row in empty(maps_4cd=maps, norm="batch").named_children():
        x = row(x)
        found[name] = tuple(x.shape[1:])
    expected = {name: (m, edge, edge) for name, (m, edge) in (OUTPUTS | differing).items()}
    assert {name: found[name] for name in expected} == expected
    assert found["linear"] == (1000,)
    assert found.keys() - expected.keys() == {"pool_3", "dropout", "linear"}


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"norm": "batch"}, 11_194_984),
        ({"norm": "batch", "separable_stem": True}, 11_188_288),
        ({}, 11_185_032),
        # as in the public `bninception`: a norm that keeps the convolutions' biases
        ({"norm": "batch_detached", "maps_4cd": 608}, 11_295_240),
    ],
)
def test_the_number_of_parameters(changes, count):
    assert sum(p.numel() for p in empty(**changes).parameters()) == count


def test_every_nonlinearity_is_normalized():
    network = empty(norm="batch")
    norms = [m for m in network.modules() if isinstance(m, TorchBatchNorm)]
    assert len(norms) == len(convolutions(network)) == 69
    assert sum(norm.num_features for norm in norms) == 9952
    assert sum(isinstance(m, nn.ReLU) for m in network.modules()) == 69
    sigmoid = empty(norm="batch", activation="sigmoid")
    assert sum(isinstance(m, nn.Sigmoid) for m in sigmoid.modules()) == 69
    assert not any(isinstance(m, nn.ReLU) for m in sigmoid.modules())


def test_the_longest_way_through_has_the_depth_that_is_asked_for():
    def depth(row) -> int:
        ways = row if isinstance(row, Branches) else [row]
        return max(sum(isinstance(m, nn.Conv2d | nn.Linear) for m in w.modules()) for w in ways)

    depths = [depth(row) for row in empty(norm="batch").children()]
    assert sum(depths) == FIXED_DEPTHS["inception"] == config().depth


def test_lrn_stands_on_both_sides_of_the_second_convolutions():
    def names(**changes) -> list[str]:
        return [name for name, _ in empty(**changes).named_children()]

    rows = [name for name in names(lrn=True) if not name.startswith("inception")][:6]
    assert rows == ["convolution_1", "pool_1", "lrn_1", "convolution_2", "lrn_2", "pool_2"]
    assert isinstance(empty(lrn=True).lrn_1, LocalResponseNorm)
    assert not any(name.startswith("lrn") for name in names())


def test_a_separable_stem_filters_each_colour_by_itself():
    first, mixing = build(separable_stem=True, norm="batch").convolution_1[:2]
    assert (first.groups, first.out_channels, first.stride) == (3, 24, (2, 2))
    assert (mixing.in_channels, mixing.out_channels, mixing.kernel_size) == (24, 8, (1, 1))


@pytest.mark.parametrize("late", [0, 2])
def test_the_last_modules_may_be_normalized_per_activation(late):
    network = build(norm="batch", per_activation=late)
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 10)
    per_activation = {
        name
        for name, row in network.named_children()
        for m in row.modules()
        if isinstance(m, ActivationBatchNorm)
    }
    assert per_activation == {f"inception_{name}" for name in ("5a", "5b")[2 - late :]}


@pytest.mark.parametrize("size", [32, 48, 64, 75])
def test_small_machines_and_odd_sizes(size):
    """Forward and backward, every weight used; 1/4 of the width is 1/4 of every row's maps."""
    network = build(size, norm="batch", per_activation=3, lrn=True)
    network(torch.randn(3, 3, size, size)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    full, quarter = ([m.out_channels for m in convolutions(empty(width=w))] for w in (64, 16))
    assert full == [4 * maps for maps in quarter]
    assert min(m.out_channels for m in convolutions(build(width=1))) == 1


def test_pooling_inside_a_module_is_what_figure_5_says():
    network = empty()
    largest = {"3c", "4e", "5b"}
    for name, row in MODULES.items():
        pool = getattr(network, f"inception_{name}")[-1][0]
        assert isinstance(pool, nn.MaxPool2d if name in largest else nn.AvgPool2d)
        assert pool.stride == (1 if row.one else 2)
        maps = torch.ones(1, 2, 6, 6)
        assert torch.equal(pool(maps), maps[..., :: pool.stride, :: pool.stride]), "no border"


def test_arms_at_one_seed_start_from_the_same_weights():
    plain = convolutions(build())
    for changes in ({"norm": "batch"}, {"lrn": True}, {"norm": "batch", "per_activation": 2}):
        for ours, theirs in zip(plain, convolutions(build(**changes)), strict=True):
            assert torch.equal(ours.weight, theirs.weight), changes


def test_folding_changes_no_output_and_leaves_what_is_per_activation():
    network = build(norm="batch", per_activation=1)
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(4, 3, 64, 64, generator=generator) + i for i in range(2)]
    gather_population_statistics(network, batches)
    expected, short = network.eval()(batches[1]), folded(network)
    torch.testing.assert_close(short(batches[1]), expected, rtol=1e-3, atol=1e-4)
    assert expected.std(0).min() > 1e-3, "the images are told apart"
    assert sum(isinstance(m, BATCH_NORMS) for m in short.modules()) == 7  # those of 5b


def test_figure_5_is_printed_with_our_counts_beside_it(capsys):
    assert script("figure_5").main([]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "inception (3c) stride 2 28x28x576 14x14x576 3 0 128 160 64 96 max + pass" in said
    assert "convolution 3x3/1 56x56x192 56x56x192 1 64 192 115,200" in said
    assert "69 convolutions, 11,194,984 parameters; the paper says 13.6 million" in said
    for count in ("11,194,984 576 maps", "11,188,288", "11,185,032", "11,295,240 608 maps"):
        assert count in said.partition("By reading:")[2]
    assert script("figure_5").main(["--maps-4cd", "608", "--norm", "none"]) == 0
    assert "14x14x608" in capsys.readouterr().out
