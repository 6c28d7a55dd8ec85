"""Figures of the side studies: the plain network's learning rate, and bfloat16 against float32."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from batchnorm.report import statistics
from batchnorm.report.look import (
    GREY,
    HALO,
    SMALL,
    WIDTH,
    bare,
    data_name,
    footer,
    ink,
    look,
    seeds_of,
    title,
)

# --- the baseline's learning rate -----------------------------------------------------------------


def ladder_points(table: pd.DataFrame) -> pd.DataFrame:
    """What learning_rate_ladder draws: one row per run: arm, lr, dropout, seed, best, diverged.

    `best` is the highest accuracy, chance for a run that overflowed. `chosen` marks the arm with
    the highest mean over its seeds.
    """
    runs = statistics.runs(table)
    found = statistics.curves(table)
    rows = runs[["arm", "seed", "diverged"]].assign(
        lr=runs["optim.lr"] * runs["optim.lr_multiplier"],
        dropout=runs["model.dropout"],
        best=[
            statistics.CHANCE if run.diverged else found[run.arm][run.seed].best()
            for run in runs.itertuples()
        ],
    )
    means = rows.groupby("arm", sort=False)["best"].mean()
    rows = rows.assign(chosen=rows["arm"] == means.idxmax())
    return rows.sort_values(["dropout", "lr", "seed"]).reset_index(drop=True)


@look
def learning_rate_ladder(table: pd.DataFrame) -> Figure:
    """Best accuracy on the held-out split (fraction) against the learning rate, per Dropout."""
    points = ladder_points(table)
    figure = Figure((WIDTH, 3.9))
    axes = figure.add_axes((0.075, 0.255, 0.775, 0.645))
    bare(axes, "top")
    axes.set_xscale("log")
    for place, (dropout, part) in enumerate(points.groupby("dropout")):
        _draw_ladder(axes, part, place, f"Dropout {dropout:g}")
    chosen = points[points["chosen"]]
    x, y = chosen["lr"].iloc[0], chosen["best"].mean()
    axes.plot(x, y, "*", color="white", markeredgecolor="black", markersize=13, zorder=6)
    axes.annotate(f"chosen: {x:g}", (x, y), (0, 9), textcoords="offset points", ha="center")
    split = "validation" if (table["data.holdout"] > 0).any() else "test"
    axes.set(xlabel="initial learning rate", ylabel=f"best {split} accuracy")
    rates = sorted(points["lr"].unique())
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, max(0.2, points["best"].max() * 1.15))
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.5)
    title(figure, f"{data_name(table)}: learning rate of the plain network")
    footer(figure, _ladder_words(table, split))
    return figure


def _draw_ladder(axes: Axes, points: pd.DataFrame, place: int, label: str) -> None:
    colour, marker = ink("", [0, 6, 4, 5, 3, 1][place % 6])
    middle = points.groupby("lr")["best"].median()
    axes.plot(middle.index, middle, color=colour, zorder=2, label=label)
    fine, lost = points[~points["diverged"]], points[points["diverged"]]
    axes.plot(fine["lr"], fine["best"], marker, color=colour, zorder=3, **HALO)
    axes.plot(lost["lr"], lost["best"], "x", color=colour, zorder=3, markersize=6)
    axes.annotate(label, (middle.index[-1], middle.iloc[-1]), (9, 0), va="center",
                  textcoords="offset points", fontsize=SMALL, annotation_clip=False)  # fmt: skip


def _ladder_words(table: pd.DataFrame, split: str) -> list[str]:
    held = table["data.holdout"].max()
    cut = f", on {held} images cut from the training set" if split == "validation" else ""
    return [
        f"{data_name(table)}, {table['scale'].iloc[0]} scale, {seeds_of(table)} per arm.",
        f"Best accuracy of each run (fraction of images){cut}: one point per seed, line through the"
        " medians. Star: the highest mean, the rate chosen. Cross: overflowed, drawn at chance.",
    ]


# --- bfloat16 against float32 ---------------------------------------------------------------------

PANELS = {
    "difference": "bfloat16 − float32, same arm and seed",
    "bias": "the same for (arm − baseline): the bias of a comparison",
}


def precision_points(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """What precision draws: rows of quantity, arm, seed, points, in percentage points.

    `difference`: best accuracy in the first table less that in the second, at the same arm and
    seed. `bias`: that difference less the baseline's, at the same seed. Rows without a seed hold
    the mean and its 95 % interval (low, high).
    """
    one, two = statistics.curves(first), statistics.curves(second)
    gaps = {arm: (statistics.best(one, arm) - statistics.best(two, arm)).dropna() * 100
            for arm in one if arm in two}  # fmt: skip
    rows = []
    for arm, gap in gaps.items():
        rows += _precision_rows("difference", arm, gap)
        if arm != "baseline" and "baseline" in gaps:
            rows += _precision_rows("bias", arm, (gap - gaps["baseline"]).dropna())
    columns = ["quantity", "arm", "seed", "points", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"})


def _precision_rows(quantity: str, arm: str, values: pd.Series) -> list[dict]:
    mean = statistics.estimate(values)
    common = {"quantity": quantity, "arm": arm}
    return [
        *({**common, "seed": seed, "points": value} for seed, value in values.items()),
        {**common, "points": mean.value, "low": mean.low, "high": mean.high, "n": mean.n},
    ]


@look
def precision(first: pd.DataFrame, second: pd.DataFrame) -> Figure:
    """What bfloat16 (first) changes against float32 (second): per arm, and between arms."""
    points = precision_points(first, second)
    arms = list(points["arm"].unique())
    figure = Figure((WIDTH, 1.7 + 0.36 * len(arms)))
    inches = figure.get_figheight()
    room = (inches - 1.75) / inches
    for i, (quantity, words) in enumerate(PANELS.items()):
        bottom = 0.85 / inches + (1 - i) * (room / 2 + 0.28 / inches)
        axes = figure.add_axes((0.17, bottom, 0.575, room / 2))
        _draw_precision(axes, points[points["quantity"] == quantity], arms)
        axes.set_title(words, loc="left", pad=3)
        limit = points[["points", "low", "high"]].abs().max().max() * 1.05
        axes.set_xlim(-limit, limit)
    axes.set_xlabel("best test accuracy, percentage points")
    both = pd.concat([first, second])
    title(figure, f"{data_name(both)}: what bfloat16 changes")
    footer(figure, [
        f"{data_name(both)}, {both['scale'].iloc[0]} scale, {seeds_of(both)} per arm, paired. Small"
        " points: one seed; large: mean; bar: 95 % interval (Student's t).",
    ])  # fmt: skip
    return figure


def _draw_precision(axes: Axes, points: pd.DataFrame, arms: list[str]) -> None:
    axes.axvline(0, color=GREY, linewidth=0.8)
    bare(axes, "top", "left")
    axes.set(ylim=(len(arms) - 0.5, -0.5))
    axes.set_yticks(range(len(arms)), arms)
    axes.tick_params(axis="y", length=0)
    for row in points.itertuples():
        y, colour = arms.index(row.arm), ink(row.arm, arms.index(row.arm)).colour
        if pd.notna(row.seed):
            axes.plot(row.points, y + 0.22, "o", color=colour, markersize=2.5)
            continue
        axes.plot(row.points, y - 0.1, ink(row.arm, y).marker, color=colour, markersize=6)
        axes.plot([row.low, row.high], [y - 0.1] * 2, color=colour)
        axes.text(1.02, y, f"{row.points:+.2f}  [{row.low:+.2f}, {row.high:+.2f}]", va="center",
                  transform=axes.get_yaxis_transform(), fontsize=SMALL)  # fmt: skip
