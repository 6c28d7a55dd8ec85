"""Whole data sets as tensors, and batches of them made by tensor operations."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from batchnorm.config import Data
from batchnorm.seeds import stream

SHIFT = 4  # pixels: the largest shift in each direction when augmenting


class DataError(Exception):
    """Data that are there but cannot be used; the message is one line for the user."""


class Unavailable(Exception):
    """Data that are neither on disk nor to be downloaded."""


@dataclass
class Split:
    """Images (n, H, W, C) uint8 and their labels (n,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> "Split":
        return Split(self.images[part], self.labels[part])

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


@dataclass
class DataSet:
    """What a run trains on, and what it is evaluated on."""

    train: Split
    test: Split
    classes: int
    checksum: str  # of what was read


class Batches:
    """Batches of one data set: shuffled, augmented and scaled by tensor operations.

    Every batch is a function of seed and step alone, so that arms at one seed see the same
    images, and a run that goes on from a checkpoint sees what it would have seen. Pixels are
    shifted and scaled by the mean and deviation of the training pixels, per channel; or, with
    `binary`, the 0 and 1 that they already are. With `fixed_batches`, the batches of the first
    epoch come again in another order; images left out of it never come.
    """

    def __init__(self, data: DataSet, config: Data, seed: int) -> None:
        self.data, self.seed, self.batch_size = data, seed, config.batch_size
        self.augment, self.binary = config.augment, config.binary
        self.fixed = config.fixed_batches
        self.per_epoch = len(data.train) // self.batch_size  # a last, smaller batch is left out
        images = data.train.images
        self.device = images.device
        if not self.binary:
            mean, std = statistics(images)
            self.scale, self.offset = 1 / std, -mean / std  # (C,)
        if self.augment:
            self.padded = torch.nn.functional.pad(images, (0, 0, SHIFT, SHIFT, SHIFT, SHIFT))
        self._epoch, self._order = -1, torch.empty(0)

    def train(self, step: int) -> tuple[Tensor, Tensor]:
        """The training batch of one step: images (m, C, H, W) float32, channels last; labels."""
        return self._batch(self.chosen(step), stream(self.seed, "augment", step))

    def chosen(self, step: int) -> Tensor:
        """Which training images are in the batch of one step."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._ordered(epoch).to(self.device)
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]

    def _ordered(self, epoch: int) -> Tensor:
        """The images of an epoch, in the order in which they are seen."""
        if not self.fixed or epoch == 0:
            return self._permutation(len(self.data.train), epoch)
        batches = self._ordered(0)[: self.per_epoch * self.batch_size].view(self.per_epoch, -1)
        return batches[self._permutation(self.per_epoch, epoch)].flatten()

    def _permutation(self, n: int, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(stream(self.seed, "order", epoch))
        return torch.randperm(n, generator=generator)

    def population(self, count: int) -> Iterator[Tensor]:
        """Training batches for the population statistics (Algorithm 2): the same at every call."""
        generator = torch.Generator().manual_seed(stream(self.seed, "population", 0))
        order = torch.randint(len(self.data.train), (count, self.batch_size), generator=generator)
        for i, chosen in enumerate(order.to(self.device)):
            yield self._batch(chosen, stream(self.seed, "population", 1 + i))[0]

    def test(self, size: int = 125) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole evaluation split, in order, not augmented."""
        return self._in_order(self.data.test, size)

    def training_set(self, size: int = 125) -> Iterator[tuple[Tensor, Tensor]]:
        """As many training images as the evaluation split has, the first ones, not augmented."""
        return self._in_order(self.data.train[: len(self.data.test)], size)

    def _in_order(self, split: Split, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for i in range(0, len(split), size):
            yield self._normalize(split.images[i : i + size]), split.labels[i : i + size]

    def _batch(self, chosen: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        if not self.augment:
            return self.picked(chosen)
        images = self._shifted_and_mirrored(chosen, seed)
        return self._normalize(images), self.data.train.labels[chosen]

    def picked(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen training images, not augmented: (m, C, H, W) float32, and their labels."""
        images = self.data.train.images.index_select(0, chosen)
        return self._normalize(images), self.data.train.labels[chosen]

    def _shifted_and_mirrored(self, chosen: Tensor, seed: int) -> Tensor:
        """The chosen images, each moved by up to SHIFT pixels (zeros move in), half mirrored."""
        generator = torch.Generator().manual_seed(seed)
        places, device = 2 * SHIFT + 1, chosen.device
        down, right = torch.randint(places, (2, len(chosen)), generator=generator).to(device)
        mirror = (torch.rand(len(chosen), generator=generator) < 0.5).to(device)
        n, height, width, channels = self.padded.shape
        row, image = width * channels, height * width * channels
        crops = self.padded.as_strided(  # a view of every image at every shift
            (n, places, places, height - 2 * SHIFT, width - 2 * SHIFT, channels),
            (image, row, channels, row, channels, 1),
        )
        images = crops[chosen, down, right]  # (m, H, W, C)
        return torch.where(mirror[:, None, None, None], images.flip(2), images)

    def _normalize(self, images: Tensor) -> Tensor:
        if self.binary:
            return images.float().permute(0, 3, 1, 2)
        pixels = images.shape[1] * images.shape[2]
        flat = images.reshape(len(images), -1).float()
        flat = torch.addcmul(self.offset.repeat(pixels), flat, self.scale.repeat(pixels))
        return flat.view(images.shape).permute(0, 3, 1, 2)


def binary(split: Split) -> Split:
    """Pixels as 1 in the upper half of their range and 0 in the lower."""
    return Split((split.images > 127).to(torch.uint8), split.labels)


def randomly_labelled(split: Split, classes: int) -> Split:
    """The images with labels drawn from all classes alike, the same at every call."""
    generator = torch.Generator().manual_seed(stream(0, "labels"))
    labels = torch.randint(classes, (len(split),), generator=generator)
    return Split(split.images, labels)


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
