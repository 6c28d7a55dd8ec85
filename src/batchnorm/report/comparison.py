"""Yours beside the reference's and the paper's, as aligned text."""

from collections.abc import Callable
from math import isnan, nan

import pandas as pd

from batchnorm.report import paper, statistics
from batchnorm.report.statistics import Curves, Estimate
from batchnorm.report.tables import number

SAME = 0.002  # accuracies this near are the same, whatever the interval: 20 of 10,000 test images
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
            there = measure(theirs, arm) if arm in theirs else ()
            near = statistics.repeat_interval(there, mine.n, ratio)
            theirs_too = [number(printed[column].get(arm, nan), form) or "–"] if published else []
            lines.append((
                name, arm, f"{_cell(mine, form)} (n {mine.n})",
                f"{_interval(near, form)} (n {near.n})", *theirs_too,
                agreement(mine, near, 0 if ratio else SAME),
            ))  # fmt: skip
            name = ""
    return aligned(lines)


def agreement(yours: Estimate, reference: Estimate, same: float = 0) -> str:
    """ "agrees", "differs", or why there is nothing to compare with.

    A target that none of the reference's seeds reaches agrees with none of yours reaching it.
    """
    if reference.n and reference.missing == reference.n:
        return "agrees" if yours.missing == yours.n else "differs"
    if isnan(reference.low):
        return "no interval" if reference.n else "no reference"
    inside = reference.low - same <= yours.value <= reference.high + same
    return "agrees" if inside and not yours.missing else "differs"


def _cell(estimate: Estimate, form: str) -> str:
    if estimate.n and estimate.missing == estimate.n:
        return "never"
    some = f", never in {estimate.missing}" if estimate.missing else ""
    return (number(estimate.value, form) or "–") + some


def _interval(estimate: Estimate, form: str) -> str:
    ends = "" if isnan(estimate.low) else f" [{estimate.low:{form}}, {estimate.high:{form}}]"
    return _cell(estimate, form) + ends


def aligned(lines: list[tuple[str, ...]]) -> str:
    """Lines of cells as plain text with columns two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    return "".join(line.rstrip() + "\n" for line in padded)
