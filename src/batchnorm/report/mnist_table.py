"""The numbers of Figure 1(a) as a table: ours, and the paper's beside them."""

from math import inf, nan

import numpy as np
import pandas as pd

from batchnorm.report import mnist, paper, statistics, tables

TARGETS = (95, 97)  # percent of the test images


def numbers(table: pd.DataFrame) -> pd.DataFrame:
    """One row per arm: lr, std (of the initial weights), n, and of every target the steps to it:
    `steps_95` (median over the seeds, one that never gets there counting as slowest; NaN where that
    is the median) and `reached_95` (how many do).

    Accuracies are fractions: `final` (mean), `final_low`, `final_high`. In columns `paper_...`: the
    steps between the points read off its curve, or its first point where that is above already
    (`paper_at_most_95`), and its last point; `distance` and `distance_at` (step) say how far our
    median is from the points (mnist.distance).
    """
    found = statistics.curves(table)
    runs = statistics.runs(table)
    far = mnist.accuracy_distances(mnist.accuracy_points(table))
    never = mnist.Distance(nan, nan)
    rows = []
    for arm, curves in found.items():
        one = runs[runs["arm"] == arm].iloc[0]
        ends = pd.Series([curve.last() for curve in curves.values()])
        rows.append(
            {
                **{
                    "arm": arm,
                    "lr": one["optim.lr"],
                    "std": round(0.01 * one["model.init_scale"], 6),
                },
                **_steps(curves),
                **{"final": ends.mean(), "final_low": ends.min(), "final_high": ends.max()},
                **_published(one["model.norm"]),
                **{
                    "distance": far.get(arm, never).largest,
                    "distance_at": far.get(arm, never).step,
                },
                "n": len(curves),
            }
        )
    return pd.DataFrame(rows)


def _steps(curves: dict[int, statistics.Curve]) -> dict[str, float]:
    found: dict[str, float] = {}
    for target in TARGETS:
        steps = pd.Series([curve.steps_to(target / 100) for curve in curves.values()])
        middle = steps.fillna(inf).median()
        found[f"steps_{target}"] = middle if middle < inf else nan
        found[f"reached_{target}"] = int(steps.notna().sum())
    return found


def _published(norm: str) -> dict[str, float]:
    read = paper.mnist_accuracy()
    read = read[read["norm"] == norm]
    curve = statistics.Curve(np.array(read["step"]), np.array(read["accuracy"]), mnist.PAPER_STEPS)
    found: dict[str, float] = {"paper_final": read["accuracy"].iloc[-1]}
    for target in TARGETS:
        at_once = read["accuracy"].iloc[0] >= target / 100
        steps = read["step"].iloc[0] if at_once else curve.steps_to(target / 100)
        found |= {f"paper_steps_{target}": steps, f"paper_at_most_{target}": at_once}
    return found


def _paper_steps(row: pd.Series, target: int) -> str:
    steps = row[f"paper_steps_{target}"]
    if np.isnan(steps):
        return "never"
    if row[f"paper_at_most_{target}"]:
        return f"at most {steps:,.0f}"
    return f"about {float(f'{steps:.2g}'):,.0f}"  # read within 0.003, where curves are nearly flat


COLUMNS: tables.Columns = {
    "arm": lambda r: r["arm"],
    "learning rate": lambda r: f"{r['lr']:g}",
    "initial deviation": lambda r: f"{r['std']:g}",
    **{
        f"steps to {t} %": lambda r, t=t: tables.reached(r[f"steps_{t}"], r[f"reached_{t}"], r["n"])
        for t in TARGETS
    },
    "final accuracy (min–max)": lambda r: (
        f"{r['final']:.4f} ({r['final_low']:.4f}–{r['final_high']:.4f})"
    ),
    **{f"paper: steps to {t} %": lambda r, t=t: _paper_steps(r, t) for t in TARGETS},
    "paper: final": lambda r: f"{r['paper_final']:.3f}",
    "largest distance from its curve": lambda r: (
        "–"
        if np.isnan(r["distance"])
        else f"{r['distance']:.3f} (at {mnist.thousands(r['distance_at'])})"
    ),
}


def printed(table: pd.DataFrame) -> tables.Printed:
    """The table after Figure 1(a); ours left, the paper's right."""
    found = numbers(table)
    return tables.Printed(found, list(COLUMNS), tables.lines(found, COLUMNS), words(table))


def words(table: pd.DataFrame) -> str:
    """What stands under the table."""
    return (
        f"{mnist.run_words(table)} Steps: median over the seeds, linear between evaluations; final"
        " accuracy: mean. The paper's columns are read off its Figure 1(a); largest distance: of"
        " our median from the points read there, in accuracy."
    )
