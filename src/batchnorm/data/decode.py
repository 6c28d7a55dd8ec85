"""Image files decoded: one by one, or all of a tree once, into files that runs map to memory."""

import io
import math
import os
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from joblib import cpu_count
from torch import Tensor

from batchnorm.data.sets import DataError
from batchnorm.data.tree import Tree, listed
from batchnorm.record import write_atomically

WHOLE = (0.0, 0.0, 1.0, 1.0)  # a box: left, top, width and height as fractions of the image's
SAY_EVERY = 0.1  # of the work, between lines that say how far it is


@dataclass
class Decoded:
    """What is known of every image of a tree, train before val, each squashed to S x S pixels."""

    sizes: Tensor  # (n, 2) float32: width and height in the file
    means: Tensor  # (n, 3) float32: of an image's pixels, per channel, 0 to 255
    products: Tensor  # (n, 3, 3) float32: means of the products of two channels
    pixels: Tensor | None  # (n, 3, S, S) uint8, mapped from a file


def decode(path: str, box: tuple[float, ...], size: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A box of an image (see crops) as RGB, resampled to size x size, bilinear and antialiased: (3,
    size, size) uint8; and width and height of the whole image. Raises OSError or ValueError."""
    from PIL import Image  # comes with torchvision

    with Image.open(path) as file:
        width, height = file.size
        start, top, signed, down = box
        left, across = min(start, start + signed), abs(signed)
        if size < min(across * width, down * height):  # JPEGs decode at a half, a quarter, ...
            file.draft("RGB", (math.ceil(size / across), math.ceil(size / down)))
        if file.mode.startswith("I;16"):  # of which convert would make white what is above 255
            scaled = Image.fromarray((np.asarray(file) >> 8).astype(np.uint8)).convert("RGB")
        else:
            scaled = file.convert("RGB")
    edges = (max(0.0, left), top, min(1.0, left + across), min(1.0, top + down))
    inside = [edge * side for edge, side in zip(edges, scaled.size * 2, strict=True)]
    pixels = np.asarray(scaled.resize((size, size), Image.Resampling.BILINEAR, box=tuple(inside)))
    planes = (pixels if signed > 0 else pixels[:, ::-1]).transpose(2, 0, 1)
    return np.ascontiguousarray(planes), (width, height)


def decoded(tree: Tree, size: int, keep_pixels: bool, cache: Path) -> Decoded:
    """All images of a tree, squashed to size x size; decoded once, then mapped from the cache.

    Without keep_pixels, they are decoded all the same, once, to see that they can be, and for
    sizes and means. Several processes may ask at once. Raises DataError, naming them, for files
    that are no images, for a cache that is broken, and where the disk is too small.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cache={cache}: {error.strerror}; cache=FOLDER names another") from error
    if not os.access(cache, os.W_OK):
        raise DataError(f"cache={cache}: cannot be written to; cache=FOLDER names another")
    name = f"{tree.folder.name}-{tree.stamp[:12]}-{size}"
    facts, pixels = cache / f"{name}.npz", cache / f"{name}.npy"
    with FileLock(cache / f".{name}.lock"):
        if not facts.exists() or (keep_pixels and not pixels.exists()):
            try:
                _decode_all(tree, size, facts, pixels if keep_pixels else None)
            except OSError as error:
                raise DataError(f"{cache}: {error.strerror}; cache=FOLDER names another") from error
    try:
        found = np.load(facts)
        tensors = [torch.from_numpy(found[key]) for key in ("sizes", "means", "products")]
        mapped = _mapped(pixels) if keep_pixels else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{cache / name}.*: cannot be read ({error}); remove them") from error
    return Decoded(*tensors, mapped)


def _mapped(path: Path) -> Tensor:
    """An array in a file, mapped: only to be read, so that it may be larger than the memory."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.load(path, mmap_mode="r"))


def _decode_all(tree: Tree, size: int, facts: Path, pixels: Path | None) -> None:
    paths = tree.paths()
    shape = (len(paths), 3, size, size)
    sizes, means = np.empty((shape[0], 2), np.float32), np.empty((shape[0], 3), np.float32)
    products, unreadable = np.empty((shape[0], 3, 3), np.float32), []

    def one(i: int) -> None:
        try:
            image, sizes[i] = decode(paths[i], WHOLE, size)
        except Exception as error:  # PIL's own kinds are many
            unreadable.append(f"{paths[i]} ({' '.join(str(error).split())})")
            return
        flat = image.reshape(3, -1).astype(np.float32)
        means[i], products[i] = flat.mean(1), flat @ flat.T / flat.shape[1]
        keep(i, image)

    with _kept(pixels, shape) as keep:
        _all(one, len(paths), tree.folder.name)
        if unreadable:
            names = sorted(unreadable)
            listing = facts.with_suffix(".unreadable.txt")
            write_atomically(listing, os.fsencode("\n".join([*names, ""])))
            raise DataError(f"{len(names)} unreadable images, all in {listing}: {listed(names)}")
    _write(facts, sizes=sizes, means=means, products=products)


@contextmanager
def _kept(path: Path | None, shape: tuple[int, ...]) -> Iterator[Callable[[int, np.ndarray], None]]:
    """What keeps the pixels of one image in an array in a file, which is there when all are; or
    keeps none. Written and not mapped, for a disk that is full to be an error: of a mapped file it
    is the end of the process."""
    if path is None:
        yield lambda i, image: None
        return
    part = path.with_suffix(".part")  # left by a crash, it is written over
    _refuse_small_disk(part, math.prod(shape))
    head = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape).offset
    try:
        with part.open("r+b") as file:

            def keep(i: int, image: np.ndarray) -> None:
                at, left = head + i * image.nbytes, image.tobytes()
                while left:
                    written = os.pwrite(file.fileno(), left, at)
                    at, left = at + written, left[written:]

            yield keep
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _all(work, count: int, name: str) -> None:  # noqa: ANN001
    """Call work(i) for every i below count, in threads: decoding does not hold Python's lock."""
    say = partial(print, file=sys.stderr, flush=True)  # of whichever process it is that decodes
    say(f"decoding the {count:,} images of {name}, once")
    said = SAY_EVERY
    with ThreadPoolExecutor(cpu_count()) as pool:
        try:
            for done in _counted(pool, work, count):
                if done >= said * count and done < count:
                    say(f"decoding {name}: {100 * done / count:.0f} %")
                    said += SAY_EVERY
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _counted(pool: ThreadPoolExecutor, work, count: int) -> Iterator[int]:  # noqa: ANN001
    for first in range(0, count, 1000):  # so many at a time, not a million futures
        last = min(count, first + 1000)
        list(pool.map(work, range(first, last)))
        yield last


def _refuse_small_disk(part: Path, needed: int) -> None:
    part.unlink(missing_ok=True)
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DataError(
            f"{part.parent}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free;"
            " cache=FOLDER on another disk, a smaller data.image_size, or loader=stream"
        )


def _write(path: Path, **arrays: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())
