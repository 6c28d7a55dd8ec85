"""How fast training is on a GPU: a step as runs take it, its parts, compiled, streamed, and several
runs side by side. Without data, on generated images: as fast.

    python scripts/bench_gpu.py [EXPERIMENT/ARM ...] [--rounds 3] [--steps 100] [--beside 1,3,6]
                                [--compiled] [--streamed] [KEY=VALUE ...]

--streamed: of an image folder, which has to be there, decoded by `workers` processes meanwhile.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from batchnorm import data, train
from batchnorm.config import ConfigError, Run
from batchnorm.experiment import plan, where
from bench import our_training, report, side_by_side, timed
from bench_images import SETTLE

NETWORKS = [  # at full scale
    "cifar10_learning_rate/bn_x30",
    "cifar10_inception_published/bn_augmented",
    "cifar10_inception_published/plain",
    "imagenette/bn_x5",
]
OF_FILES = ["imagenette/bn_x5"]  # with --streamed
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


@dataclass
class Part:
    """What is measured: a function of a number of steps, and what comes before, uncounted."""

    steps: Callable[[int], None]
    before: Callable[[], None] = lambda: None


def parts(
    run: Run, place: data.Where, device: torch.device, options: argparse.Namespace
) -> dict[str, Part]:
    """The training step; the same on one resident batch, which is the limit; the input alone; the
    training step compiled, streamed, and both."""
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

    found = {"training step": Part(whole), "bare step": Part(bare), "input alone": Part(inputs)}
    if options.compiled:
        found["compiled training step"] = training(run, place, device, compiled=True)
    if options.streamed:
        place = replace(place, loader="stream")
        found["training step, streamed"] = training(run, place, device, compiled=False)
    if options.streamed and options.compiled:
        found["compiled training step, streamed"] = training(run, place, device, compiled=True)
    return found


def training(run: Run, place: data.Where, device: torch.device, compiled: bool) -> Part:
    """The training step. Streamed images decoded while others are measured do not count."""
    steps, state, batches, _ = our_training(run, place, device)
    if compiled:
        state.network = train.compiled_network(state.network, device)

    def take() -> None:
        for _ in range(batches.slots):
            batches.train(state.step)
            state.step += 1

    return Part(steps, take) if batches.loader == "stream" else Part(steps)


def alone(
    network: str, overrides: list[str], device: torch.device, options: argparse.Namespace
) -> None:
    """Print images per second of the parts, measured in alternation."""
    run, place = asked(network, overrides)
    measured = parts(run, place, device, options)
    rates: dict[str, list[float]] = {name: [] for name in measured}
    for part in measured.values():
        seconds(part.steps, WARM, device)
    for _ in range(options.rounds):
        for name, part in measured.items():
            time.sleep(SETTLE)  # in which workers of the part before end what they are at
            part.before()
            rates[name].append(run.data.batch_size / seconds(part.steps, options.steps, device))
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


def check(networks: list[str], overrides: list[str], streamed: bool) -> None:
    """Raises ConfigError for what cannot be measured, before anything is."""
    for network in networks:
        run, _ = asked(network, overrides)
        if streamed and (run.data.name != "image_folder" or run.data.stand_in):
            raise ConfigError(
                f"{network}: --streamed: needs an experiment on an image folder that is there"
            )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options, networks and overrides."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compiled", action="store_true", help="too; it takes a minute a network")
    parser.add_argument("--streamed", action="store_true", help="too, of an image folder")
    parser.add_argument(
        "--beside", type=lambda said: [int(one) for one in said.split(",")], default=[1, 3, 6]
    )
    parser.add_argument("said", nargs="*", metavar="EXPERIMENT/ARM or KEY=VALUE")
    options = parser.parse_intermixed_args(arguments)
    options.networks = [one for one in options.said if "=" not in one] or (
        OF_FILES if options.streamed else NETWORKS
    )
    options.overrides = [one for one in options.said if "=" in one]
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure what is asked for."""
    options = parse(arguments)
    overrides = options.overrides
    try:
        device = train.resolve_device(options.device)
        check(options.networks, overrides, options.streamed)
        for network in options.networks:
            alone(network, overrides, device, options)
            beside(network, overrides, device, options)
    except (ConfigError, data.DataError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
