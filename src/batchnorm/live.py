"""Runs as their files tell of them: the finished ones by their records, the others by progress."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path

from batchnorm import record
from batchnorm.progress import clock

ACCURACY = "accuracy"  # of the split evaluated on, whichever it is
ORDER = ("running", "no word", "diverged", "finished")  # of a table's rows
SILENT = 60.0  # seconds without a word, after which a run may have been killed

Data = dict[str, list]  # columns


@dataclass(frozen=True, eq=False)
class Seen:
    """One run as it was when its file was written; the same object while the file is the same."""

    study: str  # the root, scale and experiment that it belongs to, such as outputs/quick/mnist
    arm: str
    seed: int
    step: int
    steps: int  # planned
    seconds: float  # trained
    images_per_second: float
    metrics: dict[str, list[float]]  # the numbers of each evaluation so far; lists are left out
    at: float  # when the file was written, seconds since 1970
    finished: bool = False
    diverged_at: int | None = None  # step

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.seed}"

    @property
    def accuracies(self) -> list[float]:
        """Those on the split evaluated on."""
        curves = (self.metrics.get(f"{split}/accuracy") for split in ("test", "validation"))
        return next((curve for curve in curves if curve), [])

    def silent(self, now: float) -> bool:
        """Whether an unfinished run has said nothing for so long that it may be none any more."""
        return not self.finished and now - self.at > SILENT

    def left(self, now: float) -> float:
        """Estimated seconds to the end of a running run; NaN for others, and before its start."""
        if self.finished or self.silent(now) or not self.step:
            return nan
        return max(0.0, self.seconds * (self.steps / self.step - 1) - (now - self.at))

    def state(self, now: float) -> str:
        """In a word or two."""
        if self.diverged_at is not None:
            return f"diverged at step {self.diverged_at:,}"
        if self.finished:
            return "finished"
        return "no word" if self.silent(now) else "running"


class Follower:
    """The runs under some results roots, each file read again only after it has changed."""

    def __init__(self, roots: list[Path]) -> None:
        self.roots = roots
        self.complaints: dict[Path, str] = {}  # files that are no records, and why
        self._known: dict[Path, tuple[tuple[int, ...], Seen | None]] = {}

    def look(self) -> list[Seen]:
        """Every run there is now; what has a record is finished, whatever else there is."""
        found: dict[Path, Seen] = {}
        known = {}
        for path, study in self._files():
            try:
                about = path.stat()
            except FileNotFoundError:  # gone since it was listed: a run ended
                continue
            stamp = (about.st_mtime_ns, about.st_size, about.st_ino)
            before = self._known.get(path)
            same = before and before[0] == stamp
            known[path] = before if same else (stamp, self._read(path, study))
            if known[path][1]:
                found.setdefault(path.with_suffix(""), known[path][1])
        self._known = known
        return list(found.values())

    def _files(self) -> Iterator[tuple[Path, str]]:
        """Records and then progress files, each with the name of its study."""
        for suffix in ("json", "progress"):
            for root in self.roots:
                for base in (root, root / "stand-in"):
                    for one in (base, *sorted(base.glob("scratch/*"))):
                        for path in sorted(one.glob(f"records/*/*/*.{suffix}")):
                            yield path, f"{one}/{path.parts[-3]}/{path.parts[-2]}"

    def _read(self, path: Path, study: str) -> Seen | None:
        read = _finished if path.suffix == ".json" else _running
        try:
            seen = read(path, study)
        except FileNotFoundError:
            return None
        except (record.RecordError, OSError, ValueError, KeyError, TypeError) as error:
            self.complaints[path] = f"{type(error).__name__}: {error}"
            return None
        self.complaints.pop(path, None)
        return seen


def _running(path: Path, study: str) -> Seen:
    said = json.loads(path.read_text())
    return Seen(
        *_named(path, study),
        metrics=numbers(said["metrics"]),
        **{key: said[key] for key in ("step", "steps", "seconds", "images_per_second", "at")},
    )


def _finished(path: Path, study: str) -> Seen:
    found = record.load(path)
    summary, overflow = found["summary"], found["summary"]["diverged_at_step"]
    return Seen(
        *_named(path, study),
        step=summary["steps"] if overflow is None else overflow,
        metrics=numbers(found["metrics"]),
        at=path.stat().st_mtime,
        finished=True,
        diverged_at=overflow,
        **{key: summary[key] for key in ("steps", "seconds", "images_per_second")},
    )


def _named(path: Path, study: str) -> tuple[str, str, int]:
    arm, _, seed = path.stem.rpartition("-")
    return study, arm, int(seed)


def numbers(metrics: dict[str, list]) -> dict[str, list[float]]:
    """The metrics that are one number an evaluation (null: NaN)."""
    plain = {k: v for k, v in metrics.items() if not any(isinstance(one, list) for one in v)}
    return {k: [nan if one is None else one for one in v] for k, v in plain.items()}


# --- what is said of runs -------------------------------------------------------------------------


def words(shown: list[Seen], elsewhere: list[Seen], now: float) -> str:
    """A line of HTML on the runs that are shown, and where else something is running."""
    if not shown:
        return "No runs yet; they appear here when they have begun."
    states = [_word(one, now) for one in shown]
    said = ", ".join(f"{states.count(one)} {one}" for one in ORDER if one in states)
    line = f"<b>{len(shown)} run{'s' * (len(shown) != 1)}</b>: {said}"
    left = [one.left(now) for one in shown if one.left(now) >= 0]
    if left:
        line += f"; those that run need at most {clock(max(left))} more"
    others = [one.study for one in elsewhere if _word(one, now) == ORDER[0]]
    if others:
        line += f". Running elsewhere: {', '.join(dict.fromkeys(others))}"
    mark = "<b>STAND-IN DATA.</b> " if any("stand-in" in one.study for one in shown) else ""
    return f"{mark}{line}."


def curves(runs: list[Seen], across: str, name: str) -> Data:
    """One line for each run that has the metric."""
    lines: Data = {"x": [], "y": [], "name": []}
    for one in runs:
        y = one.accuracies if name == ACCURACY else one.metrics.get(name, [])
        if y and across in one.metrics:
            lines["x"].append(one.metrics[across])
            lines["y"].append(y)
            lines["name"].append(one.name)
    return lines


def _word(one: Seen, now: float) -> str:
    return next(word for word in ORDER if one.state(now).startswith(word))


def rows(runs: list[Seen], now: float) -> Data:
    """A table of the runs by its columns, NaN for what is not known; what runs comes first."""
    runs = sorted(runs, key=lambda one: (ORDER.index(_word(one, now)), one.arm, one.seed))
    return {
        "run": [one.name for one in runs],
        "state": [one.state(now) for one in runs],
        "left": [round(one.left(now)) if one.left(now) >= 0 else nan for one in runs],
        "step": [one.step for one in runs],
        "steps": [one.steps for one in runs],
        "accuracy": [one.accuracies[-1] if one.accuracies else nan for one in runs],
        "speed": [one.images_per_second for one in runs],
        "seconds": [one.seconds for one in runs],
    }
