"""SGD and RMSProp, their parameter groups, and the exponentially decaying rate."""

import torch
from torch import nn

from batchnorm.config import Optim

SQUARES = 0.9  # of RMSProp's mean square of the gradients: how much of it a step keeps


def optimizer(model: nn.Module, config: Optim) -> torch.optim.Optimizer:
    """SGD with momentum, or RMSProp, whose L2 penalty falls on the weights of linear and
    convolutional layers alone: not on biases, gamma or beta. The rate is set at every step, see
    `rate`."""
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    penalised = {id(weight) for weight in weights}
    rest = [p for p in model.parameters() if id(p) not in penalised]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay * config.weight_decay_multiplier},
        {"params": rest, "weight_decay": 0.0},
    ]
    first, momentum = rate(config, 0, 1), config.momentum
    if config.name == "rmsprop":
        return torch.optim.RMSprop(groups, lr=first, alpha=SQUARES, momentum=momentum)
    return torch.optim.SGD(groups, lr=first, momentum=momentum, fused=True)


def steps(config: Optim, per_epoch: int) -> int:
    """How many steps a run takes whose epochs have `per_epoch` batches."""
    return max(1, round(config.epochs * config.epochs_multiplier * per_epoch))


def rate(config: Optim, step: int, steps: int) -> float:
    """The learning rate of step `step` of `steps` (from 0): exponential decay, section 4.2."""
    decay = config.final_lr ** (config.decay_speed * step / steps)
    return config.lr * config.lr_multiplier * decay
