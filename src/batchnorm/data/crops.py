"""Crops as boxes: drawn at random or centred, and cut out of a whole batch by two products.

A box is left, top, width and height, as fractions of the image's width and height.
"""

import math

import torch
from torch import Generator, Tensor

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


def resampling(start: Tensor, extent: Tensor, size: int, crop: int) -> Tensor:
    """The matrices (m, crop, size) that take `size` pixels in a line to `crop` pixels of the part
    from start (m,) on, over extent (m,), both fractions of the line: bilinear, and antialiased
    where they shrink it, as PIL resizes."""
    at = (torch.arange(crop, device=start.device) + 0.5) / crop
    centres = size * (start[:, None] + extent[:, None] * at)  # (m, crop), in pixels
    reach = (size * extent / crop).clamp_min(1)[:, None, None]
    pixels = torch.arange(size, device=start.device) + 0.5
    weights = (1 - ((pixels - centres[..., None]) / reach).abs()).clamp_min_(0)
    return weights / weights.sum(2, keepdim=True)


def cut(images: Tensor, boxes: Tensor, crop: int) -> Tensor:
    """The boxes (m, 4) of images (m, S, 3, S), resampled to (m, crop, 3, crop) float32: for the
    whole batch two batched matrix products, one along the rows and one along the columns."""
    m, size = images.shape[:2]
    left, top, width, height = boxes.to(images.device).unbind(1)
    rows = resampling(top, height, size, crop)
    columns = resampling(left, width, size, crop).transpose(1, 2)
    with torch.autocast(images.device.type, enabled=False):  # 8 bits of mantissa would show
        cut_rows = torch.bmm(rows, images.view(m, size, 3 * size).float())
        both = torch.bmm(cut_rows.view(m, crop * 3, size), columns)
    return both.view(m, crop, 3, crop)
