"""A VGG-like convolutional network for 32 x 32 images that ends in global average pooling."""

from torch import nn

from batchnorm.config import Model
from batchnorm.layers import NORMS

ACTIVATIONS = {"relu": lambda: nn.ReLU(inplace=True), "sigmoid": nn.Sigmoid}


def stages(depth: int) -> tuple[int, int, int]:
    """How many 3x3 convolutions each stage has, in the ratio 2:3:4, for `depth` weight layers."""
    first, second = max(1, round((depth - 1) * 2 / 9)), max(1, round((depth - 1) * 3 / 9))
    return first, second, depth - 1 - first - second


def convnet(config: Model, classes: int) -> nn.Sequential:
    """Three stages of 3x3 convolutions with width, 2 width and 4 width feature maps, each
    convolution followed by norm and activation (the paper's g(BN(Wu)), section 3.2), max pooling
    between stages, global average pooling, Dropout, and one linear layer.

    Inputs (m, 3, 32, 32), outputs (m, classes). A normalized convolution has no bias: beta takes
    its place.
    """
    layers: list[nn.Module] = []
    maps = 3
    for stage, convolutions in enumerate(stages(config.depth)):
        if stage > 0:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            width = config.width * 2**stage
            layers += [
                nn.Conv2d(maps, width, 3, padding=1, bias=config.norm == "none"),
                NORMS[config.norm](width),
                ACTIVATIONS[config.activation](),
            ]
            maps = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, *head, nn.Linear(maps, classes))
