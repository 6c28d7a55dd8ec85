"""CIFAR-10 through torchvision."""

from pathlib import Path

import torch

from batchnorm.data.files import verified
from batchnorm.data.sets import DataSet, Split


def load(root: Path) -> DataSet:
    """The 50,000 training and 10,000 test images, 32 x 32 x 3, 10 classes; downloaded if absent.

    Raises DataError for a corrupt or missing file, Unavailable where there is nothing.
    """
    from torchvision.datasets import CIFAR10  # here: importing torchvision takes seconds

    names = [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]
    parts = dict([*CIFAR10.train_list, *CIFAR10.test_list, names])
    folder = root / CIFAR10.base_folder
    checksum = verified("CIFAR-10", root, folder, parts, lambda: CIFAR10(str(root), download=True))
    train, test = (CIFAR10(str(root), train=part) for part in (True, False))
    return DataSet(_split(train), _split(test), classes=10, checksum=checksum)


def _split(dataset) -> Split:  # noqa: ANN001
    return Split(torch.from_numpy(dataset.data), torch.tensor(dataset.targets))
