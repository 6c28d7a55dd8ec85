"""The state of an unfinished run on disk: written atomically, read with weights_only."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from batchnorm import replicas
from batchnorm.config import completed
from batchnorm.record import RecordError, code_version, differences, write_atomically


@dataclass
class State:
    """All that a run carries from one step to the next."""

    model: nn.Module
    network: nn.Module  # the model, as it trains: wrapped, where there are several processes
    optimizer: torch.optim.Optimizer
    metrics: dict[str, list]  # the curves so far
    loss: Tensor  # sums over the steps since the last evaluation
    correct: Tensor
    seen: int = 0  # images in those sums
    step: int = 0
    seconds: float = 0.0
    code: dict[str, Any] = field(default_factory=code_version)  # what has trained it


KEPT = ("metrics", "loss", "correct", "seen", "step", "seconds", "code")  # of a state, as it is


def save(path: Path, config: dict[str, Any], state: State) -> None:
    """Write the state of a run. A crash at any moment leaves this checkpoint or the one before."""
    write_atomically(path, content(config, state))


def content(config: dict[str, Any], state: State) -> bytes:
    """What a run's checkpoint holds."""
    kept = {
        "config": {**config, "device": state.loss.device.type},
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        **{name: getattr(state, name) for name in KEPT},
    }
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    return buffer.getvalue()


def refuse_another(path: Path, now: dict[str, Any]) -> None:
    """Raises RecordError where the checkpoint in this file, if there is one that can be read, is of
    another run, as far as `now` says what the run is."""
    if not path.exists():
        return
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        old = completed(content["config"])
    except Exception:  # as in restore: the run will say so, and start over
        return
    _refuse(path, differences({key: old[key] for key in now}, now))


def _refuse(path: Path, changed: list[str]) -> None:
    if changed:
        raise RecordError(
            f"{path}: is of an unfinished run that is another one ({'; '.join(changed)}); go on"
            " as it was, or move it away to train anew"
        )


def restore(path: Path, config: dict[str, Any], fresh: Callable[[], State]) -> State:
    """The state that the checkpoint of the same run holds; a fresh one where there is none, or one
    that cannot be read.

    Gone on with by other code than it was made by, a run counts as made by uncommitted code. Raises
    RecordError for a checkpoint of another configuration, data, number of processes or kind of
    device: there may be days of work in it.
    """
    state = fresh()
    device = state.loss.device
    saved = replicas.of_first(lambda: path.read_bytes() if path.exists() else None)
    if saved is None:
        return state
    try:
        content = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
        old, now = completed(content["config"]), {**config, "device": device.type}
        _refuse(path, differences(old, now))
        state.model.load_state_dict(content["model"])
        state.optimizer.load_state_dict(content["optimizer"])
        for name in KEPT:
            setattr(state, name, content[name])
        for name in ("loss", "correct"):  # float32 in older checkpoints
            setattr(state, name, getattr(state, name).to(device, torch.float64))
    except (torch.OutOfMemoryError, MemoryError, RecordError):
        raise  # nothing is wrong with the file
    except Exception as error:  # whatever is wrong with the file, the run can start over
        print(f"{path}: cannot be used ({error}); the run starts over", flush=True)
        return fresh()
    if state.code != code_version():
        state.code = {**code_version(), "dirty": True}
    return state
