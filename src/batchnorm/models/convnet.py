"""A VGG-like convolutional network for 32 x 32 images that ends in global average pooling."""

from torch import nn

from batchnorm.config import Model
from batchnorm.layers import NORMS

ACTIVATIONS = {"relu": lambda: nn.ReLU(inplace=True), "sigmoid": nn.Sigmoid}
SHARES = (1, 2, 2, 4)  # of the convolutions, by stage
MAPS = (1, 2, 4, 4)  # feature maps of each stage, in widths


def stages(depth: int) -> list[int]:
    """How many 3x3 convolutions each stage has, in the ratio of SHARES, for `depth` weight layers
    (the last one is linear), of which there must be 5 or more."""
    first = [max(1, round((depth - 1) * share / sum(SHARES))) for share in SHARES[:-1]]
    return [*first, depth - 1 - sum(first)]


def convnet(config: Model, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Four stages of 3x3 convolutions with 1, 2, 4 and 4 times `width` feature maps, each
    convolution followed by norm and activation (the paper's g(BN(Wu)), section 3.2), max pooling
    between stages, global average pooling, Dropout, and one linear layer.

    Inputs (m, C, H, W) for `shape` (H, W, C), outputs (m, classes). A normalized
    convolution has no bias: beta takes its place.
    """
    layers: list[nn.Module] = []
    maps = shape[2]
    for convolutions, widths in zip(stages(config.depth), MAPS, strict=True):
        if layers:
            layers.append(nn.MaxPool2d(2))
        width = config.width * widths
        for _ in range(convolutions):
            layers += [
                nn.Conv2d(maps, width, 3, padding=1, bias=config.norm == "none"),
                NORMS[config.norm](width),
                ACTIVATIONS[config.activation](),
            ]
            maps = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, *head, nn.Linear(maps, classes))
