"""A VGG-like convolutional network for 32 x 32 images that ends in global average pooling."""

from torch import nn

from batchnorm.config import Model
from batchnorm.models.unit import LocalResponseNorm, unit

SHARES = (1, 2, 2, 4)  # of the convolutions, by stage
MAPS = (1, 2, 4, 4)  # feature maps of each stage, in widths


def stages(depth: int) -> list[int]:
    """How many 3x3 convolutions each stage has, in the ratio of SHARES, for `depth` weight layers
    (the last one is linear), of which there must be 5 or more."""
    first = [max(1, round((depth - 1) * share / sum(SHARES))) for share in SHARES[:-1]]
    return [*first, depth - 1 - sum(first)]


def convnet(config: Model, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Four stages of 3x3 convolutions with 1, 2, 4 and 4 times `width` feature maps, each
    convolution followed by norm and activation (see unit), max pooling between stages (before the
    activation, if that is a ReLU; with `lrn`, the first two poolings followed by Local Response
    Normalization), global average pooling, Dropout, and one linear layer.

    Inputs (m, C, H, W) for `shape` (H, W, C), outputs (m, classes).
    """
    layers: list[nn.Module] = []
    height, columns, maps = shape
    for stage, convolutions in enumerate(stages(config.depth)):
        if stage > 0:
            # Before a ReLU, which keeps the order of values: the same as after it, to the bit,
            # forward and backward, and three quarters of the values need no ReLU.
            before_relu = isinstance(layers[-1], nn.ReLU)
            layers.insert(len(layers) - before_relu, nn.MaxPool2d(2))
            height, columns = height // 2, columns // 2
        if config.lrn and stage in (1, 2):
            layers.append(LocalResponseNorm())
        width = config.width * MAPS[stage]
        for _ in range(convolutions):
            layers += unit(nn.Conv2d(maps, width, 3, padding=1), config, (height, columns))
            maps = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, *head, nn.Linear(maps, classes))
