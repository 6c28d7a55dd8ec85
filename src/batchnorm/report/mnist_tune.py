"""Figure of the learning rates of both networks on MNIST: how nearly the plain one ties."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from batchnorm.report import statistics
from batchnorm.report.look import (
    GREY,
    GRID,
    SMALL,
    WIDTH,
    bare,
    data_name,
    edge_words,
    footer,
    look,
    number,
    split_of,
    title,
)
from batchnorm.report.mnist import NETS, run_words

FLOOR = 0.85  # accuracy: what is below it is drawn here, with its number
CEILING = 3.0  # percentage points: a larger gap is drawn here, and read from its number
DEVIATION = 0.01  # of the initial weights at model.init_scale 1


def ends(table: pd.DataFrame, which: str) -> pd.DataFrame:
    """One row per run: arm, seed, norm, lr, std (initial deviation), accuracy, diverged.

    `accuracy` is the "best" or "last" of statistics.tuning_points.
    """
    keys = {"norm": "model.norm", "lr": "optim.lr", "std": "model.init_scale"}
    rows = statistics.tuning_points(table, **keys)
    rows["accuracy"] = rows[which]
    rows["std"] = (DEVIATION * rows["std"]).round(6)
    rows = rows.drop(columns=["best", "last"])
    return rows.sort_values(["norm", "std", "lr", "seed"], ascending=[False, True, True, True])


# --- the learning rates ---------------------------------------------------------------------------


def tune_points(table: pd.DataFrame) -> pd.DataFrame:
    """What tune draws: one row per run: arm, norm, lr, std, seed, accuracy, diverged, chosen.

    `accuracy`: the best of the run, chance if it overflowed. `chosen` marks, of each network, the
    arm with the highest mean over its seeds.
    """
    rows = ends(table, "best")
    means = rows.groupby(["norm", "arm"], sort=False)["accuracy"].mean()
    best = {arm for _, arm in means.groupby("norm").idxmax()}
    return rows.assign(chosen=rows["arm"].isin(best)).reset_index(drop=True)


class Gap(NamedTuple):
    """Accuracy with BN less accuracy without, paired by seed, in percentage points."""

    lr: float
    std: float
    points: statistics.Estimate


def gaps(points: pd.DataFrame) -> list[Gap]:
    """The gap at every rate and initial deviation that both networks were run at."""
    wide = points.pivot_table(index=["std", "lr", "seed"], columns="norm", values="accuracy")
    if not {"none", "batch"} <= set(wide):
        return []
    difference = 100 * (wide["batch"] - wide["none"]).dropna()
    return [
        Gap(lr, std, statistics.estimate(part))
        for (std, lr), part in difference.groupby(level=["std", "lr"])
    ]


def best_gap(points: pd.DataFrame) -> statistics.Estimate:
    """The gap between the two chosen arms: each network at its own best."""
    wide = points[points["chosen"]].pivot_table(index="seed", columns="norm", values="accuracy")
    wide = wide.reindex(columns=list(NETS))
    return statistics.estimate((100 * (wide["batch"] - wide["none"])).dropna())


TARGET = 0.95  # accuracy


def sooner(table: pd.DataFrame) -> dict[tuple[float, float], statistics.Estimate]:
    """By rate and initial deviation, the steps of the plain network to TARGET over those of BN's,
    paired by seed; a plain one that never gets there counts with its whole run."""
    found = statistics.curves(table)
    arms = ends(table, "best").groupby(["lr", "std", "norm"])["arm"].first().unstack("norm")
    ratios = {}
    for place, pair in arms.reindex(columns=list(NETS)).dropna().iterrows():
        plain, bn = (found[pair[norm]] for norm in ("none", "batch"))
        values = {
            seed: np.nan_to_num(plain[seed].steps_to(TARGET), nan=plain[seed].planned)
            / bn[seed].steps_to(TARGET)
            for seed in plain.keys() & bn.keys()
        }
        if np.isfinite(list(values.values())).any():
            ratios[place] = statistics.estimate(pd.Series(values).sort_index(), ratio=True)
    return ratios


def sooner_words(table: pd.DataFrame) -> str:
    """Where BN gets to TARGET sooner, in a sentence."""
    ratios = sooner(table)
    if not ratios:
        return ""
    fewer = sum(found.low > 1 for found in ratios.values())
    more = sum(found.high < 1 for found in ratios.values())
    (lr, std), least = min(ratios.items(), key=lambda item: item[1].value)
    value, low, high = (number(of, 2, "") for of in (least.value, least.low, least.high))
    return (
        f"Steps to {100 * TARGET:g} % at one rate and deviation: with BN fewer at {fewer} of"
        f" {len(ratios)}, more at {more}, the others open; least so at rate {lr:g}, deviation"
        f" {std:g}: {value} [{low}, {high}] times as many without."
    )


@look
def tune(table: pd.DataFrame) -> Figure:
    """Best accuracy on the held-out images of both networks against the learning rate, and the gap
    between them."""
    points = tune_points(table)
    figure = Figure((WIDTH, 4.4))
    left = figure.add_axes((0.075, 0.42, 0.455, 0.47))
    right = figure.add_axes((0.62, 0.42, 0.37, 0.4))
    _draw_rates(left, points)
    _draw_gaps(right, gaps(points))
    split = split_of(table)
    left.set_ylabel(f"best {split} accuracy")
    right.set_ylabel("with − without BN, points")
    rates = sorted(points["lr"].unique())
    for axes in (left, right):
        bare(axes, "top")
        axes.set_xscale("log")
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("learning rate")
        axes.set_xlim(rates[0] / 1.5, rates[-1] * 1.5)
    _key_rates(figure, sorted(points["std"].unique()))
    title(figure, f"{data_name(table)}: learning rates of both networks")
    footer(figure, *_tune_words(table, points, split))
    return figure


def _apart(points: pd.DataFrame, stds: list[float]) -> pd.Series:
    """The rates, moved a little apart, so that points do not hide others."""
    place = points["std"].map(stds.index) - (len(stds) - 1) / 2
    return points["lr"] * (1 + 0.07 * place)


def _draw_rates(axes: Axes, points: pd.DataFrame) -> None:
    stds = sorted(points["std"].unique())
    shown = points.assign(x=_apart(points, stds), y=points["accuracy"].clip(FLOOR))
    axes.grid(axis="y", **GRID)
    axes.set_axisbelow(True)
    for (norm, std), part in shown.groupby(["norm", "std"], sort=False):
        net, at = NETS[norm], part.groupby("x")
        face = net.colour if std == stds[-1] else "white"
        mean = at["accuracy"].mean().clip(FLOOR)
        axes.vlines(mean.index, at["y"].min(), at["y"].max(), color=net.colour, linewidth=1)
        axes.plot(mean.index, mean, color=net.colour, dashes=net.dashes, marker=net.marker,
                  linewidth=1, markerfacecolor=face, markeredgewidth=0.8)  # fmt: skip
        for x, low in at["accuracy"].min().items():
            if low < FLOOR:
                axes.text(1.08 * x, FLOOR, f"↓ {low:.2f}", va="center", fontsize=SMALL)
        best = part[part["chosen"]]
        if len(best):
            above = norm == "batch"
            axes.annotate(f"★ best {net.label}", (best["x"].iloc[0], mean[best["x"].iloc[0]]),
                          xytext=(4, 24 if above else -40), textcoords="offset points", ha="right",
                          color=net.colour, fontsize=SMALL,
                          arrowprops={"arrowstyle": "-", "color": net.colour, "lw": 0.6,
                                      "shrinkB": 4})  # fmt: skip
    axes.yaxis.set_major_locator(MultipleLocator(0.01))
    low, high = shown["y"].min(), shown["y"].max()
    room = max(high - low, 0.01)
    axes.set_ylim(low - 0.15 * room, high + 0.35 * room)


def _draw_gaps(axes: Axes, found: list[Gap]) -> None:
    stds = sorted({gap.std for gap in found})
    axes.axhline(0, color=GREY, linewidth=0.8)
    for std in stds:
        part = [gap for gap in found if gap.std == std]
        frame = pd.DataFrame([{"lr": gap.lr, "std": gap.std} for gap in part])
        x = _apart(frame, stds)
        ends = np.array([(g.points.value, g.points.low, g.points.high) for g in part])
        y, low, high = ends.T.clip(-CEILING, CEILING)
        axes.vlines(x, low, high, color=GREY, linewidth=1)
        axes.plot(x, y, "D-", color=GREY, linewidth=0.8, markersize=4, markeredgecolor="black",
                  markerfacecolor="#404040" if std == stds[-1] else "white")  # fmt: skip
    for lr in sorted({gap.lr for gap in found}):
        values = [gap.points.value for gap in found if gap.lr == lr]
        text = "\n".join(number(value, 2) for value in values)
        axes.text(lr, CEILING * 1.15, text, ha="center", va="bottom", fontsize=SMALL)
    names = "\n".join(f"dev. {std:g}" for std in stds)
    axes.annotate(names, (0, CEILING * 1.15), xycoords=("axes fraction", "data"), xytext=(-3, 0),
                  textcoords="offset points", ha="right", va="bottom", fontsize=SMALL)  # fmt: skip
    axes.set_ylim(min([-0.5, *axes.get_ylim()]), CEILING * 1.1)


def _key_rates(figure: Figure, stds: list[float]) -> None:
    handles = []
    for net in NETS.values():
        for std in stds:
            face = net.colour if std == stds[-1] else "white"
            handles.append(Line2D([], [], color=net.colour, dashes=net.dashes, marker=net.marker,
                                  linewidth=1, markerfacecolor=face,
                                  label=f"{net.label}, deviation {std:g}"))  # fmt: skip
    figure.legend(handles=handles, ncols=4, loc="center", bbox_to_anchor=(0.5, 0.265),
                  columnspacing=1.3, handlelength=2.8)  # fmt: skip


def _tune_words(table: pd.DataFrame, points: pd.DataFrame, split: str) -> list[str]:
    held = f" on {table['data.holdout'].max():,} images cut from the training set"
    cut = any(gap.points.value > CEILING for gap in gaps(points))
    return [
        f"{run_words(table)} Best accuracy of each run (fraction)"
        f"{held if split == 'validation' else ''}: mean, bar from minimum to maximum; star: the"
        " highest mean of each network, its best. Right: the difference in percentage points, same"
        " rate, deviation and seed, with its 95 % interval (Student's t), and in numbers"
        f"{f'; a gap above {CEILING:g} points is drawn at {CEILING:g}' * cut}."
        f"{edge_words(points['lr'], points.loc[points['chosen'], 'lr'])}",
        tie_words(points),
        sooner_words(table),
    ]


def tie_words(points: pd.DataFrame) -> str:
    """How nearly the plain network ties, in a sentence with the numbers."""
    best = points[points["chosen"]].groupby("norm")
    if set(best.groups) != {"none", "batch"}:
        return ""
    ends = " and ".join(
        f"{best['accuracy'].mean()[norm]:.4f} {net.label} (rate {best['lr'].first()[norm]:g},"
        f" deviation {best['std'].first()[norm]:g})"
        for norm, net in NETS.items()
    )
    found = gaps(points)
    words = f"Each at its own best: {ends}; BN is ahead by {_points(best_gap(points))} points."
    if found:
        least = min(found, key=lambda gap: gap.points.value)
        words += (
            " At one rate and deviation it is ahead (below 0: behind) by as little as"
            f" {_points(least.points)} points, at rate {least.lr:g}, deviation {least.std:g}."
        )
    return words


def _points(found: statistics.Estimate) -> str:
    value, low, high = (number(of, 2, "") for of in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"
