"""The LSTM and its batch normalization, against torch's own and against the definitions."""

import pytest
import torch
from torch import nn

from batchnorm import models, optim
from batchnorm.config import Model, Optim
from batchnorm.data.sets import Split, permuted
from batchnorm.layers import BATCH_NORMS, NORMS, gather_population_statistics
from batchnorm.models.lstm import FORGET, Lstm, in_time

UNITS, STEPS, SIDE = 5, 4, 6  # 9 values at a time


def build(norm="none", seed=0, width=UNITS, **changes) -> nn.Module:
    keys = {"activation": "tanh", "init": "orthogonal", "time_steps": STEPS, **changes}
    config = Model(name="lstm", norm=norm, width=width, depth=2, **keys)
    return models.build(config, (SIDE, SIDE, 1), 3, seed)


def images(m=8) -> torch.Tensor:
    return torch.randn(m, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_without_bn_it_is_torchs_lstm():
    ours, theirs = build()[0], nn.LSTM(SIDE * SIDE // STEPS, UNITS, batch_first=True)

    def reordered(t):  # ours: forget, input, output, new; theirs: input, forget, new, output
        f, i, o, g = t.detach().chunk(4)
        return torch.cat([i, f, g, o])

    with torch.no_grad():
        ours.of_state.bias.normal_()
        theirs.weight_ih_l0.copy_(reordered(ours.of_input.weight))
        theirs.weight_hh_l0.copy_(reordered(ours.of_state.weight))
        theirs.bias_hh_l0.copy_(reordered(ours.of_state.bias))
        theirs.bias_ih_l0.zero_()
        theirs.bias_ih_l0[UNITS : 2 * UNITS] = FORGET
    read = images().flatten(1).view(8, STEPS, -1)
    torch.testing.assert_close(ours(images()), theirs(read)[0][:, -1])


def by_definition(cell: Lstm, x: torch.Tensor, eps=1e-5) -> torch.Tensor:
    """Cooijmans et al., equations 6 to 8, by batch statistics."""

    def bn(values, layer):
        var = values.var(0, correction=0)
        return layer.weight * (values - values.mean(0)) / (var + eps).sqrt() + layer.bias

    h = c = torch.zeros(len(x), UNITS, dtype=x.dtype)
    for part in x.flatten(1).chunk(STEPS, 1):
        gates = bn(h @ cell.of_state.weight.T, cell.norm_state[0])
        gates = gates + bn(part @ cell.of_input.weight.T, cell.norm_input[0])
        f, i, o, g = gates.chunk(4, 1)
        c = (f + FORGET).sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * bn(c, cell.norm_cell[0]).tanh()
    return h


@pytest.mark.parametrize("norm", ["batch", "batch_reference"])
def test_bn_is_as_defined_and_has_its_gradients(norm):
    cell = build(norm, gamma=0.1)[0].double()
    torch.testing.assert_close(cell(images().double()), by_definition(cell, images().double()))
    assert torch.autograd.gradcheck(cell, images(4).double().requires_grad_())


def test_time_steps_share_gamma_and_beta_and_no_statistics():
    model = build("batch", gamma=0.1)
    cell = model[0]
    weights = 4 * UNITS * (9 + UNITS) + 3 * UNITS + 3
    assert sum(p.numel() for p in model.parameters()) == weights + 2 * (4 + 4 + 1) * UNITS
    assert FORGET == 1, "as the deviations say"
    norms = [n for n in model.modules() if isinstance(n, BATCH_NORMS)]
    assert len(norms) == 3 * STEPS
    assert all(bool((n.weight == 0.1).all()) for n in norms)
    cell(images()).sum().backward()
    optim.optimizer(model, Optim(lr=0.1, epochs=1, final_lr=1)).step()
    for norms in (cell.norm_input, cell.norm_state, cell.norm_cell):
        assert len(norms) == STEPS
        assert all(n.weight is norms[0].weight and n.bias is norms[0].bias for n in norms)
        means = torch.stack([n.running_mean for n in norms])
        assert len(means.unique(dim=0)) == STEPS


def test_population_statistics_are_those_of_each_time_step():
    model = build("batch")
    gather_population_statistics(model, [images(), images()])
    for t, part in enumerate(images().flatten(1).chunk(STEPS, 1)):
        values = part @ model[0].of_input.weight.T
        torch.testing.assert_close(model[0].norm_input[t].running_mean, values.mean(0))
        torch.testing.assert_close(model[0].norm_input[t].running_var, values.var(0))


def test_any_normalizer_may_be_in_it():
    for norm in ("batch_no_affine", "batch_detached"):
        model = build(norm)
        model(images()).sum().backward()
        assert all(p.grad is not None for p in model.parameters())


def test_a_normalizer_of_several_layers_is_shared_whole(monkeypatch):
    own = lambda units, size: nn.Sequential(nn.LayerNorm(units), nn.Identity())  # noqa: E731
    monkeypatch.setitem(NORMS, "mine", own)
    norms = in_time("mine", UNITS, STEPS)
    assert sum(p.numel() for p in norms.parameters()) == 2 * UNITS


def test_weights_pair_and_every_gates_matrix_is_orthogonal():
    plain, bn = build(), build("batch")
    for gate in plain[0].of_state.weight.detach().chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(UNITS))
    assert torch.equal(plain[0].of_state.weight, bn[0].of_state.weight)
    assert torch.equal(plain[2].weight, bn[2].weight)
    assert not torch.equal(plain[0].of_state.weight, build(seed=1)[0].of_state.weight)


def test_pixels_are_permuted_alike_in_all_images_and_splits():
    pixels = torch.arange(28 * 28, dtype=torch.int32).remainder(251).to(torch.uint8)
    one = Split(pixels.view(1, 28, 28, 1), torch.zeros(1, dtype=torch.int64))
    many = Split(one.images.repeat(3, 1, 1, 1), torch.arange(3))
    moved = permuted(many)
    assert torch.equal(moved.images[2], permuted(one).images[0])
    assert torch.equal(moved.images[0].flatten().sort()[0], pixels.sort()[0])
    assert (moved.images[0].flatten() != pixels).float().mean() > 0.9
    assert torch.equal(moved.labels, many.labels)
