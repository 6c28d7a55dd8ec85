"""One run: train, evaluate, checkpoint, go on from a checkpoint, and end in a record."""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from batchnorm import checkpoint, interrupt, models, optim, record, replicas
from batchnorm.checkpoint import State
from batchnorm.config import ConfigError, Run
from batchnorm.data import Batches, DataError, DataSet, ImageSet
from batchnorm.data import batches as batches_of
from batchnorm.evaluate import FINAL_POPULATION_BATCHES, POPULATION_BATCHES, evaluate
from batchnorm.probes import watch
from batchnorm.seeds import stream

CHECK_EVERY = 25  # steps between looks at the losses; on a GPU each look waits for the device
SAVE_EVERY = 15.0  # seconds between checkpoints: what a crash can cost
SAVE_WITHIN = 0.3  # seconds; after one that took longer the next comes as much later
SAVE_AT_LEAST_EVERY = 300.0  # seconds; the disk may have been slow once

Row = dict[str, Any]  # one evaluation: step, and metrics named split/quantity


def train(
    run: Run,
    data: DataSet | ImageSet,
    device: torch.device,
    saved: Path,
    on_progress: Callable[[State, int], None] = lambda state, steps: None,
    compiled: bool = False,
) -> record.Record:
    """Train one run, from its checkpoint in the file `saved` if there is one, to its record.

    A loss that is not finite ends the run: that is a result, not a failure. Killed at any moment
    and started again, a run on the CPU ends in the same metrics, bit for bit, as one that was not,
    on the same number of threads. Compiled, it is the same but for rounding and Dropout's masks.
    Calls on_progress at each evaluation and checkpoint. Raises DataError where the processes have
    other data, another loader, or another kind of device, each.
    """
    batches = batches_of(data, run.data, run.draws, replicas.rank(), replicas.count())
    precision = resolve_precision(run.precision, device)
    steps = optim.steps(run.optim, batches.per_epoch)
    evaluations = evaluation_steps(steps, run.evaluations)
    what = identity(run, batches, precision, compiled)
    if differ := replicas.differing({**what, "device": device.type}):
        raise DataError(f"{', '.join(differ)}: must be the same in all processes")
    state = checkpoint.restore(saved, what, lambda: start(run, data, device, compiled))
    began, saved_at = time.perf_counter() - state.seconds, time.perf_counter()
    save_every = SAVE_EVERY
    recent: list[Tensor] = []  # losses not yet looked at
    diverged_at = None
    on_progress(state, steps)
    while state.step < steps and diverged_at is None:
        interrupt.stop_if_pressed()
        recent.append(train_step(state, run, batches, steps, precision))
        evaluating = state.step in evaluations
        looking = evaluating or len(recent) == CHECK_EVERY
        due = time.perf_counter() - saved_at > save_every
        saving = evaluating or (due and (looking or replicas.count() == 1))  # clocks differ
        if saving or looking:
            diverged_at = first_not_finite(recent, state.step)
            recent = []
        if evaluating and diverged_at is None and not weights_finite(state.model):
            diverged_at = state.step
        if evaluating and diverged_at is None:
            row = evaluation_row(state, run, batches, steps, precision)
            state.seconds = row["seconds"] = time.perf_counter() - began
            append(state, row)
        if saving and diverged_at is None and replicas.first():
            state.seconds = time.perf_counter() - began
            saving_from = time.perf_counter()
            checkpoint.save(saved, what, state)
            saved_at = time.perf_counter()
            slower = max(1.0, (saved_at - saving_from) / SAVE_WITHIN)
            save_every = min(SAVE_EVERY * slower, SAVE_AT_LEAST_EVERY)
            on_progress(state, steps)
    seconds = time.perf_counter() - began
    return finish(run, state, batches, steps, precision, diverged_at, seconds, compiled=compiled)


def identity(run: Run, batches: Batches, precision: str, compiled: bool = False) -> dict[str, Any]:
    """What a checkpoint is of, and has to be of to be gone on with."""
    what = {**run.config(), "precision": precision, "data_checksum": batches.data.checksum}
    if replicas.count() > 1:
        what["replicas"] = replicas.count()
    if compiled:
        what["compiled"] = True
    if batches.loader != "memory":  # which resamples images otherwise
        what["loader"] = batches.loader
    return what


def start(
    run: Run, data: DataSet | ImageSet, device: torch.device, compiled: bool = False
) -> State:
    """The state of a run before its first step."""
    model = models.build(run.model, data.shape, data.classes, run.draws)
    model = model.to(device, memory_format=torch.channels_last).train()
    if run.model.sync_statistics and replicas.count() > 1:
        model = replicas.synchronise(model)
    # the wrapper of several processes goes around: within a compiled one nothing is compiled
    network = replicas.parallel(compiled_network(model, device) if compiled else model)
    nothing = torch.zeros((), dtype=torch.float64, device=device)  # a sum over a million steps
    return State(model, network, optim.optimizer(model, run.optim), {}, nothing, nothing.clone())


def compiled_network(network: nn.Module, device: torch.device) -> nn.Module:
    """The network by torch.compile; on a GPU with CUDA graphs, which small batches gain most by."""
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # beyond which nothing is compiled
    return torch.compile(network, mode="reduce-overhead" if device.type == "cuda" else None)


def train_step(state: State, run: Run, batches: Batches, steps: int, precision: str) -> Tensor:
    """One training step. Returns the loss, over all processes, still on the device."""
    for group in state.optimizer.param_groups:
        group["lr"] = optim.rate(run.optim, state.step, steps)
    images, labels = batches.train(state.step)
    if run.model.dropout > 0 or run.model.noise:
        seed_dropout(images.device, stream(run.draws, "dropout", state.step) + replicas.rank())
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits = state.network(images)
    loss = nn.functional.cross_entropy(logits.float(), labels)
    state.optimizer.zero_grad()
    loss.backward()
    if run.optim.clip:
        nn.utils.clip_grad_norm_(state.model.parameters(), run.optim.clip)
    state.optimizer.step()
    loss = replicas.total(loss.detach()) / replicas.count()
    state.loss += loss * run.data.batch_size
    state.correct += replicas.total((logits.detach().argmax(1) == labels).sum())
    state.seen += run.data.batch_size
    state.step += 1
    return loss


def seed_dropout(device: torch.device, seed: int) -> None:
    """Have Dropout's masks, and ShiftNoise, on a device follow from a seed. (torch.manual_seed
    seeds every device there is, and where no GPU has been used yet keeps a note of each call: 0.8
    ms a step.)"""
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def evaluation_steps(steps: int, evaluations: int) -> set[int]:
    """The steps after which a run is evaluated: the last one, and more often early on, where the
    arms part: at the squares of equal fractions of the run."""
    return {max(1, round(steps * (i / evaluations) ** 2)) for i in range(1, evaluations + 1)}


def first_not_finite(losses: list[Tensor], step: int) -> int | None:
    """The step (from 1) of the first loss that is not finite, the last being that of `step`."""
    finite = torch.isfinite(torch.stack(losses)).tolist()
    return step - len(losses) + 1 + finite.index(False) if False in finite else None


def weights_finite(model: nn.Module) -> bool:
    """Whether every parameter is; the last update may have overflowed after a finite loss."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def evaluation_row(state: State, run: Run, batches: Batches, steps: int, precision: str) -> Row:
    """The metrics at this step; the training ones are means since the last evaluation."""
    last = state.step == steps
    gathered = FINAL_POPULATION_BATCHES if last else POPULATION_BATCHES
    result = evaluate(state.model, batches, precision, gathered)
    return {
        "step": state.step,
        "lr": optim.rate(run.optim, state.step, steps),
        "train/loss": float(state.loss) / state.seen,
        "train/accuracy": float(state.correct) / state.seen,
        **{f"{run.data.split}/{quantity}": value for quantity, value in result.items()},
        **watch(run.probes, last, state.model, batches, precision, state.optimizer),
    }


def append(state: State, row: Row) -> None:
    """Add a row to the curves, None for what it lacks, and start the training means anew."""
    before = len(state.metrics.get("step", []))
    for key in dict.fromkeys([*state.metrics, *row]):
        state.metrics.setdefault(key, [None] * before).append(row.get(key))
    state.loss.zero_()
    state.correct.zero_()
    state.seen = 0


def finish(
    run: Run,
    state: State,
    batches: Batches,
    steps: int,
    precision: str,
    diverged_at: int | None,
    seconds: float,
    stacked: int = 1,
    compiled: bool = False,
) -> record.Record:
    """The record of a run that has ended: final metrics, unless it diverged, and what it cost.

    stacked: with how many others, itself counted, it was trained as one computation."""
    ends = [f"{run.data.split}/{quantity}" for quantity in ("accuracy", "loss")]
    summary = {
        "steps": steps,
        "seconds": seconds,
        "images_per_second": state.step * run.data.batch_size / seconds,
        "parameters": sum(p.numel() for p in state.model.parameters()),
        "diverged": diverged_at is not None,
        "diverged_at_step": diverged_at,
        **{key: None if diverged_at else state.metrics[key][-1] for key in ends},
    }
    device = state.loss.device
    where = environment(state.code, device, precision, batches.data.checksum)
    where |= {
        "stacked": stacked,
        "compiled": compiled,
        "loader": batches.loader,
        "replicas": replicas.count(),
        "statistics_batch": statistics_batch(run),  # images
        "classes": batches.data.classes,
    }
    metrics, arrays = apart(state.metrics)
    return record.make(run.config(), where, summary, metrics, arrays)


def apart(metrics: dict[str, list]) -> tuple[dict[str, list], dict[str, np.ndarray]]:
    """The curves without what is a tensor at the last evaluation, and those, as arrays by the last
    part of their names."""
    tensors = {k: v for k, v in metrics.items() if isinstance(v[-1], Tensor)}
    arrays = {k.rpartition("/")[2]: v[-1].numpy() for k, v in tensors.items()}
    return {k: v for k, v in metrics.items() if k not in tensors}, arrays


def statistics_batch(run: Run) -> int:
    """How many images the batch statistics of BN are taken over in training."""
    parts = 1 if run.model.sync_statistics else replicas.count()
    return run.data.batch_size // parts


def environment(
    code: dict[str, Any], device: torch.device, precision: str, checksum: str
) -> dict[str, Any]:
    """What a record was made by, where, and from which data."""
    cuda = device.type == "cuda"
    return {
        **code,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "data_checksum": checksum,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def resolve_device(name: str) -> torch.device:
    """`auto`: the GPU if there is one, else the CPU; of several processes on a machine, each takes
    a GPU of its own. Raises ConfigError."""
    if name.startswith("cuda:") and replicas.count() > 1:
        raise ConfigError(f"device={name}: must be cuda, of which each process takes one")
    if name in ("auto", "cuda") and replicas.count() > 1 and torch.cuda.is_available():
        here, there = replicas.local_rank(), torch.cuda.device_count()
        if here >= there:
            raise ConfigError(f"--nproc-per-node: must be at most {there}, one to a GPU")
        name = f"cuda:{here}"
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(f"{device.type} is not supported")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        allowed = "auto, cpu" + (", cuda" if torch.cuda.is_available() else "")
        raise ConfigError(f"device={name}: must be one of {allowed}, on this machine") from error
    return device


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto`: bfloat16 (autocast) where the device has instructions for it, else float32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"
