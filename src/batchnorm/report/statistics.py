"""Records as one table, and what is computed from each run's curve and then over the seeds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf, isfinite, nan, sqrt
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from batchnorm import record
from batchnorm.report import paper, watched

CHANCE = 0.1  # accuracy: ten classes of equal size
LEARNED = 1.5  # times chance: accuracy below which a run counts as having stayed at chance
BASELINES = ("baseline", "inception")  # the arm that an experiment's others are measured against
LEVEL = 0.95  # of every interval
SCALES = ("full", "quick", "smoke")  # in order of preference

Columns = dict[str, np.ndarray]  # metric -> its value at each evaluation


# --- records -> table -----------------------------------------------------------------------------


def load(root: Path, scale: str = "*", experiment: str = "*") -> pd.DataFrame:
    """The records under a results root: one row per (experiment, scale, arm, seed, step).

    Columns: `step`; each metric by its name (null: NaN), list-valued ones as watched.reduced has
    them; `accuracy`, that of the split evaluated on (a fraction); the run's config under dotted
    keys (`optim.lr`), with `precision` as it was resolved; what made it (`environment.commit`);
    `planned` (steps), `diverged`, `diverged_at_step`; `path`, relative to the root, and `file`,
    from here. A run without evaluations has one row, at step 0, with no accuracy. Raises
    RecordError, naming the file.
    """
    paths = sorted(root.glob(f"records/{scale}/{experiment}/*.json"))
    read = [row(record.load(path), path, root) for path in paths]
    runs, metrics = [run for run, _ in read], [columns for _, columns in read]
    return _table(pd.DataFrame(runs), metrics) if runs else pd.DataFrame()


def row(found: record.Record, path: Path, root: Path) -> tuple[dict[str, Any], Columns]:
    """A run's part of the table, from its record, and its metrics. Raises RecordError for a record
    that lacks something, or is of another run than its file's name says."""
    try:
        if path != record.record_path(root, found["config"]):
            raise ValueError("its file's name is another run's")
        return _run(found, path.relative_to(root), path), _metrics(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"its {error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise record.RecordError(f"{path}: is not a whole record ({why})") from error


def _run(found: record.Record, path: Path, file: Path) -> dict[str, Any]:
    summary = found["summary"]
    overflow = summary["diverged_at_step"]
    return {
        **dict(record.flatten(found["config"])),
        **dict(record.flatten({"environment": found["environment"]})),
        "precision": found["environment"]["precision"],
        "planned": summary["steps"],
        "diverged": summary["diverged"],
        "diverged_at_step": nan if overflow is None else float(overflow),
        "path": str(PurePosixPath(path)),
        "file": str(file),
    }


def _metrics(found: record.Record) -> Columns:
    """The metrics, as numbers, each (evaluations,), in order of step."""
    if len({len(values) for values in found["metrics"].values()}) > 1:
        raise ValueError("its metrics are not equally long")
    metrics = {name: values for name, values in found["metrics"].items() if len(values)}
    scalars = watched.reduced(metrics, found["summary"]["steps"])
    columns = {name: np.array(values, float) for name, values in scalars.items()}
    steps = columns["step"].astype(int) if metrics else np.zeros(1, int)
    split = "validation" if found["config"]["data"]["holdout"] else "test"
    accuracy = columns.get(f"{split}/accuracy", np.full(steps.size, nan))
    order = np.argsort(steps, kind="stable")
    columns |= {"step": steps, "accuracy": accuracy}
    return {name: values[order] for name, values in columns.items()}


def _table(runs: pd.DataFrame, metrics: list[Columns]) -> pd.DataFrame:
    """Whole columns at a time: row by row, a thousand long records would take half a minute."""
    arms = paper.ordered(runs["arm"].unique())
    runs = runs.assign(rank=runs["arm"].map(arms.index))
    runs = runs.sort_values(["experiment", "scale", "rank", "seed"], kind="stable")
    metrics = [metrics[i] for i in runs.index]
    names = dict.fromkeys(name for one in metrics for name in one)
    columns = {
        name: np.concatenate([one.get(name, np.full(one["step"].size, nan)) for one in metrics])
        for name in names
    }
    places = np.repeat(np.arange(len(runs)), [one["step"].size for one in metrics])
    rows = runs.drop(columns="rank").iloc[places].reset_index(drop=True)
    return pd.concat([rows, pd.DataFrame(columns)], axis=1)


def runs(table: pd.DataFrame) -> pd.DataFrame:
    """One row per run: its config and how it ended."""
    return table.drop_duplicates(["experiment", "scale", "arm", "seed"])


def usual_scale(table: pd.DataFrame) -> str:
    """The scale of the most of an experiment's runs; of equals the larger one."""
    counts = runs(table)["scale"].value_counts()
    return max(SCALES, key=lambda scale: counts.get(scale, 0))


def classes(table: pd.DataFrame) -> int:
    """Of how many classes the images are; older records, which do not say, are of ten."""
    said = table["environment.classes"].max() if "environment.classes" in table else nan
    return int(said) if isfinite(said) else 10


def epochs(table: pd.DataFrame) -> pd.Series:
    """For how many epochs each row's run trains."""
    times = table.get("optim.epochs_multiplier", pd.Series(1.0, table.index)).fillna(1)
    return (table["optim.epochs"] * times).round(2)


def is_stand_in(table: pd.DataFrame) -> bool:
    """Whether any of the runs saw generated data in place of the real ones."""
    return len(table) > 0 and bool(table["data.stand_in"].any())


def changed(table: pd.DataFrame) -> str:
    """What runs change that no experiment declares: the name of their root, as experiment.plan has
    it; "" for declared runs."""
    root = Path(table["file"].iloc[0]).parents[3] if len(table) else Path()
    return root.name if root.parent.name == "scratch" else ""


# --- one run --------------------------------------------------------------------------------------


def untrained(chance: float = CHANCE) -> float:
    """The accuracy below which a run counts as having stayed at chance."""
    return round(LEARNED * chance, 6)


@dataclass(frozen=True)
class Curve:
    """The accuracy of one run (fractions) at its evaluations, in order of step."""

    steps: np.ndarray  # (evaluations,)
    accuracy: np.ndarray  # (evaluations,)
    planned: int  # steps the run was to have
    diverged_at: float = inf  # step
    metrics: Columns = field(default_factory=dict)  # every other, each (evaluations,)
    chance: float = CHANCE

    def best(self) -> float:
        """The highest accuracy, as the paper counts; chance for a run without evaluations."""
        return float(self.accuracy.max()) if self.accuracy.size else self.chance

    def learned(self) -> bool:
        """Whether it was better than chance at some time."""
        return self.best() >= untrained(self.chance)

    def steps_to(self, target: float) -> float:
        """Steps until the accuracy first reaches the target; NaN if it never does.

        Linear between evaluations, and from chance at step 0 to the first. Where a curve bends
        downwards, as most do, the chord lies under it, and the steps are rather too many.
        """
        steps, accuracy = self._from_start()
        reached = np.flatnonzero(accuracy >= target)
        if not reached.size:
            return nan
        i = reached[0]
        if i == 0:
            return 0.0
        part = (target - accuracy[i - 1]) / (accuracy[i] - accuracy[i - 1])
        return float(steps[i - 1] + part * (steps[i] - steps[i - 1]))

    def last(self) -> float:
        """The accuracy at the end of the run; chance where it overflowed."""
        return self.at(self.planned)

    def at(self, step: float) -> float:
        """The accuracy at a step, linear as in steps_to; chance from where the run overflowed."""
        if step >= self.diverged_at:
            return self.chance
        return float(np.interp(step, *self._from_start()))

    def _from_start(self) -> tuple[np.ndarray, np.ndarray]:
        if self.steps.size and self.steps[0] == 0:
            return self.steps, self.accuracy
        return np.append(0, self.steps), np.append(self.chance, self.accuracy)


Curves = dict[str, dict[int, Curve]]  # arm -> seed -> curve


def curves(table: pd.DataFrame) -> Curves:
    """The curves of one experiment at one scale, by arm and seed, in the order of the table."""
    found: Curves = {}
    names = [n for n in table if (n == "lr" or "/" in n) and table[n].notna().any()]
    chance = 1 / classes(table)
    for (arm, seed), rows in table.groupby(["arm", "seed"], sort=False):
        read = rows.dropna(subset="accuracy").sort_values("step")
        overflow = rows["diverged_at_step"].iloc[0] if rows["diverged"].iloc[0] else inf
        found.setdefault(arm, {})[int(seed)] = Curve(
            read["step"].to_numpy(float),
            read["accuracy"].to_numpy(float),
            int(rows["planned"].iloc[0]),
            float(overflow),
            dict(zip(names, read[names].to_numpy(float).T, strict=True)),
            chance,
        )
    return found


def run_points(table: pd.DataFrame, **keys: str) -> pd.DataFrame:
    """One row per run: arm, seed, `keys` (name = config key), best, last, diverged.

    `best` is the highest accuracy (fraction) at any evaluation, chance for a run without one;
    `last` that at the end of the run, chance for one that overflowed.
    """
    found = curves(table)
    every = runs(table).reset_index(drop=True)
    ran = [found[run.arm][run.seed] for run in every.itertuples()]
    columns = {name: every[key] for name, key in keys.items()}
    return every[["arm", "seed"]].assign(
        **columns,
        best=[curve.best() for curve in ran],
        last=[curve.last() for curve in ran],
        diverged=every["diverged"],
    )


def tuning_points(table: pd.DataFrame, **keys: str) -> pd.DataFrame:
    """run_points as a rate or a schedule is chosen by: `best`, too, is chance for a run that
    overflowed, however good it was before."""
    rows = run_points(table, **keys)
    return rows.assign(best=rows["best"].mask(rows["diverged"], CHANCE))


# --- per seed, then over the seeds ----------------------------------------------------------------


def common_seeds(found: Curves, arms: Iterable[str]) -> list[int]:
    """The seeds that every one of the arms has, in order."""
    seeds = [found.get(arm, {}).keys() for arm in arms]
    return sorted(set(seeds[0]).intersection(*seeds[1:])) if seeds else []


def best(found: Curves, arm: str) -> pd.Series:
    """The highest accuracy of each run of an arm, by seed."""
    return pd.Series({s: c.best() for s, c in sorted(found.get(arm, {}).items())}, dtype=float)


def baseline_of(arms: Iterable[str]) -> str:
    """Which of an experiment's arms is its baseline."""
    arms = set(arms)
    return next((one for one in BASELINES if one in arms), BASELINES[0])


def steps_to_baseline(found: Curves, arm: str) -> pd.Series:
    """Steps of each run to the highest accuracy of the baseline of the same seed; NaN: never."""
    baseline = baseline_of(found)
    seeds = common_seeds(found, (arm, baseline))
    return pd.Series(
        {s: found[arm][s].steps_to(found[baseline][s].best()) for s in seeds}, dtype=float
    )


def speed_up(found: Curves, fast: str, slow: str | None = None) -> pd.Series:
    """Steps of `slow` / steps of `fast` to the baseline's best accuracy, by seed; NaN: `fast` never
    gets there. A `slow` that never does counts with its whole run: the ratio is at least that.

    The paper's measure (Figure 3) where `slow` is the baseline, as it is if left out: its own steps
    to its own best.
    """
    slow = slow or baseline_of(found)
    slow_steps = steps_to_baseline(found, slow)
    slow_steps = slow_steps.fillna({s: run.planned for s, run in found.get(slow, {}).items()})
    fast_steps = steps_to_baseline(found, fast)
    return (slow_steps / fast_steps)[slow_steps.index.intersection(fast_steps.index)]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval; NaN where too few seeds have a value."""

    value: float
    low: float
    high: float
    n: int  # seeds
    missing: int = 0  # of them, without a value (never reached the target)
    bounds: int = 0  # of them, whose value is only a lower bound

    def as_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON: None in place of NaN."""
        return {k: v if isfinite(v) else None for k, v in vars(self).items()}


def estimate(values: Iterable[float], ratio: bool = False) -> Estimate:
    """The mean of per-seed values (for pairs: of their differences) and Student's t interval.

    Ratios are averaged on a log scale. For normal values the interval covers the mean 95 times in
    100 at any n from 2; for skewed ones less (exponential values, n = 3: about 88). One value gives
    no interval, nor does a sample with values missing: it would speak of the lucky seeds alone.
    """
    return _student(values, ratio, lambda n: sqrt(1 / n))


def drawn(common: dict[str, Any], values: pd.Series) -> list[dict[str, Any]]:
    """Rows of a figure's points, each with what is common to them: one for each seed's value, in
    `points`, and, without a seed, their mean with its 95 % interval (low, high) and n; none of
    no values."""
    if not len(values):
        return []
    mean = estimate(values)
    ends = {"points": mean.value, "low": mean.low, "high": mean.high, "n": mean.n}
    each = [{**common, "seed": seed, "points": value} for seed, value in values.items()]
    return [*each, {**common, **ends}]


def repeat_interval(values: Iterable[float], repeats: int, ratio: bool = False) -> Estimate:
    """As estimate, but the interval is the one in which the mean of `repeats` new seeds falls."""
    return _student(values, ratio, lambda n: sqrt(1 / n + 1 / repeats))


def share(count: int, n: int) -> Estimate:
    """A share of n seeds, with its exact (Clopper and Pearson's) interval."""
    tail = (1 - LEVEL) / 2
    low = special.betaincinv(count, n - count + 1, tail) if count else 0.0
    high = special.betaincinv(count + 1, n - count, 1 - tail) if count < n else 1.0
    return Estimate(count / n, float(low), float(high), n)


def _student(values: Iterable[float], ratio: bool, width: Callable[[int], float]) -> Estimate:
    given = np.asarray(list(values), float)
    there = given[np.isfinite(given)]
    n, missing = given.size, given.size - there.size
    there = np.log(there) if ratio else there
    value = float(there.mean()) if there.size else nan
    half = nan
    if n >= 2 and not missing:
        t = special.stdtrit(n - 1, (1 + LEVEL) / 2)
        half = float(t * there.std(ddof=1) * width(n))
    ends = (value, value - half, value + half)
    return Estimate(*(float(np.exp(end)) if ratio else end for end in ends), n, missing)
