"""What is watched while training, against definitions computed another way."""

import copy

import pytest
import torch
from torch import nn

from batchnorm import models, probes
from batchnorm import train as training
from batchnorm.data import Batches
from batchnorm.evaluate import by_population
from batchnorm.layers import folded
from batchnorm.report import watched as reported
from conftest import small_run
from test_together import digits, mlp_run

CPU = torch.device("cpu")


def watched(norm: str):
    run = mlp_run(norm=norm, scale=20.0)
    batches = Batches(digits(), run.data, 0)
    return models.build(run.model, (12, 12, 1), 10, 0), batches


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_percentiles_are_those_of_each_unit(norm):
    model, batches = watched(norm)
    found = probes.percentiles(model, batches, "float32")
    network = by_population(model, batches, 8)
    images, _ = next(batches.test(1000))
    upto = [i for i, m in enumerate(network) if isinstance(m, nn.Sigmoid)]
    for k, end in enumerate(upto, start=1):
        values = network[:end](images)
        middle = values.sort(dim=0).values[[49, 50]].mean(0)
        assert found[f"preactivation/{k}"][1] == pytest.approx(middle.tolist(), abs=1e-3, rel=1e-3)
        low, _, high = (torch.tensor(one) for one in found[f"preactivation/{k}"])
        inside = ((values >= low) & (values <= high)).float().mean()
        assert float(inside) == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize("activation", models.ACTIVATIONS)
def test_whatever_the_nonlinearity_its_inputs_are_watched(activation):
    run = mlp_run(norm="batch", scale=20.0)
    run.model.activation = activation
    batches = Batches(digits(), run.data, 0)
    model = models.build(run.model, (12, 12, 1), 10, 0)
    found = probes.percentiles(model, batches, "float32")
    assert set(found) == {f"preactivation/{k}" for k in (1, 2, 3)}


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_jacobians_are_those_of_autograd(norm, monkeypatch):
    """Of the layer alone, in units of the deviations of its inputs and outputs."""
    monkeypatch.setattr(probes, "EXAMPLES", 2)
    model, batches = watched(norm)
    found = probes.jacobians(model, batches, "float32")
    network = folded(by_population(model, batches, 8))
    images, _ = next(batches.test(1000))
    before, layer = network[:6](images), network[6:8]  # sigmoid of layer 2, linear of layer 3
    assert isinstance(layer[1], nn.Linear) or isinstance(layer[0], nn.Sigmoid)
    after, values = layer(before), []
    for x in before[:2]:
        jacobian = torch.autograd.functional.jacobian(lambda v: layer(v[None])[0], x)
        scaled = jacobian * before.std(0) / after.std(0)[:, None]
        values.append(torch.linalg.svdvals(scaled))
    quantiles = torch.quantile(torch.cat(values), torch.tensor(probes.QUANTILES))
    assert found["jacobian/3"] == pytest.approx(quantiles.tolist(), rel=1e-3)


def test_the_report_says_how_many_images_are_watched():
    assert (reported.IMAGES, reported.EXAMPLES) == (probes.IMAGES, probes.EXAMPLES)


def test_gradients_are_orthogonal_to_normalized_weights_alone():
    """Section 3.3: BN((aW)u) = BN(Wu), so the loss does not change along W."""
    cosines = {}
    for norm in ("none", "batch"):
        model, batches = watched(norm)
        cosines[norm] = [
            abs(probes.norms(model, batches, "float32")[f"cosine/{k}"]) for k in (1, 2, 3)
        ]
    assert max(cosines["batch"]) < 1e-3
    assert min(cosines["none"]) > 5e-3


def test_norms_are_of_the_weights_and_their_gradients(small_data):
    run = small_run(model__norm="batch")
    model, batches = (
        models.build(run.model, (32, 32, 3), 10, 0),
        Batches(small_data, run.data, 0),
    )
    found = probes.norms(model, batches, "float32")
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert found["norm/2"] == pytest.approx(float(weights[1].detach().norm()))
    assert "bias/1" not in found and "bias/5" in found
    assert all(p.grad is None for p in model.parameters())
    images, labels = batches.train(0)
    for m in model.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.0
    loss = nn.functional.cross_entropy(model.train()(images), labels)
    (gradient,) = torch.autograd.grad(loss, weights[-1])
    assert found["gradient/5"] == pytest.approx(float(gradient.norm()), rel=1e-4)


def after_a_step(small_data, **changes):
    """A network, its batches and its optimizer, whose momentum is not 0."""
    run = small_run(model__dropout=0.3, optim__lr=0.05, **changes)
    state, batches = training.start(run, small_data, CPU), Batches(small_data, run.data, 0)
    for _ in range(2):
        training.train_step(state, run, batches, 18, "float32")
    return state, batches


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_shift_is_what_a_step_does_to_the_next_layers(norm, small_data):
    """Layer by layer, from copies of which the first k - 1 have taken the step of SGD."""
    state, batches = after_a_step(small_data, model__norm=norm)
    images, labels = batches.train(0)

    def network(stepped: int) -> nn.Module:
        """The network of whose weight layers the first few are as the step leaves them."""
        mixed, seen = copy.deepcopy(old), 0
        for mine, theirs in zip(mixed.modules(), new.modules(), strict=True):
            seen += isinstance(mine, nn.Linear | nn.Conv2d)
            if seen <= stepped and not list(mine.children()):
                mine.load_state_dict(theirs.state_dict())
        return mixed

    def gradient(of: nn.Module, k: int) -> torch.Tensor:
        weights = [m.weight for m in of.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        loss = nn.functional.cross_entropy(of(images), labels)
        return torch.autograd.grad(loss, weights[k - 1])[0].flatten()

    old = copy.deepcopy(state.model)
    next(m for m in old.modules() if isinstance(m, nn.Dropout)).p = 0.0
    new, step = copy.deepcopy((old, state.optimizer))[0], {}
    nn.functional.cross_entropy(new(images), labels).backward()
    for (name, p), q in zip(new.named_parameters(), state.model.parameters(), strict=True):
        group = next(
            g for g in state.optimizer.param_groups if any(q is one for one in g["params"])
        )
        buffer = state.optimizer.state[q]["momentum_buffer"]
        step[name] = 0.9 * buffer + p.grad + group["weight_decay"] * p.detach()
        p.data.sub_(group["lr"] * step[name])
    found = probes.shift(state.model, batches, "float32", state.optimizer)
    for k in (2, 3, 5):
        expected = torch.cosine_similarity(
            gradient(network(0), k), gradient(network(k - 1), k), dim=0
        )
        assert found[f"agreement/{k}"] == pytest.approx(float(expected), abs=2e-4), k
        assert found[f"agreement/{k}"] < 0.9999
    upto = [i for i, m in enumerate(old) if isinstance(m, nn.ReLU)][1]
    with torch.no_grad():
        before, after = (of[:upto](images).movedim(1, 0).flatten(1) for of in (old, new))
    far = ((after.mean(1) - before.mean(1)).abs() / before.std(1)).mean()
    assert found["moved/2"] == pytest.approx(float(far), rel=1e-3)


def test_shift_changes_nothing_of_the_run(small_data):
    state, batches = after_a_step(small_data, model__norm="batch", model__noise=True)
    before = copy.deepcopy((state.model.state_dict(), state.optimizer.state_dict()))
    drawn = torch.random.get_rng_state()
    found = probes.shift(state.model, batches, "float32", state.optimizer)
    assert found == probes.shift(state.model, batches, "float32", state.optimizer)
    assert torch.equal(drawn, torch.random.get_rng_state())
    for old, new in zip(before, (state.model, state.optimizer), strict=True):
        torch.testing.assert_close(new.state_dict(), old, rtol=0, atol=0)
    assert all(parameter.grad is not None for parameter in state.model.parameters())
    assert min(found[f"moved/{k}"] for k in range(1, 5)) > 0.1, "the noise of another step"
    assert list(found) == [f"moved/{k}" for k in range(1, 5)] + [
        f"agreement/{k}" for k in range(2, 6)
    ]


def test_a_step_at_rate_zero_shifts_nothing(small_data):
    state, batches = after_a_step(small_data, model__norm="batch")
    for group in state.optimizer.param_groups:
        group["lr"] = 0.0
    found = probes.shift(state.model, batches, "float32", state.optimizer)
    assert [found[f"moved/{k}"] for k in range(1, 5)] == [0] * 4
    assert [found[f"agreement/{k}"] for k in range(2, 6)] == pytest.approx([1] * 4)
