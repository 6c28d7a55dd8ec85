"""How good a network is: single-crop accuracy and loss, by population statistics or by others."""

import copy
from collections.abc import Iterable
from math import ceil

import torch
from torch import Tensor, nn

from batchnorm import replicas
from batchnorm.data import Batches
from batchnorm.layers import BATCH_NORMS, folded, gather_population_statistics

POPULATION_BATCHES = 8  # training batches for the population statistics, along the curve
FINAL_POPULATION_BATCHES = 100  # and at its end
TOP_5_CLASSES = 20  # from which on the top-5 accuracy says something
LEAST_IMAGES = 32  # for each of them: smaller batches are as many more

Row = dict[str, float]


@torch.no_grad()
def evaluate(model: nn.Module, batches: Batches, precision: str, population_batches: int) -> Row:
    """Accuracy (a fraction) and mean cross-entropy on the evaluation split, as Algorithm 2 infers:
    population statistics from training batches, folded into the convolutions.

    Changes nothing of the model, its running statistics included.
    """
    with autocast(model, precision):
        return score(
            folded(by_population(model, batches, population_batches)), batches.test(shared=True)
        )


@torch.no_grad()
def training_set(model: nn.Module, batches: Batches, precision: str) -> Row:
    """`training_set/accuracy` and `/loss`: as `evaluate`, at its most careful, on as many training
    images as the evaluation split has, not augmented."""
    with autocast(model, precision):
        network = folded(by_population(model, batches, FINAL_POPULATION_BATCHES))
        found = score(network, batches.training_set(shared=True))
    return {f"training_set/{quantity}": value for quantity, value in found.items()}


@torch.no_grad()
def inference(model: nn.Module, batches: Batches, precision: str) -> Row:
    """Accuracy on the evaluation split by other statistics than Algorithm 2's, which `evaluate`
    uses. `inference/biased`: its population statistics with variances divided by m, not m - 1;
    `inference/moving_average`: torch's running statistics, as training left them;
    `inference/batch`: those of each batch of the split itself, in batches of the run's size (a
    last, smaller one is left out)."""
    with autocast(model, precision):
        population = by_population(model, batches, FINAL_POPULATION_BATCHES)
        undo_correction(population, next(batches.population(1)))
        size = min(batches.batch_size, len(batches.data.test))
        whole = (one for one in batches.test(size, shared=True) if len(one[1]) == size)
        scores = {
            "biased": score(folded(population), batches.test(shared=True)),
            "moving_average": score(folded(model), batches.test(shared=True)),
            "batch": score(by_batch(model), whole),
        }
    return {f"inference/{name}": found["accuracy"] for name, found in scores.items()}


def autocast(model: nn.Module, precision: str) -> torch.autocast:
    """The context in which a model on its device computes in a precision."""
    device = next(model.parameters()).device
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def score(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Row:
    """Accuracy (a fraction) and mean cross-entropy over batches of images and labels, and over
    those of the other processes, which see other batches at the same time; of many classes,
    `top_5` too, the share of images whose label is among the five most probable."""
    count, correct, loss, ranked, among = 0, 0, 0, 0, 0
    for images, labels in batches:
        logits = network(images).float()
        count += len(labels)
        correct += (logits.argmax(1) == labels).sum()
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum")
        if logits.shape[1] >= TOP_5_CLASSES:
            ranked += len(labels)
            among += (logits.topk(5).indices == labels[:, None]).sum()
    sums = [float(one) for one in (count, correct, loss, ranked, among)]
    sums = replicas.total(torch.tensor(sums, dtype=torch.float64)).tolist()
    count, correct, loss, ranked, among = sums
    found = {"accuracy": correct / count, "loss": loss / count}
    return {**found, "top_5": among / ranked} if ranked else found


def by_population(model: nn.Module, batches: Batches, count: int) -> nn.Module:
    """A copy of the model that infers by population statistics of `count` training batches; of
    more where they are small, since 8 batches of 2 images say little about a population."""
    network = copy.deepcopy(model)
    count *= ceil(LEAST_IMAGES / batches.batch_size)
    gather_population_statistics(network, batches.population(count))
    return network.eval()


def by_batch(model: nn.Module) -> nn.Module:
    """A copy of the model that infers (Dropout off) by the statistics of each batch it is given."""
    network = copy.deepcopy(model).eval()
    for layer in network.modules():
        if isinstance(layer, BATCH_NORMS):
            layer.train()
    return network


def undo_correction(network: nn.Module, batch: Tensor) -> None:
    """Divide population variances by m where they were divided by m - 1, m being the number of
    values that a statistic is taken over in a batch such as `batch`."""
    layers = [layer for layer in network.modules() if isinstance(layer, BATCH_NORMS)]
    values: dict[nn.Module, int] = {}

    def count(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        values[layer] = inputs[0].numel() // layer.running_mean.numel()

    handles = [layer.register_forward_pre_hook(count) for layer in layers]
    network(batch)
    for handle in handles:
        handle.remove()
    for layer, m in values.items():
        layer.running_var.mul_((m - 1) / m)
