"""Figure 1(a), MNIST with and without BN beside the paper; and what all MNIST figures share."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from batchnorm.report import paper, statistics
from batchnorm.report.look import (
    GRID,
    SMALL,
    WIDTH,
    bare,
    data_name,
    footer,
    look,
    spread,
    title,
    where,
)

PAPER_STEPS = 50_000
ZOOM = (0.95, 0.985)  # accuracies, in the insets
PAIRS = (("baseline", "bn"), ("baseline_best", "bn_best"))  # at one rate; each at its own best


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
    series = {name: part for name, part in points.groupby(["series", "arm"], sort=False)}
    return {
        arm: distance(ours["step"], ours["accuracy"], read["step"], read["accuracy"])
        for (name, arm), ours in series.items()
        if name == "ours"
        for read in [series["paper", arm]]
    }


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
        _zoom(axes, part, table["planned"].max())
        axes.set_title(rates(table[table["arm"].isin(pair)], place), loc="left")
        axes.set(xlabel="training steps", ylabel="" if place else "test accuracy")
    key(figure, 0.225)
    title(figure, f"{data_name(table)}: test accuracy with and without BN, as in Figure 1(a)")
    footer(figure, *_accuracy_words(table, points))
    return figure


def _zoom(axes: Axes, points: pd.DataFrame, planned: float) -> None:
    """The end of both curves again, in the corner that they leave free."""
    inset = axes.inset_axes((0.38, 0.13, 0.6, 0.52))
    _draw_lines(inset, points)
    inset.spines["right"].set_visible(True)
    inset.set(xlim=(0, planned * 1.02), ylim=ZOOM)
    shown = [planned / 5, planned]
    inset.set_xticks(shown, [thousands(step) for step in shown])
    inset.set_yticks(ZOOM, [f"{level:g}" for level in ZOOM])
    inset.tick_params(length=2)


def _draw_accuracies(axes: Axes, points: pd.DataFrame) -> None:
    axes.grid(axis="y", **GRID)
    axes.set_axisbelow(True)
    _draw_lines(axes, points)
    ends = points[points["series"] == "ours"].groupby("arm", sort=False).tail(1)
    low, high = axes.get_ylim()
    heights = spread([(y - low) / (high - low) for y in ends["accuracy"]], 0.08, 0.99)
    for end, y in zip(ends.itertuples(), heights, strict=True):
        net = NETS[end.norm]
        axes.text(1.01, y, f"{net.label} {end.accuracy:.3f}", fontsize=SMALL, va="center",
                  color=net.colour, transform=axes.transAxes)  # fmt: skip


def _draw_lines(axes: Axes, points: pd.DataFrame) -> None:
    for (series, arm), part in points.groupby(["series", "arm"], sort=False):
        net = NETS[part["norm"].iloc[0]]
        if series == "paper":
            draw_read(axes, part["step"], part["accuracy"], net, f"paper: {arm}")
            continue
        axes.fill_between(
            part["step"], part["low"], part["high"], color=net.colour, alpha=0.2, lw=0
        )
        axes.plot(part["step"], part["accuracy"], color=net.colour, dashes=net.dashes, label=arm)


def draw_read(axes: Axes, x: pd.Series, y: pd.Series, net: Net, label: str) -> None:
    """Points read off a plot of the paper: hollow marks, joined by dots."""
    axes.plot(x, y, color=net.colour, linewidth=0.8, dashes=DOTS, marker=net.marker, markersize=3.6,
              markerfacecolor="white", markeredgewidth=0.7, zorder=4, label=label)  # fmt: skip


def rates(runs: pd.DataFrame, place: int) -> str:
    """The learning rates of a pair of arms, the first or second of PAIRS, as a panel's title."""
    by_norm = runs.groupby("model.norm")["optim.lr"].first()
    if not place:
        shared = ", ".join(f"{lr:g}" for lr in by_norm.unique())
        return f"both at learning rate {shared}"
    named = (f"{by_norm[norm]:g} {net.label}" for norm, net in NETS.items() if norm in by_norm)
    return "each at its best rate: " + ", ".join(named)


def key(figure: Figure, height: float) -> None:
    """What the kinds of lines mean, in one row under the axes."""
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
        " The paper gives no learning rate: its curves, read off its plot (the first point and the"
        " last without BN with difficulty),"
        f" are the same in both panels. Insets: the same lines from {ZOOM[0]:g} to {ZOOM[1]:g}.",
        f"Largest vertical distance of our median from the points of the paper: {', '.join(far)}.",
    ]


def run_words(table: pd.DataFrame) -> str:
    """Data, scale, seeds, batch, and initial deviations, for a footer."""
    scales = (0.01 * scale for scale in sorted(table["model.init_scale"].unique()))
    deviations = ", ".join(f"{deviation:g}" for deviation in scales)
    return (
        f"{where(table)}, steps of {table['data.batch_size'].iloc[0]} images, initial weights of"
        f" deviation {deviations}."
    )
