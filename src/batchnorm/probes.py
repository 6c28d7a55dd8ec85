"""What is watched while a run trains, at each of its evaluations. No probe changes the run."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from batchnorm.data import Batches
from batchnorm.evaluate import POPULATION_BATCHES, by_population, inference, training_set
from batchnorm.layers import folded
from batchnorm.multicrop import probabilities

IMAGES = 1000  # the fixed images that pre-activations are watched on: the first evaluated ones
EXAMPLES = 10  # of them, for Jacobians
PERCENTILES = (0.15, 0.5, 0.85)  # Figure 1(b, c)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of singular values
DIGITS = 4  # significant, of the numbers in lists: a record holds thousands

Row = dict[str, Any]


@torch.no_grad()
def percentiles(model: nn.Module, batches: Batches, precision: str) -> Row:
    """`preactivation/k`: the 15th, 50th and 85th percentiles of each unit (or feature map) that
    enters the k-th nonlinearity, over fixed images, as the network infers: Figure 1(b, c).

    Three lists with one number per unit each.
    """
    inputs, _ = _preactivations(by_population(model, batches, POPULATION_BATCHES), batches)
    found = {}
    for k, values in enumerate(inputs, start=1):
        units = values.movedim(1, 0).flatten(1).float()  # (units, images * locations)
        points = torch.tensor(PERCENTILES, device=units.device)
        found[f"preactivation/{k}"] = _rounded(torch.quantile(units, points, dim=1))
    return found


def norms(model: nn.Module, batches: Batches, precision: str) -> Row:
    """For the k-th weight layer: `norm/k`, its weight's Frobenius norm; `gradient/k`, that of the
    loss's gradient, on one fixed training batch, by batch statistics; `cosine/k`, the cosine of
    both (0 where BN follows: section 3.3); `bias/k`, its bias's norm."""
    trained = copy.deepcopy(model).train()
    for layer in trained.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    images, labels = batches.train(0)
    nn.functional.cross_entropy(trained(images), labels).backward()
    found = {}
    weighted = [m for m in trained.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for k, layer in enumerate(weighted, start=1):
        weight, gradient = layer.weight.detach().flatten(), layer.weight.grad.flatten()
        found[f"norm/{k}"] = float(weight.norm())
        found[f"gradient/{k}"] = float(gradient.norm())
        found[f"cosine/{k}"] = float(torch.cosine_similarity(weight, gradient, dim=0, eps=1e-30))
        if layer.bias is not None:
            found[f"bias/{k}"] = float(layer.bias.detach().norm())
    return found


@torch.no_grad()
def jacobians(model: nn.Module, batches: Batches, precision: str) -> Row:
    """`jacobian/k`: quantiles of the singular values of the k-th hidden layer's Jacobian, from the
    normalized pre-activations of the layer before to its own (section 3.3's conjecture: near 1).

    Pre-activations count in their standard deviations over the fixed images, in every network
    alike: with BN that is the paper's map from xhat to zhat. Fully connected networks alone.
    """
    network = folded(by_population(model, batches, POPULATION_BATCHES))
    inputs, activations = _preactivations(network, batches)
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Linear)]
    found = {}
    for k in range(1, len(inputs)):
        before, after = inputs[k - 1], inputs[k]
        slopes = _slopes(activations[k - 1], before[:EXAMPLES])  # (examples, units)
        scaled = weights[k] * before.std(0) / after.std(0).clamp_min(1e-12)[:, None]
        maps = (scaled * slopes[:, None, :]).nan_to_num()
        values = torch.linalg.svdvals(maps.cpu())  # a GPU takes them one by one
        points = torch.tensor(QUANTILES, device=values.device)
        found[f"jacobian/{k + 1}"] = _rounded(torch.quantile(values.flatten(), points))
    return found


# What `probes` may name: from the network, its batches and the precision it trains in. Those of
# this module compute in float32 whatever that is.
PROBES: dict[str, Callable[[nn.Module, Batches, str], Row]] = {
    "percentiles": percentiles,
    "norms": norms,
    "jacobians": jacobians,
    "training_set": training_set,
    "inference": inference,
    "probabilities": probabilities,
}
# As dear as an evaluation or more: the last time alone.
AT_THE_END = ("training_set", "inference", "probabilities")


def watch(names: list[str], last: bool, model: nn.Module, batches: Batches, precision: str) -> Row:
    """What the named probes see; at the last evaluation all of them look."""
    found: Row = {}
    for name in names:
        if last or name not in AT_THE_END:
            found |= PROBES[name](model, batches, precision)
    return found


def in_numbers(row: Row) -> Row:
    """A row with numbers in place of its lists: `preactivation/k/p15`, p50 and p85, each of the
    median unit; `jacobian/k/q5` to q95. Tensors, left as files beside the record, are left out."""
    found: Row = {}
    for name, value in row.items():
        if name.startswith("preactivation/"):
            units = torch.tensor(value, dtype=torch.float64).median(dim=1).values.tolist()
            found |= {f"{name}/p{100 * p:.0f}": v for p, v in zip(PERCENTILES, units, strict=True)}
        elif name.startswith("jacobian/"):
            found |= {f"{name}/q{100 * q:.0f}": v for q, v in zip(QUANTILES, value, strict=True)}
        elif not isinstance(value, Tensor):
            found[name] = value
    return found


def _preactivations(network: nn.Module, batches: Batches) -> tuple[list[Tensor], list[nn.Module]]:
    """What enters each nonlinearity for the fixed images, (images, units, ...), and those."""
    seen: list[Tensor] = []
    activations = [m for m in network.modules() if isinstance(m, nn.ReLU | nn.Sigmoid)]
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
        for layer in activations
    ]
    network(next(batches.test(IMAGES))[0])
    for handle in handles:  # what is computed with the activations later is not an input
        handle.remove()
    return seen, activations


def _slopes(activation: nn.Module, at: Tensor) -> Tensor:
    """The derivative of a nonlinearity at each value."""
    with torch.enable_grad():
        values = at.detach().clone().requires_grad_()
        return torch.autograd.grad(activation(values * 1).sum(), values)[0]


def _rounded(values: Tensor) -> list[Any]:
    short = [float(f"{one:.{DIGITS}g}") for one in values.flatten().tolist()]
    return torch.tensor(short, dtype=torch.float64).view(values.shape).tolist()
