"""Figure of how much the scale of the initial weights matters on MNIST, for claim C14."""

import pandas as pd
from matplotlib.figure import Figure

from batchnorm.report import statistics
from batchnorm.report.look import GREY, SMALL, WIDTH, bare, data_name, footer, look, title
from batchnorm.report.mnist import NETS, run_words
from batchnorm.report.mnist_tune import ends

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1)  # of the error, on its axis


def initialization_points(table: pd.DataFrame) -> pd.DataFrame:
    """What initialization draws: one row per run: arm, norm, lr, std, seed, accuracy (at the end),
    diverged."""
    rows = ends(table, "last")
    return rows.reset_index(drop=True)


@look
def initialization(table: pd.DataFrame) -> Figure:
    """The error after equally many steps against the deviation of the initial weights (C14)."""
    points = initialization_points(table)
    figure = Figure((WIDTH, 3.6))
    axes = figure.add_axes((0.085, 0.285, 0.895, 0.615))
    bare(axes, "top")
    axes.axvspan(0.01, 1, color="#F0F0F0", zorder=0, lw=0)
    axes.axhline(1 - statistics.CHANCE, color=GREY, linewidth=0.6)
    axes.text(0.01, 1 - statistics.CHANCE, "chance", ha="left", va="bottom", fontsize=SMALL,
              color=GREY, transform=axes.get_yaxis_transform())  # fmt: skip
    for norm, part in points.groupby("norm", sort=False):
        net, error = NETS[norm], 1 - part["accuracy"]
        mean = error.groupby(part["std"]).mean()
        axes.plot(part["std"], error, net.marker, color=net.colour, markersize=2.5)
        axes.plot(mean.index, mean, color=net.colour, dashes=net.dashes,
                  marker=net.marker, markerfacecolor="white", label=net.label)  # fmt: skip
        side = {"batch": (0, -13), "none": (-9, 6)}[norm]  # below, or above, every seed's point
        ends = error.groupby(part["std"]).agg("min" if norm == "batch" else "max")
        for std, height in ends.items():
            axes.annotate(f"{100 * mean[std]:.1f} %", (std, height), xytext=side, ha="center",
                          textcoords="offset points", fontsize=SMALL, color=net.colour)  # fmt: skip
    stds = sorted(points["std"].unique())
    axes.set_xscale("log")
    axes.set_xticks(stds, [f"{std:g}" for std in stds])
    axes.set_xticks([], minor=True)
    axes.set_yscale("log")
    axes.set_ylim(min(0.02, 0.6 * (1 - points["accuracy"].max())), 1.2)
    axes.set_yticks(LEVELS, [f"{100 * level:.0f} %" for level in LEVELS])
    axes.set_yticks([], minor=True)
    axes.set(xlabel="deviation of the initial weights",
             ylabel=f"test error after {table['planned'].max():,} steps")  # fmt: skip
    axes.legend(loc="center", bbox_to_anchor=(0.5, 0.7), handlelength=3)
    title(figure, f"{data_name(table)}: how much the scale of the initial weights matters")
    footer(figure, initialization_words(table, points))
    return figure


def initialization_words(table: pd.DataFrame, points: pd.DataFrame) -> str:
    """What stands under the figure."""
    inside = points[points["std"].between(0.0099, 1.01)]
    falls = inside.groupby(["norm", "seed"])["accuracy"].agg(lambda of: of.max() - of.min())
    lost = ", ".join(
        f"{100 * falls[norm].mean():.1f} points {net.label}"
        for norm, net in NETS.items()
        if norm in falls.index.get_level_values(0)
    )
    rates = points.groupby("norm")["lr"].first()
    rates = ", ".join(f"{rates[norm]:g} {net.label}" for norm, net in NETS.items() if norm in rates)
    return (
        f"{run_words(table)} Learning rate {rates}. Error: share of the test images,"
        " population statistics, on a logarithmic axis; small points: one seed, large: mean."
        " Shaded: a tenth to ten times"
        f" a deviation of 0.1; within it, the best deviation is better than the worst by {lost}."
    )
