"""How fast training is on a GPU: a step as runs take it, its parts, compiled, streamed, and several
runs side by side. Without data, on generated images: as fast.

    python scripts/bench_gpu.py [EXPERIMENT/ARM ...] [--rounds 3] [--steps 100] [--beside 1,3,6]
                                [--compiled] [--streamed] [KEY=VALUE ...]

--streamed: of an image folder, which has to be there, decoded by `workers` processes meanwhile.
"""

import argparse
import gc
import sys
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from batchnorm import data, train
from batchnorm.config import ConfigError, Run
from batchnorm.data.stream import MOST_WORKERS, PREFETCH
from batchnorm.experiment import plan, where
from bench import our_training, report, side_by_side, timed

NETWORKS = [  # at full scale
    "cifar10_learning_rate/bn_x30",
    "cifar10_inception_published/bn_augmented",
    "cifar10_inception_published/plain",
    "imagenette/bn_x5",
]
WARM = 15  # steps, in which kernels are chosen and loaded


def asked(network: str, overrides: list[str]) -> tuple[Run, data.Where]:
    """The run of an arm of an experiment, and where its images are."""
    experiment, _, arm = network.partition("/")
    given = [f"experiment={experiment}", f"arm={arm}", "seed=0", "scale=full"]
    made = plan([*given, "output=/nonexistent", *overrides])
    return made.runs[0], where(made.cfg)


def seconds(work: Callable[[int], object], steps: int, device: torch.device) -> float:
    """Of one step, once the device has done them all."""

    def done() -> None:
        work(steps)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return timed(done) / steps


def parts(
    run: Run, place: data.Where, device: torch.device, options: argparse.Namespace
) -> dict[str, Callable[[int], None]]:
    """What is measured, each a function of a number of steps: the training step; the same on one
    resident batch, which is the limit; the input alone; the training step compiled, streamed, and
    both."""
    whole, state, batches, precision = our_training(run, place, device)
    if batches.loader != "memory":
        raise ConfigError("loader=stream: must be memory here; --streamed measures both")
    images, labels = batches.train(0)

    def bare(count: int) -> None:
        for _ in range(count):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = state.network(images)
            loss = nn.functional.cross_entropy(logits.float(), labels)
            state.optimizer.zero_grad()
            loss.backward()
            state.optimizer.step()

    def inputs(count: int) -> None:
        for step in range(count):
            batches.train(step)

    found = {"training step": whole, "bare step": bare, "input alone": inputs}
    if options.compiled:
        found["compiled training step"] = compiled(run, place, device)
    if options.streamed:
        stream = replace(place, loader="stream")
        found["training step, streamed"], _, batches, _ = our_training(run, stream, device)
        if batches.loader != "stream":
            raise ConfigError("--streamed: needs an experiment on an image folder that is there")
        if options.compiled:
            found["compiled training step, streamed"] = compiled(run, stream, device)
    return found


def compiled(run: Run, place: data.Where, device: torch.device) -> Callable[[int], None]:
    """A function that trains so many steps, compiled."""
    steps, state, *_ = our_training(run, place, device)
    state.network = train.compiled_network(state.network, device)
    return steps


def alone(
    network: str, overrides: list[str], device: torch.device, options: argparse.Namespace
) -> None:
    """Print images per second of the parts, measured in alternation."""
    run, place = asked(network, overrides)
    measured = parts(run, place, device, options)
    rates: dict[str, list[float]] = {name: [] for name in measured}
    for work in measured.values():
        seconds(work, WARM, device)
    for _ in range(options.rounds):
        for name, work in measured.items():
            if "streamed" in name:  # what was decoded while others were measured is not counted
                seconds(work, PREFETCH * MOST_WORKERS, device)
            rates[name].append(run.data.batch_size / seconds(work, options.steps, device))
    for name, each in rates.items():
        report(f"{network}: {name}, images/s", each)
    measured.clear()  # and the GPU's memory
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()


def steps_of(network: str, overrides: list[str], device: torch.device) -> Callable[[int], object]:
    """What trains so many steps of an arm of an experiment, until the device has done them."""
    steps, *_ = our_training(*asked(network, overrides), device)
    return lambda count: seconds(steps, count, device)


def beside(
    network: str, overrides: list[str], device: torch.device, options: argparse.Namespace
) -> None:
    """Print images per second of several runs side by side, all together."""
    batch_size = asked(network, overrides)[0].data.batch_size
    rates: dict[int, list[float]] = {count: [] for count in sorted(options.beside)}
    with side_by_side(max(rates), steps_of, network, overrides, device) as trained:
        trained(max(rates), WARM)
        for _ in range(options.rounds):
            for count, each in rates.items():
                images = count * options.steps * batch_size
                each.append(images / timed(lambda count=count: trained(count, options.steps)))
    for count, each in rates.items():
        report(f"{network}: {count} side by side, images/s together", each)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compiled", action="store_true", help="too; it takes a minute a network")
    parser.add_argument("--streamed", action="store_true", help="too, of an image folder")
    parser.add_argument(
        "--beside", type=lambda said: [int(one) for one in said.split(",")], default=[1, 3, 6]
    )
    options, rest = parser.parse_known_args()
    networks = [one for one in rest if "=" not in one] or NETWORKS
    overrides = [one for one in rest if "=" in one]
    try:
        device = train.resolve_device(options.device)
        for network in networks:
            alone(network, overrides, device, options)
            beside(network, overrides, device, options)
    except (ConfigError, data.DataError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
