"""Figures 1(b) and (c): the inputs of one typical sigmoid over the run, beside the paper's."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from batchnorm.report import paper, statistics
from batchnorm.report.look import SMALL, WIDTH, bare, data_name, footer, look, title
from batchnorm.report.mnist import (
    NETS,
    PAIRS,
    Distance,
    Net,
    distance,
    draw_read,
    key,
    norms_of,
    run_words,
    step_axis,
    thousands,
)
from batchnorm.report.watched import IMAGES

PERCENTILES = (85, 50, 15)


def median_seed(table: pd.DataFrame, arm: str) -> int:
    """The seed of an arm whose final accuracy is the median (the lower of two)."""
    runs = statistics.curves(table)[arm]
    ranked = sorted(runs, key=lambda seed: (runs[seed].last(), seed))
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
    parts = parts or [pd.DataFrame(columns=columns)]
    points = pd.concat(parts, ignore_index=True).reindex(columns=columns)
    return points.astype({"seed": "Int64", "unit": "Int64"})


def percentile_distances(points: pd.DataFrame) -> dict[tuple[str, int], Distance]:
    """By arm and percentile, how far our curve is from the paper's."""
    series = {name: part for name, part in points.groupby(["series", "arm", "percentile"])}
    return {
        (arm, percentile): distance(ours["step"], ours["value"], read["step"], read["value"])
        for (name, arm, percentile), ours in series.items()
        if name == "ours"
        for read in [series["paper", arm, percentile]]
    }


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
    key(figure, 0.27)
    title(figure, f"{data_name(table)}: inputs of one sigmoid of the last hidden layer, as in"
                  " Figures 1(b) and (c)")  # fmt: skip
    footer(figure, *percentile_words(table, points))
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


def percentile_words(table: pd.DataFrame, points: pd.DataFrame) -> list[str]:
    """What stands under the figure: data, the unit, and how far we are from the paper."""
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
    shown = table[table["arm"].isin(PAIRS[0])]
    rate = ", ".join(f"{lr:g}" for lr in shown["optim.lr"].unique())
    return [
        f"{run_words(shown)} Learning rate {rate}, as on the left of Figure 1(a). 15th, 50th and"
        f" 85th percentiles over {IMAGES:,} test images, population statistics, no units. The unit:"
        " the nearest to all others of its layer, in the seed of median final accuracy, whatever"
        f" the paper's does: {units}. The paper does not say how its unit was chosen.",
        "The paper's x axes have no ticks; they are taken to be those of its Figure 1(a). Largest"
        f" vertical distance from its points: {far}.",
    ]
