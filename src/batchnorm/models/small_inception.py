"""The small Inception for CIFAR-10 of Zhang et al. 2017 (arXiv 1611.03530)."""

from torch import nn

from batchnorm.config import Model
from batchnorm.models.unit import Branches, unit

WIDTH = 96  # at which the numbers of feature maps are the published ones
TABLE = [  # a convolution's maps; a module's, of 1x1 and of 3x3; those of a module that halves
    ("convolution", 96),
    ("inception", 32, 32),
    ("inception", 32, 48),
    ("down", 80),
    ("inception", 112, 48),
    ("inception", 96, 64),
    ("inception", 80, 80),
    ("inception", 48, 96),
    ("down", 96),
    ("inception", 176, 160),
    ("inception", 176, 160),
]


def small_inception(config: Model, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """The rows of TABLE, global average pooling, Dropout (in the published network: none), and one
    linear layer. Each convolution has norm and activation (see unit).

    Inputs (m, C, H, W) for `shape` (H, W, C), published as 28 x 28, outputs (m, classes). `width`
    scales every number of maps, 96 being the published one.
    """
    layers: list[nn.Module] = []
    height, columns, maps = shape
    for kind, *published in TABLE:
        widths = [max(1, round(each * config.width / WIDTH)) for each in published]
        if kind == "down":
            height, columns = (height + 1) // 2, (columns + 1) // 2
        layers.append(module(kind, config, maps, widths, (height, columns)))
        maps = sum(widths) + (maps if kind == "down" else 0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, *head, nn.Linear(maps, classes))


def module(
    kind: str, config: Model, maps: int, widths: list[int], size: tuple[int, int]
) -> nn.Module:
    """One row of TABLE for inputs of `maps` feature maps; `size`: height and width of its own."""

    def convolution(width: int, kernel: int, stride: int = 1) -> nn.Sequential:
        layer = nn.Conv2d(maps, width, kernel, stride, padding=kernel // 2)
        return nn.Sequential(*unit(layer, config, size))

    if kind == "convolution":
        return convolution(widths[0], 3)
    if kind == "inception":
        return Branches([convolution(widths[0], 1), convolution(widths[1], 3)])
    return Branches([convolution(widths[0], 3, stride=2), nn.MaxPool2d(3, 2, padding=1)])
