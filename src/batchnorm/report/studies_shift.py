"""Figure of cifar10_shift: accuracy, and what a step does to what layers see."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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

TITLE = "unstable inputs on purpose, with and without BN"
ARMS = {  # an arm's ink, its line, and its name
    "plain": (PLAIN, "-", "without BN"),
    "bn": (BN, "-", "with BN"),
    "plain_noisy": (Ink("#7F7F7F", "v"), "--", "without BN, noisy"),
    "bn_noisy": (Ink("#6FA8DC", "^"), "--", "with BN, noisy"),
}
PANELS = {  # a quantity, and what it is
    "accuracy": "test accuracy",
    "moved": "shift of a unit's mean input (log)",
    "agreement": "agreement of gradients (cosine)",
}


def points(table: pd.DataFrame) -> pd.DataFrame:
    """What draw draws: quantity, arm, step, value, low, high: medians, least and largest over the
    seeds still running, of the accuracy, and of each of what was watched the mean over layers."""
    rows = table[table["arm"].isin(ARMS) & table["accuracy"].notna()]
    by_quantity = {"accuracy": rows["accuracy"]}
    for kind in ("moved", "agreement"):
        names = [name for name in table if str(name).startswith(f"{kind}/")]
        by_quantity[kind] = rows[names].mean(axis=1) if names else rows["accuracy"] * float("nan")
    found = []
    for quantity, values in by_quantity.items():
        groups = rows[["arm", "step"]].assign(value=values).groupby(["arm", "step"], sort=False)
        over = groups["value"].agg(value="median", low="min", high="max").reset_index()
        found.append(over.dropna(subset="value").assign(quantity=quantity))
    columns = ["quantity", "arm", "step", "value", "low", "high"]
    return pd.concat(found, ignore_index=True)[columns]


@look
def draw(table: pd.DataFrame) -> Figure:
    """Accuracy, how far inputs move in a step, and how far gradients agree, against steps."""
    found = points(table)
    figure = Figure((WIDTH, 3.5))
    for i, (quantity, words) in enumerate(PANELS.items()):
        axes = figure.add_axes((0.065 + 0.325 * i, 0.31, 0.265, 0.495))
        _draw_panel(axes, found[found["quantity"] == quantity])
        axes.set_title(words, loc="left", pad=4)
        axes.set_xlabel("training steps")
        if quantity == "moved" and len(found[found["quantity"] == quantity]):
            axes.set_yscale("log")
        elif quantity == "accuracy":
            axes.set_ylim(0, None)
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="upper left", bbox_to_anchor=(0.0, 0.955), ncols=4)
    title(figure, f"{data_name(table)}: {TITLE}")
    footer(figure, words_of(table))
    return figure


def _draw_panel(axes: Axes, found: pd.DataFrame) -> None:
    for arm, (of, style, label) in ARMS.items():
        part = found[found["arm"] == arm].sort_values("step")
        if len(part):
            median_and_band(axes, part, "value", of, style, label)
    axes.grid(axis="y", **GRID)
    axes.set_axisbelow(True)
    axes.set_xlim(0, None)
    bare(axes, "top")


def words_of(table: pd.DataFrame) -> str:
    """What stands under the figure."""
    return (
        f"{where(table)}, all at one learning rate, {table['optim.lr'].iloc[0]:g}. Line: median,"
        " band: minimum to maximum. Noisy: each map is scaled and moved before its nonlinearity, by"
        " noise of another distribution at each step. Middle: how far one more step moves a unit's"
        " mean input over a fixed batch, in the unit's standard deviations; with BN, without noise,"
        " that mean is beta, whatever the layers before do, so what moves is beta alone. Right: the"
        " cosine between a layer's gradients before and after the layers before it have taken that"
        " step; 1 is no internal covariate shift, by the definition of Santurkar et al. (2018)."
        " Both: means over layers."
    )
