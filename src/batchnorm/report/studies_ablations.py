"""Figure of the study of single changes: a pure function of a table of runs."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from batchnorm.report import statistics
from batchnorm.report.claims_cifar10_ablations import BATCHES, STATISTICS
from batchnorm.report.look import (
    BN,
    DOTS,
    GREY,
    GRID,
    HALO,
    OTHERS,
    PLAIN,
    SMALL,
    WIDTH,
    Ink,
    bare,
    data_name,
    footer,
    half_frame,
    interval,
    look,
    seeds_and_mean,
    ticks,
    title,
    where,
)
from batchnorm.report.statistics import Curves

# claim: what is changed, the arm with the change, the arm without it
CHANGES: dict[str, list[tuple[str, str, str]]] = {
    "C18  L2 penalty": [
        ("a fifth", "bn_l2_fifth", "bn"),
        ("none", "bn_l2_0", "bn"),
        ("a fifth, without BN", "plain_l2_fifth", "plain"),
        ("none, without BN", "plain_l2_0", "plain"),
    ],
    "C19  LRN": [
        ("Local Response Normalization", "bn_lrn", "bn"),
        ("the same, without BN", "plain_lrn", "plain"),
    ],
    "C20  shuffling": [
        ("the same images share a batch", "bn_fixed_batches", "bn"),
        ("the same, without BN", "plain_fixed_batches", "plain"),
    ],
    "C21  place": [
        ("after the ReLU", "bn_after", "bn"),
        ("after the sigmoid", "bn_sigmoid_after", "bn_sigmoid"),
    ],
    "C22 to C24  the transform": [
        ("statistics outside the gradient", "bn_detached", "bn"),
        ("gamma 1, beta 0", "bn_no_affine", "bn"),
        ("statistics per activation", "bn_per_activation", "bn"),
    ],
}
ROW = 0.17  # inches


def difference_points(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the upper panel: group, change, arm, reference, seed, points, low, high, n.

    `points`: best accuracy of the arm less its reference's at the same seed, in percentage points.
    Rows without a seed hold the mean and its 95 % interval.
    """
    found = statistics.curves(table)
    rows = []
    for group, changes in CHANGES.items():
        for change, arm, reference in changes:
            common = {"group": group, "change": change, "arm": arm, "reference": reference}
            rows += statistics.drawn(common, _gaps(found, arm, reference))
    columns = ["group", "change", "arm", "reference", "seed", "points", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"})


def _gaps(found: Curves, arm: str, reference: str) -> pd.Series:
    return (statistics.best(found, arm) - statistics.best(found, reference)).dropna() * 100


def batch_points(table: pd.DataFrame) -> pd.DataFrame:
    """The points of the lower panels: group, change, arm, seed, batch, points.

    group "C26": change "bn" or "plain", best accuracy in per cent. Group "C4": change is what BN
    used at test time, points its accuracy at the end less that with the paper's statistics.
    """
    found = statistics.curves(table)
    rows = []
    for batch, arm in BATCHES.items():
        for one in (arm, arm.replace("bn", "plain")):
            common = {"group": "C26", "change": one.partition("_")[0], "arm": one, "batch": batch}
            best = statistics.best(found, one) * 100
            rows += [{**common, "seed": seed, "points": value} for seed, value in best.items()]
        for seed, run in found.get(arm, {}).items():
            for name, metric in STATISTICS.items():
                if metric in run.metrics and run.accuracy.size:
                    gap = 100 * float(run.metrics[metric][-1] - run.accuracy[-1])
                    rows.append({"group": "C4", "change": name, "arm": arm, "batch": batch,
                                 "seed": seed, "points": gap})  # fmt: skip
    return pd.DataFrame(rows, columns=["group", "change", "arm", "seed", "batch", "points"])


def points(table: pd.DataFrame) -> pd.DataFrame:
    """What draw draws: difference_points, then batch_points."""
    both = [difference_points(table), batch_points(table)]
    return pd.concat([part for part in both if len(part)] or both, ignore_index=True)


@look
def draw(table: pd.DataFrame) -> Figure:
    """What each change alone does; accuracy by batch size; other statistics at test time."""
    differences, batches = difference_points(table), batch_points(table)
    shown = differences.drop_duplicates("arm")
    rows = len(shown) + shown["group"].nunique()
    height = 3.9 + ROW * rows  # inches
    figure = Figure((WIDTH, height))
    tall = ROW * max(rows, 1)
    axes = figure.add_axes((0.27, 1 - (0.5 + tall) / height, 0.48, tall / height))
    _draw_differences(axes, differences)
    _key(figure, 1 - 0.41 / height)
    for left, draw_panel, group in ((0.075, _draw_batches, "C26"), (0.6, _draw_inference, "C4")):
        panel = figure.add_axes((left, 1.15 / height, 0.385, 1.45 / height))
        draw_panel(panel, batches[batches["group"] == group])
        panel.set_xlabel("images in a mini-batch")
        bare(panel, "top")
        panel.grid(axis="y", **GRID)
    title(figure, f"{data_name(table)}: one change at a time")
    words = (
        f"{where(table)}, paired by seed. Top: best test accuracy with the change less that"
        " without it, in percentage points. Small points: one seed; large: mean; bar: 95 %"
        " interval (Student's t); what leaves the frame is read from the numbers at the"
        " right. Below, equally many steps at each batch size, so 64 times fewer images at 2 than"
        f" at 128, and its own learning rate (cifar10_tune_ablations). {DOTS} At the right,"
        " accuracy at the end with other statistics than the paper's, which are those of the"
        " population with the unbiased variance."
    )
    footer(figure, words)
    return figure


def _key(figure: Figure, y: float) -> None:
    handles = [
        Line2D([], [], color=of.colour, marker=of.marker, linestyle="", label=label, **HALO)
        for of, label in ((BN, "a network with BN"), (PLAIN, "without BN"))
    ]
    figure.legend(handles=handles, ncols=2, loc="center", bbox_to_anchor=(0.51, y))


# --- differences ----------------------------------------------------------------------------------


def _draw_differences(axes: Axes, points: pd.DataFrame) -> None:
    limit = half_frame(points)
    labels, y = [], 0
    for group, part in points.groupby("group", sort=False):
        labels.append((y, group))
        for _, rows in part.groupby("arm", sort=False):
            y += 1
            labels.append((y, rows["change"].iloc[0]))
            _draw_row(axes, rows, y, limit)
        y += 1
    axes.axvline(0, color=GREY, linewidth=0.8)
    bare(axes, "top", "left")
    axes.set(ylim=(max(y, 1) - 0.4, -0.6), xlim=(-limit, limit))
    axes.set_yticks([place for place, _ in labels], [text for _, text in labels])
    for (_, text), label in zip(labels, axes.get_yticklabels(), strict=True):
        label.set_weight("bold" if text in CHANGES else "normal")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", **GRID)
    axes.set_axisbelow(True)
    axes.set_xlabel(
        "best test accuracy with the change − without it, percentage points", labelpad=2
    )


def _draw_row(axes: Axes, rows: pd.DataFrame, y: int, limit: float) -> None:
    of = BN if rows["arm"].iloc[0].startswith("bn") else PLAIN
    seeds, mean = rows[rows["seed"].notna()], rows[rows["seed"].isna()].iloc[0]
    axes.plot(seeds["points"], [y + 0.3] * len(seeds), ".", color=of.colour, markersize=3)
    axes.plot([mean["low"], mean["high"]], [y] * 2, color=of.colour)
    if abs(mean["points"]) < limit:
        axes.plot(mean["points"], y, of.marker, color=of.colour, markersize=5, **HALO)
    else:
        side = np.sign(mean["points"])
        axes.plot(side * limit * 0.97, y, "<" if side < 0 else ">", color=of.colour, markersize=5)
    axes.text(1.02, y, interval(mean, 1), va="center", fontsize=SMALL,
              transform=axes.get_yaxis_transform())  # fmt: skip


# --- batch sizes ----------------------------------------------------------------------------------


class Line(NamedTuple):
    """How a way to normalize at test time is drawn."""

    ink: Ink
    style: str


LINES = {
    "biased variance": Line(OTHERS[0], "-"),
    "moving average": Line(OTHERS[1], "--"),
    "the batch's own": Line(OTHERS[2], ":"),
}


def _draw_batches(axes: Axes, points: pd.DataFrame) -> None:
    axes.set_xscale("log", base=2)
    for change, of, label in (("bn", BN, "with BN"), ("plain", PLAIN, "without BN")):
        part = points[points["change"] == change]
        seeds_and_mean(axes, part, "batch", "points", of, label)
    axes.axhline(10, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_title("C26  batch size (dotted: chance)", loc="left", pad=4, weight="bold")
    axes.set(ylabel="best test accuracy, %")
    axes.set_ylim(0, None)
    ticks(axes, BATCHES)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.2))


def _draw_inference(axes: Axes, points: pd.DataFrame) -> None:
    axes.set_xscale("log", base=2)
    for change, line in LINES.items():
        part = points[points["change"] == change]
        seeds_and_mean(axes, part, "batch", "points", line.ink, change, linestyle=line.style)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_title("C4  statistics at test time", loc="left", pad=4, weight="bold")
    axes.set(ylabel="accuracy − with the\npaper's, points")
    ticks(axes, BATCHES)
    if len(points):
        axes.legend(loc="lower right")
