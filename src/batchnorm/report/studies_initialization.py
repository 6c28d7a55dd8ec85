"""Figure of the study of initial weights: a pure function of a table of runs."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from batchnorm.report import statistics
from batchnorm.report.look import (
    BN,
    DOTS,
    GREY,
    GRID,
    HALO,
    PLAIN,
    SMALL,
    WIDTH,
    Ink,
    bare,
    data_name,
    footer,
    look,
    seeds_and_mean,
    ticks,
    title,
    where,
)

FIXED = 1000 * 3  # where the fixed Gaussian stands on the axis of scales
WATCHED = {  # arms whose weights are drawn over time: the larger they begin, the darker
    "bn_0.001": Ink("#9FC5E8", "p"),
    "bn_0.01": Ink("#6FA8DC", "v"),
    "bn_0.1": Ink("#3D85C6", "^"),
    "bn_1": BN,
    "bn_10": Ink("#0B4F83", "D"),
    "bn_100": Ink("#062E4F", ">"),
    "bn_gaussian": Ink("#B0713A", "h"),
    "plain_1": PLAIN,
    "plain_gaussian": Ink("#7F7F7F", "<"),
}


def points(table: pd.DataFrame) -> pd.DataFrame:
    """What draw draws: rows of series, arm, seed, norm, scale, step, value.

    `last`: the accuracy at the end, by scale over He's (NaN: the fixed Gaussian). `weights` and
    `rate`, medians over the seeds by step: the length |W| of a layer's weights, and the effective
    learning rate lr/|W|^2 (section 3.3); geometric means over all weight layers but the last.
    """
    ends = statistics.run_points(
        table, norm="model.norm", scale="model.init_scale", init="model.init"
    )
    ends = ends.assign(scale=ends["scale"].mask(ends["init"] == "gaussian"), series="last")
    ends = ends.rename(columns={"last": "value"})[
        ["series", "arm", "seed", "norm", "scale", "value"]
    ]
    return pd.concat([ends, *_over_time(table)], ignore_index=True)


def _over_time(table: pd.DataFrame) -> list[pd.DataFrame]:
    names = [name for name in table if str(name).startswith("norm/")]
    names = sorted(names, key=lambda name: int(name.partition("/")[2]))[:-1]
    rows = table[table["arm"].isin(WATCHED)].dropna(subset=names) if names else table[:0]
    if not len(rows):
        return []
    length = np.exp(np.log(rows[names]).mean(axis=1))
    found = rows[["arm", "step"]].assign(weights=length, rate=rows["lr"] / length**2)
    medians = found.groupby(["arm", "step"], sort=False)[["weights", "rate"]].median().reset_index()
    return [
        medians[["arm", "step"]].assign(series=series, value=medians[series])
        for series in ("weights", "rate")
    ]


@look
def draw(table: pd.DataFrame) -> Figure:
    """Accuracy after equal steps against the initial scale; weights and their rate over time."""
    found = points(table)
    figure = Figure((WIDTH, 4.5))
    left = figure.add_axes((0.075, 0.285, 0.42, 0.615))
    right = [figure.add_axes((0.605, bottom, 0.385, 0.265)) for bottom in (0.595, 0.285)]
    _draw_ends(left, found[found["series"] == "last"])
    drawn = [arm for arm in WATCHED if (found["arm"].eq(arm) & found["series"].eq("weights")).any()]
    for axes, series in zip(right, ("weights", "rate"), strict=True):
        for arm in drawn:
            part = found[(found["arm"] == arm) & (found["series"] == series)]
            if series == "weights" or arm.startswith("bn"):
                _draw_line(axes, part, WATCHED[arm], arm)
        axes.set_yscale("log")
        axes.grid(axis="y", **GRID)
        axes.set_xlim(0, None)
        bare(axes, "top")
    right[0].tick_params(labelbottom=False)
    right[0].set_ylabel("|W|, per layer")
    right[1].set(xlabel="training steps", ylabel="effective rate lr / |W|²")
    handles = right[0].get_legend_handles_labels()
    figure.legend(*handles, loc="upper right", bbox_to_anchor=(0.995, 0.985), ncols=3,
                  columnspacing=1.2)  # fmt: skip
    title(figure, f"{data_name(table)}: initial weights, with and without BN")
    words = (
        f"{where(table)}, no L2 penalty, {rates(table)}. Left: accuracy (fraction of test images)"
        f" after equally many steps; chance where a run overflowed. {DOTS} Band: within 0.05 of"
        " the best mean with BN over scales 0.1 to 10. Right: medians over the seeds of the length"
        " of a layer's weights, and of the learning rate over its square (section 3.3), geometric"
        " means over all weight layers but the last; arm names end in the initial scale. Fixed,"
        " gaussian: deviation 0.01 in every layer."
    )
    footer(figure, words)
    return figure


def rates(table: pd.DataFrame) -> str:
    """The learning rate of each network, in words."""
    found = table.groupby("model.norm")["optim.lr"].unique()
    words = {"batch": "with BN", "none": "without"}
    parts = [f"{'/'.join(f'{lr:g}' for lr in found[n])} {words[n]}" for n in words if n in found]
    return f"one learning rate for all scales ({', '.join(parts)})"


def _draw_line(axes: Axes, part: pd.DataFrame, of: Ink, arm: str) -> None:
    part = part.sort_values("step")
    axes.plot(part["step"], part["value"], color=of.colour, marker=of.marker, label=arm,
              markevery=max(1, len(part) // 6), linestyle="--" if arm.startswith("plain") else "-",
              **HALO)  # fmt: skip


def _draw_ends(axes: Axes, ends: pd.DataFrame) -> None:
    axes.set_xscale("log")
    scaled, fixed = ends[ends["scale"].notna()], ends[ends["scale"].isna()]
    for norm, of, label in (("batch", BN, "with BN"), ("none", PLAIN, "without BN")):
        part = scaled[scaled["norm"] == norm]
        seeds_and_mean(axes, part, "scale", "value", of, label)
        apart = fixed[fixed["norm"] == norm].assign(scale=FIXED)
        seeds_and_mean(axes, apart, "scale", "value", of, "_" + label)
    _band(axes, scaled)
    axes.axhline(0.1, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    ticks(axes, [*scaled["scale"], *([FIXED] if len(fixed) else [])])
    if len(fixed):
        labels = [f"{scale:g}" for scale in sorted(scaled["scale"].unique())]
        axes.set_xticklabels([*labels, "fixed\n0.01"])
    bare(axes, "top")
    axes.grid(axis="y", **GRID)
    axes.set(xlabel="deviation of the initial weights / He's", ylabel="test accuracy at the end")
    axes.set_ylim(0, ends["value"].max() * 1.18)
    axes.legend(loc="upper left", ncols=2)
    axes.annotate("chance", (0, 0.1), xycoords=("axes fraction", "data"), xytext=(2, -9),
                  textcoords="offset points", fontsize=SMALL, color=GREY)  # fmt: skip


def _band(axes: Axes, scaled: pd.DataFrame) -> None:
    """What counts as flat (claim C14): within 0.05 of BN's best over scales 0.1 to 10."""
    near = scaled[(scaled["norm"] == "batch") & scaled["scale"].between(0.099, 10.1)]
    if len(near):
        best = near.groupby("scale")["value"].mean().max()
        axes.fill_between([0.1, 10], best - 0.05, best, color=BN.colour, alpha=0.15, lw=0, zorder=1)
