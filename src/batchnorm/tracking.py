"""The Weights & Biases mirror: written to, never read back, and never in a run's way."""

import os
import queue
import sys
import threading
import time
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NoReturn

MODES = ("auto", "online", "offline", "disabled")


def resolve_mode(mode: str) -> str:
    """`auto`: what WANDB_MODE says, else online for who is logged in, else offline."""
    if mode != "auto":
        return mode
    said = os.environ.get("WANDB_MODE")
    if said in MODES[1:]:
        return said
    try:
        wandb = _wandb()
        return "online" if wandb.login(prompt=False, verify=False) else "offline"
    except Exception:
        return "offline"


def belongs_to(figure: str, names: list[str]) -> str | None:
    """The experiment that a figure is of: mnist_tune of mnist_tune, mnist_1a of mnist."""
    figure = figure.removeprefix("STAND-IN-")
    begins = [name for name in names if figure == name or figure.startswith(f"{name}_")]
    return max(begins, key=len, default=None)


def _wandb() -> ModuleType:
    """The library, told before it is imported to report nothing to anybody: even an offline run
    would otherwise try to reach a server, and may hang for it at the end."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    import wandb

    return wandb


def leave(status: int, patience: float = 10.0) -> NoReturn:
    """End the program. Uploads get so many seconds; W&B's own exit handler would wait for a server
    that does not answer for as long as it does not."""
    deadline = time.monotonic() + patience
    for mirror in Mirror.unended:
        mirror.wait(max(0.0, deadline - time.monotonic()))
    if all(mirror.ended for mirror in Mirror.unended):
        sys.exit(status)
    print("Weights & Biases: not everything was sent; the records have it all", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Mirror:
    """One run, mirrored by a thread of its own, so that no server can slow or stop the training.

    The first failure is printed once; from then on the mirror is silent and the run goes on.
    """

    unended: ClassVar["list[Mirror]"] = []  # of this process

    def __init__(self, group: str, name: str, config: dict[str, Any], folder: Path, mode: str):
        self.mode = mode
        if mode == "disabled":
            return
        self._settings = {
            "project": "batchnorm",
            "group": group,
            "name": name,
            "id": f"{group}-{name}-{uuid.uuid4().hex[:6]}",  # new on resume: steps never go back
            "config": config,
            "dir": str(folder),
            "mode": mode,
            "reinit": "create_new",
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.ended = False
        Mirror.unended.append(self)
        self._rows: queue.Queue[tuple[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._mirror, name=f"wandb-{name}", daemon=True)
        self._thread.start()

    def log(self, row: dict[str, Any]) -> None:
        """One evaluation's numbers (lists and tensors stay in the record); `step` is every curve's
        x axis."""
        self._put(("log", {k: v for k, v in row.items() if isinstance(v, int | float | None)}))

    def image(self, key: str, path: Path) -> None:
        """A picture from a file."""
        self._put(("image", (key, path)))

    def finish(self, summary: dict[str, Any]) -> None:
        """Store the summary, true and false as 1 and 0 (bars show numbers alone), and end; returns
        at once."""
        numbers = {k: int(v) if isinstance(v, bool) else v for k, v in summary.items()}
        self._put(("summary", numbers))
        self._put(None)

    def wait(self, seconds: float) -> None:
        """Wait for what is still being written or sent, but no longer than that."""
        if self.mode != "disabled":
            self._thread.join(seconds)

    def _put(self, item: tuple[str, Any] | None) -> None:
        if self.mode != "disabled":
            self._rows.put(item)

    def _mirror(self) -> None:
        try:
            wandb = _wandb()
            settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
            run = wandb.init(settings=settings, **self._settings)
            run.define_metric("step")
            run.define_metric("*", step_metric="step")
            while (item := self._rows.get()) is not None:
                kind, content = item
                if kind == "log":
                    run.log(content)
                elif kind == "image":
                    run.log({content[0]: wandb.Image(str(content[1]))})
                else:
                    run.summary.update(content)
            run.finish()
            self.ended = True
        except Exception as error:
            print(
                f"Weights & Biases: {type(error).__name__} {error}; going on without it", flush=True
            )
