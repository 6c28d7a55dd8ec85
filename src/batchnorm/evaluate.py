"""How good a network is: single-crop accuracy and loss, by population statistics."""

import torch
from torch import nn

from batchnorm.data import Batches
from batchnorm.layers import folded, gather_population_statistics

POPULATION_BATCHES = 8  # training batches for the population statistics, along the curve
FINAL_POPULATION_BATCHES = 100  # and at its end


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Batches, precision: str, population_batches: int
) -> dict[str, float]:
    """Accuracy (a fraction) and mean cross-entropy on the evaluation split, as Algorithm 2 infers:
    population statistics from training batches, folded into the convolutions.

    Changes the model's running statistics, which training never reads, and nothing else.
    """
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        gather_population_statistics(model, batches.population(population_batches))
        inference = folded(model)
        correct, loss = torch.zeros((), device=device), torch.zeros((), device=device)
        for images, labels in batches.test():
            logits = inference(images).float()
            correct += (logits.argmax(1) == labels).sum()
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum")
    count = len(batches.data.test)
    return {"accuracy": float(correct) / count, "loss": float(loss) / count}
