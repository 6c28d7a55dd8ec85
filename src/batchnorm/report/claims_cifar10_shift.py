"""The rule of cifar10_shift: is stability of the layers' inputs what makes BN work (C7)?"""

from collections.abc import Callable
from math import inf

import numpy as np

from batchnorm.report import statistics
from batchnorm.report.claims import Part, within
from batchnorm.report.quantities import (
    NOT_MEASURED,
    above,
    judged_if,
    learned,
    measured,
    of_runs,
    shown,
)
from batchnorm.report.statistics import Curve, Curves, Estimate, estimate

EXPERIMENT = "cifar10_shift"
NO_PREMISE = (
    "not measured, or the noise did not make inputs less stable than without BN, or BN did not lead"
)


def moved(run: Curve) -> float:
    """How far a step moves a unit's mean input, in its deviations; over layers and evaluations."""
    return _watched(run, "moved/")


def agreement(run: Curve) -> float:
    """The cosine between a layer's gradients before and after the layers before it have taken a
    step, mean over layers and evaluations."""
    return _watched(run, "agreement/")


def _watched(run: Curve, kind: str) -> float:
    """Raises ValueError where it was not watched."""
    watched = np.stack([v for name, v in run.metrics.items() if name.startswith(kind)])
    if not watched.size:
        raise ValueError("no evaluations")
    return float(watched.mean())


def lead_lost() -> Part:
    """Claimed: with inputs less stable than without BN, BN loses more than half of its lead."""

    def of(found: Curves) -> Estimate:
        best = {arm: statistics.best(found, arm) for arm in ("plain", "bn", "bn_noisy")}
        unstable = of_runs(moved, found, "bn_noisy") > of_runs(moved, found, "plain")
        lead = best["bn"] - best["plain"]
        if not (unstable.all() and (lead > 0).all() and learned(found, ("plain",))):
            return estimate([])
        return estimate(best["bn"] - best["bn_noisy"] - lead / 2)

    what = "(best(bn) − best(bn_noisy)) − half of (best(bn) − best(plain))"
    arms = ("plain", "bn", "bn_noisy")
    return Part(what, arms, of, "above 0", within(0, inf), NO_PREMISE)


def less_shift() -> Part:
    """Claimed: with BN a layer's gradient depends less on the steps of the layers before it."""

    def of(found: Curves) -> Estimate:
        return measured(of_runs(agreement, found, "bn") - of_runs(agreement, found, "plain"))

    what = "cosine of a layer's gradients before and after the steps of those before it: bn − plain"
    part = Part(what, ("bn", "plain"), of, "above 0", within(0, inf), NOT_MEASURED)
    return judged_if(("bn", "plain"), part)


def ratio(of_run: Callable[[Curve], float], what: str, arm: str, over: str) -> Part:
    """A watched quantity of an arm over another's, as information."""

    def of(found: Curves) -> Estimate:
        return measured(of_runs(of_run, found, arm) / of_runs(of_run, found, over), ratio=True)

    return Part(f"{what}: {arm} / {over}", (arm, over), of, "", within(0, inf), "not measured")


FAR = "how far a step moves a unit's mean input, in its deviations"
RULES = {
    EXPERIMENT: {
        "C7": (
            lead_lost(),
            less_shift(),
            ratio(moved, FAR, "bn", "plain"),
            ratio(moved, FAR, "bn_noisy", "plain"),
            shown(above("bn_noisy", "plain")),
            shown(above("plain_noisy", "plain")),
        )
    }
}
