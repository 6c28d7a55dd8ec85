"""Figure of mnist_recurrent: an LSTM that reads pixels, with and without BN at each time step."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from batchnorm.report.figures import overflows
from batchnorm.report.look import (
    BN,
    GRID,
    PLAIN,
    WIDTH,
    Ink,
    bare,
    data_name,
    footer,
    look,
    median_and_band,
    title,
    where,
)

TITLE = "BN in a recurrent network"
ERROR = "error on test images, %"
ARMS = {  # an arm's ink, its line, and its name
    "baseline": (PLAIN, "-", "LSTM"),
    "bn": (BN, "-", "LSTM with BN, gamma from 0.1"),
    "bn_gamma_1": (Ink("#D55E00", "^"), "--", "LSTM with BN, gamma from 1"),
}
THEIRS = {"baseline": 9.8, "bn": 4.6}  # Cooijmans et al. (2016), Table 1: error on test images, %
TICKS = (2, 3, 5, 10, 20, 50, 90)


def points(table: pd.DataFrame) -> pd.DataFrame:
    """What draw draws: arm, step, error, low, high: median, least and largest over the seeds still
    running, in percent."""
    rows = table[table["arm"].isin(ARMS) & table["accuracy"].notna()]
    errors = rows[["arm", "step"]].assign(error=100 * (1 - rows["accuracy"]))
    over = errors.groupby(["arm", "step"], sort=False)["error"]
    return over.agg(error="median", low="min", high="max").reset_index()


@look
def draw(table: pd.DataFrame) -> Figure:
    """The error against steps, a line for each arm, and what others ended at."""
    found = points(table)
    figure = Figure((WIDTH, 3.6))
    axes = figure.add_axes((0.075, 0.29, 0.58, 0.6))
    axes.set_yscale("log")
    for arm, (of, style, label) in ARMS.items():
        part = found[found["arm"] == arm].sort_values("step")
        if len(part):
            whole = part["step"].iloc[-1] == table["planned"].max()
            end = f"{part['error'].iloc[-1]:.1f} %" if whole else "overflowed"
            median_and_band(axes, part, "error", of, style, f"{label}: {end}")
        if arm in THEIRS:
            axes.axhline(THEIRS[arm], color=of.colour, linewidth=0.8, linestyle=":", zorder=1)
    axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", **GRID)
    axes.set_axisbelow(True)
    axes.set_xlim(0, None)
    axes.set(xlabel="training steps", ylabel=ERROR)
    bare(axes, "top")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title="at the end (medians)",
                alignment="left")  # fmt: skip
    title(figure, f"{data_name(table)}, pixels {order(table)}: {TITLE}")
    footer(figure, words_of(table))
    return figure


def order(table: pd.DataFrame) -> str:
    """In which order the pixels are read."""
    return "in one random order" if table["data.permuted"].all() else "in order"


def words_of(table: pd.DataFrame) -> str:
    """What stands under the figure."""
    one = table.iloc[0]
    words = (
        f"{where(table)}. {one['model.width']:.0f} units read an image in"
        f" {one['model.time_steps']:.0f} time steps, pixels {order(table)}. BN: of W_h h, W_x x and"
        " the cell, with statistics of each time step by itself, one gamma and beta for all. All"
        f" at one learning rate, {one['optim.lr']:g}. Line: median, band: minimum to maximum, over"
        " the seeds still running. Dotted: Cooijmans et al. (2016), random order, 784 time steps,"
        " 100,000 training steps: 9.8 % without BN, 4.6 % with it."
    )
    return " ".join([words, *overflows(table)])
