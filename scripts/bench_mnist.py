"""How fast the small networks of Figure 1 train: alone, stacked, and their matrix products alone,
the limit on a CPU; on one thread, measured alternating, in microseconds of a run's step.

    python scripts/bench_mnist.py [--rounds 7] [--steps 100]
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from batchnorm import data
from batchnorm.data import Batches
from batchnorm.experiment import plan
from batchnorm.stack import Stack
from batchnorm.together import Member, advance, restored
from batchnorm.train import start, train_step

CPU = torch.device("cpu")
STEPS = 10**6  # so many that no evaluation comes


def products(batch: int, widths: list[int]) -> Callable[[int], None]:
    """A function that does so often the matrix products of one step of one network: forward, and
    backward to weights and, but for the first layer, inputs."""
    layers = [
        (torch.rand(batch, i), torch.rand(o, i), torch.rand(batch, o))
        for i, o in itertools.pairwise(widths)
    ]

    def work(count: int) -> None:
        for _ in range(count):
            for k, (inputs, weight, gradient) in enumerate(layers):
                inputs @ weight.t()
                gradient.t() @ inputs
                if k > 0:
                    gradient @ weight

    return work


def measured(arm: str) -> dict[str, Callable[[int], float]]:
    """What is timed for one arm: functions from a number of steps to microseconds for each step of
    one run."""
    made = plan(["experiment=mnist", "scale=full", f"arm={arm}", "stand_in=never", "output=/x"])
    runs, nowhere = made.runs, Path("/nonexistent")
    images = data.load(runs[0].data, Path(made.cfg.data_root), CPU)
    state, batches = start(runs[0], images, CPU), Batches(images, runs[0].data, 0)
    live = [restored(Member(run, nowhere), images, CPU) for run in runs]
    together = Stack([one.state.model for one in live])

    def alone(count: int) -> None:
        for _ in range(count):
            train_step(state, runs[0], batches, STEPS, "float32")

    def stacked(count: int) -> None:
        advance(together, live, live[0].state.step + count, STEPS)

    work = products(runs[0].data.batch_size, [784, 100, 100, 100, 10])
    return {
        "the matrix products alone": lambda count: timed(work, count),
        "one run alone": lambda count: timed(alone, count),
        f"each of {len(runs)} stacked": lambda count: timed(stacked, count) / len(runs),
    }


def timed(work: Callable[[int], None], count: int) -> float:
    """Microseconds of each of so many steps."""
    began = time.perf_counter()
    work(count)
    return 1e6 * (time.perf_counter() - began) / count


def main() -> None:
    """Measure both nets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        both = {arm: measured(arm) for arm in ("baseline", "bn")}
    except data.DataError as error:
        sys.exit(f"error: {error}")
    for arm, each in both.items():
        rounds = [
            {name: work(options.steps) for name, work in each.items()}
            for _ in range(options.rounds + 1)
        ][1:]  # the first one warms up
        for name in each:
            values = [one[name] for one in rounds]
            print(
                f"{arm + ': ' + name + ', us':<60} {statistics.median(values):9.0f}"
                f"   ({min(values):.0f} to {max(values):.0f})"
            )


if __name__ == "__main__":
    main()
