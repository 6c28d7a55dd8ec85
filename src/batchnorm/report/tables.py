"""The table after the paper's Figure 3; and what all printed tables share."""

from collections.abc import Callable, Iterable
from math import inf, isnan, nan
from typing import NamedTuple

import pandas as pd

from batchnorm.report import look, paper, statistics
from batchnorm.report.statistics import Curves


class Printed(NamedTuple):
    """A table as it is printed."""

    numbers: pd.DataFrame  # behind it
    names: list[str]  # of its columns
    lines: list[list[str]]  # its cells
    words: str  # what stands under it

    def markdown(self) -> str:
        """The table with what stands under it."""
        return f"{markdown_table(self.names, self.lines)}\n{self.words}\n"


def printed(table: pd.DataFrame) -> Printed:
    """The table after Figure 3, of one experiment at one scale; ours left, the paper's right."""
    numbers = learning_rate(table)
    return Printed(numbers, list(COLUMNS), lines(numbers, COLUMNS), words(table))


def learning_rate(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers of Figure 3, one row per arm: ours, and the paper's in columns `paper_...`.

    `steps` (to the baseline's best) is a median over the seeds, where one that never gets there
    counts as slowest; NaN where that is the median. `reached` counts those that do. `speed_up` is
    the geometric mean if all do, else the median in the same way.
    Accuracies are fractions; `best_low` and `best_high` are the least and the greatest.
    """
    found = statistics.curves(table)
    runs = statistics.runs(table)
    rows = [{"arm": arm, **_row(found, arm), **_planned(runs[runs["arm"] == arm])} for arm in found]
    published = paper.table().rename(columns={"accuracy": "best"}).add_prefix("paper_")
    return pd.DataFrame(rows).join(published, on="arm")


def _row(found: Curves, arm: str) -> dict[str, float]:
    steps = statistics.steps_to_baseline(found, arm)
    ratios = statistics.speed_up(found, arm)
    interval = statistics.estimate(ratios, ratio=True)
    best = statistics.best(found, arm)
    middle = steps.fillna(inf).median()
    faster = interval.value  # the geometric mean
    if interval.missing:
        faster = ratios.fillna(0).median() if middle < inf else nan
    return {
        "steps": middle if middle < inf else nan,
        "reached": int(steps.notna().sum()),
        "pairs": len(steps),
        "speed_up": faster,
        "speed_up_low": interval.low,
        "speed_up_high": interval.high,
        "best": best.median(),
        "best_low": best.min(),
        "best_high": best.max(),
    }


def _planned(runs: pd.DataFrame) -> dict[str, float]:
    lr = runs["optim.lr"].iloc[0] * runs["optim.lr_multiplier"].iloc[0]
    return {"lr": lr, "diverged": int(runs["diverged"].sum()), "n": len(runs)}


Columns = dict[str, Callable[[pd.Series], str]]  # name -> a row's cell
COLUMNS: Columns = {
    "arm": lambda r: r["arm"],
    "learning rate": lambda r: f"{r['lr']:g}",
    "steps to the baseline's best": lambda r: reached(r["steps"], r["reached"], r["pairs"]),
    "speed-up [95 %]": lambda r: _speed_up(r),
    "best accuracy (min–max)": lambda r: (
        f"{r['best']:.3f} ({r['best_low']:.3f}–{r['best_high']:.3f})"
    ),
    "overflowed": lambda r: f"{r['diverged']} of {r['n']}",
    "paper": lambda r: _text(r["paper_model"]),
    "its learning rate": lambda r: number(r["paper_lr"], "g"),
    "its steps, 10⁶": lambda r: number(r["paper_steps"], ".1f"),
    "its speed-up": lambda r: number(r["paper_speed_up"], ".1f"),
    "its max accuracy": lambda r: _text(r["paper_text"]) or number(r["paper_best"], ".3f"),
}


def lines(numbers: pd.DataFrame, columns: Columns) -> list[list[str]]:
    """The cells of rows of numbers, a dash for an empty one."""
    return [[cell(row) or "–" for cell in columns.values()] for _, row in numbers.iterrows()]


def markdown_table(names: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A Markdown table of the given column names and lines of cells, whose bars it escapes."""
    names = list(names)
    rows = [names, ["---"] * len(names), *lines]
    cells = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "".join("| " + " | ".join(row) + " |\n" for row in cells)


def reached(steps: float, count: int, of: int) -> str:
    """The median of the steps to a target that `count` `of` the seeds reach; NaN: most do not."""
    if not of:
        return ""
    if not count:
        return "never"
    some = f"{count} of {of} seeds"
    if isnan(steps):
        return some
    return f"{steps:,.0f}" if count == of else f"{steps:,.0f} ({some})"


def _speed_up(row: pd.Series) -> str:
    if isnan(row["speed_up"]):
        return ""
    interval = f" [{row['speed_up_low']:.1f}, {row['speed_up_high']:.1f}]"
    return f"{row['speed_up']:.1f}" + ("" if isnan(row["speed_up_low"]) else interval)


def number(value: float, form: str) -> str:
    """A number in a format; "" for NaN."""
    return "" if isnan(value) else f"{value:{form}}"


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else ""  # an arm that the paper does not have: NaN


def words(table: pd.DataFrame) -> str:
    """What stands under the table."""
    return (
        f"{look.where(table)}. Steps (linear between evaluations) and best accuracy: medians;"
        " speed-up: geometric mean with its 95 % interval, or, where a seed never gets there, the"
        " median with that seed as the slowest. The paper's columns are for ImageNet (its Figure"
        " 3)."
    )
