"""What is watched while training, against definitions computed another way."""

import pytest
import torch
from torch import nn

from batchnorm import models, probes
from batchnorm.data import Batches
from batchnorm.evaluate import by_population
from batchnorm.layers import folded
from batchnorm.report import watched as reported
from conftest import small_run
from test_together import digits, mlp_run


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
