"""An LSTM that reads an image a few pixels at a time, with BN as in Cooijmans et al. 2016 (arXiv
1603.09025)."""

import torch
from torch import Tensor, nn

from batchnorm.config import Model
from batchnorm.layers import KEEP_BIASES, NORMS
from batchnorm.models.unit import ACTIVATIONS

FORGET = 1.0  # added to what opens the forget gate, so that the cell keeps what it has at first


def lstm(config: Model, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """`width` LSTM units that read an image's values in order, in `time_steps` equal parts; their
    last state, Dropout, one linear layer.

    Inputs (m, C, H, W) for `shape` (H, W, C), outputs (m, classes).
    """
    inputs = shape[0] * shape[1] * shape[2] // config.time_steps
    head = nn.Linear(config.width, classes)
    return nn.Sequential(Lstm(inputs, config), nn.Dropout(config.dropout), head)


class Lstm(nn.Module):
    """The last state of an LSTM (equations 6 to 8 of Cooijmans et al.):

    f, i, o, g = BN(W_h h) + BN(W_x x) + b;  c = σ(f) c + σ(i) tanh(g);  h = σ(o) tanh(BN(c))

    The normalizer is any of NORMS. It has statistics of its own at each time step, and one gamma
    and beta for all of them; beta takes the place of b where the norm would cancel that.
    """

    def __init__(self, inputs: int, config: Model) -> None:
        super().__init__()
        self.units, self.steps, gates = config.width, config.time_steps, 4 * config.width
        biased = config.norm in KEEP_BIASES
        self.of_input = nn.Linear(inputs, gates, bias=False)
        self.of_state = nn.Linear(self.units, gates, bias=biased)
        self.norm_input, self.norm_state, self.norm_cell = (
            in_time(config.norm, units, self.steps) for units in (gates, gates, self.units)
        )
        self.tanh = ACTIVATIONS[config.activation]()

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (m, C, H, W), outputs (m, units)."""
        read = self.of_input(x.flatten(1).view(len(x), self.steps, -1)).unbind(1)
        h = c = torch.zeros(len(x), self.units, dtype=read[0].dtype, device=x.device)
        for t in range(self.steps):
            gates = self.norm_state[t](self.of_state(h)) + self.norm_input[t](read[t])
            forget, write, out, new = gates.chunk(4, 1)
            c = torch.sigmoid(forget + FORGET) * c + torch.sigmoid(write) * self.tanh(new)
            h = torch.sigmoid(out) * self.tanh(self.norm_cell[t](c))
        return h


def in_time(norm: str, units: int, steps: int) -> nn.ModuleList:
    """A normalizer for each time step, which share their parameters and nothing else."""
    each = nn.ModuleList(NORMS[norm](units, ()) for _ in range(steps))
    for first, *others in zip(*(one.modules() for one in each), strict=True):
        for name, parameter in first.named_parameters(recurse=False):
            for other in others:
                setattr(other, name, parameter)
    return each
