"""Figure 1: MNIST with and without BN, beside the paper's curves; pure functions of a table."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from batchnorm.report import paper, statistics
from batchnorm.report.look import (
    SMALL,
    WIDTH,
    bare,
    data_name,
    footer,
    look,
    seeds_of,
    spread,
    title,
)

PAPER_STEPS = 50_000
PAIRS = (("baseline", "bn"), ("baseline_best", "bn_best"))  # at one rate; each at its own best
PERCENTILES = (85, 50, 15)


class Net(NamedTuple):
    """What sets a network apart, in colour and in grey; the dashes are the paper's."""

    label: str
    colour: str
    marker: str
    dashes: tuple[float, ...]


NETS = {
    "none": Net("without BN", "#000000", "o", (4, 1.5)),
    "batch": Net("with BN", "#0072B2", "s", ()),
}
DOTS = (1, 1.6)  # of the paper's lines, between hollow marks at what was read off


class Distance(NamedTuple):
    """The largest vertical distance between two curves, and the step where it is."""

    largest: float
    step: float


def distance(
    steps: Iterable[float], values: Iterable[float], at: Iterable[float], read: Iterable[float]
) -> Distance:
    """How far a curve is from points read off another: max |curve(step) - read| over the points.

    The curve is linear between its steps, and constant beyond its ends; NaN if it has none.
    """
    steps, values, at, read = (np.asarray(list(of), float) for of in (steps, values, at, read))
    if not steps.size or not at.size:
        return Distance(float("nan"), float("nan"))
    gaps = np.abs(np.interp(at, steps, values) - read)
    return Distance(float(gaps.max()), float(at[gaps.argmax()]))


def norms_of(table: pd.DataFrame) -> dict[str, str]:
    """model.norm of each arm."""
    return dict(statistics.runs(table).groupby("arm", sort=False)["model.norm"].first())


def thousands(step: float) -> str:
    """A step as the paper writes it: 10K."""
    return f"{step / 1000:.3g}K" if step >= 1000 else f"{step:.0f}"


def step_axis(axes: Axes, planned: float) -> None:
    """The paper's x axis: ticks at fifths of the run (10K to 50K)."""
    ticks = [planned * i / 5 for i in range(1, 6)]
    axes.set_xticks(ticks, [thousands(tick) for tick in ticks])
    axes.set_xlim(0, planned * 1.02)


# --- Figure 1(a) ----------------------------------------------------------------------------------


def accuracy_points(table: pd.DataFrame) -> pd.DataFrame:
    """What accuracy draws: rows of series, arm, norm, step, accuracy, low, high, n, approximate.

    `ours`: median, minimum and maximum over the n seeds still running. `paper`: its Figure 1(a),
    once for each arm with that norm, its 50,000 steps laid on our run. Arms of PAIRS only.
    """
    table = table[table["arm"].isin([arm for pair in PAIRS for arm in pair])]
    norms = norms_of(table)
    groups = table.dropna(subset="accuracy").groupby(["arm", "step"], sort=False)["accuracy"]
    ours = groups.agg(accuracy="median", low="min", high="max", n="count").reset_index()
    parts = [ours.assign(series="ours", norm=ours["arm"].map(norms))]
    published = paper.mnist_accuracy()
    published["step"] *= table["planned"].max() / PAPER_STEPS
    for arm, norm in norms.items():
        parts.append(published[published["norm"] == norm].assign(series="paper", arm=arm))
    columns = ["series", "arm", "norm", "step", "accuracy", "low", "high", "n", "approximate"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)


def accuracy_distances(points: pd.DataFrame) -> dict[str, Distance]:
    """By arm, how far our median is from the paper's curve."""
    series = {key: part for key, part in points.groupby(["series", "arm"], sort=False)}
    return {
        arm: distance(*(part[c] for part in (ours, series["paper", arm]) for c in _XY))
        for (name, arm), ours in series.items()
        if name == "ours"
    }


_XY = ("step", "accuracy")


@look
def accuracy(table: pd.DataFrame) -> Figure:
    """Figure 1(a): test accuracy against steps; at one learning rate, and each net at its best."""
    points = accuracy_points(table)
    figure = Figure((WIDTH, 3.9))
    for place, pair in enumerate(PAIRS):
        axes = figure.add_axes((0.065 + 0.482 * place, 0.375, 0.325, 0.5))
        part = points[points["arm"].isin(pair)]
        bare(axes, "top")
        axes.set_ylim(0.7, 1.0)
        _draw_accuracies(axes, part)
        step_axis(axes, table["planned"].max())
        axes.set_yticks([0.7, 0.8, 0.9, 1.0], ["0.7", "0.8", "0.9", "1"])
        axes.set_title(_rates(table[table["arm"].isin(pair)], place), loc="left")
        axes.set(xlabel="training steps", ylabel="" if place else "test accuracy")
    _key(figure, 0.225)
    title(figure, f"{data_name(table)}: test accuracy with and without BN, as in Figure 1(a)")
    footer(figure, *_accuracy_words(table, points))
    return figure


def _draw_accuracies(axes: Axes, points: pd.DataFrame) -> None:
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.5)
    axes.set_axisbelow(True)
    for (series, arm), part in points.groupby(["series", "arm"], sort=False):
        net = NETS[part["norm"].iloc[0]]
        if series == "paper":
            draw_read(axes, part["step"], part["accuracy"], net, f"paper: {arm}")
            continue
        axes.fill_between(
            part["step"], part["low"], part["high"], color=net.colour, alpha=0.2, lw=0
        )
        axes.plot(part["step"], part["accuracy"], color=net.colour, dashes=net.dashes, label=arm)
    ends = points[points["series"] == "ours"].groupby("arm", sort=False).tail(1)
    low, high = axes.get_ylim()
    heights = spread([(y - low) / (high - low) for y in ends["accuracy"]], 0.08, 0.99)
    for end, y in zip(ends.itertuples(), heights, strict=True):
        axes.text(1.01, y, f"{NETS[end.norm].label} {end.accuracy:.3f}", fontsize=SMALL,
                  va="center", transform=axes.transAxes)  # fmt: skip


def draw_read(axes: Axes, x: pd.Series, y: pd.Series, net: Net, label: str) -> None:
    """Points read off a plot of the paper: hollow marks, joined by dots."""
    axes.plot(x, y, color=net.colour, linewidth=0.8, dashes=DOTS, marker=net.marker, markersize=3.6,
              markerfacecolor="white", markeredgewidth=0.7, zorder=4, label=label)  # fmt: skip


def _rates(runs: pd.DataFrame, place: int) -> str:
    by_norm = runs.groupby("model.norm")["optim.lr"].first()
    if not place:
        rates = ", ".join(f"{lr:g}" for lr in by_norm.unique())
        return f"both at learning rate {rates}"
    named = (f"{by_norm[norm]:g} {net.label}" for norm, net in NETS.items() if norm in by_norm)
    return "each at its best rate: " + ", ".join(named)


def _key(figure: Figure, height: float) -> None:
    kinds = [(net, ours) for ours in (True, False) for net in NETS.values()]
    handles = [
        Line2D([], [], color=net.colour, dashes=net.dashes, label=f"ours, {net.label}")
        if ours
        else Line2D([], [], color=net.colour, linewidth=0.8, dashes=DOTS, marker=net.marker,
                    markersize=3.6, markerfacecolor="white", markeredgewidth=0.7,
                    label=f"paper, {net.label}")
        for net, ours in kinds
    ]  # fmt: skip
    figure.legend(handles=handles, ncols=4, loc="center", bbox_to_anchor=(0.5, height),
                  columnspacing=1.5, handlelength=2.6)  # fmt: skip


def _accuracy_words(table: pd.DataFrame, points: pd.DataFrame) -> list[str]:
    far = (
        f"{arm} {found.largest:.3f} (at {thousands(found.step)})"
        for arm, found in accuracy_distances(points).items()
    )
    return [
        f"{run_words(table)} Accuracy: fraction of the test images, population statistics. Line:"
        " median, band: minimum to maximum over the seeds; the number: the last median."
        " The paper gives no learning rate: its curves, read off its plot, are the same in both"
        " panels.",
        f"Largest vertical distance of our median from the points of the paper: {', '.join(far)}.",
    ]


def run_words(table: pd.DataFrame) -> str:
    """Data, scale, seeds, batch, and initial deviations, for a footer."""
    scales = (0.01 * scale for scale in sorted(table["model.init_scale"].unique()))
    deviations = ", ".join(f"{deviation:g}" for deviation in scales)
    return (
        f"{data_name(table)}, {table['scale'].iloc[0]} scale, {seeds_of(table)} per arm, steps of"
        f" {table['data.batch_size'].iloc[0]} images, initial weights of deviation {deviations}."
    )


# --- Figure 1(b), (c) -----------------------------------------------------------------------------


def median_seed(table: pd.DataFrame, arm: str) -> int:
    """The seed of an arm whose final accuracy is the median (the lower of two)."""
    runs = statistics.curves(table)[arm]
    ranked = sorted(runs, key=lambda seed: (runs[seed].at(runs[seed].planned), seed))
    return ranked[(len(ranked) - 1) // 2]


def percentile_points(table: pd.DataFrame) -> pd.DataFrame:
    """What percentiles draws: rows of series, arm, norm, percentile, step, value, seed, unit.

    `ours`: the most typical unit (watched.medoid) of the last hidden layer, in the seed whose
    final accuracy is the median; `paper`: its Figure 1(b) or (c), the run laid on ours.
    """
    parts = []
    published = paper.mnist_percentiles()
    for arm, norm in norms_of(table[table["arm"].isin(PAIRS[0])]).items():
        seed = median_seed(table, arm)
        run = table[(table["arm"] == arm) & (table["seed"] == seed)].sort_values("step")
        named = {f"typical/p{p}": p for p in PERCENTILES}
        ours = run.melt("step", list(named), "percentile", "value").dropna(subset="value")
        ours["percentile"] = ours["percentile"].map(named)
        if not len(ours):
            continue  # overflowed before its first evaluation
        unit = int(run["typical/unit"].max())
        parts.append(ours.assign(series="ours", arm=arm, norm=norm, seed=seed, unit=unit))
        read = published[published["norm"] == norm]
        steps = read["fraction"] * run["planned"].max()
        parts.append(read.assign(series="paper", arm=arm, step=steps))
    columns = ["series", "arm", "norm", "percentile", "step", "value", "seed", "unit"]
    points = pd.concat(parts, ignore_index=True).reindex(columns=columns)
    return points.astype({"seed": "Int64", "unit": "Int64"})


def percentile_distances(points: pd.DataFrame) -> dict[tuple[str, int], Distance]:
    """By arm and percentile, how far our curve is from the paper's."""
    series = {key: part for key, part in points.groupby(["series", "arm", "percentile"])}
    return {
        (arm, percentile): distance(
            ours["step"], ours["value"], *(series["paper", arm, percentile][c] for c in _PV)
        )
        for (name, arm, percentile), ours in series.items()
        if name == "ours"
    }


_PV = ("step", "value")


@look
def percentiles(table: pd.DataFrame) -> Figure:
    """Figures 1(b) and (c): how the inputs of one typical sigmoid are distributed, over the run."""
    points = percentile_points(table)
    limit = max(2.5, 1.05 * points["value"].abs().max())
    figure = Figure((WIDTH, 4.2))
    for place, (letter, norm) in enumerate(zip("bc", NETS, strict=True)):
        axes = figure.add_axes((0.07 + 0.485 * place, 0.42, 0.385, 0.46))
        bare(axes, "top")
        part = points[points["norm"] == norm]
        for percentile in PERCENTILES:
            _draw_percentile(axes, part[part["percentile"] == percentile], NETS[norm], percentile)
        step_axis(axes, table["planned"].max())
        axes.set_ylim(-limit, limit)
        axes.set_yticks([-2, 0, 2])
        axes.set_title(f"({letter}) {NETS[norm].label}", loc="left")
        axes.set(xlabel="training steps", ylabel="" if place else "input of the sigmoid")
    _key(figure, 0.27)
    title(figure, f"{data_name(table)}: inputs of one sigmoid of the last hidden layer, as in"
                  " Figures 1(b) and (c)")  # fmt: skip
    footer(figure, *_percentile_words(table, points))
    return figure


def _draw_percentile(axes: Axes, points: pd.DataFrame, net: Net, percentile: int) -> None:
    series = {name: part for name, part in points.groupby("series")}
    if "paper" in series:
        read = series["paper"]
        draw_read(axes, read["step"], read["value"], net, f"paper: {percentile} %")
    if "ours" not in series:
        return
    ours = series["ours"]
    axes.plot(ours["step"], ours["value"], color=net.colour, dashes=net.dashes,
              linewidth=2.0 if percentile == 50 else 1.2, label=f"{percentile} %")  # fmt: skip
    axes.text(1.005, ours["value"].iloc[-1], f"{percentile} %", fontsize=SMALL, va="center",
              transform=axes.get_yaxis_transform())  # fmt: skip


def _percentile_words(table: pd.DataFrame, points: pd.DataFrame) -> list[str]:
    ours = points[points["series"] == "ours"].drop_duplicates("arm")
    units = ", ".join(f"{r.arm} unit {r.unit} of seed {r.seed}" for r in ours.itertuples())
    found = percentile_distances(points)
    far = "; ".join(
        f"{arm} "
        + ", ".join(
            f"{p} % {found[arm, p].largest:.2f} (at {thousands(found[arm, p].step)})"
            for p in PERCENTILES
        )
        for arm in ours["arm"]
        if (arm, 50) in found
    )
    rate = ", ".join(
        f"{lr:g}" for lr in table.loc[table["arm"].isin(PAIRS[0]), "optim.lr"].unique()
    )
    return [
        f"{run_words(table)} Learning rate {rate}, as on the left of Figure 1(a). 15th, 50th and"
        " 85th percentiles over 1,000 test images, population statistics, no units. The unit: the"
        " nearest to all others of its layer, in the seed of median final accuracy, whatever the"
        f" paper's does: {units}. The paper does not say how its unit was chosen.",
        f"Largest vertical distance from the points of the paper: {far}.",
    ]
