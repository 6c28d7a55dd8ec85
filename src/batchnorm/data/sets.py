"""Whole data sets as tensors, and batches of them made by tensor operations."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from batchnorm.config import Data
from batchnorm.data.order import Order
from batchnorm.seeds import stream

SHIFT = 4  # pixels: the largest shift in each direction when augmenting


class DataError(Exception):
    """Data that are there but cannot be used; the message is one line for the user."""


class Unavailable(Exception):
    """Data that are neither on disk nor to be downloaded."""


@dataclass
class Split:
    """Images (n, H, W, C) uint8 and their labels (n,) int64. Nobody changes them: their statistics
    are kept, for the runs of a process that train on the same split."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> "Split":
        """Itself, where the part is all of it."""
        whole = range(len(self))
        if whole[part] == whole:
            return self
        return Split(self.images[part], self.labels[part])

    def to(self, device: torch.device) -> "Split":
        """Itself, where it is there."""
        if self.images.device == device and self.labels.device == device:
            return self
        return Split(self.images.to(device), self.labels.to(device))

    @cached_property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the pixels, (C,) each: see statistics."""
        return statistics(self.images)


@dataclass
class DataSet:
    """What a run trains on, and what it is evaluated on."""

    train: Split
    test: Split
    classes: int
    checksum: str  # of what was read

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image as a network sees it: height, width, channels."""
        return tuple(self.train.images.shape[1:])


class Batches:
    """Batches of one data set: shuffled (see Order), augmented and scaled by tensor operations.

    Every batch is a function of seed and step alone, so that arms at one seed see the same
    images, and a run that goes on from a checkpoint sees what it would have seen. Pixels are
    shifted and scaled by the mean and deviation of the training pixels, per channel; or, with
    `binary`, the 0 and 1 that they already are. Of several replicas, each gets its equal part of
    what one alone would get.
    """

    loader = "memory"

    def __init__(
        self, data: DataSet, config: Data, seed: int, rank: int = 0, replicas: int = 1
    ) -> None:
        self.data, self.seed, self.batch_size = data, seed, config.batch_size
        self.augment, self.binary = config.augment, config.binary
        self.part = part_of(self.batch_size, rank, replicas)
        self.share = share_of(rank, replicas)  # of what is evaluated
        self.device = data.train.images.device
        self.order = Order(len(data.train), config, seed, self.device)
        self.per_epoch = self.order.per_epoch
        if not self.binary:
            (mean, std), pixels = data.train.statistics, prod(data.shape[:2])
            self.scale, self.offset = (x.repeat(pixels) for x in (1 / std, -mean / std))  # (H W C,)
        if self.augment:
            around = (0, 0, SHIFT, SHIFT, SHIFT, SHIFT)
            self.padded = torch.nn.functional.pad(data.train.images, around)

    def train(self, step: int) -> tuple[Tensor, Tensor]:
        """The training batch of one step: images (m, C, H, W) float32, channels last; labels."""
        seed = stream(self.seed, "augment", step)
        return self._batch(self.chosen(step), seed, self.part)

    def chosen(self, step: int) -> Tensor:
        """Which training images are in the batch of one step, over all replicas."""
        return self.order.chosen(step)

    def population(self, count: int) -> Iterator[Tensor]:
        """Training batches for the population statistics (Algorithm 2): the same at every call."""
        for i, chosen in enumerate(self.order.population(count)):
            yield self._batch(chosen, stream(self.seed, "population", 1 + i))[0]

    def test(self, size: int = 125, shared: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole evaluation split, in order, not augmented; `shared`: of these batches every
        so many-th, as there are replicas, from this one's rank on."""
        return self._in_order(self.data.test, size, shared)

    def first(self, count: int) -> Tensor:
        """The first so many images of the evaluation split, or all."""
        return next(self._in_order(self.data.test[:count], count, shared=False))[0]

    def training_set(
        self, size: int = 125, shared: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As many training images as the evaluation split has, the first ones, as in `test`."""
        return self._in_order(self.data.train[: len(self.data.test)], size, shared)

    def _in_order(self, split: Split, size: int, shared: bool) -> Iterator[tuple[Tensor, Tensor]]:
        for i in range(0, len(split), size)[self.share if shared else slice(None)]:
            yield self._normalize(split.images[i : i + size]), split.labels[i : i + size]

    def _batch(self, chosen: Tensor, seed: int, part: slice = slice(None)) -> tuple[Tensor, Tensor]:
        if not self.augment:
            return self.picked(chosen[part])
        images = self._shifted_and_mirrored(chosen, seed, part)
        return self._normalize(images), self.data.train.labels[chosen[part]]

    def picked(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen training images, not augmented: (m, C, H, W) float32, and their labels."""
        images = self.data.train.images.index_select(0, chosen)
        return self._normalize(images), self.data.train.labels[chosen]

    def _shifted_and_mirrored(self, chosen: Tensor, seed: int, part: slice) -> Tensor:
        """A part of the chosen images, each moved by up to SHIFT pixels (zeros move in), half
        mirrored."""
        generator = torch.Generator().manual_seed(seed)
        down, right = torch.randint(2 * SHIFT + 1, (2, len(chosen)), generator=generator)
        mirror = (torch.rand(len(chosen), generator=generator) < 0.5)[part]
        moves = (down * self.padded.shape[2] + right)[part]  # in pixels
        mirrored = mirror.nonzero().squeeze(1)
        order = torch.arange(len(mirror))  # among the images and, after them, the mirrored ones
        order[mirrored] = len(mirror) + torch.arange(len(mirrored))
        moves, mirrored, order = (
            x.to(chosen.device, non_blocking=True) for x in (moves, mirrored, order)
        )
        images = self._shifted(chosen[part], moves)
        flipped = images.index_select(0, mirrored).flip(2)
        return torch.cat([images, flipped]).index_select(0, order)

    def _shifted(self, chosen: Tensor, moves: Tensor) -> Tensor:
        """The chosen padded images, cut to their size from so many pixels on: (m, H, W, C)."""
        height, width, channels = self.data.shape
        n, high, wide, _ = self.padded.shape
        runs = self.padded.as_strided(  # a line long, from every pixel on: whole ones copy fast
            (n * high * wide - width + 1, width * channels), (channels, 1)
        )
        first = chosen * (high * wide) + moves
        lines = first[:, None] + wide * torch.arange(height, device=chosen.device)
        return runs.index_select(0, lines.flatten()).view(-1, height, width, channels)

    def _normalize(self, images: Tensor) -> Tensor:
        if self.binary:
            return images.float().permute(0, 3, 1, 2)
        flat = images.reshape(len(images), -1).float()
        flat = torch.addcmul(self.offset, flat, self.scale)
        return flat.view(images.shape).permute(0, 3, 1, 2)


def part_of(batch_size: int, rank: int, replicas: int) -> slice:
    """Where in a batch the equal part of one of several replicas is."""
    each = batch_size // replicas
    return slice(rank * each, (rank + 1) * each)


def share_of(rank: int, replicas: int) -> slice:
    """Which of many things are one replica's, where each takes one in turn."""
    return slice(rank, None, replicas)


def binary(split: Split) -> Split:
    """Pixels as 1 in the upper half of their range and 0 in the lower."""
    return Split((split.images > 127).to(torch.uint8), split.labels)


def permuted(split: Split) -> Split:
    """The images with their pixels in a random order, the same for all images and at every call."""
    n, height, width, channels = split.images.shape
    generator = torch.Generator().manual_seed(stream(0, "pixels"))
    order = torch.randperm(height * width, generator=generator)
    moved = split.images.view(n, -1, channels).index_select(1, order)
    return Split(moved.view(split.images.shape), split.labels)


def randomly_labelled(split: Split, classes: int) -> Split:
    """The images with labels drawn from all classes alike, the same at every call. Any kind of
    split will do."""
    generator = torch.Generator().manual_seed(stream(0, "labels"))
    labels = torch.randint(classes, (len(split),), generator=generator)
    return replace(split, labels=labels)


def statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the pixels of uint8 images (n, H, W, C), per channel, exact
    in 0..255 units: computed from the counts of the 256 values."""
    channels = images.shape[-1]
    values = torch.arange(256, dtype=torch.float64)
    counts = torch.stack(
        [torch.bincount(images[..., c].flatten(), minlength=256).cpu() for c in range(channels)]
    ).double()
    mean = (counts @ values) / counts.sum(1)
    variance = (counts @ values.square()) / counts.sum(1) - mean.square()
    std = variance.sqrt().clamp_min(1e-3)  # a constant channel stays finite
    return mean.float().to(images.device), std.float().to(images.device)
