"""CIFAR-10 through torchvision: checksums verified, downloaded where absent."""

import hashlib
import os
import socket
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from filelock import FileLock

from batchnorm.data.sets import DataError, DataSet, Split, Unavailable

SECONDS_TO_ANSWER = 20  # a download server that says nothing for so long counts as unreachable


def load(root: Path) -> DataSet:
    """The 50,000 training and 10,000 test images, 32 x 32 x 3, 10 classes.

    Raises DataError, naming the file, for one that is there and is not what it should be;
    Unavailable when the files are not there and cannot be downloaded.
    """
    from torchvision.datasets import CIFAR10  # here: importing torchvision takes seconds

    folder = root / CIFAR10.base_folder
    parts = dict([*CIFAR10.train_list, *CIFAR10.test_list, _names(CIFAR10)])
    with _alone(root):
        _refuse_corrupt(folder, parts)
        missing = [name for name in parts if not (folder / name).exists()]
        if missing:
            _download(CIFAR10, root, folder, missing, complete=len(missing) == len(parts))
    train, test = (CIFAR10(str(root), train=part) for part in (True, False))
    checksum = hashlib.md5("".join(sorted(parts.values())).encode()).hexdigest()
    return DataSet(_split(train), _split(test), classes=10, checksum=checksum)


def _alone(root: Path) -> AbstractContextManager[object]:
    """Keeps other processes from downloading, or from reading what is half downloaded."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"CIFAR-10 is not in {root}, which cannot be made: {error}") from error
    return FileLock(root / ".cifar10.lock") if os.access(root, os.W_OK) else nullcontext()


def _names(dataset: type) -> list[str]:
    return [dataset.meta["filename"], dataset.meta["md5"]]


def _split(dataset) -> Split:  # noqa: ANN001
    return Split(torch.from_numpy(dataset.data), torch.tensor(dataset.targets))


def _refuse_corrupt(folder: Path, parts: dict[str, str]) -> None:
    for name, md5 in parts.items():
        file = folder / name
        if file.exists() and hashlib.md5(file.read_bytes()).hexdigest() != md5:
            raise DataError(
                f"{file}: is corrupt (its MD5 is not {md5});"
                " delete it and run again to download it anew"
            )


def _download(dataset: type, root: Path, folder: Path, missing: list[str], complete: bool) -> None:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_TO_ANSWER)
    try:
        dataset(str(root), download=True)
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError after URLError
        if not complete:
            names = ", ".join(missing)
            raise DataError(
                f"{folder}: {names} missing, and not to be downloaded ({error});"
                " put the files there, or delete the folder"
            ) from error
        raise Unavailable(f"CIFAR-10 is not in {root} and cannot be downloaded: {error}") from error
    finally:
        socket.setdefaulttimeout(timeout)
