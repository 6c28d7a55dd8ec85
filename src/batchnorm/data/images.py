"""Batches of an image folder: random crops for training, the centre crop for evaluation."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import tee

import numpy as np
import torch
from torch import Tensor

from batchnorm.config import Data
from batchnorm.data.crops import centre_boxes, cut, mirror, random_boxes
from batchnorm.data.decode import Decoded
from batchnorm.data.memory import keep_what_is_freed
from batchnorm.data.order import Order
from batchnorm.data.photometric import colour_maps, draw, principal_components
from batchnorm.data.sets import part_of, share_of
from batchnorm.data.tree import Files
from batchnorm.seeds import stream

AT_ONCE = 125  # images that are evaluated at a time


@dataclass
class ImageSplit:
    """Images of any size with their labels (n,) int64: where they are, what is known of them."""

    paths: np.ndarray | None  # (n,) bytes; None: generated images
    labels: Tensor
    sizes: Tensor  # (n, 2) float32: width and height
    means: Tensor  # (n, 3) and products (n, 3, 3): see Decoded
    products: Tensor
    pixels: Tensor | None  # (k, 3, S, S) uint8, of the whole tree; None: streamed
    rows: Tensor  # (n,) int64: where each image is among them

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> "ImageSplit":
        cut = ("paths", "labels", "sizes", "means", "products", "rows")
        there = [name for name in cut if getattr(self, name) is not None]
        return replace(self, **{name: getattr(self, name)[part] for name in there})

    def to(self, device: torch.device, beside: "ImageSplit | None" = None) -> "ImageSplit":
        """The labels, and the pixels where a GPU has room for them twice over: else batches of
        them are moved one by one. `beside`: another split of the same tree, moved already."""
        pixels = beside.pixels if beside else self.pixels
        if pixels is not None and device.type == "cuda" and not beside:
            torch.cuda.empty_cache()  # what an earlier run has left counts as taken
            room = torch.cuda.mem_get_info(device)[0] / 2
            pixels = pixels.to(device) if pixels.numel() <= room else pixels
        return replace(self, labels=self.labels.to(device), pixels=pixels)


@dataclass
class ImageSet:
    """What a run trains on, and what it is evaluated on, as DataSet; of images of any size."""

    train: ImageSplit
    test: ImageSplit
    classes: int
    checksum: str
    image_size: int
    crop_size: int
    workers: int | None = None  # processes that decode, where images are streamed

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image as a network sees it: height, width, channels."""
        return (self.crop_size, self.crop_size, 3)


def split_of(files: Files, known: Decoded) -> ImageSplit:
    """The images of these files, after the decoding of the whole tree."""
    facts = (known.sizes[files.rows], known.means[files.rows], known.products[files.rows])
    return ImageSplit(files.paths, files.labels, *facts, known.pixels, files.rows)


@dataclass
class Plan:
    """A batch before it is made: the chosen images (m,) of a split, a box (m, 4) of each, and the
    numbers behind its colours (m, 6)."""

    split: ImageSplit
    chosen: Tensor
    boxes: Tensor
    colours: Tensor | None = None

    def files(self) -> list[bytes]:
        """The paths of the chosen images, (m,)."""
        return self.split.paths[self.chosen.numpy()].tolist()


class ImageBatches:
    """Batches of an image folder, as Batches makes them of small images: each a function of seed
    and step alone, in equal parts for several replicas.

    With `augment`, an image is a crop of 8 to 100 % of the area and of aspect 3/4 to 4/3, mirrored
    half the time, with its colours distorted by `distortion`; else, and in evaluation, it is the
    centred square of crop_size / image_size of the shorter side. Both are resampled to crop_size
    and normalised by mean and deviation of the training pixels.
    """

    loader = "memory"

    def __init__(
        self, data: ImageSet, config: Data, seed: int, rank: int = 0, replicas: int = 1
    ) -> None:
        self.data, self.seed, self.batch_size = data, seed, config.batch_size
        self.augment, self.distortion = config.augment, config.distortion
        self.crop, self.centre = data.crop_size, data.crop_size / data.image_size
        self.part = part_of(self.batch_size, rank, replicas)
        self.share = share_of(rank, replicas)  # of what is evaluated
        self.device = data.train.labels.device
        if self.device.type == "cpu":
            keep_what_is_freed()
        self.order = Order(len(data.train), config, seed, torch.device("cpu"))
        self.per_epoch = self.order.per_epoch
        mean = data.train.means.mean(0, dtype=torch.float64)
        products = data.train.products.mean(0, dtype=torch.float64)
        covariance = products - mean.outer(mean)
        self.components = principal_components(covariance).to(self.device)
        std = covariance.diagonal().sqrt().clamp_min(1e-3)  # a constant channel stays finite
        self.scale = (1 / std).float().to(self.device)  # (3,)
        self.offset = (-mean / std).float().to(self.device)

    def train(self, step: int) -> tuple[Tensor, Tensor]:
        """The training batch of one step: images (m, 3, H, W) float32, channels last; labels."""
        return next(self._made([self._planned_step(step)]))

    def chosen(self, step: int) -> Tensor:
        """Which training images are in the batch of one step, over all replicas."""
        return self.order.chosen(step)

    def population(self, count: int) -> Iterator[Tensor]:
        """Training batches for the population statistics (Algorithm 2): the same at every call."""
        plans = [
            self._planned(chosen, stream(self.seed, "population", 1 + i), slice(None))
            for i, chosen in enumerate(self.order.population(count))
        ]
        return (images for images, _ in self._made(plans))

    def test(self, size: int = AT_ONCE, shared: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
        """The centre crops of the whole evaluation split, in order; `shared` as in Batches."""
        return self._in_order(self.data.test, size, shared)

    def first(self, count: int) -> Tensor:
        """The centre crops of the first so many images of the evaluation split, or all."""
        return torch.cat([one for one, _ in self._in_order(self.data.test[:count], AT_ONCE, False)])

    def training_set(
        self, size: int = AT_ONCE, shared: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Centre crops of as many training images as the evaluation split has, the first ones."""
        return self._in_order(self.data.train[: len(self.data.test)], size, shared)

    def boxed(
        self, boxes: Callable[[Tensor], Tensor], size: int = AT_ONCE, shared: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As `test`, but of each image the box (see crops) that is given for its width and height,
        a function from (m, 2) to (m, 4)."""
        split = self.data.test
        parts = self._parts(split, size, shared)
        return self._made(Plan(split, part, boxes(split.sizes[part])) for part in parts)

    def _parts(self, split: ImageSplit, size: int, shared: bool) -> tuple[Tensor, ...]:
        return torch.arange(len(split)).split(size)[self.share if shared else slice(None)]

    def _in_order(
        self, split: ImageSplit, size: int, shared: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        parts = self._parts(split, size, shared)
        return self._made(self._centred(split, part) for part in parts)

    def _planned_step(self, step: int) -> Plan:
        return self._planned(self.chosen(step), stream(self.seed, "augment", step), self.part)

    def _planned(self, chosen: Tensor, seed: int, part: slice) -> Plan:
        """Training crops of a part of a batch; what is drawn is drawn for all of it."""
        split = self.data.train
        if not self.augment:
            return self._centred(split, chosen[part])
        generator = torch.Generator().manual_seed(seed)
        boxes = random_boxes(split.sizes[chosen], generator)
        mirrored = torch.rand(len(chosen), generator=generator) < 0.5
        boxes, colours = mirror(boxes, mirrored), draw(len(chosen), generator)
        return Plan(split, chosen[part], boxes[part], colours[part])

    def _centred(self, split: ImageSplit, chosen: Tensor) -> Plan:
        return Plan(split, chosen, centre_boxes(split.sizes[chosen], self.centre))

    def _made(self, plans: Iterable[Plan]) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches as planned, one after the other: images and labels."""
        plans, same = tee(plans)
        for crops, plan in zip(self._crops(plans), same, strict=True):
            labels = plan.split.labels[plan.chosen.to(self.device, non_blocking=True)]
            yield self._finished(crops.to(self.device, non_blocking=True), plan), labels

    def _crops(self, plans: Iterable[Plan]) -> Iterator[Tensor]:
        """Of each plan, its boxes of its images: (m, 3, H, W), 0 to 255."""
        for plan in plans:
            images, rows = plan.split.pixels, plan.split.rows[plan.chosen]
            picked = images.index_select(0, rows.to(images.device, non_blocking=True))
            if picked.device != self.device:  # a GPU, which copies pinned memory while it computes
                picked = picked.pin_memory()
            yield cut(picked.to(self.device, non_blocking=True), plan.boxes, self.crop)

    def _finished(self, crops: Tensor, plan: Plan) -> Tensor:
        """Crops, distorted and normalised: (m, 3, H, W) float32, channels last."""
        images = crops.float()
        if plan.colours is None or not self.distortion:
            scaled = images.mul_(self.scale[:, None, None]).add_(self.offset[:, None, None])
            return scaled.contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, enabled=False):  # 8 bits of mantissa would show
            matrix, offset = colour_maps(
                plan.colours, self.distortion, images.mean((2, 3)), self.components
            )
            shift = (offset * self.scale + self.offset)[:, :, None]
            mapped = torch.baddbmm(shift, matrix * self.scale[:, None], images.flatten(2))
        return mapped.view(images.shape).contiguous(memory_format=torch.channels_last)
