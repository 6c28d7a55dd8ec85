"""Figures of what was watched inside the MNIST networks: drift, norms, singular values."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from batchnorm.report import statistics
from batchnorm.report.look import (
    GREY,
    GRID,
    SMALL,
    WIDTH,
    bare,
    data_name,
    footer,
    look,
    spread,
    title,
)
from batchnorm.report.mnist import NETS, PAIRS, norms_of, run_words, step_axis
from batchnorm.report.watched import EXAMPLES, QUANTILES

KINDS = {"median": "of the medians", "spread": "of the spreads"}
HIDDEN, LAYERS, JACOBIANS = (1, 2, 3), (1, 2, 3, 4), (2, 3)

# --- drift ----------------------------------------------------------------------------------------


def drift_points(table: pd.DataFrame) -> pd.DataFrame:
    """What drift draws: rows of arm, norm, lr, seed, layer, kind (median, spread), drift."""
    runs = statistics.runs(table)
    rows = [
        {
            **{"arm": arm, "norm": norm, "lr": lr, "seed": seed, "layer": layer, "kind": kind},
            "drift": run.get(f"drift/{layer}/{kind}", float("nan")),
        }
        for run in runs.to_dict("records")
        for arm, seed in [(run["arm"], run["seed"])]
        for norm, lr in [(run["model.norm"], run["optim.lr"])]
        for layer in HIDDEN
        for kind in KINDS
    ]
    return pd.DataFrame(rows)


@look
def drift(table: pd.DataFrame) -> Figure:
    """How far the distributions of the sigmoids' inputs move, per layer (C6)."""
    points = drift_points(table)
    figure = Figure((WIDTH, 3.9))
    for place, (kind, words) in enumerate(KINDS.items()):
        axes = figure.add_axes((0.075 + 0.49 * place, 0.365, 0.41, 0.505))
        bare(axes, "top")
        axes.grid(axis="y", **GRID)
        axes.set_axisbelow(True)
        _draw_drift(axes, points[points["kind"] == kind])
        axes.set_title(f"drift {words}", loc="left")
        axes.set(xlabel="hidden layer", ylabel="" if place else "in spreads of the unit")
        axes.set_xticks(HIDDEN)
        axes.set_xlim(0.6, 3.4)
        axes.set_ylim(0, 1.05 * points["drift"].max())
    figure.legend(*axes.get_legend_handles_labels(), ncols=4, loc="center", handlelength=2.8,
                  bbox_to_anchor=(0.5, 0.22), columnspacing=1.3)  # fmt: skip
    title(figure, f"{data_name(table)}: how far the inputs of the sigmoids drift")
    footer(figure, *drift_words(table, points))
    return figure


def _draw_drift(axes: Axes, points: pd.DataFrame) -> None:
    arms = [arm for pair in PAIRS for arm in pair if arm in set(points["arm"])]
    for place, arm in enumerate(arms):
        part = points[points["arm"] == arm]
        net = NETS[part["norm"].iloc[0]]
        x = part["layer"] + 0.08 * (place - (len(arms) - 1) / 2)
        means = part.groupby("layer")["drift"].mean()
        axes.plot(x, part["drift"], net.marker, color=net.colour, markersize=2.2)
        axes.plot(sorted(x.unique()), means, color=net.colour, dashes=net.dashes, linewidth=1,
                  marker=net.marker, markerfacecolor="white" if arm in PAIRS[1] else net.colour,
                  label=f"{net.label}, rate {part['lr'].iloc[0]:g}")  # fmt: skip


def drift_words(table: pd.DataFrame, points: pd.DataFrame) -> list[str]:
    """What stands under the figure of the drift."""
    sums = points.groupby(["arm", "seed", "kind"])["drift"].mean().groupby(["arm", "seed"]).sum()
    means = ", ".join(f"{arm} {of.mean():.2f}" for arm, of in sums.groupby("arm"))
    return [
        f"{run_words(table)} Filled: both at one rate; hollow: each at its own best. From a tenth"
        " of the run on: the sum of the changes of a unit's median, and of its spread (half the way"
        " from the 15th to the 85th percentile), from evaluation to evaluation, over its mean"
        " spread; mean over 100 units. Small points: one seed; lines: means.",
        f"Both kinds together, mean over the layers: {means}.",
    ]


# --- norms and singular values --------------------------------------------------------------------


def scale_points(table: pd.DataFrame) -> pd.DataFrame:
    """What scale draws: rows of arm, norm, quantity, layer, percent, step, value: medians over the
    seeds. `norm`: of a weight matrix, over its norm at the run's first evaluation; `singular
    value`: the quantile of that percent, of the Jacobian of that layer."""
    table = table[table["arm"].isin(PAIRS[0])]
    norms = norms_of(table)
    first = table.groupby(["arm", "seed"], sort=False)
    wanted = {("norm", k, pd.NA): f"norm/{k}" for k in LAYERS}
    wanted |= {("singular value", k, q): f"jacobian/{k}/q{q}" for k in JACOBIANS for q in QUANTILES}
    parts = []
    for (quantity, layer, percent), column in wanted.items():
        values = table[column] / first[column].transform("first" if quantity == "norm" else _one)
        middle = values.groupby([table["arm"], table["step"]], sort=False).median()
        part = middle.rename("value").reset_index()
        parts.append(part.assign(norm=part["arm"].map(norms), quantity=quantity, layer=layer,
                                 percent=percent))  # fmt: skip
    columns = ["arm", "norm", "quantity", "layer", "percent", "step", "value"]
    points = pd.concat(parts, ignore_index=True).dropna(subset="value")
    return points[columns].astype({"percent": "Int64"})


def _one(values: pd.Series) -> float:
    return 1.0


@look
def scale(table: pd.DataFrame) -> Figure:
    """Norms of the weights and singular values of the Jacobians, over the run (C15, C16)."""
    points = scale_points(table)
    figure = Figure((WIDTH, 5.2))
    norms = points[points["quantity"] == "norm"]
    singular = points[points["quantity"] == "singular value"]
    limits = min(0.9, norms["value"].min()), 1.05 * norms["value"].max()
    positive = singular.loc[singular["value"] > 0, "value"]
    far = min(0.1, positive.min() / 1.3), max(10, positive.max() * 1.3)
    for row, (norm, net) in enumerate(NETS.items()):
        bottom = 0.625 - 0.385 * row
        axes = figure.add_axes((0.075, bottom, 0.205, 0.28))
        _frame(axes, table, row, f"{net.label}: layers 1 to 4", limits)
        axes.set_ylabel("norm of weights / first norm")
        _draw_norms(axes, norms[norms["norm"] == norm])
        for place, layer in enumerate(JACOBIANS):
            axes = figure.add_axes((0.395 + 0.32 * place, bottom, 0.225, 0.28))
            part = singular[(singular["norm"] == norm) & (singular["layer"] == layer)]
            axes.set_yscale("log")
            _frame(axes, table, row, f"{net.label}: Jacobian {layer}", far)
            axes.set_ylabel("" if place else "singular value", labelpad=1)
            _draw_singular(axes, part, net.colour)
    title(figure, f"{data_name(table)}: norms of the weights, singular values of the Jacobians")
    footer(figure, *scale_words(table))
    return figure


def _frame(
    axes: Axes, table: pd.DataFrame, row: int, words: str, limits: tuple[float, float]
) -> None:
    bare(axes, "top")
    axes.set_ylim(*limits)
    axes.yaxis.set_major_formatter("{x:g}")
    step_axis(axes, table["planned"].max())
    axes.set_title(words, loc="left")
    axes.set_xlabel("training steps" if row else "")


def _draw_norms(axes: Axes, points: pd.DataFrame) -> None:
    axes.axhline(1, color=GREY, linewidth=0.6)
    if not len(points):
        return
    for layer, part in points.groupby("layer"):
        net = NETS[part["norm"].iloc[0]]
        dashes = {1: (), 2: (5, 1.2), 3: (2.5, 1.2), 4: (1, 1.2)}[layer]
        axes.plot(part["step"], part["value"], color=net.colour, dashes=dashes, linewidth=1.1,
                  label=f"layer {layer}")  # fmt: skip
    last = points.groupby("layer")["value"].last()
    low, high = axes.get_ylim()
    ends = (last - low) / (high - low)
    for layer, y in zip(last.index, spread(list(ends), 0.09, 1), strict=True):
        axes.plot([1.01, 1.06], [ends[layer], y], color=GREY, linewidth=0.6, clip_on=False,
                  transform=axes.transAxes)  # fmt: skip
        axes.text(1.075, y, str(layer), fontsize=SMALL, va="center", transform=axes.transAxes)


def _draw_singular(axes: Axes, points: pd.DataFrame, colour: str) -> None:
    if not len(points):
        return  # the network is not there yet, or overflowed before its first evaluation
    wide = points.pivot_table(index="step", columns="percent", values="value")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.fill_between(wide.index, wide[5], wide[95], color=colour, alpha=0.15, lw=0)
    axes.fill_between(wide.index, wide[25], wide[75], color=colour, alpha=0.3, lw=0)
    axes.plot(wide.index, wide[50], color=colour)
    low, high = np.log(axes.get_ylim())
    ends = np.log(wide[list(QUANTILES)].iloc[-1].clip(np.exp(low)))
    for percent, y in zip(
        QUANTILES, spread(list((ends - low) / (high - low)), 0.085, 1), strict=True
    ):
        axes.text(1.02, y, f"{percent} %", fontsize=SMALL, va="center", transform=axes.transAxes)


def scale_words(table: pd.DataFrame) -> list[str]:
    """What stands under the figure of norms and singular values."""
    shown = table[table["arm"].isin(PAIRS[0])]
    return [
        f"{run_words(shown)} Medians over the seeds. Norms: Frobenius, over the norm at the first"
        " evaluation; layers 1 to 3 are the hidden ones. Jacobian k: of the inputs of hidden layer"
        " k's sigmoids with respect to those of layer k − 1, each unit's divided by its deviation"
        f" over the images; singular values pooled over {EXAMPLES} images. Line: median, dark: 25"
        " to 75 %, light: 5 to 95 %; horizontal line: 1, where the paper conjectures them."
        f"{_cosines(shown)}",
    ]


def _cosines(table: pd.DataFrame) -> str:
    """How near to right angles gradients stand to weights, in a sentence: C15."""
    names = [f"cosine/{k}" for k in LAYERS[:-1]]
    if not set(names) <= set(table):
        return ""
    means = table[names].abs().mean(axis=1).groupby(table["model.norm"]).mean()
    found = [f"{means[n]:.2g} {net.label}" for n, net in NETS.items() if n in means]
    return (
        " What sets the networks apart is the mean |cosine| of a hidden layer's weights and"
        f" gradient: {', '.join(found)}; at right angles weights only grow."
    )
