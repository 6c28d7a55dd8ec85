"""The paper's values, as tables: its Figure 2, its Figure 3, and what its claims say."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml


@cache
def values() -> dict[str, Any]:
    """paper.yaml, whole."""
    return yaml.safe_load((Path(__file__).parent / "paper.yaml").read_text())


def ordered(arms: Iterable[str]) -> list[str]:
    """Arms in the order of paper.yaml; those that it does not have follow by name, their numbers
    by size: bn_8 before bn_32."""
    known = list(values()["arms"])

    def key(arm: str) -> tuple[int, list[str | float]]:
        pieces = re.split(r"(\d+(?:\.\d+)?)", arm)  # text and numbers by turns
        return (
            known.index(arm) if arm in known else len(known),
            [float(piece) if i % 2 else piece for i, piece in enumerate(pieces)],
        )

    return sorted(arms, key=key)


def curves() -> pd.DataFrame:
    """Figure 2: one row per point, with columns arm, millions (of steps), accuracy, approximate."""
    rows = [
        (arm, float(millions), float(str(read).lstrip("~")), str(read).startswith("~"))
        for arm, model in values()["arms"].items()
        for millions, read in values()["figure_2"].get(model, {}).items()
    ]
    return pd.DataFrame(rows, columns=["arm", "millions", "accuracy", "approximate"])


def table() -> pd.DataFrame:
    """Figure 3 by arm: model, lr, steps (millions), accuracy, speed_up (Inception's steps / steps).

    `text` holds what the paper says in words where it has no row, such as "overflowed"; else "".
    """
    names, printed = values()["arms"], values()["figure_3"]
    rows = pd.DataFrame.from_dict(
        {arm: printed.get(model, {}) for arm, model in names.items()},
        orient="index",
        columns=["lr", "steps", "accuracy"],
    ).astype(float)
    rows["model"] = pd.Series(names).fillna("")
    rows["text"] = rows["model"].map(values()["text"]).fillna("")
    rows["speed_up"] = rows.loc["baseline", "steps"] / rows["steps"]
    return rows


# --- Figure 1, MNIST ------------------------------------------------------------------------------

NORMS = {"Without BN": "none", "With BN": "batch"}  # the paper's networks by our model.norm


def mnist_accuracy() -> pd.DataFrame:
    """Figure 1(a): one row per point, with columns norm, step, accuracy, approximate."""
    rows = [
        (NORMS[name], 1000 * float(thousands), float(str(read).lstrip("~")), "~" in str(read))
        for name, points in values()["figure_1a"].items()
        for thousands, read in points.items()
    ]
    return pd.DataFrame(rows, columns=["norm", "step", "accuracy", "approximate"])


def mnist_percentiles() -> pd.DataFrame:
    """Figure 1(b), (c): one row per point, with columns norm, percentile, fraction (of the run),
    value (of the input of one sigmoid)."""
    rows = [
        (norm, percentile, float(fraction), float(value))
        for norm, figure in (("none", "figure_1b"), ("batch", "figure_1c"))
        for percentile, points in values()[figure].items()
        for fraction, value in points.items()
    ]
    return pd.DataFrame(rows, columns=["norm", "percentile", "fraction", "value"])
