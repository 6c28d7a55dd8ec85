"""The state of an unfinished run on disk: written atomically, read with weights_only."""

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from batchnorm.config import Run
from batchnorm.record import differences, write_atomically


@dataclass
class State:
    """All that a run carries from one step to the next."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    metrics: dict[str, list]  # the curves so far
    loss: Tensor  # sums over the steps since the last evaluation
    correct: Tensor
    seen: int = 0  # images in those sums
    step: int = 0
    seconds: float = 0.0


def save(path: Path, run: Run, state: State) -> None:
    """Write the state of a run. A crash at any moment leaves this checkpoint or the one before."""
    content = {
        "config": run.config(),
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "metrics": state.metrics,
        "loss": state.loss,
        "correct": state.correct,
        "seen": state.seen,
        "step": state.step,
        "seconds": state.seconds,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def restore(path: Path, run: Run, state: State) -> None:
    """Bring a fresh state to where the checkpoint of the same run was; leave it where there is
    none, or one of another configuration, or one that cannot be read."""
    if not path.exists():
        return
    device = state.loss.device
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        changed = differences(content["config"], run.config())
    except Exception as error:  # whatever is wrong with the file, the run can start over
        print(f"{path}: cannot be read ({error}); {run.name} starts over", flush=True)
        return
    if changed:
        print(
            f"{path}: is of another configuration ({'; '.join(changed)}); {run.name} starts over",
            flush=True,
        )
        return
    state.model.load_state_dict(content["model"])
    state.optimizer.load_state_dict(content["optimizer"])
    for name in ("metrics", "loss", "correct", "seen", "step", "seconds"):
        setattr(state, name, content[name])
