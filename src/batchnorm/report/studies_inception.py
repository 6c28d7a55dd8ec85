"""The small Inception's numbers beside the published ones (Zhang et al. 2017)."""

import pandas as pd

from batchnorm.report import look, paper, statistics, tables


def published(table: pd.DataFrame) -> pd.DataFrame:
    """The published networks, each with our arm for it, one row each.

    Columns: network, augmented, weight_decay, published_train, published_test (fractions); arm, n,
    and at the end of our runs: train, test (fractions, means over seeds) and the
    95 % interval of test, low and high. NaN where the arm has not been run.
    """
    rows = pd.DataFrame(paper.values()["small_inception"])
    ends = {arm: _ends(part) for arm, part in table.groupby("arm", sort=False)}
    ours = pd.DataFrame([ends.get(arm, {"n": 0}) for arm in rows["arm"]])
    return pd.concat([rows, ours.reindex(columns=["train", "test", "low", "high", "n"])], axis=1)


def _ends(rows: pd.DataFrame) -> dict[str, float]:
    last = rows.groupby("seed").tail(1)
    (found,) = statistics.curves(rows).values()
    test = statistics.estimate(run.last() for run in found.values())
    ends = {"test": test.value, "low": test.low, "high": test.high, "n": test.n}
    return {"train": last["training_set/accuracy"].mean(), **ends}


NAMES = [
    "network",
    "augmented",
    "L2",
    "train, %",
    "test, %",
    "our arm",
    "its train, %",
    "its test, %",
]


def published_lines(table: pd.DataFrame) -> list[list[str]]:
    """The cells of the numbers of published(), under NAMES."""
    return [
        [
            row["network"],
            *("yes" if row[key] else "no" for key in ("augmented", "weight_decay")),
            *(f"{100 * row[f'published_{split}']:.2f}" for split in ("train", "test")),
            row["arm"],
            _per_cent(row["train"]),
            _per_cent(row["test"], row["low"], row["high"]),
        ]
        for _, row in published(table).iterrows()
    ]


def published_words(table: pd.DataFrame) -> str:
    """What sets ours apart from the published numbers."""
    epochs, width = (table[key].iloc[0] for key in ("optim.epochs", "model.width"))
    return (
        f"{look.where(table)}: means at the end of the run, by population statistics, with their 95"
        " % interval. Published: Zhang et al. (2017), trained until they fitted the training"
        f" images, at 28x28 pixels, each whitened, and width 96; ours for {epochs:g} epochs at"
        f" 32x32, scaled per channel, and width {width}."
    )


def published_text(table: pd.DataFrame) -> str:
    """The numbers of published() as Markdown, with what sets ours apart."""
    numbers = tables.markdown_table(NAMES, published_lines(table))
    return f"{numbers}\n{published_words(table)}\n"


def _per_cent(value: float, low: float = float("nan"), high: float = float("nan")) -> str:
    if pd.isna(value):
        return "not run"
    ends = "" if pd.isna(low) else f" [{100 * low:.2f}, {100 * high:.2f}]"
    return f"{100 * value:.2f}{ends}"
