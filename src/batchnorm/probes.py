"""What is watched while a run trains, at each of its evaluations. No probe changes the run."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

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
    trained = _without_dropout(copy.deepcopy(model))
    images, labels = batches.train(0)
    nn.functional.cross_entropy(trained(images), labels).backward()
    found = {}
    for k, layer in enumerate(_weighted(trained), start=1):
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


def shift(model: nn.Module, batches: Batches, precision: str, optimizer: SGD) -> Row:
    """What one more step of the run does to what its layers see, on one fixed training batch, by
    batch statistics: `moved/k`, how far the mean input of a unit (or map) of the k-th nonlinearity
    moves, in standard deviations over the batch, mean over units; `agreement/k`, for the k-th
    weight layer from the second, the cosine between the gradient by its weights now and after the
    layers before it have taken the step (Santurkar et al. 2018, Definition 2.1: 1 is no shift).
    """
    trained, stepper = copy.deepcopy((model, optimizer))
    _without_dropout(trained)
    images, labels = batches.train(0)
    layers = _weighted(trained)
    found: Row = {}
    with torch.random.fork_rng([images.device] if images.is_cuda else []):

        def gradients() -> list[Tensor]:
            stepper.zero_grad()
            torch.manual_seed(0)  # the same noise each time, where there is any
            nn.functional.cross_entropy(trained(images), labels).backward()
            return [layer.weight.grad.clone() for layer in layers]

        now, kept = gradients(), [p.detach().clone() for p in trained.parameters()]
        before = _inputs_of_units(trained, images, seed=0)
        stepper.step()
        after = _inputs_of_units(trained, images, seed=1)  # the noise of another step
        for k, (old, new) in enumerate(zip(before, after, strict=True), start=1):
            far = (new.mean(1) - old.mean(1)).abs() / old.std(1).clamp_min(1e-12)
            found[f"moved/{k}"] = float(far.mean())
        steps, agreement = _by_layer(trained, kept), {}
        for k in range(len(layers) - 1, 0, -1):
            with torch.no_grad():
                for parameter, old in steps[k]:
                    parameter.copy_(old)  # from here on, nothing has taken its step
            then = gradients()[k]
            cosine = torch.cosine_similarity(now[k].flatten(), then.flatten(), dim=0, eps=1e-30)
            agreement[f"agreement/{k + 1}"] = float(cosine)
    return found | dict(reversed(agreement.items()))


def _by_layer(network: nn.Module, kept: list[Tensor]) -> list[list[tuple[Tensor, Tensor]]]:
    """The parameters of each weight layer and of the norm after it, each with its kept value."""
    weights, found = {id(layer.weight) for layer in _weighted(network)}, []
    for parameter, old in zip(network.parameters(), kept, strict=True):
        if id(parameter) in weights:
            found.append([])
        found[-1].append((parameter, old))
    return found


@torch.no_grad()
def _inputs_of_units(network: nn.Module, images: Tensor, seed: int) -> list[Tensor]:
    """What enters each nonlinearity, (units, images * locations) float32."""
    torch.manual_seed(seed)
    return [one.movedim(1, 0).flatten(1).float() for one in _seen(network, images)[0]]


# What `probes` may name: from the network, its batches and the precision it trains in, and for
# those OF_A_STEP the optimizer. Those of this module compute in float32 whatever the precision is.
PROBES: dict[str, Callable[..., Row]] = {
    "percentiles": percentiles,
    "norms": norms,
    "shift": shift,
    "jacobians": jacobians,
    "training_set": training_set,
    "inference": inference,
    "probabilities": probabilities,
}
OF_A_STEP = ("shift",)
# As dear as an evaluation or more: the last time alone.
AT_THE_END = ("training_set", "inference", "probabilities")


def watch(
    names: list[str],
    last: bool,
    model: nn.Module,
    batches: Batches,
    precision: str,
    optimizer: SGD,
) -> Row:
    """What the named probes see; at the last evaluation all of them look."""
    found: Row = {}
    for name in names:
        if last or name not in AT_THE_END:
            more = (optimizer,) if name in OF_A_STEP else ()
            found |= PROBES[name](model, batches, precision, *more)
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
    return _seen(network, batches.first(IMAGES))


def _seen(network: nn.Module, images: Tensor) -> tuple[list[Tensor], list[nn.Module]]:
    """What enters each nonlinearity for these images, (images, units, ...), and those."""
    seen: list[Tensor] = []
    activations = [m for m in network.modules() if isinstance(m, nn.ReLU | nn.Sigmoid | nn.Tanh)]
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
        for layer in activations
    ]
    network(images)
    for handle in handles:  # what is computed with the activations later is not an input
        handle.remove()
    return seen, activations


def _weighted(network: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """The weight layers, in their order."""
    return [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def _without_dropout(network: nn.Module) -> nn.Module:
    """The network itself, as it trains but for Dropout, which is off."""
    network.train()
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    return network


def _slopes(activation: nn.Module, at: Tensor) -> Tensor:
    """The derivative of a nonlinearity at each value."""
    with torch.enable_grad():
        values = at.detach().clone().requires_grad_()
        return torch.autograd.grad(activation(values * 1).sum(), values)[0]


def _rounded(values: Tensor) -> list[Any]:
    short = [float(f"{one:.{DIGITS}g}") for one in values.flatten().tolist()]
    return torch.tensor(short, dtype=torch.float64).view(values.shape).tolist()
