"""The fully connected network of section 4.1."""

from torch import nn

from batchnorm.config import Model
from batchnorm.layers import NORMS
from batchnorm.models.convnet import ACTIVATIONS


def mlp(config: Model, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """`depth` - 1 fully connected layers of `width` units, each followed by norm and activation
    (z = g(BN(Wu)), section 3.2), Dropout, and a last linear layer, which is not normalized.

    Inputs (m, C, H, W) for `shape` (H, W, C), outputs (m, classes). A normalized layer has no
    bias: beta takes its place.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    units = shape[0] * shape[1] * shape[2]
    for _ in range(config.depth - 1):
        layers += [
            nn.Linear(units, config.width, bias=config.norm == "none"),
            NORMS[config.norm](config.width),
            ACTIVATIONS[config.activation](),
        ]
        units = config.width
    return nn.Sequential(*layers, nn.Dropout(config.dropout), nn.Linear(units, classes))
