"""What a person sees while runs train: runs done, accuracy, images per second, time left."""

import json
import shutil
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchnorm.record import code_since, load, write_atomically

POLL = 1.0  # seconds
PIPED = 30.0  # seconds between status lines when the output is no terminal
FRESH = 30.0  # seconds: twice as long as a run that trains is silent, as a rule

# of a running run: step, steps, seconds, accuracy, images_per_second, metrics (its curves), at
Status = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """The files of one run."""

    name: str
    record: Path

    @property
    def checkpoint(self) -> Path:
        return self.record.with_suffix(".ckpt")

    @property
    def progress(self) -> Path:
        return self.record.with_suffix(".progress")


def report(place: Place, status: Status) -> None:
    """Say, from the process that trains a run, how far it is."""
    write_atomically(place.progress, json.dumps({**status, "at": time.time()}).encode())


class Watch:
    """Prints how a set of runs goes, from their files alone, in whatever processes they train.

    A context manager: one line per finished run, and a status line that stays at the bottom of a
    terminal, or comes every half minute where there is none.
    """

    def __init__(self, places: list[Place], workers: int) -> None:
        self.places, self.workers = places, workers
        done = [place for place in places if place.record.exists()]
        records = {place: load(place.record) for place in done}
        self.finished = {place: found["summary"] for place, found in records.items()}
        made = [one["environment"] for one in records.values()]
        since = code_since(one.get("commit") for one in made if not one.get("dirty"))
        self.uncommitted = sum(bool(one.get("dirty")) for one in made)
        self.older = sum(not one.get("dirty") and one.get("commit") in since for one in made)
        self.skipped = len(self.finished)
        self.began, self.printed_at = time.time(), time.time()
        self.width = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> "Watch":
        if self.skipped:
            said = f"{self.skipped} of {len(self.places)} runs are done already"
            if self.uncommitted:
                said += f", {self.uncommitted} by code that was not committed (has it changed?)"
            if self.older:
                said += f", {self.older} by other code than that of now (move records away to train"
                said += " anew)"
            print(said, flush=True)
        for status in filter(None, map(_read, self.places)):
            if 0 <= self.began - status["at"] < FRESH:
                said = f"{status['name']} trained a moment ago: if another command still does,"
                print(said, "stop one of both", flush=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()
        self._clear()

    def _loop(self) -> None:
        while not self._stop.wait(POLL):
            self._look()

    def _look(self) -> None:
        for place in self.places:
            if place not in self.finished and place.record.exists():
                made = load(place.record)
                self.finished[place] = made["summary"]
                self._clear()
                count = f"[{len(self.finished):>{len(str(len(self.places)))}}/{len(self.places)}]"
                print(f"{count} {place.name:<20} {outcome(made)}", flush=True)
        self._status()

    def _status(self) -> None:
        terminal = sys.stdout.isatty()
        if not terminal and time.time() - self.printed_at <= PIPED:
            return
        running = self._running()
        line = status_line(running, len(self.finished), len(self.places), self.left(running))
        if terminal:
            line = line[: shutil.get_terminal_size().columns - 1]  # a wrapped line would stay
            self._clear()
            print(line, end="", flush=True)
            self.width = len(line)
        else:
            self.printed_at = time.time()
            print(line, flush=True)

    def _clear(self) -> None:
        if self.width:
            print("\r" + " " * self.width + "\r", end="", flush=True)
            self.width = 0

    def _running(self) -> list[Status]:
        found = [_read(place) for place in self.places if place not in self.finished]
        return [status for status in found if status and status["at"] > self.began - POLL]

    def left(self, running: list[Status]) -> float | None:
        """Estimated seconds until the last run ends; None before anything is known."""
        whole = [s["seconds"] * s["steps"] / s["step"] for s in running if s["step"]]
        whole += [s["seconds"] for s in self.finished.values() if not s["diverged"]]
        if not whole:
            return None
        each = sum(whole) / len(whole)
        done = sum(self._fraction(status, each) for status in running)
        return max(0.0, each * (len(self.places) - len(self.finished) - done) / self.workers)

    @staticmethod
    def _fraction(status: Status, each: float) -> float:
        since = (time.time() - status["at"]) / each  # it has gone on since it last said anything
        return min(1.0, status["step"] / status["steps"] + since)


def counted(number: int, what: str) -> str:
    """Such as 1 run, 2 runs."""
    return f"{number} {what}" + "s" * (number != 1)


def status_line(running: list[Status], done: int, total: int, left: float | None) -> str:
    """One line: runs done, time left, and of two running runs how far they are."""
    when = "estimating the time" if left is None else f"{clock(left)} left"
    parts = [f"{done}/{total} runs, {when}"]
    for status in running[:2]:
        said = [f"step {status['step']:,} of {status['steps']:,}"]
        if status["accuracy"] is not None:
            said.append(f"accuracy {100 * status['accuracy']:.1f} %")
        said.append(f"{status['images_per_second']:,.0f} images/s")
        parts.append(f"{status['name']}: {', '.join(said)}")
    return " | ".join(parts)


def outcome(record: dict[str, Any]) -> str:
    """How one run ended, in words."""
    summary = record["summary"]
    took = f"{clock(summary['seconds'])}, {summary['images_per_second']:,.0f} images/s"
    if summary["diverged"]:
        return f"diverged at step {summary['diverged_at_step']}   ({took})"
    accuracy = next(value for key, value in summary.items() if key.endswith("/accuracy"))
    return f"accuracy {100 * accuracy:5.2f} %   ({took})"


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _read(place: Place) -> Status | None:
    try:
        return {"name": place.name, **json.loads(place.progress.read_text())}
    except (OSError, ValueError):
        return None
