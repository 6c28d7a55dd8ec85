"""STAND-IN DATA: a generated set in the shape of a real one that is neither there nor to be had."""

from functools import lru_cache

import torch
from torch import Generator, Tensor

from batchnorm.data.images import ImageSet, ImageSplit
from batchnorm.data.sets import DataSet, Split

DISTINCT = 10_000  # images of a stand-in folder
SIZES = {"cifar10": (50_000, 10_000, 32, 3), "mnist": (60_000, 10_000, 28, 1)}


def stand_in(name: str) -> DataSet:
    """A set of the shape of `name`: 10 classes, the same at every call.

    An image is one of its class's three smooth patterns, shifted (wrapping round) by up to 5
    pixels and at its own contrast, over a smooth background that says nothing about the class, and
    noise: a linear classifier of the pixels does poorly, a convolutional network well.
    """
    trained, tested, size, channels = SIZES[name]
    generator = torch.Generator().manual_seed(1502_03167)
    patterns = _smooth(30, size, channels, 4, generator).view(10, 3, size, size, channels)
    splits = [_draw(patterns, n, generator) for n in (trained, tested)]
    return DataSet(splits[0], splits[1], classes=10, checksum="stand-in")


@lru_cache(maxsize=1)
def stand_in_images(trained: int, tested: int, image_size: int, crop_size: int) -> ImageSet:
    """A set in the shape of an image folder: 10 classes; images as stand_in's, 32 pixels wide
    (crops are resampled all the same), at most DISTINCT different ones in a split."""
    generator = torch.Generator().manual_seed(1502_03167)
    patterns = _smooth(30, 32, 3, 4, generator).view(10, 3, 32, 32, 3)
    splits = []
    for n in (trained, tested):
        drawn = _draw(patterns, min(n, DISTINCT), generator)
        flat = drawn.images.flatten(1, 2).float()  # (k, pixels, 3)
        means, products = flat.mean(1), flat.transpose(1, 2) @ flat / flat.shape[1]
        again = torch.arange(n) % len(drawn)
        facts = (torch.full((n, 2), 32.0), means[again], products[again])
        pixels = drawn.images.permute(0, 3, 1, 2).contiguous()
        splits.append(ImageSplit(None, drawn.labels[again], *facts, pixels, again))
    return ImageSet(*splits, 10, "stand-in", image_size, crop_size)


def _smooth(n: int, size: int, channels: int, cells: int, generator: Generator) -> Tensor:
    """Random images (n, size, size, channels) of deviation 1, varying over size / cells pixels."""
    coarse = torch.randn(n, channels, cells + 1, cells + 1, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")
    return (fine / fine.std((1, 2, 3), keepdim=True)).permute(0, 2, 3, 1).contiguous()


def _draw(patterns: Tensor, n: int, generator: Generator) -> Split:
    _, kinds, size, _, channels = patterns.shape
    labels = torch.randint(10, (n,), generator=generator)
    kind = torch.randint(kinds, (n,), generator=generator)
    shift = torch.randint(-5, 6, (2, n, 1), generator=generator)
    rows, columns = (torch.arange(size) + shift) % size  # each (n, size)
    backgrounds = _smooth(500, size, channels, 3, generator)
    images = torch.empty(n, size, size, channels, dtype=torch.uint8)
    for part in torch.arange(n).split(2000):  # in parts, to bound memory
        where = (labels[part, None, None], kind[part, None, None])
        image = patterns[(*where, rows[part][:, :, None], columns[part][:, None, :])]
        contrast = 0.4 + 0.6 * torch.rand(len(part), 1, 1, 1, generator=generator)
        chosen = torch.randint(500, (len(part),), generator=generator)
        noise = torch.randn(image.shape, generator=generator)
        mixed = contrast * image + backgrounds[chosen] + 0.7 * noise
        images[part] = (128 + 40 * mixed).clamp(0, 255).to(torch.uint8)
    return Split(images, labels)
