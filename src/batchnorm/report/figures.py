"""Figure 2: a pure function from a table of runs (statistics.load) to a Figure."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from batchnorm.report import paper, statistics, tables
from batchnorm.report.look import (
    GREY,
    GRID,
    HALO,
    PAPERS,
    SMALL,
    WIDTH,
    bare,
    caption_height,
    data_name,
    footer,
    ink,
    look,
    network_name,
    split_of,
    spread,
    title,
    where,
    with_bn,
)

ROW = 0.13  # inches, of an arm in the strip of steps


def population(table: pd.DataFrame) -> str:
    """Of what BN's population statistics are, in a sentence, if any network has BN."""
    if not table["model.norm"].str.startswith("batch").any():
        return ""
    return " Population statistics: of 8 training batches, at the last evaluation of 100."


def learning_rate_points(table: pd.DataFrame, published: pd.DataFrame | None) -> pd.DataFrame:
    """What learning_rate draws: rows of series, arm, step, accuracy, low, high, n, seed.

    `curve`: median, minimum and maximum over the n seeds still running. `match`: the median step at
    which an arm reaches the baseline's best, if most seeds do; `match_seed`: that of one seed, to
    the best of its own baseline. `overflow`: one run, at its last accuracy if it had one. `paper`:
    Figure 2 with its last step laid on the baseline's last; `paper_match`: Figure 3's steps so.
    """
    parts = [_curve_points(table), _match_points(table), _overflow_points(table)]
    if published is not None and statistics.baseline_of(table["arm"]) in set(table["arm"]):
        parts += [_paper_points(table, published), _paper_matches(table, published)]
    points = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return points.astype({"seed": "Int64"}) if "seed" in points else points.assign(seed=pd.NA)


def _curve_points(table: pd.DataFrame) -> pd.DataFrame:
    groups = table.dropna(subset="accuracy").groupby(["arm", "step"], sort=False)["accuracy"]
    points = groups.agg(accuracy="median", low="min", high="max", n="count").reset_index()
    return points.assign(series="curve")


def _match_points(table: pd.DataFrame) -> pd.DataFrame:
    found = statistics.curves(table)
    target = statistics.best(found, statistics.baseline_of(found)).median()
    steps = {arm: statistics.steps_to_baseline(found, arm) for arm in found}
    rows = []
    for arm, per_seed in steps.items():
        if (middle := per_seed.fillna(float("inf")).median()) < float("inf"):
            rows.append({"series": "match", "arm": arm, "step": middle, "accuracy": target,
                         "n": len(per_seed)})  # fmt: skip
        rows += [
            {"series": "match_seed", "arm": arm, "step": step, "seed": seed}
            for seed, step in per_seed.dropna().items()
        ]
    return pd.DataFrame(rows)


def _overflow_points(table: pd.DataFrame) -> pd.DataFrame:
    last = table.groupby(["arm", "seed"], sort=False).tail(1)
    last = last[last["diverged"]]
    last = last.assign(series="overflow", step=last["diverged_at_step"], n=1)
    return last[["series", "arm", "step", "accuracy", "n"]]


def _paper_points(table: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    points = published[published["arm"].isin(table["arm"])]
    steps = points["millions"] * laid(table, published)
    return points[["arm", "accuracy"]].assign(series="paper", step=steps)


def _paper_matches(table: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Figure 3's "steps to match Inception", for our arms that have one there."""
    rows = paper.table().reindex(table["arm"].unique()).dropna(subset="steps")
    steps = rows["steps"] * laid(table, published)
    return pd.DataFrame({"series": "paper_match", "arm": rows.index, "step": steps.to_numpy()})


def laid(table: pd.DataFrame, published: pd.DataFrame) -> float:
    """Our steps to a million of the paper's: its last is laid on our baseline's last."""
    return _baseline_steps(table) / published["millions"].max()


def _baseline_steps(table: pd.DataFrame) -> int:
    baseline = statistics.baseline_of(table["arm"])
    return table.loc[table["arm"] == baseline, "planned"].max()


@look
def learning_rate(table: pd.DataFrame, published: pd.DataFrame | None = None) -> Figure:
    """Accuracy (fraction) against training steps for every arm, in the look of Figure 2, and below
    it the steps to match the baseline.

    `published` is paper.curves(), or None to leave the paper out. One experiment, one scale.
    """
    points = learning_rate_points(table, published)
    series = {name: part for name, part in points.groupby("series", sort=False)}
    rows = compared(table, points)
    words = _learning_rate_words(table, series)
    below = caption_height(WIDTH, *words) + 0.72  # inches, up to the x axis
    strip = ROW * len(rows) + 0.32 * bool(rows)
    height = below + strip + 3.5
    figure = Figure((WIDTH, height))
    axes = figure.add_axes((0.075, (below + strip) / height, 0.705, 2.9 / height))
    numbers = tables.learning_rate(table).set_index("arm")
    _draw_accuracies(axes, table, points, series)
    _label_ends(axes, series.get("curve", points[:0]), table, numbers["best"])
    if "paper" in series:
        _top_axis(axes, laid(table, published))
    else:
        bare(axes, "top")
    if rows:
        axes.tick_params(labelbottom=False)
        lower = figure.add_axes((0.075, below / height, 0.705, ROW * len(rows) / height))
        _draw_matches(lower, rows, series, numbers)
        lower.set_xlim(axes.get_xlim())
    figure.axes[-1].set_xlabel("training steps")
    _key(figure, series, (below - 0.55) / height)
    what = ", ".join(filter(None, [network_name(table), "accuracy against steps"]))
    title(figure, f"{data_name(table)}: {what}, {with_bn(table)}")
    footer(figure, *words)
    return figure


def _draw_accuracies(
    axes: Axes, table: pd.DataFrame, points: pd.DataFrame, series: dict[str, pd.DataFrame]
) -> None:
    arms = list(table["arm"].unique())
    _draw_curves(axes, series, arms)
    _draw_overflows(axes, series, arms)
    _draw_target(axes, series)
    axes.set(ylabel=f"{split_of(table)} accuracy", ylim=(0, None))
    axes.set_xlim(0, table["planned"].max() * 1.015)
    axes.grid(axis="y", **GRID)
    axes.set_axisbelow(True)
    _zoom(axes, points, series, arms)


def _draw_curves(axes: Axes, series: dict[str, pd.DataFrame], arms: list[str]) -> None:
    for place, arm in enumerate(arms):
        for name, draw in (("paper", _draw_paper), ("curve", _draw_curve)):
            if name in series and (series[name]["arm"] == arm).any():
                draw(axes, series[name][series[name]["arm"] == arm], place)


def _draw_curve(axes: Axes, points: pd.DataFrame, place: int) -> None:
    """The later, the thinner: of two that coincide, both are seen."""
    arm = points["arm"].iloc[0]
    colour, marker = ink(arm, place)
    points = points.sort_values("step")
    axes.fill_between(points["step"], points["low"], points["high"], color=colour, alpha=0.2, lw=0)
    every = max(1, len(points) // 8)
    axes.plot(points["step"], points["accuracy"], color=colour, marker=marker, label=arm,
              markevery=every, zorder=3, linewidth=max(1, 2.2 - 0.2 * place),
              markersize=max(4, 5.4 - 0.2 * place), **HALO)  # fmt: skip


def _draw_paper(axes: Axes, points: pd.DataFrame, place: int) -> None:
    arm = points["arm"].iloc[0]
    colour, marker = ink(arm, place)
    every = max(1, len(points) // 4)
    axes.plot(points["step"], points["accuracy"], color=colour, marker=marker, markevery=every,
              label=f"paper: {arm}", **PAPERS)  # fmt: skip


def _draw_overflows(axes: Axes, series: dict[str, pd.DataFrame], arms: list[str]) -> None:
    """Crosses where runs overflowed; at 0 those that had no accuracy before."""
    points = series.get("overflow", pd.DataFrame(columns=["accuracy"]))
    for _, point in points.iterrows():
        colour = ink(point["arm"], arms.index(point["arm"])).colour
        there = pd.notna(point["accuracy"])
        axes.plot(point["step"], point["accuracy"] if there else 0, "x", color=colour, markersize=6,
                  label=f"overflow: {point['arm']}", zorder=5, clip_on=there)  # fmt: skip


def _draw_target(axes: Axes, series: dict[str, pd.DataFrame]) -> None:
    if "match" in series:
        axes.axhline(series["match"]["accuracy"].iloc[0], color=GREY, linewidth=0.6, zorder=1)


def _zoom(
    axes: Axes, points: pd.DataFrame, series: dict[str, pd.DataFrame], arms: list[str]
) -> None:
    """The ends of our curves again, larger, where they are close and there is room for it."""
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    late = points[points["step"] > left + 0.4 * (right - left)]
    ours = late[(late["series"] == "curve") & (late["step"] > left + 0.6 * (right - left))]
    if not len(ours) or late["accuracy"].min() < low + 0.5 * (high - low):
        return
    inset = axes.inset_axes((0.45, 0.1, 0.54, 0.4))
    _draw_curves(inset, {"curve": series["curve"]}, arms)
    _draw_target(inset, series)
    bottom, top = ours["accuracy"].min(), ours["accuracy"].max()
    inset.set_ylim(bottom - 0.1 * (top - bottom), top + 0.15 * (top - bottom))
    inset.set_xlim(ours["step"].min(), right)
    inset.grid(axis="y", **GRID)
    inset.tick_params(labelsize=SMALL - 1)
    axes.indicate_inset_zoom(inset, edgecolor=GREY, linewidth=0.6)


def compared(table: pd.DataFrame, points: pd.DataFrame) -> list[str]:
    """The arms that get to the baseline's best, in a seed of ours or in the paper."""
    kinds = ("match", "match_seed", "paper_match")
    found = set(points.loc[points["series"].isin(kinds), "arm"])
    return [arm for arm in table["arm"].unique() if arm in found]


def _draw_matches(
    axes: Axes, found: list[str], series: dict[str, pd.DataFrame], numbers: pd.DataFrame
) -> None:
    """A row for each arm: the steps of each seed, their median, and the paper's."""
    arms = list(numbers.index)
    for y, arm in enumerate(found):
        of = ink(arm, arms.index(arm))
        steps = {name: part.loc[part["arm"] == arm, "step"] for name, part in series.items()}
        axes.axhline(y, **GRID, zorder=0)
        for name, how in (
            ("match", {"marker": of.marker, "markersize": 6, "markeredgecolor": "black"}),
            ("match_seed", {"marker": "|", "markersize": 7, "markeredgecolor": "black"}),
            ("paper_match", {"marker": of.marker, "markerfacecolor": "none"}),
        ):
            for step in steps.get(name, ()):
                axes.plot(step, y, color=of.colour, label=f"{name}: {arm}", zorder=3, **how)
        row = numbers.loc[arm]
        text = tables.reached(row["steps"], row["reached"], row["pairs"])
        axes.text(1.045, y, f"{arm}  {text}", transform=axes.get_yaxis_transform(), va="center",
                  fontsize=SMALL)  # fmt: skip
    axes.set(ylim=(len(found) - 0.5, -0.5), yticks=[])
    axes.set_title("steps to match the baseline's best", loc="left", fontsize=SMALL, pad=3)
    bare(axes, "top", "left")


def _label_ends(axes: Axes, points: pd.DataFrame, table: pd.DataFrame, best: pd.Series) -> None:
    """Each arm's name and best accuracy at the right, level with the end of its line if it can be;
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
        text = f"{end['arm']}  {best[end['arm']]:.3f}"
        axes.plot(1.03, y, marker, color=colour, transform=axes.transAxes, clip_on=False, **HALO)
        if end["step"] == last:
            axes.plot([1.0, 1.02], [end["accuracy"], low + y * (high - low)], transform=across,
                      color=colour, linewidth=0.6, clip_on=False)  # fmt: skip
        text += " ×" if lost[end["arm"]] else ""
        axes.text(1.045, y, text, transform=axes.transAxes, va="center", fontsize=SMALL)


def _top_axis(axes: Axes, scale: float) -> None:
    top = axes.secondary_xaxis("top", functions=(lambda x: x / scale, lambda x: x * scale))
    top.set_xlabel("the paper's training steps, millions (dashed)")


def _key(figure: Figure, series: dict[str, pd.DataFrame], y: float) -> None:
    """What the kinds of lines and marks mean, in one row under the axis."""
    entries = {
        "curve": Line2D([], [], color=GREY, marker="o", label="ours: median, min to max", **HALO),
        "paper": Line2D([], [], color=GREY, marker="o", label="paper, Figures 2, 3", **PAPERS),
        "match": Line2D([], [], color=GREY, marker="o", markersize=6, linestyle="",
                        markeredgecolor="black", label="steps, median"),
        "match_seed": Line2D([], [], color="black", marker="|", markersize=7, linestyle="",
                             label="one seed"),
        "overflow": Line2D([], [], color=GREY, marker="x", linestyle="", label="overflowed"),
    }  # fmt: skip
    handles = [entry for name, entry in entries.items() if name in series]
    figure.legend(handles=handles, ncols=5, loc="center", bbox_to_anchor=(0.43, y),
                  columnspacing=1.5, handletextpad=0.5)  # fmt: skip


def _learning_rate_words(table: pd.DataFrame, series: dict[str, pd.DataFrame]) -> list[str]:
    batch = table["data.batch_size"].iloc[0]
    words = (
        f"{where(table)}, steps of {batch} images. Accuracy: fraction of images."
        f"{population(table)} Line: median, band: minimum to maximum over the seeds still running;"
        " at the right, medians of each run's best."
    )
    if "match" in series:
        words += (
            " Horizontal line: the baseline's best. Steps to match: each seed to the best of its"
            " own baseline, so not where median curves cross; one that never gets there counts as"
            " the slowest."
        )
    if "paper" in series:
        short = "; BN-x5 is drawn there to 2.1 million only" if "bn_x5" in set(table["arm"]) else ""
        words += (
            " Dashed, hollow marks: the paper's networks on ImageNet, read off its plot (within"
            " 0.003), their 31 million steps laid on our baseline's run"
            f"{short}."
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
