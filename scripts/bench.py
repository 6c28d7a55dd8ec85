"""How fast training is, against the usual recipe and against the bare step; measured alternating.

The usual recipe: a DataLoader with two workers, PIL transforms, float32, NCHW, all cores. Ours:
as `make reproduce-cifar` trains on a CPU, one single-threaded run per core, side by side. Both
train the network of the same arm in the same batches; medians over the rounds, and the spread.

    python scripts/bench.py [--rounds 5] [--steps 60]
"""

import argparse
import copy
import multiprocessing
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from joblib import cpu_count
from torch import Tensor, nn

from batchnorm import data, models, optim, train
from batchnorm.config import Run
from batchnorm.data import Batches
from batchnorm.experiment import member, plan
from batchnorm.tracking import Mirror

CPU = torch.device("cpu")
QUICK = ["experiment=cifar10_learning_rate", "scale=quick", "seed=0", "stand_in=never"]
SETTLE = 0.5  # seconds before each measurement, in which loaders fill their queues and then rest
WARM = 3  # steps before the first that counts
STEPS = 10**6  # so many that the rate does not decay while we measure


def of_arm(arm: str) -> tuple[Run, Path]:
    """The quick run of one arm of the learning-rate study, and the data root."""
    made = plan([*QUICK, f"arm={arm}", "output=/nonexistent"])
    return made.runs[0], Path(made.cfg.data_root)


def timed(work: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# --- the usual recipe -----------------------------------------------------------------------------


def usual_batches(root: Path, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """CIFAR-10 as most repositories load it, for ever."""
    from torchvision import datasets, transforms

    transform = transforms.Compose([
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    ])  # fmt: skip
    images = datasets.CIFAR10(str(root), transform=transform)
    loader = torch.utils.data.DataLoader(
        images, batch_size, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True
    )
    while True:
        yield from loader


def usual_training(run: Run, root: Path) -> Callable[[int], None]:
    """A function that trains so many steps by the usual recipe."""
    model = models.build(run.model, (32, 32, 3), 10, run.seed).train()
    optimizer = torch.optim.SGD(
        model.parameters(), optim.rate(run.optim, 0, STEPS), 0.9, weight_decay=5e-4
    )
    batches = usual_batches(root, run.data.batch_size)

    def steps(count: int) -> None:
        for _ in range(count):
            images, labels = next(batches)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

    return steps


# --- ours -----------------------------------------------------------------------------------------


def our_training(
    run: Run, root: Path | data.Where, device: torch.device = CPU
) -> tuple[Callable[[int], None], train.State, Batches, str]:
    """A function that trains so many steps as a run does, and what it trains with."""
    images = data.load(run.data, root, device)
    batches = data.batches(images, run.data, run.draws)
    state = train.start(run, images, device)
    precision = train.resolve_precision(run.precision, device)

    def steps(count: int) -> None:
        for _ in range(count):
            train.train_step(state, run, batches, STEPS, precision)

    return steps, state, batches, precision


def steps_of(arm: str) -> Callable[[int], None]:
    """What trains so many steps of the quick run of an arm."""
    return our_training(*of_arm(arm))[0]


def one_process(pipe: Connection, make: Callable[..., Callable[[int], None]], *asked: Any) -> None:
    """Trains, on one thread, as many steps as the pipe asks for; None ends it."""
    torch.set_num_threads(1)
    steps = make(*asked)
    steps(WARM)
    pipe.send("ready")
    while (count := pipe.recv()) is not None:
        steps(count)
        pipe.send("done")


@contextmanager
def side_by_side(
    processes: int, make: Callable[..., Callable[[int], None]], *asked: Any
) -> Iterator[Callable[[int, int], None]]:
    """Inside, so many processes train what `make(*asked)` trains; the function that is given has
    the first `n` of them train so many steps each, at the same time."""
    context = multiprocessing.get_context("spawn")
    pipes, started = [], []
    for _ in range(processes):
        ours, theirs = context.Pipe()
        inside = (theirs, make, *asked)
        started.append(context.Process(target=one_process, args=inside, daemon=True))
        started[-1].start()
        theirs.close()  # so that a process that dies is not waited for
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()

    def trained(n: int, count: int) -> None:
        for pipe in pipes[:n]:
            pipe.send(count)
        for pipe in pipes[:n]:
            pipe.recv()

    yield trained
    for pipe, process in zip(pipes, started, strict=True):
        pipe.send(None)
        process.join()


def throughput(arm: str, rounds: int, count: int) -> None:
    """Print images per second of both, and their ratio, measured in alternation."""
    cores = cpu_count()
    torch.set_num_threads(cores)  # for the usual recipe; ours run in processes of their own
    run, root = of_arm(arm)
    images = run.data.batch_size * count

    def settled(work: Callable[[], object]) -> float:
        time.sleep(SETTLE)
        return timed(work)

    with side_by_side(cores, steps_of, arm) as trained:
        usual = usual_training(run, root)
        usual(WARM)
        pairs = [
            (
                images / settled(lambda: usual(count)),
                cores * images / settled(lambda: trained(cores, count)),
            )
            for _ in range(rounds)
        ]
    report(f"{arm}: usual recipe, images/s", [pair[0] for pair in pairs])
    report(f"{arm}: ours, {cores} runs side by side, images/s", [pair[1] for pair in pairs])
    report(f"{arm}: ratio", [pair[1] / pair[0] for pair in pairs])


def bare_step(model: nn.Module, batch: tuple[Tensor, Tensor], precision: str) -> None:
    """Forward, loss and backward on one resident batch: the limit that no loop can beat."""
    images, labels = batch
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        logits = model(images)
    nn.functional.cross_entropy(logits.float(), labels).backward()
    model.zero_grad()


def overhead(arm: str, count: int) -> None:
    """Print the share of a whole quick run that is not bare steps. One thread; data, optimizer,
    evaluations, checkpoints, progress and the W&B mirror (offline) are all in the share. So many
    bare steps, of a copy of the network, are measured at each of the run's checkpoints, and their
    time taken off the run's: the machine is not equally fast all the time."""
    torch.set_num_threads(1)
    folder = Path("outputs/bench")
    shutil.rmtree(folder / "records", ignore_errors=True)
    made = plan([*QUICK, f"arm={arm}", f"output={folder}"])
    (run,) = made.runs
    whole = data.load(run.data, Path(made.cfg.data_root), CPU)
    batches = data.batches(whole, run.data, run.draws)
    precision, batch = train.resolve_precision(run.precision, CPU), batches.train(0)
    training, bare, beside = member(made, run, "offline"), [], []

    def sample(model: nn.Module) -> None:
        bare_step(model, batch, precision)
        took = timed(lambda: [bare_step(model, batch, precision) for _ in range(count)])
        bare.append(took / count)

    def on_progress(state: train.State, steps: int) -> None:
        training.on_progress(state, steps)
        beside.append(timed(lambda: sample(copy.deepcopy(state.model))))

    def train_all() -> None:
        training.on_record(train.train(run, whole, CPU, training.saved, on_progress))

    took = timed(train_all) - sum(beside)
    steps = optim.steps(run.optim, batches.per_epoch)
    report(f"{arm}: bare step, ms", [1e3 * each for each in bare])
    report(f"{arm}: a quick run, s", [took])
    shares = [100 * (1 - steps * each / took) for each in bare]
    report(f"{arm}: share of it outside the bare steps, %", shares)


def mirror(arm: str, rounds: int, count: int) -> None:
    """Print what mirroring to W&B, offline, adds to so many steps with a row after each fifth of
    them, and to a first run, which starts W&B's service."""
    torch.set_num_threads(1)
    steps, *_ = our_training(*of_arm(arm))
    steps(WARM)

    def trained(mode: str) -> float:
        def work() -> None:
            tracked = Mirror("bench", arm, {}, Path("outputs/bench"), mode)
            for part in range(5):
                steps(count // 5)
                tracked.log({"step": part, "test/accuracy": 0.5})
            tracked.finish({})
            tracked.wait(10)

        return timed(work)

    first = trained("offline")
    pairs = [(trained("disabled"), trained("offline")) for _ in range(rounds)]
    without = statistics.median(pair[0] for pair in pairs)
    report(f"{arm}: W&B offline adds to the first run, s", [first - without])
    report(f"{arm}: W&B offline adds to a later run, s", [on - off for off, on in pairs])


def report(name: str, values: list[float]) -> None:
    """One line: median and spread."""
    middle = statistics.median(values)
    print(f"{name:<60} {middle:9.2f}   ({min(values):.2f} to {max(values):.2f})", flush=True)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    print(f"medians of {options.rounds} alternating rounds, and the spread", flush=True)
    try:
        of_arm("baseline")
    except data.DataError as error:  # the usual recipe needs real files to decode
        sys.exit(f"error: {error}")
    mirror("bn_x5", options.rounds, options.steps)  # first: it starts W&B's service
    for arm in ("baseline", "bn_x5"):
        throughput(arm, options.rounds, options.steps)
        overhead(arm, options.steps // 2)


if __name__ == "__main__":
    main()
