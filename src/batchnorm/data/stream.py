"""Image folders that do not fit in memory: decoded and cropped by a DataLoader's workers."""

import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import chain, count, islice
from math import ceil
from pathlib import Path

import torch
from joblib import cpu_count
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from batchnorm.config import Data
from batchnorm.data.decode import decode
from batchnorm.data.images import AT_ONCE, ImageBatches, ImageSet, Plan
from batchnorm.data.sets import DataError

MOST_WORKERS = 32  # if nobody says: each holds batches in shared memory
SHARED = Path("/dev/shm")  # where Linux has it
LESS_SHARED = "fewer workers need less, docker run --shm-size=16g gives more"
PREFETCH = 2  # batches that each worker is ahead

Key = tuple[int, list[tuple[bytes, tuple[float, ...]]]]


class Crops(Dataset):
    """Batches of crops of image files, each written to a slot of memory that all processes share;
    the key of a batch is its slot, and files and boxes. Shared memory of its own for each batch, as
    DataLoader hands them over, costs the process that trains three times as long."""

    def __init__(self, slots: Tensor) -> None:
        self.slots = slots  # (slots, m or more, 3, H, W) uint8

    def __getitems__(self, key: Key) -> tuple[int, int]:
        """The slot that is filled now, and with how many images. Raises DataError."""
        slot, images = key
        for into, (path, box) in zip(self.slots[slot, : len(images)].numpy(), images, strict=True):
            try:
                pixels, _ = decode(os.fsdecode(path), box, into.shape[-1])
            except Exception as error:  # it was readable when the run began; PIL's kinds are many
                name = os.fsdecode(path)
                raise DataError(f"{name}: cannot be read any more ({error})") from error
            into[:] = pixels
        return slot, len(images)


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
        self.slots = PREFETCH * self.workers + 1  # what is ahead, and what is read
        if self.workers and SHARED.is_dir():
            trained = self.slots * (self.batch_size // replicas)
            parts = min(self.slots, ceil(len(data.test) / AT_ONCE))
            population, tested = self.slots * self.batch_size, parts * min(AT_ONCE, len(data.test))
            self._refuse_too_little(beside, trained + max(population, tested))
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
        """Of each plan, its boxes of its images: (m, 3, H, W) uint8; m is largest in the first."""
        plans = iter(plans)
        front = list(islice(plans, self.slots))
        if not front:  # a process without a share
            return
        slots = self._shared(len(front), len(front[0].chosen))
        keys = (
            (number % len(slots), list(zip(plan.files(), plan.boxes.tolist(), strict=True)))
            for number, plan in enumerate(chain(front, plans))
        )
        loader = DataLoader(
            Crops(slots),
            batch_sampler=keys,
            num_workers=min(self.workers, len(front)),
            prefetch_factor=PREFETCH if self.workers else None,
            collate_fn=tuple,
            generator=torch.Generator(),  # it draws a seed that nothing uses: not from ours
        )
        try:
            for slot, images in loader:
                yield self._taken(slots[slot, :images])
        except DataError as error:  # a worker's, which comes with its traceback
            raise DataError(str(error).rpartition("DataError: ")[2].strip()) from error

    def _refuse_too_little(self, processes: int, images: int) -> None:
        """Raises DataError where shared memory will not do for so many images of each process: in
        evaluations, while training batches wait. Not to fail only then, and at the last."""
        needed = processes * images * 3 * self.crop**2
        free = shutil.disk_usage(SHARED).free
        if needed > free:
            of = f" by {processes} processes" if processes > 1 else ""
            raise DataError(
                f"workers={self.workers}: {needed / 1e6:.0f} MB of shared memory are needed{of},"
                f" {free / 1e6:.0f} MB are free: {LESS_SHARED}"
            )

    def _shared(self, slots: int, images: int) -> Tensor:
        """Memory that workers share, if there are any, for batches of crops. Raises DataError."""
        made = torch.empty((slots, images, 3, self.crop, self.crop), dtype=torch.uint8)
        try:
            return made.share_memory_() if self.workers else made
        except RuntimeError as error:  # others have taken it since
            why = str(error).splitlines()[0]
            raise DataError(f"workers={self.workers}: {why}: {LESS_SHARED}") from error

    def _taken(self, crops: Tensor) -> Tensor:
        """A copy: the slot is about to be used anew. A GPU computes while it reads pinned ones.
        By numpy, in one thread: torch's would wait for cores that the workers have."""
        taken = torch.empty_like(crops, pin_memory=self.device.type == "cuda")
        taken.numpy()[...] = crops.numpy()
        return taken
