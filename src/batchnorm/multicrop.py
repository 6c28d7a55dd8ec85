"""Many crops of an image (section 4.2.3), and the mean of the class probabilities over them."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from batchnorm.evaluate import FINAL_POPULATION_BATCHES, autocast, by_population
from batchnorm.layers import folded

SHORTER_SIDES = (256, 288, 320, 352)  # that an image is resized to, for crops of CROP pixels
CROP = 224
SQUARES = (0.0, 0.5, 1.0)  # left, centre and right of a wide image; top, centre, bottom of a tall
BOXES = len(SHORTER_SIDES) * len(SQUARES) * 6
CROPS = 2 * BOXES  # and their mirror images: 144

Boxer = Callable[[Tensor], Tensor]  # widths and heights (m, 2) -> boxes (m, 4), see boxes


class Boxed(Protocol):
    """Batches of images of any size, which more than the centre can be cut out of."""

    def boxed(self, boxes: Boxer) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole evaluation split, in order: of each image the box that is given for its width
        and height, resampled to the crop and normalised, (m, C, S, S); and labels (m,)."""

    def test(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The single centre crop of each, in the same order."""


def boxes(sizes: Tensor) -> Tensor:
    """The 72 boxes of each image of width and height sizes (m, 2), before mirroring: (m, 72, 4),
    left, top, width and height as fractions of the image's.

    As GoogLeNet's: the shorter side at four sizes; of each three squares; of each square its four
    corners and its centre at the size of the crop, and the whole square. What is a fraction does
    not depend on the resized image, so the whole squares of the four sizes are the same.
    """
    extent = sizes.amin(1, keepdim=True) / sizes  # (m, 2), of a square
    found = []
    for side in SHORTER_SIDES:
        share = CROP / side
        for square in SQUARES:
            start = square * (1 - extent)  # of the square
            inside = [(x, y, share) for y in (0, 1 - share) for x in (0, 1 - share)]
            inside += [((1 - share) / 2, (1 - share) / 2, share), (0, 0, 1)]
            for x, y, of in inside:
                offset = torch.tensor([x, y]) * extent
                found.append(torch.cat([start + offset, of * extent], 1))
    return torch.stack(found, 1)


def box(index: int, sizes: Tensor) -> Tensor:
    """One of the 72 boxes of each image: (m, 4)."""
    return boxes(sizes)[:, index]


@torch.no_grad()
def probabilities(model: nn.Module, batches: Boxed, precision: str) -> dict[str, Tensor]:
    """The class probabilities (n, classes) of the evaluation split, as Algorithm 2 infers: `single`
    by the centre crop, `crops` the arithmetic mean over the 144 crops; and its `labels` (n,). Under
    `probabilities/`, float16 and int32, on the CPU: files beside the record, see record.write."""
    with autocast(model, precision):
        network = folded(by_population(model, batches, FINAL_POPULATION_BATCHES))
        single, labels = softmax(network, batches.test())
        total = torch.zeros_like(single)
        for index in range(BOXES):
            total += softmax(network, batches.boxed(partial(box, index)), mirrored=True)[0]
    found = {"single": single.half(), "crops": (total / BOXES).half(), "labels": labels.int()}
    return {f"probabilities/{name}": tensor.cpu() for name, tensor in found.items()}


def softmax(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], mirrored: bool = False
) -> tuple[Tensor, Tensor]:
    """The class probabilities of all images, float32 (n, classes), and their labels (n,);
    `mirrored`: the means over an image and its mirror image."""
    found, known = [], []
    for images, labels in batches:
        views = (images, images.flip(3)) if mirrored else (images,)
        each = [network(view).float().softmax(1) for view in views]
        found.append(torch.stack(each).mean(0))
        known.append(labels)
    return torch.cat(found), torch.cat(known)
