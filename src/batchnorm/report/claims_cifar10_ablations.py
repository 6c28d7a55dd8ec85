"""The rules of cifar10_ablations: section 4.2.1's changes and the method's choices, one by one."""

from dataclasses import replace
from math import inf, nan

import numpy as np
import pandas as pd

from batchnorm.report import claims, statistics
from batchnorm.report.claims import UNTRAINED, Part, in_every_seed, within
from batchnorm.report.claims_cifar10 import growth
from batchnorm.report.quantities import (
    NOT_MEASURED,
    above,
    judged_if,
    learned,
    measured,
    no_worse,
    of_runs,
    share_of,
    shown,
)
from batchnorm.report.statistics import Curve, Curves, Estimate, estimate

EXPERIMENT = "cifar10_ablations"
BATCHES = {2: "bn_batch_2", 8: "bn_batch_8", 32: "bn_batch_32", 128: "bn"}
STATISTICS = {  # what a normalization may use at test time instead, and its metric
    "biased variance": "inference/biased",
    "moving average": "inference/moving_average",
    "the batch's own": "inference/batch",
}
AS_GOOD = 0.005  # accuracy: other statistics are better if they gain more than half a point
BLOWN_UP = 10  # times the length of the same weights of the reference, at the end


def population(arm: str, name: str) -> Part:
    """Claimed: the paper's population statistics are no worse at test time than other ones."""

    def of_one(run: Curve) -> float:
        return float(run.accuracy[-1] - run.metrics[STATISTICS[name]][-1])

    def of(found: Curves) -> Estimate:
        return measured(of_runs(of_one, found, arm))

    what = f"end({arm}) − with {name}"
    part = Part(what, (arm,), of, f"above −{AS_GOOD:g}", within(-AS_GOOD, inf), NOT_MEASURED)
    return judged_if((arm,), part)


def before(place: str, after: str) -> Part:
    """Claimed: normalizing before the nonlinearity is better; one of the two has to learn."""
    part = claims.gain(place, after)

    def of(found: Curves) -> Estimate:
        either = learned(found, (place,)) or learned(found, (after,))
        return part.of(found) if either else estimate([])

    return replace(part, of=of, unknown="both stayed at chance")


def better(reference: str, changed: str, low: float = 0) -> Part:
    """Claimed: the change costs more than `low`; the net without it has to learn."""
    part = replace(claims.gain(reference, changed), rule=f"above {low:g}", judge=within(low, inf))
    return judged_if((reference,), part)


def own_gain(change: str) -> Part:
    """Claimed: what a change costs a net with BN, it does not cost one without."""

    def of(found: Curves) -> Estimate:
        bn, plain = (
            statistics.best(found, norm) - statistics.best(found, f"{norm}_{change}")
            for norm in ("bn", "plain")
        )
        return estimate(bn - plain)

    arms = ("bn", f"bn_{change}", "plain", f"plain_{change}")
    what = f"(best(bn) − best(bn_{change})) − (best(plain) − best(plain_{change}))"
    part = Part(what, arms, of, "above 0: it is BN's own", within(0, inf))
    return judged_if(("bn", "plain"), part)


def lengths(run: Curve) -> np.ndarray:
    """The length of each layer's weights with its bias, as last measured: (layers,)."""
    layers = sorted(int(name[5:]) for name in run.metrics if name.startswith("norm/"))
    bias = {k: run.metrics.get(f"bias/{k}", np.zeros(1))[-1] for k in layers}
    return np.array([np.hypot(run.metrics[f"norm/{k}"][-1], bias[k]) for k in layers])


def blown_up(run: Curve, usual: Curve) -> float:
    """1 if a run is lost or its weights are far longer than a usual run's, else 0; NaN: unknown."""
    if run.diverged_at < inf or not run.learned():
        return 1.0
    ours, theirs = lengths(run), lengths(usual)
    if not ours.size or ours.size != theirs.size:
        return nan
    return float((ours > BLOWN_UP * theirs).any())


def blew_up(arm: str, reference: str) -> Part:
    """Claimed: every run of `arm` overflowed, stayed at chance or has weights that grew wild."""

    def of(found: Curves) -> Estimate:
        runs = found[arm].items()
        return share_of(pd.Series({s: blown_up(run, found[reference][s]) for s, run in runs}))

    what = f"share of {arm} that overflowed, stayed at chance, or has in some layer weights and"
    what += f" bias {BLOWN_UP} times as long as {reference}'s"
    part = Part(what, (arm, reference), of, "every seed", in_every_seed, NOT_MEASURED)
    return judged_if((reference,), part)


def learns(arm: str) -> Part:
    """Claimed: the arm is better than chance at some time."""
    return claims.best(arm, f"above {UNTRAINED}", low=UNTRAINED)


RULES: dict[str, dict[str, tuple[Part, ...]]] = {
    EXPERIMENT: {
        "C4": (
            *(population(arm, name) for arm in ("bn", "bn_batch_2") for name in STATISTICS),
            *(shown(population(arm, name)) for arm in ("bn_batch_8", "bn_batch_32")
              for name in STATISTICS),
        ),
        "C18": (
            above("bn_l2_fifth", "bn"),
            *(shown(above(arm, arm.partition("_")[0]))
              for arm in ("bn_l2_0", "plain_l2_fifth", "plain_l2_0")),
        ),
        "C19": (no_worse("bn", "bn_lrn"), shown(no_worse("plain", "plain_lrn"))),
        "C20": (
            above("bn", "bn_fixed_batches", 0.005, ", half of the paper's point"),
            own_gain("fixed_batches"),
        ),
        "C21": (before("bn", "bn_after"), before("bn_sigmoid", "bn_sigmoid_after")),
        "C22": (
            blew_up("bn_detached", "bn"),
            better("bn", "bn_detached", 0.05),
            growth("bias", "bn_detached"),
            growth("norm", "bn_detached"),
        ),
        "C23": (better("bn", "bn_no_affine"),),
        "C24": (no_worse("bn", "bn_per_activation"),),
        "C26": (
            *(learns(BATCHES[size]) for size in (2, 8, 32)),
            *(shown(above(f"bn_batch_{size}", f"plain_batch_{size}")) for size in (2, 8, 32)),
        ),
    }
}  # fmt: skip
