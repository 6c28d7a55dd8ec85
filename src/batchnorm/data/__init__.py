"""In-memory data sets and their batches."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

from batchnorm.config import Data
from batchnorm.data import cifar10, mnist
from batchnorm.data.sets import (
    Batches,
    DataError,
    DataSet,
    Split,
    Unavailable,
    binary,
    randomly_labelled,
)
from batchnorm.data.standin import stand_in

__all__ = [
    "LOADERS",
    "Batches",
    "DataError",
    "DataSet",
    "Split",
    "Unavailable",
    "available",
    "load",
]

# What `data.name` may be: reads, or downloads, the whole set under a root folder.
LOADERS: dict[str, Callable[[Path], DataSet]] = {"cifar10": cifar10.load, "mnist": mnist.load}


def available(name: str, root: Path) -> bool:
    """Whether the real data are there or could be downloaded; raises DataError if corrupt."""
    try:
        _whole(name, False, root)
    except Unavailable:
        return False
    return True


@lru_cache(maxsize=1)
def _whole(name: str, generated: bool, root: Path) -> DataSet:
    return stand_in(name) if generated else LOADERS[name](root)


def refuse_sizes(config: Data, root: Path) -> None:
    """Raises DataError, naming the key, where a run wants more images than there are."""
    try:
        whole = _whole(config.name, config.stand_in, root)
    except Unavailable as error:
        raise DataError(f"{error}; stand_in=auto trains on generated images instead") from error
    if config.holdout >= len(whole.train):
        raise DataError(f"data.holdout={config.holdout}: must be below {len(whole.train)}")
    train, test = len(whole.train) - config.holdout, config.holdout or len(whole.test)
    for key, most in (("train_images", train), ("test_images", test)):
        wanted = getattr(config, key)
        if wanted > most:
            less = f" with data.holdout={config.holdout}" if config.holdout else ""
            raise DataError(f"data.{key}={wanted}: must be at most {most}{less}")


def load(config: Data, root: Path, device: torch.device) -> DataSet:
    """The images that a run trains and is evaluated on, on the device.

    With `holdout`, what is evaluated on is cut from the training set's end, before the training
    set is shortened to `train_images`. With `random_labels`, every seed trains on the same ones.
    Raises DataError, Unavailable.
    """
    whole = _whole(config.name, config.stand_in, root)
    train, test = whole.train, whole.test
    if config.holdout:
        cut = len(train) - config.holdout
        train, test = train[:cut], train[cut:]
    if config.random_labels:
        train = randomly_labelled(train, whole.classes)
    train, test = train[: config.train_images], test[: config.test_images]
    if config.binary:
        train, test = binary(train), binary(test)
    return DataSet(train.to(device), test.to(device), whole.classes, whole.checksum)
