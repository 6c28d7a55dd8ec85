"""The fully connected network of section 4.1."""

from torch import nn

from batchnorm.config import Model
from batchnorm.models.unit import unit


def mlp(config: Model, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """`depth` - 1 fully connected layers of `width` units, each followed by norm and activation
    (see unit), Dropout, and a last linear layer, which is not normalized.

    Inputs (m, C, H, W) for `shape` (H, W, C), outputs (m, classes).
    """
    layers: list[nn.Module] = [nn.Flatten()]
    units = shape[0] * shape[1] * shape[2]
    for _ in range(config.depth - 1):
        layers += unit(nn.Linear(units, config.width), config, ())
        units = config.width
    return nn.Sequential(*layers, nn.Dropout(config.dropout), nn.Linear(units, classes))
