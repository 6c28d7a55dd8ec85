"""How fast the loaders of image folders are, measured alternating: training batches, cropped,
distorted and normalised, on the device; no network.

    python scripts/bench_images.py [--data imagenette] [--loader stream] [--rounds 5]
                                   [--batches 40] [--device auto] [workers=2] [KEY=VALUE ...]
"""

import argparse
import sys
import time
from dataclasses import replace

import torch

from batchnorm import data
from batchnorm.config import ConfigError, Data
from batchnorm.data import ImageBatches
from batchnorm.data.stream import PREFETCH
from batchnorm.experiment import plan, where
from batchnorm.train import resolve_device
from bench import report

WORKERS = 2  # of the streaming loader, unless workers=N says otherwise
AN_EPOCH = 1000  # batches, of a larger set: by then most of what is read is in memory
LOADERS = ("memory", "stream")
SETTLE = 1.0  # seconds, in which they fill their queues


def asked(name: str, overrides: list[str]) -> tuple[Data, data.Where]:
    """The data of a run on an image folder, and where they are."""
    given = ["stand_in=never", "seed=0", "output=/nonexistent", "data.distortion=1", *overrides]
    made = plan([f"data={name}", *given])
    return made.runs[0].data, where(made.cfg)


def rate(batches: ImageBatches, first: int, count: int) -> float:
    """Images per second of the training batches from one step on."""
    began = time.perf_counter()
    for step in range(first, first + count):
        images, _ = batches.train(step)
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
    return count * batches.batch_size / (time.perf_counter() - began)


def main(arguments: list[str] | None = None) -> None:
    """Measure the loaders in alternation, and print medians, spreads and the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="imagenette", help="a file of configs/data")
    parser.add_argument("--loader", choices=LOADERS, help="this one alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=40, help="in a round; at least 2 x workers")
    parser.add_argument("--device", default="auto")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_intermixed_args(arguments)
    try:
        device = resolve_device(options.device)
        config, place = asked(options.data, options.overrides)
        place = replace(place, workers=WORKERS if place.workers is None else place.workers)
        loaders = {
            loader: data.batches(
                data.load(config, replace(place, loader=loader), device), config, seed=0
            )
            for loader in ([options.loader] if options.loader else LOADERS)
        }
    except (ConfigError, data.DataError) as error:
        sys.exit(f"error: {error}")
    found: dict[str, list[float]] = {loader: [] for loader in loaders}
    for loader, batches in loaders.items():  # every page mapped, as after one epoch
        rate(batches, 0, min(AN_EPOCH, batches.per_epoch) if loader == "memory" else 5)
    ahead = max(1, PREFETCH * place.workers)  # batches in the workers' queue
    count = max(ahead, options.batches)
    for turn in range(options.rounds):
        for loader, batches in loaders.items():
            # what the workers decode ahead neither slows the other loader nor is counted
            time.sleep(SETTLE)
            first = 5 + turn * (ahead + count)
            rate(batches, first, ahead)
            found[loader].append(rate(batches, first + ahead, count))
    print(f"{options.data}, crops of {config.crop_size}, batches of {config.batch_size}, {device}")
    says = {"memory": "in memory", "stream": f"streamed by {place.workers} workers"}
    for loader, rates in found.items():
        report(f"{says[loader]}, images/s", rates)
    if len(found) == len(LOADERS):
        ratios = [a / b for a, b in zip(found["memory"], found["stream"], strict=True)]
        report("in memory / streamed", ratios)


if __name__ == "__main__":
    main()
