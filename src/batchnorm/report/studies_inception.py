"""The small Inception's numbers beside the published ones (Zhang et al. 2017)."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from batchnorm.report import look, paper, statistics, tables


def published(table: pd.DataFrame) -> pd.DataFrame:
    """The published networks, each with our arm for it, one row each.

    Columns: network, augmented, weight_decay, published_train, published_test (fractions); arm, n,
    epochs, and at the end of our runs: train, test (fractions, means over seeds) and the 95 %
    interval of test, low and high. NaN where the arm has not been run.
    """
    rows = pd.DataFrame(paper.values()["small_inception"])
    ends = {arm: _ends(part) for arm, part in table.groupby("arm", sort=False)}
    ours = pd.DataFrame([ends.get(arm, {"n": 0}) for arm in rows["arm"]])
    columns = ["epochs", "train", "test", "low", "high", "n"]
    return pd.concat([rows, ours.reindex(columns=columns)], axis=1)


def _ends(rows: pd.DataFrame) -> dict[str, float]:
    last = rows.groupby("seed").tail(1)
    (found,) = statistics.curves(rows).values()
    test = statistics.estimate(run.last() for run in found.values())
    ends = {"test": test.value, "low": test.low, "high": test.high, "n": test.n}
    measured = last.get("training_set/accuracy", pd.Series(float("nan"), last.index))
    train = measured.mask(last["diverged"], statistics.CHANCE).mean()
    return {"epochs": statistics.epochs(last).max(), "train": train, **ends}


NAMES = [
    "network",
    "augmented",
    "L2",
    "train, %",
    "test, %",
    "our arm",
    "its epochs",
    "its train, %",
    "its test, %",
]


def printed(table: pd.DataFrame) -> tables.Printed:
    """The published networks' numbers, and ours at the right."""
    numbers = published(table)
    lines = [
        [
            row["network"],
            *("yes" if row[key] else "no" for key in ("augmented", "weight_decay")),
            *(f"{100 * row[f'published_{split}']:.2f}" for split in ("train", "test")),
            row["arm"],
            _epochs(row["epochs"]),
            _per_cent(row["train"]),
            _per_cent(row["test"], row["low"], row["high"]),
        ]
        for _, row in numbers.iterrows()
    ]
    return tables.Printed(numbers, NAMES, lines, published_words(table))


PLAIN_AT_FULL_SCALE = (
    " Those without BN have a rate of 0.015 (at the 0.1 of the others, which is theirs, the weights"
    " overflow) and 25 epochs, chosen when after 10 they were 10 to 12 points of test accuracy"
    " below theirs (commit cb38fdf)."
)


def published_words(table: pd.DataFrame) -> str:
    """What sets ours apart from the published numbers."""
    trained, width = sorted(set(statistics.epochs(table))), table["model.width"].iloc[0]
    means, intervals = "", ""
    if table["seed"].nunique() > 1:
        means, intervals = "means ", ", with their 95 % interval"
    return (
        f"{look.where(table)}: {means}at the end of the run, by population statistics{intervals}."
        " Published: Zhang et al. (2017), trained until they fitted the training"
        " images, at 28x28 pixels, each whitened, and width 96; ours for"
        f" {' or '.join(map(_epochs, trained))} epochs at 32x32, scaled per channel, and width"
        f" {width}.{PLAIN_AT_FULL_SCALE * (table['scale'].iloc[0] == 'full')}"
    )


@look.look
def draw(table: pd.DataFrame) -> Figure:
    """Accuracies on training and on test images, ours and the published ones, a line a network."""
    rows = published(table).iloc[::-1].reset_index(drop=True)
    figure = Figure((look.WIDTH, 3.2))
    for split, left in (("train", 0.245), ("test", 0.635)):
        axes = figure.add_axes((left, 0.36, 0.25, 0.5))
        _draw_split(axes, rows, split)
        axes.set_yticks(range(len(rows)), names(rows) if split == "train" else [])
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, ncols=3, loc="center", bbox_to_anchor=(0.62, 0.205))
    look.title(figure, f"{look.data_name(table)}: the small Inception beside its published numbers")
    look.footer(figure, published_words(table))
    return figure


def _draw_split(axes: Axes, rows: pd.DataFrame, split: str) -> None:
    with_bn = rows["network"].str.startswith("with BN")
    for of, ink, label in (
        (with_bn, look.BN, "ours, with BN"),
        (~with_bn, look.PLAIN, "ours, without BN"),
    ):
        ours = rows[of]
        if split == "test":
            axes.hlines(ours.index, ours["low"], ours["high"], color=ink.colour, linewidth=1)
        axes.plot(ours[split], ours.index, ink.marker, color=ink.colour, label=label, **look.HALO)
    theirs = rows[f"published_{split}"]
    axes.plot(theirs, rows.index, "D", markersize=6, markerfacecolor="none",
              markeredgecolor="black", label="published", zorder=5)  # fmt: skip
    beside = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": look.SMALL}
    for y, (own, one) in enumerate(zip(rows[split], theirs, strict=True)):
        here = "–" if pd.isna(own) else f"{100 * own:.1f}"
        axes.text(1.03, y, f"{here} / {100 * one:.1f}", **beside)
    axes.text(1.03, len(rows), "ours / theirs, %", **beside)
    axes.axvline(statistics.CHANCE, color=look.GREY, linewidth=0.8, linestyle=":", zorder=0)
    axes.set(xlim=(0, 1.05), ylim=(-0.6, len(rows) - 0.4))
    axes.set_xlabel(
        f"accuracy on {'training' if split == 'train' else 'test'} images (dots: chance)"
    )
    axes.grid(axis="y", **look.GRID)
    look.bare(axes, "top")


def names(rows: pd.DataFrame) -> list[str]:
    """The networks in words: what is not said of one is the usual."""
    return [
        row["network"]
        + (", augmented" if row["augmented"] else "")
        + ("" if row["weight_decay"] or "random" in row["network"] else ", no L2")
        for _, row in rows.iterrows()
    ]


def _epochs(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:g}"


def _per_cent(value: float, low: float = float("nan"), high: float = float("nan")) -> str:
    if pd.isna(value):
        return "not run"
    ends = "" if pd.isna(low) else f" [{100 * low:.2f}, {100 * high:.2f}]"
    return f"{100 * value:.2f}{ends}"
