"""Batch normalization from the paper's Algorithms 1 and 2, written to be read and tested against.

Trained networks use torch's fused kernel (NORMS["batch"]), which tests hold equal to this layer.
"""

import copy
from collections.abc import Callable, Iterable
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _BatchNormTransform(torch.autograd.Function):
    """Algorithm 1 over the rows of a matrix, with the six gradients of section 3 written out."""

    @staticmethod
    def forward(ctx, x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:  # noqa: ANN001
        mu = x.mean(0)  # (d,)
        var = (x - mu).square().mean(0)  # (d,), biased: divided by m
        xhat = (x - mu) / torch.sqrt(var + eps)
        ctx.save_for_backward(x, gamma, mu, var)
        ctx.eps = eps
        return gamma * xhat + beta

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # noqa: ANN001
        x, gamma, mu, var = ctx.saved_tensors
        m, std = x.shape[0], torch.sqrt(var + ctx.eps)
        xhat = (x - mu) / std
        dxhat = dy * gamma
        dvar = (dxhat * (x - mu)).sum(0) * -0.5 * (var + ctx.eps) ** -1.5
        dmu = (dxhat * (-1 / std)).sum(0) + dvar * (-2 * (x - mu)).sum(0) / m
        dx = dxhat / std + dvar * 2 * (x - mu) / m + dmu / m
        dgamma = (dy * xhat).sum(0)
        dbeta = dy.sum(0)
        return dx, dgamma, dbeta, None


class BatchNorm(nn.Module):
    """The batch normalizing transform (sections 3, 3.1 and 3.2).

    features: an int C for one (gamma, beta) per activation of inputs (m, C), or per feature map of
        inputs (m, C, H, W), where statistics run over the m * H * W values of a map; or a tuple
        such as (C, H, W) for one pair per activation of inputs (m, C, H, W).
    eps: added to the variance (the paper's epsilon; its value is not in the paper).
    momentum: weight of the newest batch in the running statistics, as in torch; None: their plain
        mean over all batches since reset_running_stats(), which is Algorithm 2.

    In training it normalizes by batch statistics (biased variance); in evaluation by the running
    population statistics (unbiased variance). Raises ValueError for a batch of one value.
    """

    def __init__(
        self, features: int | tuple[int, ...], eps: float = 1e-5, momentum: float | None = 0.1
    ) -> None:
        super().__init__()
        self.features = (features,) if isinstance(features, int) else tuple(features)
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(self.features))  # gamma
        self.bias = nn.Parameter(torch.zeros(self.features))  # beta
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        self.register_buffer("running_mean", torch.zeros(self.features))
        self.register_buffer("running_var", torch.ones(self.features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize x of shape (m, C), (m, C, H, W) or (m, *features); the shape stays."""
        maps_last = x.movedim(1, -1) if len(self.features) == 1 else x
        rows = maps_last.reshape(-1, self.weight.numel())  # (m', d)
        rows = rows.to(torch.promote_types(rows.dtype, self.weight.dtype))  # as torch's kernel
        gamma, beta = self.weight.flatten(), self.bias.flatten()
        if self.training:
            if len(rows) < 2:
                raise ValueError("batch statistics need more than one value per activation")
            self._track(rows)
            y = _BatchNormTransform.apply(rows, gamma, beta, self.eps)
        else:
            scale = gamma / torch.sqrt(self.running_var.flatten() + self.eps)
            y = scale * rows + (beta - scale * self.running_mean.flatten())
        y = y.reshape(maps_last.shape).to(x.dtype)
        return y.movedim(-1, 1) if len(self.features) == 1 else y

    @torch.no_grad()
    def _track(self, rows: Tensor) -> None:
        self.num_batches_tracked += 1
        weight = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(rows.mean(0).view(self.features), weight)
        self.running_var.lerp_(rows.var(0, correction=1).view(self.features), weight)

    def reset_running_stats(self) -> None:
        """Forget every batch seen."""
        self.running_mean.zero_()
        self.running_var.fill_(1)
        self.num_batches_tracked.zero_()


class TorchBatchNorm(_BatchNorm):
    """torch's fused kernel, for inputs (m, C) and (m, C, H, W) alike."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


class DetachedBatchNorm(TorchBatchNorm):
    """Normalizes by batch statistics that the gradient takes for constants: what section 2 warns
    of. Its toy example: a bias before it changes nothing, and yet has a gradient, and so grows."""

    def forward(self, input: Tensor) -> Tensor:
        """Inputs (m, C) and (m, C, H, W); the shape stays."""
        if not self.training:
            return super().forward(input)
        mu, var = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        with torch.no_grad():
            super().forward(input)  # for the running statistics
            nn.functional.batch_norm(input, mu, var, training=True, momentum=1.0)  # fills both
        m = input.numel() // len(mu)
        biased = var * (m - 1) / m
        return nn.functional.batch_norm(input, mu, biased, self.weight, self.bias, eps=self.eps)


class ActivationBatchNorm(TorchBatchNorm):
    """torch's fused kernel with one (gamma, beta), and one statistic over the batch, per activation
    of inputs (m, *features)."""

    def __init__(self, features: tuple[int, ...]) -> None:
        super().__init__(prod(features))

    def forward(self, input: Tensor) -> Tensor:
        """The shape stays. Maps go last and back: a view where memory is channels_last."""
        maps_last = input.movedim(1, -1)
        return super().forward(maps_last.flatten(1)).view(maps_last.shape).movedim(-1, 1)


class ShiftNoise(nn.Module):
    """Noise that makes inputs unstable on purpose (Santurkar et al. 2018, arXiv 1805.11604): in
    training, each map of each example is multiplied by a factor and moved, both drawn from
    distributions that are drawn anew at every step, for each map.

    Mean mu of U(-0.5, 0.5) and scale sigma of U(1, 1.25) for a map at a step; then for each example
    a shift of U(mu - 0.1, mu + 0.1) and a factor of N(sigma, 0.1); the same at all of its places
    (theirs: for each activation). Inference has its mean: times 1.125.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (m, C) and (m, C, H, W); the shape stays. Draws from the default generator."""
        if not self.training:
            return x * 1.125
        m, maps = x.shape[:2]
        mu = torch.rand(maps, device=x.device) - 0.5
        sigma = 1 + torch.rand(maps, device=x.device) / 4
        shift = mu + (torch.rand(m, maps, device=x.device) - 0.5) / 5
        factor = sigma + 0.1 * torch.randn(m, maps, device=x.device)
        places = (m, maps, *[1] * (x.dim() - 2))
        return torch.addcmul(shift.view(places).to(x.dtype), x, factor.view(places).to(x.dtype))


# What `model.norm` may be: a normalizer by name, built from the number of units or feature maps and
# from the size of a map, (height, width), or () for units. Yours too.
NORMS: dict[str, Callable[[int, tuple[int, ...]], nn.Module]] = {
    "none": lambda features, size: nn.Identity(),
    "batch": lambda features, size: TorchBatchNorm(features),
    "batch_reference": lambda features, size: BatchNorm(features),
    "batch_detached": lambda features, size: DetachedBatchNorm(features),
    "batch_no_affine": lambda features, size: TorchBatchNorm(features, affine=False),
    "batch_per_activation": lambda features, size: ActivationBatchNorm((features, *size)),
}
# Before the others layers have no bias: they cancel it, or have a shift that does the same.
KEEP_BIASES = ("none", "batch_detached")
HAVE_GAMMA = ("batch", "batch_reference", "batch_detached", "batch_per_activation")
BATCH_NORMS = (BatchNorm, _BatchNorm)
# Those whose inference is known to be one affine map; a subclass of theirs may infer otherwise.
FOLDABLE = {BatchNorm, TorchBatchNorm, DetachedBatchNorm, ActivationBatchNorm}
FOLDABLE |= {nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm}


@torch.no_grad()
def gather_population_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Algorithm 2, steps 8 to 10: replace every BN layer's running statistics by the mean of the
    batch means, and of the unbiased batch variances, over several training batches.

    The batches, of one size, run through the network as it infers (Dropout off) but normalized by
    batch statistics. The mode of every module, and all parameters, are left as they were.
    """
    layers = [module for module in model.modules() if isinstance(module, BATCH_NORMS)]
    if not layers:
        return
    modes = {module: module.training for module in model.modules()}
    momenta = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.train()
        layer.momentum = None
        layer.reset_running_stats()
    try:
        for batch in batches:
            model(batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, training in modes.items():
            module.training = training


@torch.no_grad()
def fold(layer: nn.Linear | nn.Conv2d, norm: nn.Module) -> nn.Linear | nn.Conv2d:
    """One linear or convolutional layer that infers what `layer` followed by `norm` infers
    (Algorithm 2, step 11: a BN layer with fixed statistics is one affine map per feature map).

    Raises ValueError when norm is no batch normalization, or normalizes each activation of a
    convolution by itself, which no convolution can do.
    """
    if not foldable(layer, norm):
        raise ValueError(f"{type(norm).__name__} cannot be folded into {type(layer).__name__}")
    gamma, beta = (1, 0) if norm.weight is None else (norm.weight, norm.bias)
    scale = gamma / torch.sqrt(norm.running_var + norm.eps)  # (C,)
    folded = copy.deepcopy(layer)
    folded.weight.copy_(layer.weight * scale.view(-1, *[1] * (layer.weight.dim() - 1)))
    bias = layer.bias if layer.bias is not None else 0
    folded.bias = nn.Parameter(beta + scale * (bias - norm.running_mean))
    return folded


def foldable(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether `fold` can join the two."""
    return (
        isinstance(layer, nn.Linear | nn.Conv2d)
        and type(norm) in FOLDABLE
        and norm.running_mean is not None
        and norm.running_mean.shape == layer.weight.shape[:1]
    )


def folded(model: nn.Module) -> nn.Module:
    """A copy of the model for inference, every BN layer folded into the linear or convolutional
    layer that directly precedes it in an nn.Sequential, where that can be; other BN layers stay."""
    model = copy.deepcopy(model).eval()
    for block in model.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for i in range(len(block) - 1):
            if foldable(block[i], block[i + 1]):
                block[i], block[i + 1] = fold(block[i], block[i + 1]), nn.Identity()
    return model
