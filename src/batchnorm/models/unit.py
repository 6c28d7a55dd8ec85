"""What the networks are made of: a weight layer with its norm and nonlinearity, and others."""

import torch
from torch import Tensor, nn

from batchnorm.config import Model
from batchnorm.layers import KEEP_BIASES, NORMS, ShiftNoise

ACTIVATIONS = {"relu": lambda: nn.ReLU(inplace=True), "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def unit(layer: nn.Linear | nn.Conv2d, config: Model, size: tuple[int, ...]) -> list[nn.Module]:
    """`layer`, norm, activation: the paper's g(BN(Wu)), section 3.2; or, with `norm_after`,
    BN(g(Wu + b)). With `noise`, ShiftNoise follows the norm.

    size: height and width of the maps that the layer makes, () for units. The layer loses a bias
    that the norm would cancel: beta takes its place.
    """
    if config.norm not in KEEP_BIASES and not config.norm_after:
        layer.bias = None
    normed = [NORMS[config.norm](layer.weight.shape[0], size)]
    normed += [ShiftNoise()] if config.noise else []
    activation = ACTIVATIONS[config.activation]()
    return [layer, activation, *normed] if config.norm_after else [layer, *normed, activation]


class Branches(nn.ModuleList):
    """Modules side by side on one input (m, C, H, W), their outputs concatenated along C."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], dim=1)


class LocalResponseNorm(nn.LocalResponseNorm):
    """GoogLeNet's: over 5 neighbouring maps, beta 0.75, k 1, and alpha 1e-4 (divided by 5) for
    pixels in 0..255, whose deviation is about 63; ours is 1, so alpha is 63^2 times that."""

    def __init__(self) -> None:
        super().__init__(5, alpha=1e-4 * 63**2, beta=0.75, k=1.0)

    def forward(self, input: Tensor) -> Tensor:
        """In float32: it divides by little more than 1, which bfloat16 rounds to 1. Neighbours are
        summed by a product with a band matrix, several times faster than torch's pooling."""
        with torch.autocast(input.device.type, enabled=False):
            x = input.float()
            maps = torch.arange(x.shape[1], device=x.device)
            near = ((maps[:, None] - maps).abs() <= self.size // 2).float()
            sums = (x.square().movedim(1, -1) @ near).movedim(-1, 1)
            return (x * (self.k + self.alpha / self.size * sums) ** -self.beta).to(input.dtype)
