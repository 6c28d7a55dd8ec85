"""Crops as boxes: drawn at random or centred, and cut out of a whole batch at once.

A box is left, top, width and height, as fractions of the image's width and height; one of negative
width, to the left of its first edge, is mirrored.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

AREA = (0.08, 1.0)  # of the image, in a training crop, as GoogLeNet's
ASPECT = (3 / 4, 4 / 3)  # width by height, of that crop
TRIES = 10  # boxes that do not fit the image are drawn again


def random_boxes(sizes: Tensor, generator: Generator) -> Tensor:
    """One box (m, 4) for each image of width and height sizes (m, 2): area and the logarithm of
    the aspect uniform, then the place; where no try fits, the largest centred box of an aspect
    that is allowed. On the CPU."""
    drawn = torch.rand(4, len(sizes), TRIES, generator=generator)
    area = AREA[0] + (AREA[1] - AREA[0]) * drawn[0]
    aspect = (math.log(ASPECT[0]) + math.log(ASPECT[1] / ASPECT[0]) * drawn[1]).exp()
    relative = aspect / (sizes[:, :1] / sizes[:, 1:])  # the box's shape in fractions
    width, height = (area * relative).sqrt(), (area / relative).sqrt()  # (m, TRIES)
    fits = (width <= 1) & (height <= 1)
    boxes = torch.stack(
        [drawn[2] * (1 - width), drawn[3] * (1 - height), width, height], -1
    )  # (m, TRIES, 4)
    first = fits.to(torch.uint8).argmax(1)
    boxes = boxes[torch.arange(len(sizes)), first]
    return torch.where(fits.any(1, keepdim=True), boxes, _largest(sizes))


def _largest(sizes: Tensor) -> Tensor:
    shape = sizes[:, 0] / sizes[:, 1]
    aspect = shape.clamp(*ASPECT)
    width, height = (aspect / shape).clamp(max=1), (shape / aspect).clamp(max=1)
    return torch.stack([(1 - width) / 2, (1 - height) / 2, width, height], 1)


def centre_boxes(sizes: Tensor, share: float) -> Tensor:
    """The centred square of each image, (m, 4), of `share` of its shorter side: the single crop of
    evaluation. Of 224 from images whose shorter side is 256, the share is 0.875."""
    side = share * sizes.amin(1, keepdim=True)
    extent = side / sizes
    return torch.cat([(1 - extent) / 2, extent], 1)


def mirror(boxes: Tensor, which: Tensor) -> Tensor:
    """The boxes (m, 4), those of which (m,) mirrored."""
    left, top, width, height = boxes.unbind(1)
    mirrored = torch.stack([left + width, top, -width, height], 1)
    return torch.where(which[:, None], mirrored, boxes)


def cut(images: Tensor, boxes: Tensor, crop: int) -> Tensor:
    """The boxes (m, 4) of uint8 images (m, 3, S, S), resampled to (m, 3, crop, crop) float32.

    Bilinear and without antialiasing, in one call for the whole batch: no box is shrunk by more
    than S / crop, which should so be near 1.
    """
    at = (torch.arange(crop, device=images.device) + 0.5) / crop
    left, top, width, height = (2 * boxes.to(images.device, non_blocking=True)).unbind(1)
    x = left[:, None] - 1 + width[:, None] * at  # (m, crop), from -1 to 1 over the image
    y = top[:, None] - 1 + height[:, None] * at
    shape = (len(boxes), crop, crop)
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], 3)
    return functional.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
