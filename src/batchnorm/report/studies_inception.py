"""The small Inception's numbers beside the published ones (Zhang et al. 2017)."""

import pandas as pd

from batchnorm.report import look, paper, statistics, tables

RANDOM = "random_labels"  # begins the arms that see random labels, which no curve is drawn of


def true_labels(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the arms of Figure 2: those whose labels are the true ones."""
    return table[~table["arm"].str.startswith(RANDOM)]


def published(table: pd.DataFrame) -> pd.DataFrame:
    """The published networks, each with our nearest arm, one row each.

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
    return {"train": last[_train(last)].mean(), **ends}


def _train(rows: pd.DataFrame) -> str:
    """The training accuracy to show: as the network infers, if that was measured."""
    probed = "training_set/accuracy"
    return probed if probed in rows and rows[probed].notna().any() else "train/accuracy"


def published_text(table: pd.DataFrame) -> str:
    """The numbers of published() as Markdown, with what sets ours apart."""
    names = [
        "network",
        "augmented",
        "L2",
        "train, %",
        "test, %",
        "our nearest arm",
        "its train, %",
        "its test, %",
    ]
    lines = [
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
    words = (
        f"{look.where(table)}: means at the end of the run, with their 95 % interval; train: while"
        " training, or as the network infers where labels are random. Published: Zhang et al."
        " (2017), trained until they fitted the training images, at 28x28 pixels; ours see 32x32,"
        " and all are augmented but those with random labels."
    )
    return f"{tables.markdown_table(names, lines)}\n{words}\n"


def _per_cent(value: float, low: float = float("nan"), high: float = float("nan")) -> str:
    if pd.isna(value):
        return "not run"
    ends = "" if pd.isna(low) else f" [{100 * low:.2f}, {100 * high:.2f}]"
    return f"{100 * value:.2f}{ends}"
