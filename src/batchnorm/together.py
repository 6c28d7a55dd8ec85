"""Several runs trained as one Stack, each from its own checkpoint to its own record."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch

from batchnorm import checkpoint, interrupt, optim, record, stack
from batchnorm.checkpoint import State
from batchnorm.config import Run
from batchnorm.data import Batches, DataSet
from batchnorm.data import batches as batches_of
from batchnorm.stack import Stack
from batchnorm.train import (
    CHECK_EVERY,
    SAVE_EVERY,
    append,
    evaluation_row,
    evaluation_steps,
    finish,
    first_not_finite,
    identity,
    start,
    weights_finite,
)


@dataclass
class Member:
    """One run of a stack: where its checkpoint is, and whom it tells what."""

    run: Run
    saved: Path
    on_progress: Callable[[State, int], None] = lambda state, steps: None
    on_record: Callable[[record.Record], None] = lambda made: None
    on_failure: Callable[[], None] = lambda: None


@dataclass
class Training:
    """A member, its state and batches."""

    member: Member
    state: State
    batches: Batches


def stacks(runs: list[Run], device: torch.device) -> list[list[Run]]:
    """The runs in groups that train at once: stacks of one shape where they can, else alone."""
    most = stack.AT_ONCE_ON_A_CPU if device.type == "cpu" else len(runs)
    groups: list[list[Run]] = []
    for run in runs:
        like = (g for g in groups if stack.stackable(run) and stack.shape(g[0]) == stack.shape(run))
        fits = next((g for g in like if stack.stackable(g[0]) and len(g) < most), None)
        if fits is None:
            groups.append([run])
        else:
            fits.append(run)
    return groups


def train_together(members: list[Member], data: DataSet, device: torch.device) -> None:
    """Train stackable runs of one shape, each to what it would come to alone (to the rounding of
    float32), and hand each record to its member as it ends.

    A run whose loss is not finite leaves the stack and ends. Runs whose checkpoints are of
    different steps train in stacks of their own. Raises RecordError, when the others have ended,
    for checkpoints that cannot be gone on with.
    """
    runs, refused = [], []
    for member in members:
        try:
            runs.append(restored(member, data, device))
        except record.RecordError as error:  # its checkpoint is another run's: the others train
            refused.append(str(error))
    runs.sort(key=lambda one: one.state.step)
    for _, alike in groupby(runs, key=lambda one: one.state.step):
        live = list(alike)
        while live:
            live = _train_until_one_ends(live)
    if refused:
        raise record.RecordError("; ".join(refused))


def restored(member: Member, data: DataSet, device: torch.device) -> Training:
    run = member.run
    batches = batches_of(data, run.data, run.draws)
    what = identity(run, batches, run.precision)
    state = checkpoint.restore(member.saved, what, lambda: start(run, data, device))
    return Training(member, state, batches)


def _train_until_one_ends(live: list[Training]) -> list[Training]:
    """Train on until runs diverge, or all are done, and make their records. Returns the others."""
    run, per_epoch = live[0].member.run, live[0].batches.per_epoch
    steps = optim.steps(run.optim, per_epoch)
    evaluations = evaluation_steps(steps, run.evaluations)
    began = time.perf_counter() - live[0].state.seconds
    together, saved_at = Stack([one.state.model for one in live]), time.perf_counter()
    ended: dict[int, int | None] = {}  # place in the stack -> the step that it diverged at
    if live[0].state.step == steps:  # stopped between its last checkpoint and its record
        ended = dict.fromkeys(range(len(live)))
    while not ended:
        interrupt.stop_if_pressed()
        step = live[0].state.step
        until = min(step + CHECK_EVERY, min(e for e in evaluations if e > step))
        ended = advance(together, live, until, steps)
        evaluating = until in evaluations
        saving = evaluating or time.perf_counter() - saved_at > SAVE_EVERY
        if saving or ended:
            together.unstack()
            for one in live:
                one.state.seconds = time.perf_counter() - began
        if evaluating:
            ended |= _evaluate(live, ended, steps, began)
            for one in live:
                one.state.seconds = time.perf_counter() - began
        if saving:
            saved_at = time.perf_counter()
            _save([one for i, one in enumerate(live) if i not in ended], steps)
        if until == steps:
            ended = {i: ended.get(i) for i in range(len(live))}
    _end([(live[i], at) for i, at in ended.items()], steps, began, len(live))
    return [one for i, one in enumerate(live) if i not in ended]


def advance(together: Stack, live: list[Training], until: int, steps: int) -> dict[int, int]:
    """Train to step `until`. Returns where a loss was not finite, and the step (from 1)."""
    states, losses, correct = [one.state for one in live], [], []
    count, first = live[0].batches.batch_size, live[0].batches
    for step in range(states[0].step, until):
        chosen = torch.cat([one.batches.chosen(step) for one in live])
        images, labels = first.picked(chosen)  # one set for all, each in its own order
        shape = (len(live), count)
        rates = [optim.rate(one.member.run.optim, step, steps) for one in live]
        rate = torch.tensor(rates).to(images.device, non_blocking=True)
        loss, right = together.step(images.unflatten(0, shape), labels.view(shape), rate)
        losses.append(loss)
        correct.append(right)
    of_runs = torch.stack(losses, 1)  # (R, steps)
    for state, loss, right in zip(states, of_runs, torch.stack(correct, 1).sum(1), strict=True):
        state.loss += loss.sum() * count
        state.correct += right
        state.seen += count * len(loss)
        state.step = until
    if torch.isfinite(of_runs).all():  # one look for all: on a GPU each waits for the device
        return {}
    found = [first_not_finite(list(loss), until) for loss in of_runs]
    return {i: at for i, at in enumerate(found) if at is not None}


def _evaluate(
    live: list[Training], ended: dict[int, int | None], steps: int, began: float
) -> dict[int, int]:
    """Evaluate the runs that go on. Returns those whose weights overflowed, and the step."""
    overflowed = {}
    for i, one in enumerate(live):
        if i in ended:
            continue
        if not weights_finite(one.state.model):
            overflowed[i] = one.state.step
            continue
        row = evaluation_row(one.state, one.member.run, one.batches, steps, "float32")
        row["seconds"] = time.perf_counter() - began
        append(one.state, row)
    return overflowed


def _save(going_on: list[Training], steps: int) -> None:
    """None is replaced before all are written, so that all are of one step: what float32 rounds to
    depends on who is in a stack."""
    contents = {}
    for one in going_on:
        what = identity(one.member.run, one.batches, one.member.run.precision)
        contents[one.member.saved] = checkpoint.content(what, one.state)
    record.write_all_atomically(contents)
    for one in going_on:
        one.member.on_progress(one.state, steps)


def _end(ended: list[tuple[Training, int | None]], steps: int, began: float, stacked: int) -> None:
    seconds = time.perf_counter() - began
    for one, at in ended:
        made = finish(
            one.member.run, one.state, one.batches, steps, "float32", at, seconds, stacked
        )
        one.member.on_record(made)
