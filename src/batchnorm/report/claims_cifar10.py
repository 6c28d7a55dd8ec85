"""The rules of the CIFAR-10 studies of Dropout, initial weights, depth and the small Inception."""

from collections.abc import Callable
from math import inf

import numpy as np
import pandas as pd

from batchnorm.report import claims
from batchnorm.report.claims import UNTRAINED, Part, in_every_seed, within
from batchnorm.report.quantities import (
    NOT_MEASURED,
    POINT,
    above,
    ended,
    judged_if,
    measured,
    no_worse,
    of_runs,
    share_of,
    shown,
)
from batchnorm.report.statistics import Curve, Curves, Estimate, estimate

FLAT = 0.05  # accuracy: "the same" over two decades of initial scale
SCALES = ("0.1", "1", "10")  # of the initial weights, over which BN should not care
ALL_SCALES = ("0.001", "0.01", *SCALES, "100")
DEPTHS = (6, 12, 24, 48)


# --- C17, C27: Dropout ----------------------------------------------------------------------------


def gap(arm: str, over: str, rule: str, high: float) -> Part:
    """Claimed: the train-test gap of `arm` is at most `high` above that of `over`."""

    def of_one(run: Curve) -> float:
        return ended(run, "training_set/accuracy") - float(run.accuracy[-1])

    def of(found: Curves) -> Estimate:
        return measured(of_runs(of_one, found, arm) - of_runs(of_one, found, over))

    what = f"train–test gap({arm}) − gap({over}) at the end"
    part = Part(what, (arm, over), of, rule, within(-inf, high), NOT_MEASURED)
    return judged_if((arm, over), part)


DROPOUT = {
    "C17": (
        *(no_worse("bn_0", than) for than in ("bn_0.05", "bn_0.1", "bn_0.4")),
        gap("bn_0", "bn_0.4", f"below {POINT:g}: no more overfitting", POINT),
        shown(gap("bn_0", "plain_0", "", inf)),
        shown(above("plain_0", "plain_0.1")),
    ),
    "C27": (
        above("bn_0", "plain_0", 0.015, ", half of the 3 points known from others' work"),
        *(above("bn_0", over) for over in ("plain_0.05", "plain_0.1", "plain_0.4")),
        shown(above("bn_0.1", "bn_0")),
    ),
}

# --- C14, C15: initial weights --------------------------------------------------------------------


def spread(norm: str, scales: tuple[str, ...] = SCALES) -> tuple[str, Callable[[Curves], float]]:
    """How far apart accuracies end over the scales of the initial weights, by seed."""

    def of(found: Curves) -> pd.Series:
        ends = pd.DataFrame({s: of_runs(Curve.last, found, f"{norm}_{s}") for s in scales})
        return ends.max(axis=1) - ends.min(axis=1)

    return f"spread({norm}) of the end over scales {scales[0]} to {scales[-1]}", of


def flat(scales: tuple[str, ...] = SCALES) -> Part:
    """Claimed: with BN, the accuracy at the end is the same for all scales of initial weights."""
    what, of = spread("bn", scales)
    arms = tuple(f"bn_{s}" for s in scales)
    part = Part(what, arms, lambda found: estimate(of(found)), f"below {FLAT}", within(-inf, FLAT))
    return judged_if(("bn_1",), part)


def flatter(scales: tuple[str, ...] = SCALES) -> Part:
    """Claimed: without BN, it is less so, by an amount that counts. (Over all scales the spread of
    a network that learns at one alone says how well it does there, and nothing of the others.)"""
    (words, plain), (_, bn) = spread("plain", scales), spread("bn", scales)
    arms = tuple(f"{norm}_{s}" for norm in ("plain", "bn") for s in scales)
    part = Part(
        f"{words} − spread(bn)",
        arms,
        lambda found: estimate(plain(found) - bn(found)),
        f"above {FLAT}",
        within(FLAT, inf),
    )
    return judged_if(("plain_1", "bn_1"), part)


def hidden(run: Curve, quantity: str) -> np.ndarray:
    """A probe's quantity in every layer but the last, which is not normalized.

    Shape (evaluations, layers). Raises KeyError where it was not watched.
    """
    names = [name for name in run.metrics if name.startswith(f"{quantity}/")]
    names = sorted(names, key=lambda name: int(name.partition("/")[2]))[:-1]
    if not names or not run.steps.size:
        raise KeyError(quantity)
    return np.stack([run.metrics[name] for name in names], axis=1)


def mean_log(run: Curve, quantity: str) -> np.ndarray:
    """The logarithm of a quantity, averaged over the hidden layers: (evaluations,)."""
    return np.log(hidden(run, quantity)).mean(axis=1)


def ratio_of(quantity: str, arm: str, over: str, when: int, rule: str, high: float) -> Part:
    """Claimed: a quantity of the hidden layers' weights is in `arm` below `high` times `over`'s."""

    def of(found: Curves) -> Estimate:
        def one(run: Curve) -> float:
            return float(mean_log(run, quantity)[when])

        return measured(np.exp(of_runs(one, found, arm) - of_runs(one, found, over)), ratio=True)

    evaluation = "at the end" if when else "at the first evaluation"
    what = f"{quantity}({arm}) / {quantity}({over}) {evaluation}"
    part = Part(what, (arm, over), of, rule, within(-inf, high), NOT_MEASURED)
    return judged_if((arm, over), part)


def growth(quantity: str, arm: str) -> Part:
    """By how much a quantity of the hidden layers has grown since the first evaluation."""

    def of_one(run: Curve) -> float:
        found = mean_log(run, quantity)
        return float(np.exp(found[-1] - found[0]))

    def of(found: Curves) -> Estimate:
        return measured(of_runs(of_one, found, arm), ratio=True)

    what = f"{quantity}({arm}) at the end / at the first evaluation"
    return Part(what, (arm,), of, "", within(-inf, inf), NOT_MEASURED)


def never_falls(arm: str) -> Part:
    """Claimed: without L2, weights under BN only grow, their gradients being orthogonal to them."""

    def of_one(run: Curve) -> float:
        return float((np.diff(mean_log(run, "norm")) > 0).all())

    def of(found: Curves) -> Estimate:
        return share_of(of_runs(of_one, found, arm))

    what = f"share of {arm} in which the norm of the weights grows all the time"
    return judged_if((arm,), Part(what, (arm,), of, "every seed", in_every_seed, NOT_MEASURED))


def cosine(arm: str) -> Part:
    """|cosine| of weights and gradient, averaged over hidden layers and evaluations."""

    def of(found: Curves) -> Estimate:
        return measured(
            of_runs(lambda run: float(np.abs(hidden(run, "cosine")).mean()), found, arm)
        )

    return Part(f"|cosine(W, dL/dW)| in {arm}", (arm,), of, "", within(-inf, inf), NOT_MEASURED)


INITIALIZATION = {
    "C14": (
        flat(),
        flatter(),
        shown(flat(ALL_SCALES)),
        shown(flatter(ALL_SCALES)),
        shown(above("bn_gaussian", "plain_gaussian")),
    ),
    "C15": (
        never_falls("bn_1"),
        ratio_of("gradient", "bn_10", "bn_0.1", 0, "below 1: larger weights, smaller gradients", 1),
        shown(ratio_of("gradient", "bn_10", "bn_0.1", -1, "", 1)),
        ratio_of("norm", "bn_10", "bn_0.1", -1, "below 50, half of the 100 that it began with", 50),
        cosine("bn_1"),
        cosine("plain_1"),
    ),
}

# --- C28: depth -----------------------------------------------------------------------------------


def deepest(found: Curves, kind: str) -> pd.Series:
    """The depth of the deepest net of a kind that ends above chance, by seed; 0: none does."""
    ends = pd.DataFrame({d: of_runs(Curve.last, found, f"{kind}_{d}") for d in DEPTHS})
    return ((ends >= UNTRAINED) * np.array(DEPTHS)).max(axis=1)


def deeper(activation: str) -> Part:
    """Claimed: in every seed BN trains deeper nets; unknown where the deepest needs no BN."""

    def of(found: Curves) -> Estimate:
        plain, bn = (deepest(found, f"{norm}_{activation}") for norm in ("plain", "bn"))
        won = (bn > plain).astype(float)
        return share_of(won.mask((bn == max(DEPTHS)) & (plain == max(DEPTHS))))

    arms = tuple(f"{norm}_{activation}_{d}" for norm in ("plain", "bn") for d in DEPTHS)
    what = f"share of seeds in which the deepest bn_{activation} that ends above {UNTRAINED}"
    what += f" is deeper than the deepest plain_{activation}"
    unknown = "in some seed the deepest net learned without BN too, or the shallowest did not"
    part = Part(what, arms, of, "every seed", in_every_seed, unknown)
    return judged_if(("plain_relu_6",), part)


def ends_trained(arm: str) -> Part:
    """In which share of seeds an arm ends above chance; information."""

    def of(found: Curves) -> Estimate:
        return share_of((of_runs(Curve.last, found, arm) >= UNTRAINED).astype(float))

    what = f"share of seeds in which {arm} ends above {UNTRAINED}"
    return Part(what, (arm,), of, "", in_every_seed, NOT_MEASURED)


EDGES = ("plain_relu_24", "plain_relu_48", "bn_relu_48", "plain_sigmoid_6", "bn_sigmoid_24",
         "bn_sigmoid_48")  # fmt: skip
LEADS = tuple(shown(above(f"bn_relu_{depth}", f"plain_relu_{depth}")) for depth in DEPTHS)
DEPTH = {"C28": (deeper("relu"), deeper("sigmoid"), *map(ends_trained, EDGES), *LEADS)}

# --- the small Inception: the learning-rate study's rules, but for the arms it has not ------------

INCEPTION = {f"{id} small Inception": claims.RULES[id] for id in ("C8", "C9", "C10", "C12", "C13")}

RULES: dict[str, dict[str, tuple[Part, ...]]] = {
    "cifar10_dropout": DROPOUT,
    "cifar10_initialization": INITIALIZATION,
    "cifar10_depth": DEPTH,
    "cifar10_inception": INCEPTION,
}
