"""Data sets and their batches: small images whole in memory, image folders there or streamed."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from batchnorm.config import Data
from batchnorm.data import cifar10, decode, imagenette, mnist, standin, tree
from batchnorm.data.images import ImageBatches, ImageSet, split_of
from batchnorm.data.sets import (
    Batches,
    DataError,
    DataSet,
    Split,
    Unavailable,
    binary,
    permuted,
    randomly_labelled,
)
from batchnorm.data.stream import StreamedBatches

__all__ = [
    "LOADERS",
    "NAMES",
    "Batches",
    "DataError",
    "DataSet",
    "ImageBatches",
    "ImageSet",
    "Split",
    "Unavailable",
    "Where",
    "batches",
    "load",
    "prepare",
    "resolve_loader",
    "unavailable",
]

# Small images by `data.name`: reads, or downloads, the whole set under a root folder.
LOADERS: dict[str, Callable[[Path], DataSet]] = {"cifar10": cifar10.load, "mnist": mnist.load}
NAMES = (*LOADERS, "image_folder")  # what `data.name` may be
MEMORY_SHARE = 0.5  # of the machine's, that decoded images may take


@dataclass(frozen=True)
class Where:
    """Where images are, and how they are to be had: no part of what a run is. As in Config."""

    root: Path
    cache: Path = Path("outputs/cache")
    loader: str = "auto"
    workers: int | None = None


def unavailable(name: str, root: Path, folder: str = "") -> str:
    """Why the real data are neither there nor to be downloaded; "" where they are there. Raises
    DataError if they are unusable."""
    try:
        _tree(root, folder) if name == "image_folder" else _whole(name, False, root)
    except Unavailable as error:
        return str(error)
    return ""


@lru_cache(maxsize=1)
def _whole(name: str, generated: bool, root: Path) -> DataSet:
    return standin.stand_in(name) if generated else LOADERS[name](root)


@lru_cache(maxsize=1)
def _scanned(folder: Path) -> tree.Tree:
    if folder.name == imagenette.FOLDER:
        imagenette.fetch(folder)
    return tree.scan(folder)


def _tree(root: Path, folder: str) -> tree.Tree:
    if not folder:
        raise DataError("data.folder: must be the name of a folder under data_root")
    return _scanned(root / folder)


def _counts(config: Data, root: Path) -> tuple[int, int]:
    """How many images there are to train and to evaluate on."""
    if config.stand_in and config.name == "image_folder":  # as many as are wanted
        return config.train_images + config.holdout, config.test_images
    if config.stand_in:
        return standin.SIZES[config.name][:2]
    if config.name != "image_folder":
        whole = _whole(config.name, False, root)
        return len(whole.train), len(whole.test)
    found = _tree(root, config.folder)
    return len(found.train), len(found.val)


def sized(config: Data, root: Path) -> Data:
    """The config with numbers of images where it says null, for all that there are. Raises
    DataError."""
    if None not in (config.train_images, config.test_images):
        return config
    try:
        if config.stand_in and config.name == "image_folder":
            raise Unavailable(f"{root / config.folder} is not there, or stand_in=always")
        train, test = _counts(config, root)
    except Unavailable as error:
        raise DataError(
            f"{error}; generated images need numbers as data.train_images and data.test_images"
        ) from error
    if not 0 <= config.holdout < train:
        raise DataError(f"data.holdout={config.holdout}: must be from 0 and below {train}")
    return replace(
        config,
        train_images=train - config.holdout if config.train_images is None else config.train_images,
        test_images=(config.holdout or test) if config.test_images is None else config.test_images,
    )


def refuse_sizes(config: Data, root: Path) -> None:
    """Raises DataError, naming the key, where a run wants more images than there are."""
    try:
        train, test = _counts(config, root)
    except Unavailable as error:
        raise DataError(f"{error}; stand_in=auto trains on generated images instead") from error
    if config.holdout >= train:
        raise DataError(f"data.holdout={config.holdout}: must be below {train}")
    for key, most in (
        ("train_images", train - config.holdout),
        ("test_images", config.holdout or test),
    ):
        wanted = getattr(config, key)
        if wanted > most:
            less = f" with data.holdout={config.holdout}" if config.holdout else ""
            raise DataError(f"data.{key}={wanted}: must be at most {most}{less}")


def resolve_loader(loader: str, config: Data, root: Path) -> str:
    """`auto`: memory where the decoded images fit into half of the machine's, else stream."""
    if loader != "auto" or config.name != "image_folder" or config.stand_in:
        return "memory" if loader == "auto" or config.stand_in else loader
    needed = sum(_counts(config, root)) * 3 * config.image_size**2
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return "memory" if needed <= MEMORY_SHARE * installed else "stream"


def prepare(config: Data, where: Where) -> None:
    """Decode what has to be decoded once, before any run starts. Raises DataError."""
    if config.name == "image_folder" and not config.stand_in:
        _images(config, where)


def load(config: Data, where: Where | Path, device: torch.device) -> DataSet | ImageSet:
    """The images that a run trains and is evaluated on, on the device; of an image folder that
    does not fit there, where they are to be found. A path stands for Where(path).

    With `holdout`, what is evaluated on is cut from the training set's end, before the training
    set is shortened to `train_images`. With `random_labels`, every seed trains on the same ones.
    Raises DataError, Unavailable.
    """
    where = where if isinstance(where, Where) else Where(where)
    if config.name == "image_folder":
        whole = _images(config, where)
    else:
        whole = _whole(config.name, config.stand_in, where.root)
    train, test = whole.train, whole.test
    if config.holdout:
        cut = len(train) - config.holdout
        train, test = train[:cut], train[cut:]
    if config.random_labels:
        train = randomly_labelled(train, whole.classes)
    train, test = train[: config.train_images], test[: config.test_images]
    if config.binary:
        train, test = binary(train), binary(test)
    if config.permuted:
        train, test = permuted(train), permuted(test)
    if isinstance(whole, ImageSet) and test.pixels is train.pixels:  # moved once for both
        train = train.to(device)
        return replace(whole, train=train, test=test.to(device, train))
    return replace(whole, train=train.to(device), test=test.to(device))


def _images(config: Data, where: Where) -> ImageSet:
    sizes = (config.image_size, config.crop_size)
    if config.stand_in:
        return standin.stand_in_images(*_counts(config, where.root), *sizes)
    found = _tree(where.root, config.folder)
    kept = resolve_loader(where.loader, config, where.root) == "memory"
    known = decode.decoded(found, config.image_size, kept, where.cache)
    splits = [split_of(part, known) for part in (found.train, found.val)]
    return ImageSet(*splits, len(found.classes), found.checksum, *sizes, where.workers)


def batches(
    data: DataSet | ImageSet, config: Data, seed: int, rank: int = 0, replicas: int = 1
) -> Batches | ImageBatches:
    """The batches of a run: of one of several replicas, its part of each."""
    kind: type = Batches
    if isinstance(data, ImageSet):
        kind = StreamedBatches if data.train.pixels is None else ImageBatches
    return kind(data, config, seed, rank, replicas)
