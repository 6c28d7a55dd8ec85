"""Figures of the side studies: ladders of learning rates, and bfloat16 against float32."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from batchnorm.report import statistics
from batchnorm.report.claims import EXPERIMENT
from batchnorm.report.look import (
    BN,
    GREY,
    GRID,
    HALO,
    PLAIN,
    SMALL,
    WIDTH,
    Ink,
    bare,
    data_name,
    edge_words,
    footer,
    half_frame,
    ink,
    interval,
    judged_on,
    look,
    network_name,
    seeds_per_arm,
    split_of,
    title,
    where,
)

# --- the baseline's learning rate -----------------------------------------------------------------


def ladder_points(table: pd.DataFrame) -> pd.DataFrame:
    """What learning_rate_ladder draws: one row per run: arm, lr, seed, best, diverged.

    `best` is the highest accuracy, chance for a run that overflowed. `chosen` marks the arm with
    the highest mean over its seeds.
    """
    rows = statistics.tuning_points(table, rate="optim.lr", times="optim.lr_multiplier")
    rows = rows.assign(lr=rows.pop("rate") * rows.pop("times"))
    means = rows.groupby("arm", sort=False)["best"].mean()
    rows = rows.assign(chosen=rows["arm"] == means.idxmax())
    return rows.sort_values(["lr", "seed"]).reset_index(drop=True)


def network_words(table: pd.DataFrame) -> str:
    """Whose rate it is."""
    name = network_name(table) or "network"
    return f"{name} with BN" if (table["model.norm"] == "batch").all() else f"plain {name}"


def ink_of(table: pd.DataFrame) -> Ink:
    """Its ink."""
    return BN if (table["model.norm"] == "batch").all() else PLAIN


@look
def learning_rate_ladder(table: pd.DataFrame) -> Figure:
    """Best accuracy on the held-out split (fraction) against the learning rate."""
    points = ladder_points(table)
    figure = Figure((WIDTH, 3.9))
    axes = figure.add_axes((0.085, 0.24, 0.895, 0.68))
    bare(axes, "top")
    axes.set_xscale("log")
    _draw_ladder(axes, points, ink_of(table))
    chosen = points[points["chosen"]]
    axes.annotate(
        f"chosen: {chosen['lr'].iloc[0]:g}\n★",
        (chosen["lr"].iloc[0], chosen["best"].max()),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
    )
    split = split_of(table)
    axes.set(xlabel="initial learning rate", ylabel=f"best {split} accuracy")
    rates = sorted(points["lr"].unique())
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set_xticks([], minor=True)
    low, high = points["best"].min(), points["best"].max()
    room = max(high - low, 0.02)
    axes.set_ylim(low - 0.1 * room, high + 0.2 * room)
    axes.grid(axis="y", **GRID)
    title(figure, f"{data_name(table)}: learning rate of the {network_words(table)}")
    footer(figure, _ladder_words(table) + edge_words(points["lr"], chosen["lr"]))
    return figure


def _draw_ladder(axes: Axes, points: pd.DataFrame, of: Ink) -> None:
    colour, marker = of
    middle = points.groupby("lr")["best"].mean()
    axes.plot(middle.index, middle, color=colour, zorder=2)
    fine, lost = points[~points["diverged"]], points[points["diverged"]]
    axes.plot(fine["lr"], fine["best"], marker, color=colour, zorder=3, **HALO)
    axes.plot(lost["lr"], lost["best"], "x", color=colour, zorder=3, markersize=6)


def _ladder_words(table: pd.DataFrame) -> str:
    return (
        f"{where(table)}. Best accuracy of each run (fraction of images), on {judged_on(table)}:"
        " one point per seed, line through"
        " the means. Star: the highest, the rate chosen. Cross: overflowed, drawn at chance."
    )


# --- bfloat16 against float32 ---------------------------------------------------------------------

PANELS = {
    "difference": "bfloat16 − float32, same arm and seed",
    "bias": "the same for (arm − baseline): the bias of a comparison",
}


def in_both_precisions(
    table: pd.DataFrame, every: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The arms of Figure 2 in bfloat16, among all runs, and in float32; None without such pairs."""
    in_bfloat16 = (every["experiment"] == EXPERIMENT) & (every["precision"] == "bfloat16")
    first, second = every[in_bfloat16], table[table["precision"] == "float32"]
    paired = len(first) and len(second) and len(precision_points(first, second))
    return (first, second) if paired else None


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
        rows += statistics.drawn({"quantity": "difference", "arm": arm}, gap)
        if arm != "baseline" and "baseline" in gaps:
            common = {"quantity": "bias", "arm": arm}
            rows += statistics.drawn(common, (gap - gaps["baseline"]).dropna())
    columns = ["quantity", "arm", "seed", "points", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"})


@look
def precision(first: pd.DataFrame, second: pd.DataFrame) -> Figure:
    """What bfloat16 (first) changes against float32 (second): per arm, and between arms."""
    points = precision_points(first, second)
    rows = points.groupby("quantity", sort=False)["arm"].nunique()
    height = 1.65 + 0.19 * rows.sum()  # inches
    figure = Figure((WIDTH, height))
    top = height - 0.5
    limit = half_frame(points)
    for quantity in rows.index:
        tall = 0.19 * rows[quantity]
        axes = figure.add_axes((0.17, (top - tall) / height, 0.575, tall / height))
        _draw_precision(axes, points[points["quantity"] == quantity])
        axes.set_title(PANELS[quantity], loc="left", pad=3)
        axes.set_xlim(-limit, limit)
        axes.tick_params(axis="x", labelbottom=quantity == rows.index[-1])
        top -= tall + 0.3
    axes.set_xlabel("difference in best test accuracy, percentage points")
    both = pd.concat([first, second])
    title(figure, f"{data_name(both)}: what bfloat16 changes")
    words = (
        f"{data_name(both)}, {both['scale'].iloc[0]} scale, {seeds_per_arm(second)}, paired."
        " Small points: one seed; large: mean; bar: 95 % interval (Student's t), at the right in"
        " numbers."
    )
    footer(figure, words)
    return figure


def _draw_precision(axes: Axes, points: pd.DataFrame) -> None:
    arms = list(points["arm"].unique())
    axes.axvline(0, color=GREY, linewidth=0.8)
    bare(axes, "top", "left")
    axes.set(ylim=(len(arms) - 0.5, -0.5))
    axes.set_yticks(range(len(arms)), arms)
    axes.tick_params(axis="y", length=0)
    for row in points.itertuples():
        y = arms.index(row.arm)
        colour, marker = ink(row.arm, y)
        if pd.notna(row.seed):
            axes.plot(row.points, y + 0.25, "o", color=colour, markersize=2.5)
            continue
        axes.plot(row.points, y - 0.1, marker, color=colour, markersize=5)
        axes.plot([row.low, row.high], [y - 0.1] * 2, color=colour)
        axes.text(1.02, y, interval(row, 2), va="center", fontsize=SMALL,
                  transform=axes.get_yaxis_transform())  # fmt: skip
