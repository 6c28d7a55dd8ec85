"""Many small networks trained as one batched computation: their parameters stacked, each with its
own weights, data order and learning rate. On a CPU a step comes near the time of its matrix
products alone; on a GPU it costs hardly more than the step of one network.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from batchnorm.config import Run
from batchnorm.layers import TorchBatchNorm

AT_ONCE_ON_A_CPU = 5  # larger stacks leave the cache


def stackable(run: Run) -> bool:
    """Whether a Stack can train this run: fully connected, on whole images in memory, plain SGD,
    nothing random in a step."""
    plain = run.optim.name == "sgd" and not run.optim.clip
    plain &= run.optim.momentum == 0 and run.optim.weight_decay == 0
    certain = run.model.dropout == 0 and not run.model.noise
    known = run.model.name == "mlp" and run.model.norm in ("none", "batch")
    kept = "inference" not in run.probes  # which wants torch's moving average: a Stack has none
    whole = run.data.name != "image_folder" and not run.data.augment
    return plain and certain and known and kept and whole and run.precision == "float32"


def shape(run: Run) -> tuple[object, ...]:
    """What runs must share to be stacked: all but weights, order and rate."""
    model = replace(run.model, init="", init_scale=1)
    length = (run.optim.epochs, run.optim.epochs_multiplier, run.evaluations)
    return (run.data, model, *length, run.probes)


class Stack:
    """R networks of one shape, at their weights; `models` get the weights back by `unstack`.

    parameters: each of the models' parameters by its name, with a leading dimension R.
    """

    def __init__(self, models: list[nn.Sequential]) -> None:
        self.models = models
        each = [dict(model.named_parameters()) for model in models]
        self.parameters = {
            name: torch.stack([one[name].detach() for one in each]).requires_grad_()
            for name in each[0]
        }

    def logits(self, images: Tensor) -> Tensor:
        """The outputs (R, m, classes), in training, for one batch per network (R, m, ...).

        Features stand before images, (R, features, m), so that batch statistics of all networks
        are those of one layer with R * features maps.
        """
        h = images.flatten(2).transpose(1, 2)
        for name, layer in self.models[0].named_children():
            if isinstance(layer, nn.Linear):
                h = self._linear(name, h)
            elif isinstance(layer, TorchBatchNorm):
                h = self._batch_norm(name, h, layer.eps)
            elif not isinstance(layer, nn.Flatten | nn.Identity | nn.Dropout):
                h = layer(h)
        return h.transpose(1, 2)

    def _linear(self, name: str, h: Tensor) -> Tensor:
        weight, bias = self.parameters[f"{name}.weight"], self.parameters.get(f"{name}.bias")
        return weight @ h if bias is None else torch.baddbmm(bias.unsqueeze(2), weight, h)

    def _batch_norm(self, name: str, h: Tensor, eps: float) -> Tensor:
        runs, features, count = h.shape
        gamma, beta = (self.parameters[f"{name}.{one}"].flatten() for one in ("weight", "bias"))
        maps = h.reshape(1, runs * features, count)
        y = functional.batch_norm(maps, None, None, gamma, beta, training=True, eps=eps)
        return y.view(runs, features, count)

    def step(self, images: Tensor, labels: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
        """One step of plain SGD at the rates (R,), on images (R, m, ...) and labels (R, m).

        Returns the mean losses (R,) and how many images each network got right (R,)."""
        logits = self.logits(images)
        flat = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        losses = flat.view_as(labels).mean(1)
        gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        with torch.no_grad():
            for parameter, gradient in zip(self.parameters.values(), gradients, strict=True):
                each = rates.view(-1, *[1] * (gradient.dim() - 1))
                parameter.addcmul_(gradient, each, value=-1)
        return losses.detach(), (logits.detach().argmax(2) == labels).sum(1)

    @torch.no_grad()
    def unstack(self) -> None:
        """Give every model its weights."""
        for i, model in enumerate(self.models):
            for name, parameter in model.named_parameters():
                parameter.copy_(self.parameters[name][i])
