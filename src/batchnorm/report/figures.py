"""Figure 2: a pure function from a table of runs (statistics.load) to a Figure."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from batchnorm.report import statistics
from batchnorm.report.look import (
    GREY,
    GRID,
    HALO,
    PAPERS,
    SMALL,
    WIDTH,
    bare,
    data_name,
    footer,
    ink,
    look,
    network_name,
    seeds_of,
    split_of,
    spread,
    title,
    with_bn,
)


def learning_rate_points(table: pd.DataFrame, published: pd.DataFrame | None) -> pd.DataFrame:
    """What learning_rate draws: rows of series, arm, step, accuracy, low, high, n.

    `curve`: median, minimum and maximum over the n seeds still running. `match`: the median step at
    which an arm reaches the baseline's best, if most seeds do. `overflow`: one run, at its last
    accuracy if it had one. `paper`: Figure 2 with its last step laid on the baseline's last.
    """
    parts = [_curve_points(table), _match_points(table), _overflow_points(table)]
    if published is not None and statistics.baseline_of(table["arm"]) in set(table["arm"]):
        parts.append(_paper_points(table, published))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _curve_points(table: pd.DataFrame) -> pd.DataFrame:
    groups = table.dropna(subset="accuracy").groupby(["arm", "step"], sort=False)["accuracy"]
    points = groups.agg(accuracy="median", low="min", high="max", n="count").reset_index()
    return points.assign(series="curve")


def _match_points(table: pd.DataFrame) -> pd.DataFrame:
    found = statistics.curves(table)
    target = statistics.best(found, statistics.baseline_of(found)).median()
    steps = {arm: statistics.steps_to_baseline(found, arm) for arm in found}
    rows = [
        {"series": "match", "arm": arm, "step": middle, "accuracy": target, "n": len(per_seed)}
        for arm, per_seed in steps.items()
        if (middle := per_seed.fillna(float("inf")).median()) < float("inf")
    ]
    return pd.DataFrame(rows)


def _overflow_points(table: pd.DataFrame) -> pd.DataFrame:
    last = table.groupby(["arm", "seed"], sort=False).tail(1)
    last = last[last["diverged"]]
    last = last.assign(series="overflow", step=last["diverged_at_step"], n=1)
    return last[["series", "arm", "step", "accuracy", "n"]]


def _paper_points(table: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    end = _baseline_steps(table)
    points = published[published["arm"].isin(table["arm"])]
    return points[["arm", "accuracy"]].assign(
        series="paper", step=points["millions"] * end / published["millions"].max()
    )


def _baseline_steps(table: pd.DataFrame) -> int:
    baseline = statistics.baseline_of(table["arm"])
    return table.loc[table["arm"] == baseline, "planned"].max()


@look
def learning_rate(table: pd.DataFrame, published: pd.DataFrame | None = None) -> Figure:
    """Accuracy (fraction) against training steps for every arm, in the look of Figure 2.

    `published` is paper.curves(), or None to leave the paper out. One experiment, one scale.
    """
    points = learning_rate_points(table, published)
    series = {name: part for name, part in points.groupby("series", sort=False)}
    figure = Figure((WIDTH, 4.9))
    axes = figure.add_axes((0.075, 0.285, 0.705, 0.59))
    arms = list(table["arm"].unique())
    for place, arm in enumerate(arms):
        for name, draw in (("paper", _draw_paper), ("curve", _draw_curve)):
            if name in series and (series[name]["arm"] == arm).any():
                draw(axes, series[name][series[name]["arm"] == arm], place)
    _draw_marks(axes, series, arms)
    split = split_of(table)
    axes.set(xlabel="training steps", ylabel=f"{split} accuracy", ylim=(0, None))
    axes.set_xlim(0, table["planned"].max() * 1.015)
    axes.grid(axis="y", **GRID)
    axes.set_axisbelow(True)
    _label_ends(axes, series.get("curve", points[:0]), table)
    if "paper" in series:
        _top_axis(axes, table, published["millions"].max())
    else:
        bare(axes, "top")
    _key(figure, series)
    what = ", ".join(filter(None, [network_name(table), "accuracy against steps"]))
    title(figure, f"{data_name(table)}: {what}, {with_bn(table)}")
    footer(figure, *_learning_rate_words(table, series))
    return figure


def _draw_curve(axes: Axes, points: pd.DataFrame, place: int) -> None:
    arm = points["arm"].iloc[0]
    colour, marker = ink(arm, place)
    points = points.sort_values("step")
    axes.fill_between(points["step"], points["low"], points["high"], color=colour, alpha=0.2, lw=0)
    every = max(1, len(points) // 8)
    axes.plot(points["step"], points["accuracy"], color=colour, marker=marker, label=arm,
              markevery=every, zorder=3, **HALO)  # fmt: skip


def _draw_paper(axes: Axes, points: pd.DataFrame, place: int) -> None:
    arm = points["arm"].iloc[0]
    colour, marker = ink(arm, place)
    every = max(1, len(points) // 4)
    axes.plot(points["step"], points["accuracy"], color=colour, marker=marker, markevery=every,
              label=f"paper: {arm}", **PAPERS)  # fmt: skip


def _draw_marks(axes: Axes, series: dict[str, pd.DataFrame], arms: list[str]) -> None:
    """Diamonds where the arms match the baseline, crosses where runs overflowed."""
    for name, marker, size, label in (("match", "D", 6, "match"), ("overflow", "x", 6, "overflow")):
        points = series.get(name, pd.DataFrame(columns=["accuracy"]))
        for _, point in points.dropna(subset="accuracy").iterrows():
            colour = ink(point["arm"], arms.index(point["arm"])).colour
            edge = {"markeredgecolor": "black", "markeredgewidth": 0.8} if name == "match" else {}
            axes.plot(point["step"], point["accuracy"], marker, color=colour, markersize=size,
                      label=f"{label}: {point['arm']}", zorder=5, **edge)  # fmt: skip
    if "match" in series:
        axes.axhline(series["match"]["accuracy"].iloc[0], color=GREY, linewidth=0.6, zorder=1)


def _label_ends(axes: Axes, points: pd.DataFrame, table: pd.DataFrame) -> None:
    """Each arm's name and last median at the right, level with the end of its line if it can be;
    with a cross, where every run of the arm overflowed."""
    if not len(points):
        return
    arms = list(table["arm"].unique())
    lost = table.groupby("arm", sort=False)["diverged"].all()
    ends = points.sort_values("step").groupby("arm", sort=False).tail(1)
    last = ends["step"].max()
    low, high = axes.get_ylim()
    heights = spread([(y - low) / (high - low) for y in ends["accuracy"]], 0.062, 0.99)
    across = axes.get_yaxis_transform()
    for (_, end), y in zip(ends.iterrows(), heights, strict=True):
        colour, marker = ink(end["arm"], arms.index(end["arm"]))
        text = f"{end['arm']}  {end['accuracy']:.3f}"
        axes.plot(1.03, y, marker, color=colour, transform=axes.transAxes, clip_on=False, **HALO)
        if end["step"] == last:
            axes.plot([1.0, 1.02], [end["accuracy"], low + y * (high - low)], transform=across,
                      color=colour, linewidth=0.6, clip_on=False)  # fmt: skip
        text += " ×" if lost[end["arm"]] else ""
        axes.text(1.045, y, text, transform=axes.transAxes, va="center", fontsize=SMALL)


def _top_axis(axes: Axes, table: pd.DataFrame, millions: float) -> None:
    scale = _baseline_steps(table) / millions
    top = axes.secondary_xaxis("top", functions=(lambda x: x / scale, lambda x: x * scale))
    top.set_xlabel("the paper's training steps, millions (dashed)")


def _key(figure: Figure, series: dict[str, pd.DataFrame]) -> None:
    """What the kinds of lines and marks mean, in one row under the axis."""
    entries = {
        "curve": Line2D([], [], color=GREY, marker="o", label="ours: median, min to max", **HALO),
        "paper": Line2D([], [], color=GREY, marker="o", label="paper, Figure 2", **PAPERS),
        "match": Line2D([], [], color="white", marker="D", markersize=6, linestyle="",
                        markeredgecolor="black", label="steps to match the baseline"),
        "overflow": Line2D([], [], color=GREY, marker="x", linestyle="", label="overflowed"),
    }  # fmt: skip
    drawn = {name for name, part in series.items() if part["accuracy"].notna().any()}
    handles = [entry for name, entry in entries.items() if name in drawn]
    figure.legend(handles=handles, ncols=4, loc="center", bbox_to_anchor=(0.43, 0.168),
                  columnspacing=1.5, handletextpad=0.5)  # fmt: skip


def _learning_rate_words(table: pd.DataFrame, series: dict[str, pd.DataFrame]) -> list[str]:
    batch, scale = table["data.batch_size"].iloc[0], table["scale"].iloc[0]
    words = (
        f"{data_name(table)}, {scale} scale, {seeds_of(table)} per arm, steps of {batch} images."
        " Accuracy: fraction of images, population statistics. Line: median, band: minimum to"
        " maximum over the seeds still running; at the right, the last median."
    )
    if "match" in series:
        words += (
            " Horizontal line: the baseline's best accuracy; diamonds: medians, each seed against"
            " its own baseline, one that never gets there counting as the slowest."
        )
    if "paper" in series:
        words += (
            " Dashed, the same marks, hollow: the paper's networks on ImageNet, their 31 million"
            " steps laid on our baseline's run."
        )
    lost = " ".join(overflows(table))
    return [words, lost] if lost else [words]


def overflows(table: pd.DataFrame) -> list[str]:
    """A sentence per arm with runs that overflowed: when, and in how many of its seeds."""
    words = []
    for arm, runs in statistics.runs(table).groupby("arm", sort=False):
        at = runs.loc[runs["diverged"], "diverged_at_step"].astype(int)
        if len(at):
            when = f"{at.min()}" if at.min() == at.max() else f"{at.min()} to {at.max()}"
            words.append(f"{arm}: overflowed at step {when} ({len(at)} of {len(runs)} seeds).")
    return words
