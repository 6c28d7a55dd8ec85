"""Many crops of an image (section 4.2.3), and the mean of the class probabilities over them."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from batchnorm import replicas
from batchnorm.data.images import ImageBatches
from batchnorm.evaluate import FINAL_POPULATION_BATCHES, autocast, by_population
from batchnorm.layers import folded

SHORTER_SIDES = (256, 288, 320, 352)  # that an image is resized to, for crops of CROP pixels
CROP = 224
SQUARES = (0.0, 0.5, 1.0)  # left, centre and right of a wide image; top, centre, bottom of a tall
BOXES = len(SHORTER_SIDES) * len(SQUARES) * 6
CROPS = 2 * BOXES  # and their mirror images: 144


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


@torch.no_grad()
def probabilities(model: nn.Module, batches: ImageBatches, precision: str) -> dict[str, Tensor]:
    """The class probabilities (n, classes) of the evaluation split, as Algorithm 2 infers: `single`
    by the centre crop, `crops` the arithmetic mean over the 144 crops; and its `labels` (n,). Under
    `probabilities/`, float16 and int32, on the CPU: files beside the record, see record.write."""
    with autocast(model, precision):
        network = folded(by_population(model, batches, FINAL_POPULATION_BATCHES))
        alone = list(softmax(network, batches.test(shared=True)))
        totals = [torch.zeros_like(single) for single, _ in alone]
        for index in range(BOXES):
            crops = batches.boxed(lambda sizes, i=index: boxes(sizes)[:, i], shared=True)
            views = softmax(network, crops, mirrored=True)
            for total, (view, _) in zip(totals, views, strict=True):
                total += view
    mine = [
        {
            "single": single.half().cpu(),
            "crops": (total / BOXES).half().cpu(),
            "labels": known.int().cpu(),
        }
        for (single, known), total in zip(alone, totals, strict=True)
    ]
    every = replicas.in_turn(mine)
    return {f"probabilities/{name}": torch.cat([one[name] for one in every]) for name in every[0]}


def softmax(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], mirrored: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each batch the class probabilities, float32 (m, classes), and the labels (m,);
    `mirrored`: the means over an image and its mirror image."""
    for images, labels in batches:
        views = (images, images.flip(3)) if mirrored else (images,)
        each = [network(view).float().softmax(1) for view in views]
        yield torch.stack(each).mean(0), labels
