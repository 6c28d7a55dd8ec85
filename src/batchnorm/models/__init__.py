"""The networks that experiments choose from, by name."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from batchnorm.config import Model
from batchnorm.layers import BATCH_NORMS
from batchnorm.models.convnet import convnet
from batchnorm.models.inception import inception
from batchnorm.models.lstm import lstm
from batchnorm.models.mlp import mlp
from batchnorm.models.small_inception import small_inception
from batchnorm.models.unit import ACTIVATIONS
from batchnorm.seeds import stream

__all__ = ["ACTIVATIONS", "INITS", "MODELS", "build"]

Shape = tuple[int, int, int]  # of one image: height, width, channels
MODELS: dict[str, Callable[[Model, Shape, int], nn.Module]] = {
    "convnet": convnet,
    "inception": inception,
    "lstm": lstm,
    "mlp": mlp,
    "small_inception": small_inception,
}


def orthogonal(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Fill a weight (units, ...) with orthogonal matrices, each as high as it is wide, one below
    the other: of an LSTM's recurrent weight, one for each gate. Every row has length 1."""
    for block in weight.split(weight[0].numel()):
        nn.init.orthogonal_(block, generator=generator)
    return weight


# What `model.init` may be: fills a weight in place, from a generator.
INITS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "he": lambda w, g: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=g),
    "glorot": lambda w, g: nn.init.xavier_normal_(w, generator=g),
    "gaussian": lambda w, g: nn.init.normal_(w, std=0.01, generator=g),  # the habit of 2015
    "orthogonal": orthogonal,
}


def build(config: Model, shape: Shape, classes: int, seed: int) -> nn.Module:
    """The network with its initial weights: a function of config and seed alone.

    Weights are drawn in layer order from a generator of their own, and nothing else is, so that
    arms with and without BN, or with another activation, start from the same weights. Biases and
    beta are 0, gamma is `config.gamma`.
    """
    model = MODELS[config.name](config, shape, classes)
    generator = torch.Generator().manual_seed(stream(seed, "weights"))
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            INITS[config.init](module.weight, generator)
            with torch.no_grad():
                module.weight.mul_(config.init_scale)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, BATCH_NORMS) and module.weight is not None:
            nn.init.constant_(module.weight, config.gamma)
    return model
