"""Parts of claims that several studies share: guarded differences, shares, probes' last values."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf, nan

import pandas as pd

from batchnorm.report import claims, statistics
from batchnorm.report.claims import Part, within
from batchnorm.report.statistics import Curve, Curves, Estimate, estimate

POINT = 0.01  # of accuracy: what better shuffling gave the paper, which thought it worth a sentence
NO_WORSE = f"above −{POINT:g}"  # a change does no harm if it costs less than a point
NOT_MEASURED = f"not measured, or {claims.AT_CHANCE}"


def learned(found: Curves, arms: Iterable[str]) -> bool:
    """Whether every run of all the arms was better than chance at some time."""
    return all(run.learned() for arm in arms for run in found[arm].values())


def judged_if(trained: tuple[str, ...], part: Part) -> Part:
    """The part, inconclusive where one of the `trained` arms stayed at chance."""

    def of(found: Curves) -> Estimate:
        return part.of(found) if learned(found, trained) else estimate([])

    arms = tuple(dict.fromkeys((*part.arms, *trained)))
    return replace(part, of=of, arms=arms)


def above(arm: str, over: str, low: float = 0, why: str = "") -> Part:
    """Claimed: best(arm) − best(over) is above `low`; `over` has to learn."""
    part = replace(claims.gain(arm, over), rule=f"above {low:g}{why}", judge=within(low, inf))
    return judged_if((over,), part)


def no_worse(arm: str, than: str) -> Part:
    """Claimed: doing as `arm` does costs less than a point against `than`; both have to learn."""
    part = replace(claims.gain(arm, than), rule=NO_WORSE, judge=within(-POINT, inf))
    return judged_if((arm, than), part)


def shown(part: Part) -> Part:
    """The part as information, without a say in the verdict."""
    return replace(part, rule="")


def of_runs(quantity: Callable[[Curve], float], found: Curves, arm: str) -> pd.Series:
    """A quantity of each run of an arm, by seed; NaN where a run has not measured it."""

    def measured(run: Curve) -> float:
        try:
            return quantity(run)
        except (KeyError, IndexError, ValueError):  # no such metric, or no evaluations
            return nan

    return pd.Series({s: measured(run) for s, run in sorted(found[arm].items())}, dtype=float)


def measured(values: pd.Series, ratio: bool = False) -> Estimate:
    """The estimate of values that every run must have; of none where one lacks it."""
    return estimate([] if values.isna().any() else values, ratio)


def share_of(values: pd.Series) -> Estimate:
    """The share of seeds whose value is 1 (not 0); of none where one has no value."""
    return estimate([]) if values.isna().any() else statistics.share(int(values.sum()), len(values))


def ended(run: Curve, metric: str) -> float:
    """A metric at the last evaluation."""
    return float(run.metrics[metric][-1])
