"""MNIST through torchvision."""

from pathlib import Path

from batchnorm.data.files import verified
from batchnorm.data.sets import DataSet, Split

PARTS = {  # the unpacked files: torchvision knows the checksums of the packed ones alone
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def load(root: Path) -> DataSet:
    """The 60,000 training and 10,000 test images, 28 x 28 x 1, 10 classes; downloaded if absent.

    Raises DataError for a corrupt or missing file, Unavailable where there is nothing.
    """
    from torchvision.datasets import MNIST  # here: importing torchvision takes seconds

    folder = root / "MNIST" / "raw"
    checksum = verified("MNIST", root, folder, PARTS, lambda: MNIST(str(root), download=True))
    train, test = (MNIST(str(root), train=part) for part in (True, False))
    return DataSet(_split(train), _split(test), classes=10, checksum=checksum)


def _split(dataset) -> Split:  # noqa: ANN001
    return Split(dataset.data[..., None].contiguous(), dataset.targets)
