"""The table after the paper's Figure 3, and yours beside the reference's and the paper's."""

from collections.abc import Callable, Iterable
from math import inf, isnan, nan

import pandas as pd

from batchnorm.report import look, paper, statistics
from batchnorm.report.statistics import Curves, Estimate

SAME = 0.002  # accuracies this near are the same, whatever the interval: 20 of 10,000 test images


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


COLUMNS: dict[str, Callable[[pd.Series], str]] = {
    "arm": lambda r: r["arm"],
    "learning rate": lambda r: f"{r['lr']:g}",
    "steps to the baseline's best": lambda r: _reached(r, f"{r['steps']:,.0f}"),
    "speed-up [95 %]": lambda r: _speed_up(r),
    "best accuracy (min–max)": lambda r: (
        f"{r['best']:.3f} ({r['best_low']:.3f}–{r['best_high']:.3f})"
    ),
    "overflowed": lambda r: f"{r['diverged']} of {r['n']}",
    "paper": lambda r: _text(r["paper_model"]),
    "its learning rate": lambda r: _number(r["paper_lr"], "g"),
    "its steps, 10⁶": lambda r: _number(r["paper_steps"], ".1f"),
    "its speed-up": lambda r: _number(r["paper_speed_up"], ".1f"),
    "its max accuracy": lambda r: _text(r["paper_text"]) or _number(r["paper_best"], ".3f"),
}


def markdown(numbers: pd.DataFrame) -> str:
    """The numbers of learning_rate() as a Markdown table; ours left, the paper's right."""
    return markdown_table(list(COLUMNS), lines(numbers))


def lines(numbers: pd.DataFrame) -> list[list[str]]:
    """The cells of the numbers of learning_rate(), under the names in COLUMNS."""
    return [[cell(row) or "–" for cell in COLUMNS.values()] for _, row in numbers.iterrows()]


def markdown_table(names: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A Markdown table of the given column names and lines of cells, whose bars it escapes."""
    names = list(names)
    rows = [names, ["---"] * len(names), *lines]
    cells = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "".join("| " + " | ".join(row) + " |\n" for row in cells)


def _reached(row: pd.Series, text: str) -> str:
    if row["reached"] == row["pairs"]:
        return text if row["pairs"] else ""
    if not row["reached"]:
        return "never"
    some = f"{row['reached']} of {row['pairs']} seeds"
    return some if isnan(row["steps"]) else f"{text} ({some})"


def _speed_up(row: pd.Series) -> str:
    if isnan(row["speed_up"]):
        return ""
    interval = f" [{row['speed_up_low']:.1f}, {row['speed_up_high']:.1f}]"
    return f"{row['speed_up']:.1f}" + ("" if isnan(row["speed_up_low"]) else interval)


def _number(value: float, form: str) -> str:
    return "" if isnan(value) else f"{value:{form}}"


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else ""  # an arm that the paper does not have: NaN


def words(table: pd.DataFrame) -> str:
    """What stands under the table."""
    return (
        f"{look.where(table)}. Steps and best accuracy: medians; speed-up: geometric mean with its"
        " 95 % interval. The paper's columns are for ImageNet (its Figure 3)."
    )


# --- yours, the reference's, the paper's ----------------------------------------------------------

QUANTITIES: dict[str, tuple[Callable[[Curves, str], pd.Series], bool, str, str]] = {
    "best accuracy": (statistics.best, False, ".3f", "paper_best"),
    "speed-up": (statistics.speed_up, True, ".2f", "paper_speed_up"),
}


def comparison(yours: pd.DataFrame, reference: pd.DataFrame, published: bool) -> str:
    """Your runs of an experiment beside the reference's, as aligned text; with `published`, whose
    arms are those of the paper's Figure 3, also beside the paper's, and with speed-ups.

    Means over seeds (geometric for speed-ups). "agrees": yours lies in the interval where, going by
    the reference's seeds, the mean of as many new seeds as yours falls 95 times in 100.
    """
    ours, theirs = statistics.curves(yours), statistics.curves(reference) if len(reference) else {}
    printed = paper.table().rename(columns={"accuracy": "best"}).add_prefix("paper_")
    lines = [("", "arm", "yours", "reference", *(["paper"] if published else []), "")]
    for name, (measure, ratio, form, column) in QUANTITIES.items():
        for arm in ours if published or not ratio else ():
            mine = statistics.estimate(measure(ours, arm), ratio)
            if (ratio and arm == statistics.baseline_of(ours)) or not mine.n:
                continue  # 1 by definition; or no baseline at the arm's seeds
            near = _repeats(measure(theirs, arm) if arm in theirs else pd.Series(), mine.n, ratio)
            theirs_too = [_number(printed[column].get(arm, nan), form) or "–"] if published else []
            lines.append((
                name, arm, _cell(mine, form) + f" (n {mine.n})", _interval(near, form),
                *theirs_too, agreement(mine, near, 0 if ratio else SAME),
            ))  # fmt: skip
            name = ""
    return aligned(lines)


def _repeats(values: pd.Series, n: int, ratio: bool) -> Estimate:
    return statistics.repeat_interval(values, max(n, 1), ratio)


def agreement(yours: Estimate, reference: Estimate, same: float = 0) -> str:
    """ "agrees", "differs", or "no reference" where the reference has no interval.

    A target that none of the reference's seeds reaches agrees with none of yours reaching it.
    """
    if reference.n and reference.missing == reference.n:
        return "agrees" if yours.missing == yours.n else "differs"
    if isnan(reference.low):
        return "no reference"
    inside = reference.low - same <= yours.value <= reference.high + same
    return "agrees" if inside and not yours.missing else "differs"


def _cell(estimate: Estimate, form: str) -> str:
    if estimate.n and estimate.missing == estimate.n:
        return "never"
    some = f", never in {estimate.missing}" if estimate.missing else ""
    return (_number(estimate.value, form) or "–") + some


def _interval(estimate: Estimate, form: str) -> str:
    ends = "" if isnan(estimate.low) else f" [{estimate.low:{form}}, {estimate.high:{form}}]"
    return _cell(estimate, form) + ends


def aligned(lines: list[tuple[str, ...]]) -> str:
    """Lines of cells as plain text with columns two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    return "".join(line.rstrip() + "\n" for line in padded)
