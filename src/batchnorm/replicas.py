"""One run in several processes, as torchrun starts them: each trains on its part of every batch.

Parameters are the same in all of them, and so is every decision. Each evaluates a share of the
images, by population statistics that each gathers; the first one alone writes.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import zip_longest
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from batchnorm.layers import BATCH_NORMS, FOLDABLE, TorchBatchNorm

PATIENCE = timedelta(hours=2)  # for the others: one may be decoding images that they have

T = TypeVar("T")


def count() -> int:
    """How many processes there are: torchrun says so by WORLD_SIZE."""
    return int(os.environ.get("WORLD_SIZE") or "1")


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def local_rank() -> int:
    """Which it is on its machine, from 0: the GPU that it takes."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Inside, the processes can talk, each from its device; of one alone there is nothing to do."""
    if count() == 1:
        yield
        return
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend, timeout=PATIENCE)
    yield  # after an error the others are not waited for: torchrun ends them
    distributed.barrier()
    distributed.destroy_process_group()


def of_first(make: Callable[[], T]) -> T:
    """What `make` gives in the first process, in all of them."""
    if count() == 1:
        return make()
    found = [make() if first() else None]
    distributed.broadcast_object_list(found, device=torch.device("cpu"))
    return found[0]


def in_turn(mine: list[T]) -> list[T]:
    """The lists of all processes as one, an item of each in turn: what was shared out so."""
    if count() == 1:
        return mine
    lists: list[list[T]] = [[] for _ in range(count())]
    distributed.all_gather_object(lists, mine)
    rounds = zip_longest(*lists, fillvalue=None)
    return [one for each in rounds for one in each if one is not None]


def differing(mine: dict[str, Any]) -> list[str]:
    """The keys whose values are not the same in all processes."""
    if count() == 1:
        return []
    found: list[dict[str, Any]] = [{} for _ in range(count())]
    distributed.all_gather_object(found, mine)
    keys = {key for one in found for key in one}
    return sorted(key for key in keys if any(one.get(key) != mine.get(key) for one in found))


def total(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes; no gradient."""
    if count() > 1:
        value = value.clone()
        distributed.all_reduce(value)
    return value


def parallel(model: nn.Module) -> nn.Module:
    """The model, wrapped so that gradients are means over all processes."""
    if count() == 1:
        return model
    with warnings.catch_warnings():  # newer versions of torch would rather have another name
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)


class _Sum(torch.autograd.Function):
    """The sum over all processes, which the losses of all of them depend on."""

    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:  # noqa: ANN001
        return total(value)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # noqa: ANN001
        return total(gradient.contiguous())


class SynchronisedBatchNorm(TorchBatchNorm):
    """Batch normalization by the statistics of the whole batch, of which each process has an equal
    part. torch.nn.SyncBatchNorm is for GPUs alone.

    Without gradients (population statistics, which every process gathers by itself) it takes the
    batch that it is given for the whole.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Inputs (m / processes, C) and (m / processes, C, H, W); the shape stays."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(input)
        x = input.float().movedim(1, -1)  # (..., C)
        over = tuple(range(x.dim() - 1))
        mean = _Sum.apply(x.mean(over)) / count()
        centred = x - mean
        var = _Sum.apply(centred.square().mean(over)) / count()
        self._track(mean.detach(), var.detach(), count() * x.numel() // len(mean))
        y = centred * torch.rsqrt(var + self.eps)
        if self.affine:
            y = y * self.weight + self.bias
        return y.movedim(-1, 1).to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, m: int) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * m / (m - 1), self.momentum)


FOLDABLE.add(SynchronisedBatchNorm)  # it infers as the other does


def synchronise(model: nn.Module) -> nn.Module:
    """The model, its batch normalization by the statistics of all processes' batches together;
    its state stays loadable into the one that it was. Raises ValueError for other kinds of BN."""
    for module in model.modules():
        if type(module) is TorchBatchNorm:
            module.__class__ = SynchronisedBatchNorm  # the same parameters and buffers
        elif isinstance(module, BATCH_NORMS):
            raise ValueError(f"model.sync_statistics: not of {type(module).__name__}")
    return model
