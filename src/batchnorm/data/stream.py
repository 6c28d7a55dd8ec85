"""Image folders that do not fit in memory: decoded and cropped by a DataLoader's workers."""

import os
from collections.abc import Iterable, Iterator
from itertools import count

import torch
from joblib import cpu_count
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from batchnorm.config import Data
from batchnorm.data.decode import decode
from batchnorm.data.images import ImageBatches, ImageSet, Plan
from batchnorm.data.sets import DataError

MOST_WORKERS = 32  # if nobody says: each holds file descriptors, and batches in shared memory


class Crops(Dataset):
    """Crops of image files, (3, H, W) uint8; the key is a file and a box."""

    def __init__(self, crop: int) -> None:
        self.crop = crop

    def __getitem__(self, key: tuple[bytes, tuple[float, ...]]) -> Tensor:
        path, box = key
        try:
            pixels, _ = decode(os.fsdecode(path), box, self.crop)
        except Exception as error:  # it was readable when the run began; PIL's kinds are many
            raise DataError(f"{os.fsdecode(path)}: cannot be read any more ({error})") from error
        return torch.from_numpy(pixels)


class StreamedBatches(ImageBatches):
    """The batches of ImageBatches: the same images in the same crops, cut from the files
    themselves, by worker processes that are some batches ahead. Pixels are resampled once, not
    twice: sharper, the more of a file's pixels the squares of image_size have lost."""

    loader = "stream"

    def __init__(
        self, data: ImageSet, config: Data, seed: int, rank: int = 0, replicas: int = 1
    ) -> None:
        super().__init__(data, config, seed, rank, replicas)
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes on this machine
        each = min(MOST_WORKERS, max(1, cpu_count() // beside))
        self.workers = each if data.workers is None else data.workers
        self._ahead: Iterator[tuple[Tensor, Tensor]] | None = None
        self._next = 0

    def train(self, step: int) -> tuple[Tensor, Tensor]:
        """The training batch of one step, as ImageBatches.train. From the first step asked for on,
        steps are decoded ahead; one out of that order by itself."""
        if self._ahead is None:
            self._ahead, self._next = self._made(map(self._planned_step, count(step))), step
        if step != self._next:
            return super().train(step)
        self._next += 1
        return next(self._ahead)

    def _crops(self, plans: Iterable[Plan]) -> Iterator[Tensor]:
        """Of each plan, its boxes of its images: (m, 3, H, W) uint8."""
        keys = (
            list(zip(plan.split.paths[plan.chosen.numpy()], plan.boxes.tolist(), strict=True))
            for plan in plans
        )
        loader = DataLoader(
            Crops(self.crop),
            batch_sampler=keys,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # it draws a seed that nothing uses: not from ours
        )
        try:
            yield from loader
        except DataError as error:  # a worker's, which comes with its traceback
            raise DataError(str(error).rpartition("DataError: ")[2].strip()) from error
