"""Figure of how much the scale of the initial weights matters on MNIST, for claim C14."""

import pandas as pd
from matplotlib.figure import Figure

from batchnorm.report import statistics
from batchnorm.report.look import GREY, SMALL, WIDTH, bare, data_name, footer, look, title
from batchnorm.report.mnist import NETS, run_words
from batchnorm.report.mnist_tune import ends


def initialization_points(table: pd.DataFrame) -> pd.DataFrame:
    """What initialization draws: one row per run: arm, norm, lr, std, seed, accuracy (at the end),
    diverged."""
    rows = ends(table, "last")
    return rows.reset_index(drop=True)


@look
def initialization(table: pd.DataFrame) -> Figure:
    """Accuracy after equally many steps against the deviation of the initial weights (C14)."""
    points = initialization_points(table)
    figure = Figure((WIDTH, 3.6))
    axes = figure.add_axes((0.075, 0.285, 0.905, 0.615))
    bare(axes, "top")
    axes.axvspan(0.01, 1, color="#F0F0F0", zorder=0, lw=0)
    axes.axhline(statistics.CHANCE, color=GREY, linewidth=0.6)
    axes.text(0.01, statistics.CHANCE + 0.01, "chance", ha="left", fontsize=SMALL, color=GREY,
              transform=axes.get_yaxis_transform())  # fmt: skip
    for norm, part in points.groupby("norm", sort=False):
        net, at = NETS[norm], part.groupby("std")["accuracy"]
        axes.plot(part["std"], part["accuracy"], net.marker, color=net.colour, markersize=2.5)
        axes.plot(at.mean().index, at.mean(), color=net.colour, dashes=net.dashes,
                  marker=net.marker, markerfacecolor="white", label=net.label)  # fmt: skip
        up = norm == "batch"
        for std, mean in at.mean().items():
            axes.annotate(f"{mean:.3f}", (std, mean), ha="center", xytext=(0, 7 if up else -13),
                          textcoords="offset points", fontsize=SMALL, color=net.colour,
                          bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.5})  # fmt: skip
    stds = sorted(points["std"].unique())
    axes.set_xscale("log")
    axes.set_xticks(stds, [f"{std:g}" for std in stds])
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, 1.08)
    axes.set(xlabel="deviation of the initial weights",
             ylabel=f"test accuracy after {table['planned'].max():,} steps")  # fmt: skip
    axes.legend(loc="best", handlelength=3)
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
    rates = ", ".join(f"{lr:g}" for lr in sorted(points["lr"].unique()))
    return (
        f"{run_words(table)} Learning rate {rates}. Accuracy: fraction of the test images,"
        " population statistics; small points: one seed, large: mean. Shaded: a tenth to ten times"
        f" a deviation of 0.1; within it, the best deviation is better than the worst by {lost}."
    )
