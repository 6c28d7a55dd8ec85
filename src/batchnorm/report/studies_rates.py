"""Figure of the studies that choose a rate for every arm: a pure function of a table of runs."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from batchnorm.report import statistics
from batchnorm.report.claims import UNTRAINED
from batchnorm.report.look import (
    BN,
    GREY,
    WIDTH,
    bare,
    data_name,
    footer,
    judged_on,
    look,
    title,
    where,
)

SUBJECTS = {  # of an experiment, after the name of its data
    "cifar10_tune_dropout": "learning rates, by Dropout",
    "cifar10_tune_depth": "learning rates, by depth",
    "cifar10_tune_ablations": "learning rates, by batch size and of sigmoids with BN",
    "cifar10_tune_sigmoid": "is there a start from which 10 sigmoid layers learn without BN?",
}
NAMES = {  # what the names of arms say
    "cifar10_tune_dropout": "Arms end in the probability of dropping a unit.",
    "cifar10_tune_depth": "Arms end in the number of weight layers.",
    "cifar10_tune_ablations": "Arms end in the images in a mini-batch.",
    "cifar10_tune_sigmoid": "Initial weights: He's; Glorot's; four times Glorot's deviation;"
    " deviation 0.01 in every layer.",
}


def subject(table: pd.DataFrame) -> str:
    """What the study asks."""
    return SUBJECTS.get(table["experiment"].iloc[0], "the learning rate of every arm")


def points(table: pd.DataFrame) -> pd.DataFrame:
    """What draw draws: one row per run: arm (without its rate), lr, seed, best, diverged, chosen.

    `best` is the highest accuracy, chance for a run that overflowed. `chosen` marks the rate of
    an arm with the highest mean over the seeds, if that is UNTRAINED or more.
    """
    rows = statistics.tuning_points(table, lr="optim.lr")
    rows["arm"] = rows["arm"].str.rpartition("_")[0]
    means = rows.groupby(["arm", "lr"], sort=False)["best"].mean()
    of_arm = means.groupby("arm", sort=False)
    chosen = {key for key in of_arm.idxmax() if means[key] >= UNTRAINED}
    return rows.assign(chosen=[key in chosen for key in zip(rows["arm"], rows["lr"], strict=True)])


def at_edge(found: pd.DataFrame) -> list[str]:
    """The arms whose chosen rate is the lowest or highest that was tried."""
    edges = {found["lr"].min(), found["lr"].max()}
    return list(found.loc[found["chosen"] & found["lr"].isin(edges), "arm"].unique())


def words(
    table: pd.DataFrame,
    drawn: str = "mean over the seeds",
    star: str = "Framed, in bold",
    lost: str = "× n: n of the seeds overflowed, and count as chance",
) -> str:
    """What the figure shows, as its caption: what is drawn of the seeds, and how the rates chosen
    and what is lost are."""
    found = points(table)
    edge = at_edge(found)
    more = [
        f"{where(table)}. Best accuracy (fraction of {judged_on(table)}; {drawn}) of each arm at"
        f" each rate; chance is {statistics.CHANCE:g}.",
        f"{star}: the rate chosen, that of the highest mean." * bool(found["chosen"].any()),
        f"No arm has learned: reached {UNTRAINED:g}, at some rate." * (not found["chosen"].any()),
        f"{lost}." * bool(found["diverged"].any()),
        _alike(table),
        f"At an edge of the ladder, so that better may lie beyond: {', '.join(edge)}." * bool(edge),
        NAMES.get(table["experiment"].iloc[0], ""),
    ]
    return " ".join(filter(None, more))


def _alike(table: pd.DataFrame) -> str:
    """What all networks are, where all are of one kind."""
    kinds = set(zip(table["model.norm"], table["model.activation"], strict=True))
    if len(kinds) > 1:
        return ""
    ((norm, activation),) = kinds
    return f"All: {activation}, with{'out' if norm == 'none' else ''} BN."


@look
def draw(table: pd.DataFrame) -> Figure:
    """Best accuracy on the held-out split (fraction) of every arm at every rate, as a matrix."""
    found = points(table)
    arms, rates = list(found["arm"].unique()), sorted(found["lr"].unique())
    height = 1.24 + 0.19 * len(arms)  # inches
    figure = Figure((WIDTH, height))
    axes = figure.add_axes((0.2, 0.88 / height, 0.78, 0.19 * len(arms) / height))
    for (arm, lr), cell in found.groupby(["arm", "lr"]):
        _draw_cell(axes, rates.index(lr), arms.index(arm), cell, found["best"].max())
    bare(axes, "top", "left", "bottom")
    axes.tick_params(length=0)
    axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axes.set_yticks(range(len(arms)), arms)
    axes.set(xlim=(-0.5, len(rates) - 0.5), ylim=(len(arms) - 0.5, -0.5))
    axes.set_xlabel("initial learning rate")
    title(figure, f"{data_name(table)}: {subject(table)}")
    footer(figure, words(table))
    return figure


def _draw_cell(axes: Axes, x: int, y: int, cell: pd.DataFrame, most: float) -> None:
    """One arm at one rate: the darker, the better."""
    mean, chosen = cell["best"].mean(), cell["chosen"].any()
    most = max(most, UNTRAINED)  # where nothing learns, nothing is dark
    shade = 0.6 * max(0.0, mean - statistics.CHANCE) / (most - statistics.CHANCE)
    frame = {"edgecolor": "black", "linewidth": 1.2} if chosen else {"linewidth": 0}
    colour = to_rgba(BN.colour, shade)
    axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=colour, **frame))
    lost = int(cell["diverged"].sum())
    text = f"{mean:.3f}" + (f"  × {lost}" if lost else "")
    weak = cell["diverged"].all() or mean < UNTRAINED
    axes.text(x, y, text, ha="center", va="center", weight="bold" if chosen else "normal",
              color=GREY if weak else "black")  # fmt: skip
