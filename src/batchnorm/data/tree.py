"""Image folders: trees that torchvision's ImageFolder reads, one under train and one under val."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from batchnorm.data.sets import DataError, Unavailable

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
LISTED = 20  # of the files or classes in an error; of the others, the number


@dataclass
class Files:
    """Image files and their labels (n,) int64."""

    paths: np.ndarray  # (n,) of bytes: worker processes share it, as they would not a list
    labels: Tensor
    rows: Tensor  # (n,) int64: their places among all files of the tree, train before val

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Tree:
    """A folder with train and val; the files of each in an order drawn once for all, since runs
    may take what they want from the front."""

    folder: Path
    train: Files
    val: Files
    classes: list[str]
    checksum: str  # of the files' relative paths and sizes, not of their content
    stamp: str  # of their times of change too: what decoded images are filed under

    def paths(self) -> list[str]:
        """Of all files, train before val."""
        return [os.fsdecode(path) for path in (*self.train.paths, *self.val.paths)]


def scan(folder: Path) -> Tree:
    """List the files of the tree; none is opened.

    Raises Unavailable where there is no folder; DataError, naming them, for classes that are not
    in both train and val, or have no image in one of them, and for what cannot be looked at.
    """
    if not folder.is_dir():
        raise Unavailable(f"{folder} is not there: no train/ and val/ of an image folder")
    try:
        return _scan(folder)
    except OSError as error:  # a folder that may not be read, a link to nowhere
        raise DataError(f"{error.filename}: {error.strerror}") from error


def _scan(folder: Path) -> Tree:
    found = {part: _samples(folder / part) for part in ("train", "val")}
    (train_classes, train), (val_classes, val) = found["train"], found["val"]
    faults = []
    for part, only in (
        ("train", set(train_classes) - set(val_classes)),
        ("val", set(val_classes) - set(train_classes)),
    ):
        if only:
            faults.append(f"only {part} has the classes {listed(sorted(only))}")
    for part, (classes, samples) in found.items():
        empty = set(range(len(classes))) - {label for _, label in samples}
        if empty:
            names = listed([classes[i] for i in sorted(empty)])
            faults.append(f"{part} has no images in the classes {names}")
    if faults:
        raise DataError(f"{folder}: {'; '.join(faults)}")
    if not train_classes:
        raise DataError(f"{folder / 'train'}: must have a folder for each class, and has none")
    checksum, stamp = _checksums(folder, [path for path, _ in train + val])
    return Tree(folder, _files(train, 0), _files(val, len(train)), train_classes, checksum, stamp)


def _samples(folder: Path) -> tuple[list[str], list[tuple[str, int]]]:
    """Classes, and files with their labels, as torchvision.datasets.ImageFolder finds them; it
    itself takes seconds to import."""
    if not folder.is_dir():
        raise DataError(f"{folder}: must be a folder with a folder for each class")
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    samples = [
        (os.path.join(inner, name), label)
        for label, one in enumerate(classes)
        for inner, _, names in sorted(os.walk(folder / one, onerror=_raise, followlinks=True))
        for name in sorted(names)
        if name.lower().endswith(EXTENSIONS)
    ]
    return classes, samples


def _raise(error: OSError) -> None:
    raise error


def _files(samples: list[tuple[str, int]], first: int) -> Files:
    generator = torch.Generator().manual_seed(1502_03167)
    order = torch.randperm(len(samples), generator=generator)
    paths = np.array([os.fsencode(samples[i][0]) for i in order.tolist()])
    return Files(
        paths,
        torch.tensor([label for _, label in samples])[order],
        first + torch.arange(len(order)),
    )


def _checksums(folder: Path, paths: list[str]) -> tuple[str, str]:
    names, times = hashlib.md5(), hashlib.md5()
    for path in sorted(paths):
        file = Path(path)
        found = file.stat()
        names.update(os.fsencode(f"{file.relative_to(folder)} {found.st_size}\n"))
        times.update(f"{found.st_mtime_ns}\n".encode())
    return names.hexdigest(), hashlib.md5(names.digest() + times.digest()).hexdigest()


def listed(names: list[str]) -> str:
    """The names, and how many more there are than an error should hold."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
