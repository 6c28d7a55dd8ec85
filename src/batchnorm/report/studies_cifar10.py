"""Figures of the studies of Dropout, depth and the shared decay: pure functions of a table."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from batchnorm.report import paper, statistics
from batchnorm.report.look import (
    BN,
    DOTS,
    GREY,
    GRID,
    HALO,
    INKS,
    PLAIN,
    SMALL,
    WIDTH,
    bare,
    data_name,
    edge_words,
    footer,
    ink,
    judged_on,
    look,
    seeds_and_mean,
    spread,
    ticks,
    title,
    where,
)
from batchnorm.report.statistics import CHANCE

OWN_RATES = "each network at its own learning rate"
DROPOUT_RATES = f"{OWN_RATES} (cifar10_tune_dropout; at 0.1 _tune and _tune_bn)"
DEPTH_RATES = (
    f"{OWN_RATES} (cifar10_tune_depth; sigmoids without BN, which learn at none, at the 1x rate)"
)

# --- Dropout --------------------------------------------------------------------------------------


def dropout_points(table: pd.DataFrame) -> pd.DataFrame:
    """What dropout draws: run_points with norm and dropout, and `gap`.

    `gap`: accuracy on training images less that on test images, both as the network infers, at the
    end of the run; NaN where it was not measured or the run overflowed.
    """
    points = statistics.run_points(table, norm="model.norm", dropout="model.dropout")
    last = table.groupby(["arm", "seed"], sort=False).tail(1).reset_index(drop=True)
    measured = last.get("training_set/accuracy", pd.Series(float("nan"), last.index))
    return points.assign(gap=(measured - last["accuracy"]).mask(last["diverged"]))


@look
def dropout(table: pd.DataFrame) -> Figure:
    """Test accuracy, and its distance to the training accuracy, against Dropout, +- BN."""
    points = dropout_points(table)
    shares = sorted(points["dropout"].unique())  # evenly apart: in proportion, three would crowd
    points = points.assign(place=points["dropout"].map(shares.index))
    figure = Figure((WIDTH, 3.3))
    panels = [figure.add_axes((left, 0.275, 0.39, 0.585)) for left in (0.09, 0.6)]
    for axes, quantity in zip(panels, ("best", "gap"), strict=True):
        for norm, of, label in (("batch", BN, "with BN"), ("none", PLAIN, "without BN")):
            part = points[points["norm"] == norm]
            seeds_and_mean(axes, part, "place", quantity, of, label)
        bare(axes, "top")
        axes.grid(axis="y", **GRID)
        axes.set_xlabel("Dropout: probability of dropping a unit")
        axes.set_xticks(range(len(shares)), [f"{share:g}" for share in shares])
        axes.set_xlim(-0.15, len(shares) - 0.85)
    _mark_without_dropout(panels[0], points)
    panels[0].set_ylabel("best test accuracy")
    panels[1].set_ylabel("training − test accuracy")
    panels[1].axhline(0, color=GREY, linewidth=0.6)
    figure.legend(*panels[0].get_legend_handles_labels(), ncols=2, loc="upper right",
                  bbox_to_anchor=(0.995, 0.995))  # fmt: skip
    title(figure, f"{data_name(table)}: what Dropout adds, with and without BN")
    words = (
        f"{where(table)}. Left: best accuracy of each run (fraction of test images),"
        f" {DROPOUT_RATES}. Right: accuracy on training images less that on test images at the"
        " end, neither augmented, with population statistics."
        f" {DOTS} The probabilities are drawn evenly apart."
    )
    footer(figure, words)
    return figure


def _mark_without_dropout(axes: Axes, points: pd.DataFrame) -> None:
    """A line at the height of BN alone: Dropout helps it only where the blue line is above."""
    level = points.loc[(points["norm"] == "batch") & (points["dropout"] == 0), "best"].mean()
    if pd.notna(level):
        axes.axhline(level, color=BN.colour, linewidth=0.8, dashes=(4, 2), zorder=1)
        axes.annotate("BN, no Dropout", (0.02, level), xycoords=("axes fraction", "data"),
                      xytext=(0, -4), textcoords="offset points", va="top", fontsize=SMALL,
                      color=BN.colour)  # fmt: skip


# --- depth ----------------------------------------------------------------------------------------

KINDS = {
    ("batch", "relu"): ("BN, ReLU", BN, "-"),
    ("batch", "sigmoid"): ("BN, sigmoid", INKS["bn_x5_sigmoid"], "--"),
    ("none", "relu"): ("no BN, ReLU", PLAIN, "-"),
    ("none", "sigmoid"): ("no BN, sigmoid", INKS["baseline_sigmoid"], "--"),
}


def depth_points(table: pd.DataFrame) -> pd.DataFrame:
    """What depth draws: run_points with norm, activation and depth (weight layers)."""
    return statistics.run_points(
        table, norm="model.norm", activation="model.activation", depth="model.depth"
    )


@look
def depth(table: pd.DataFrame) -> Figure:
    """Best test accuracy against depth, for ReLU and sigmoid, with and without BN."""
    points = depth_points(table)
    figure = Figure((WIDTH, 3.7))
    axes = figure.add_axes((0.075, 0.235, 0.71, 0.67))
    axes.set_xscale("log")
    axes.set_ylim(0, points["best"].max() * 1.08)
    ends = []
    for (norm, activation), (label, of, style) in KINDS.items():
        part = points[(points["norm"] == norm) & (points["activation"] == activation)]
        if len(part):
            seeds_and_mean(axes, part, "depth", "best", of, label, linestyle=style)
            middle = part.groupby("depth")["best"].mean()
            ends.append((label, of, middle.iloc[-1]))
    _label_lines(axes, ends)
    axes.axhline(CHANCE, color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    axes.annotate("chance", (0, CHANCE), xycoords=("axes fraction", "data"), xytext=(2, -9),
                  textcoords="offset points", fontsize=SMALL, color=GREY)  # fmt: skip
    bare(axes, "top")
    axes.grid(axis="y", **GRID)
    axes.set(xlabel="weight layers", ylabel="best test accuracy")
    ticks(axes, points["depth"])
    title(figure, f"{data_name(table)}: how deep a network still learns, with and without BN")
    words = (
        f"{where(table)}. Best accuracy of each run (fraction of test images), equally many steps"
        f" at all depths, {DEPTH_RATES}. {DOTS}"
    )
    footer(figure, words)
    return figure


def _label_lines(axes: Axes, ends: list[tuple]) -> None:
    """The lines' names at the right, level with their ends if they can be."""
    high = axes.get_ylim()[1]
    heights = spread([end / high for *_, end in ends], 0.065, 0.98)
    for (label, of, end), y in zip(ends, heights, strict=True):
        axes.plot(1.04, y, of.marker, color=of.colour, transform=axes.transAxes, clip_on=False,
                  **HALO)  # fmt: skip
        axes.text(1.06, y, f"{label}  {end:.3f}", transform=axes.transAxes, va="center",
                  fontsize=SMALL)  # fmt: skip


# --- the decay that arms share --------------------------------------------------------------------


def schedule_points(table: pd.DataFrame) -> pd.DataFrame:
    """What schedule draws: tuning_points with final_lr and `kind`, the arm without its final_lr.

    Rows of kind "mean" hold the mean over the kinds of their means over seeds; `chosen` marks the
    final_lr at which it is highest.
    """
    points = statistics.tuning_points(table, final_lr="optim.final_lr")
    points = points.assign(kind=points["arm"].str.rpartition("_")[0])
    by_kind = points.groupby(["final_lr", "kind"])["best"].mean()
    means = by_kind.groupby("final_lr").mean().reset_index().assign(kind="mean")
    every = pd.concat([points, means], ignore_index=True)
    return every.assign(chosen=every["final_lr"] == means.loc[means["best"].idxmax(), "final_lr"])


def dots(points: pd.DataFrame) -> str:
    """What the points of runs are."""
    return DOTS if points["seed"].nunique() > 1 else "A point is one run."


@look
def schedule(table: pd.DataFrame) -> Figure:
    """Best accuracy on the held-out split against the rate left at the end, a line per arm."""
    points = schedule_points(table)
    figure = Figure((WIDTH, 3.5))
    axes = figure.add_axes((0.075, 0.25, 0.74, 0.62))
    low, high = points["best"].min(), points["best"].max()
    axes.set_ylim(max(0, low - 0.05 * (high - low) - 0.01), high + 0.1 * (high - low) + 0.01)
    for place, kind in enumerate(paper.ordered(set(points["kind"]) - {"mean"})):
        part = points[points["kind"] == kind]
        seeds_and_mean(axes, part, "final_lr", "best", ink(kind, place), kind)
    means = points[points["kind"] == "mean"]
    axes.plot(means["final_lr"], means["best"], "D--", color=GREY, markersize=6, label="mean",
              **HALO)  # fmt: skip
    best = means[means["chosen"]].iloc[0]
    axes.axvline(best["final_lr"], color=GREY, linewidth=0.8, linestyle=":", zorder=1)
    axes.annotate(f"★ chosen: {best['final_lr']:g}", (best["final_lr"], 1), va="bottom",
                  xycoords=("data", "axes fraction"), ha="center")  # fmt: skip
    bare(axes, "top")
    axes.grid(axis="y", **GRID)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.set(xlabel="final_lr: the rate at the end of the run, as a share of the initial rate",
             ylabel="best validation accuracy")  # fmt: skip
    ticks(axes, points["final_lr"])
    title(figure, f"{data_name(table)}: the decay of the learning rate that all arms share")
    words = (
        f"{where(table)}. Best accuracy of each run (fraction), on {judged_on(table)}."
        f" {dots(points)} Diamonds: the mean of the arms; star: its highest value, which the rule"
        " chooses."
        f"{edge_words(points['final_lr'], [best['final_lr']])}"
    )
    footer(figure, words)
    return figure
