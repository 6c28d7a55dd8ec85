"""Figure of imagenette_changes: section 4.2.1's changes, each taken back alone."""

import pandas as pd
from matplotlib.figure import Figure

from batchnorm.report import statistics
from batchnorm.report.look import (
    BN,
    GREY,
    GRID,
    HALO,
    SMALL,
    WIDTH,
    bare,
    data_name,
    footer,
    interval,
    look,
    title,
)
from batchnorm.report.look import where as where_run

REFERENCE = "bn_x5"
TITLE = "BN-x5, one of the paper's choices taken back at a time"
CHANGES = {  # what an arm takes back, in the order of section 4.2.1; the last is C24's
    "bn_x5_rate": "1 times the learning rate, not 5",
    "bn_x5_dropout": "with Dropout of 40 %",
    "bn_x5_l2": "the whole L2 penalty, not a fifth",
    "bn_x5_decay": "decay at the usual speed, not 6 times faster",
    "bn_x5_lrn": "with Local Response Normalization",
    "bn_x5_shuffling": "without shuffling within shards",
    "bn_x5_distortion": "full photometric distortion, not half",
    "bn_x5_per_activation": "BN per activation, not per map",
}


def points(table: pd.DataFrame) -> pd.DataFrame:
    """What draw draws: arm, change, seed, points: best accuracy of an arm less BN-x5's at the same
    seed, in percentage points; rows without a seed hold the mean, its 95 % interval (low, high),
    and n."""
    found, rows = statistics.curves(table), []
    for arm, change in CHANGES.items():
        gaps = (statistics.best(found, arm) - statistics.best(found, REFERENCE)).dropna() * 100
        rows += statistics.drawn({"arm": arm, "change": change}, gaps)
    columns = ["arm", "change", "seed", "points", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"})


@look
def draw(table: pd.DataFrame) -> Figure:
    """A row per change: the difference to BN-x5 of each seed, their mean and its interval."""
    rows = points(table)
    figure = Figure((WIDTH, 3.4))
    axes = figure.add_axes((0.32, 0.31, 0.47, 0.59))
    arms = list(dict.fromkeys(rows["arm"]))
    for y, arm in enumerate(arms):
        part = rows[rows["arm"] == arm]
        mean, seeds = part[part["seed"].isna()].iloc[0], part[part["seed"].notna()]
        axes.plot(seeds["points"], [y + 0.28] * len(seeds), ".", color=BN.colour, markersize=3)
        axes.plot([mean["low"], mean["high"]], [y, y], color=BN.colour)
        axes.plot(mean["points"], y, BN.marker, color=BN.colour, **HALO)
        axes.text(1.02, y, interval(mean, 1), va="center", fontsize=SMALL,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(arms)), [CHANGES[arm] for arm in arms])
    axes.set_ylim(max(len(arms), 1) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", **GRID)
    axes.set_axisbelow(True)
    axes.set_xlabel("best accuracy − that of BN-x5, percentage points")
    bare(axes, "top", "left")
    title(figure, f"{data_name(table)}: {TITLE}")
    footer(figure, words(table))
    return figure


def words(table: pd.DataFrame) -> str:
    """What stands under the figure."""
    return (
        f"{where_run(table)}, paired by seed. Small points: one seed each; square: the mean; bar:"
        " its 95 % interval (Student's t). Left of 0: worse with what is named than with the"
        " paper's choice; of Dropout and LRN it says only that they are not needed."
    )
