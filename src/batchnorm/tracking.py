"""The Weights & Biases mirror: written to, never read back, and never in a run's way."""

import os
import queue
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NoReturn

MODES = ("auto", "online", "offline", "disabled")
PROJECT = os.environ.get("WANDB_PROJECT") or "batchnorm"
THEIRS = {"group": "WANDB_RUN_GROUP", "name": "WANDB_NAME", "job_type": "WANDB_JOB_TYPE"}
PATIENCE = 20.0  # seconds for a server to begin a run, where WANDB_INIT_TIMEOUT does not say


def resolve_mode(mode: str) -> str:
    """`auto`: what WANDB_MODE or W&B's settings say, else online for who is logged in, else
    offline."""
    if mode != "auto":
        return mode
    return said_mode() or ("online" if logged_in() else "offline")


def said_mode() -> str | None:
    """The mode that WANDB_MODE says, or a settings file, which `wandb offline` and `wandb disabled`
    write; None where nobody has said any."""
    said = os.environ.get("WANDB_MODE")
    if said in MODES[1:]:
        return said
    try:
        mode = _settings(_wandb()).mode
    except Exception:  # such as a settings file that cannot be read
        return None
    return {"disabled": "disabled", "offline": "offline", "dryrun": "offline"}.get(mode)


def logged_in() -> bool:
    """Whether there is a key for W&B on this machine. Asks nothing of anybody."""
    try:
        host = _settings(_wandb()).base_url
        from wandb.sdk.lib.wbauth import authenticate_session

        found = authenticate_session(
            host=host, source="batchnorm", prompt=False, update_session=False
        )
    except Exception:
        return False
    return found is not None


def refused(mode: str) -> str:
    """Why what was asked for by name cannot be had, in a line; empty where it can."""
    by_variable = mode == "auto" and os.environ.get("WANDB_MODE") == "online"
    if (mode != "online" and not by_variable) or logged_in():
        return ""
    name = "WANDB_MODE" if by_variable else "wandb"
    return f"{name}=online: nobody is logged in: run .venv/bin/wandb login first, or leave it out"


def belongs_to(figure: str, names: list[str]) -> str | None:
    """The experiment that a figure is of: mnist_tune of mnist_tune, mnist_1a of mnist."""
    figure = figure.removeprefix("STAND-IN-")
    begins = [name for name in names if figure == name or figure.startswith(f"{name}_")]
    return max(begins, key=len, default=None)


def _wandb() -> ModuleType:
    """The library, told before it is imported to say nothing, and to report nothing to anybody:
    even an offline run would otherwise try to reach a server, and may hang for it at the end."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return wandb


def _settings(wandb: ModuleType) -> Any:
    """The library's own settings, of its files and variables."""
    return wandb.sdk.wandb_setup.singleton().settings


def leave(status: int, patience: float = 10.0) -> NoReturn:
    """End the program. Uploads get so many seconds; W&B's own exit handler would wait for a server
    that does not answer for as long as it does not."""
    deadline = time.monotonic() + patience
    for mirror in Mirror.unended:
        mirror.wait(max(0.0, deadline - time.monotonic()))
    if all(mirror.ended for mirror in Mirror.unended):
        sys.exit(status)
    said = "not everything was sent; records, and checkpoints of unfinished runs, have it all"
    print(f"Weights & Biases: {said}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Mirror:
    """One run, mirrored by a thread of its own, so that no server can slow or stop the training.

    Where the server cannot be had, this run and the process's later ones are written offline. Any
    other failure is printed once; from then on the mirror is silent and the run goes on.
    """

    unended: ClassVar["list[Mirror]"] = []  # of this process
    cut_off: ClassVar[bool] = False  # no server answered this process
    lock: ClassVar[threading.Lock] = threading.Lock()  # of cut_off

    def __init__(
        self,
        group: str,
        name: str,
        config: dict[str, Any],
        folder: Path,
        mode: str,
        tags: Sequence[str] = (),
        job_type: str | None = None,
    ):
        self.mode, self.folder = mode, folder
        self.told = 0  # evaluations
        if mode == "disabled":
            return
        ours = {"group": group, "name": name[:128], "job_type": job_type}
        self._what = {
            "project": PROJECT,
            **{key: value for key, value in ours.items() if not os.environ.get(THEIRS[key])},
            "tags": [tag[:64] for tag in tags],
            "config": config,
            "dir": str(folder),
            "reinit": "create_new",
        }
        self._id = re.sub(r"[^\w.-]+", "-", f"{group}-{name}")[:80]
        folder.mkdir(parents=True, exist_ok=True)
        self.ended = False
        Mirror.unended.append(self)
        self._rows: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._thread = threading.Thread(target=self._mirror, name=f"wandb-{name}", daemon=True)
        self._thread.start()

    def log(self, row: dict[str, Any]) -> None:
        """One evaluation's numbers (lists and tensors stay in the record); `step` is every curve's
        x axis."""
        self._put("log", {k: v for k, v in row.items() if isinstance(v, int | float | None)})

    def curves(
        self, metrics: dict[str, list], in_numbers: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        """Log what is new in the curves so far: of a run that is gone on with, everything."""
        if self.mode == "disabled":
            return
        evaluations = len(metrics.get("step", []))
        for i in range(self.told, evaluations):
            row = {key: values[i] for key, values in metrics.items() if values[i] is not None}
            self.log(in_numbers(row))
        self.told = evaluations

    def config(self, more: dict[str, Any]) -> None:
        """Add to the config, or change it."""
        self._put("config", more)

    def image(self, key: str, path: Path) -> None:
        """A picture from a file."""
        self._put("image", (key, path))

    def summary(self, values: dict[str, Any]) -> None:
        """Store values of the summary, true and false as 1 and 0: bars show numbers alone."""
        numbers = {k: int(v) if isinstance(v, bool) else v for k, v in values.items()}
        self._put("summary", numbers)

    def finish(self, summary: dict[str, Any], exit_code: int = 0) -> None:
        """Store the summary, and end, as failed with an exit code; returns at once."""
        self.summary(summary)
        self._put("finish", exit_code)

    def wait(self, seconds: float) -> None:
        """Wait for what is still being written or sent, but no longer than that."""
        if self.mode != "disabled":
            self._thread.join(seconds)

    def _put(self, kind: str, content: Any) -> None:
        if self.mode != "disabled":
            self._rows.put((kind, content))

    def _mirror(self) -> None:
        try:
            wandb = _wandb()
            run = self._begin(wandb)
            run.define_metric("step")
            run.define_metric("*", step_metric="step")
            while (item := self._rows.get())[0] != "finish":
                kind, content = item
                if kind == "log":
                    run.log(content)
                elif kind == "config":
                    run.config.update(content, allow_val_change=True)
                elif kind == "image":
                    run.log({content[0]: wandb.Image(str(content[1]))})
                elif content:
                    run.summary.update(content)
            run.finish(exit_code=item[1])
            self.ended = True
        except Exception as error:
            print(
                f"Weights & Biases: {type(error).__name__} {error}; going on without it", flush=True
            )

    def _begin(self, wandb: ModuleType) -> Any:
        """The W&B run; an offline one where the server cannot be had, which is said once."""
        if self.mode == "online" and not Mirror.cut_off:
            try:
                return self._init(wandb, "online")
            except Exception as error:
                self._say_cut_off(error)
        return self._init(wandb, "offline")

    def _init(self, wandb: ModuleType, mode: str) -> Any:
        usual = {} if os.environ.get("WANDB_INIT_TIMEOUT") else {"init_timeout": PATIENCE}
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, **usual)
        new = f"{self._id}-{uuid.uuid4().hex[:6]}"  # on resume too: steps never go back
        return wandb.init(settings=settings, mode=mode, id=new, **self._what)

    def _say_cut_off(self, error: Exception) -> None:
        with Mirror.lock:
            if not Mirror.cut_off:
                Mirror.cut_off = True
                print(
                    f"Weights & Biases: {_first_line(error)}; runs are written offline: later,"
                    f" .venv/bin/wandb sync {self.folder}/wandb/offline-run-* sends them",
                    flush=True,
                )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
