"""A weight layer with its norm and nonlinearity: what the networks are made of."""

from torch import nn

from batchnorm.config import Model
from batchnorm.layers import KEEP_BIASES, NORMS

ACTIVATIONS = {"relu": lambda: nn.ReLU(inplace=True), "sigmoid": nn.Sigmoid}


def unit(layer: nn.Linear | nn.Conv2d, config: Model, size: tuple[int, ...]) -> list[nn.Module]:
    """`layer`, norm, activation: the paper's g(BN(Wu)), section 3.2; or, with `norm_after`,
    BN(g(Wu + b)).

    size: height and width of the maps that the layer makes, () for units. The layer loses a bias
    that the norm would cancel: beta takes its place.
    """
    if config.norm not in KEEP_BIASES and not config.norm_after:
        layer.bias = None
    norm = NORMS[config.norm](layer.weight.shape[0], size)
    activation = ACTIVATIONS[config.activation]()
    return [layer, activation, norm] if config.norm_after else [layer, norm, activation]
