"""The rules for the claims that are put to the test on MNIST; see claims.CHANGED."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import inf

import numpy as np
import pandas as pd

from batchnorm.report import statistics
from batchnorm.report.claims import Judge, Part, reached, within
from batchnorm.report.mnist import PAIRS
from batchnorm.report.quantities import NOT_MEASURED, measured, of_runs
from batchnorm.report.statistics import Curve, Curves, Estimate, estimate

HIDDEN = (1, 2, 3)  # layers whose weights BN makes scale-free
TARGETS = (0.95, 0.97)  # test accuracy
SCALES = ("0.1", "1", "10")  # times a deviation of 0.1: over these BN is to make no difference
ALL_SCALES = ("0.01", *SCALES, "100")
FLAT, STEEP = 0.02, 0.10  # accuracy
FALL, COSINE = 0.001, 0.01  # what rounding and eps may do to a norm and to an angle
NEAR, FAR = 2.0, 10.0  # factors
RULE = (
    "In C5, C6 and C14 to C16 on MNIST: baseline and bn share one learning rate, close to what"
    " the paper's curves suggest; baseline_best and bn_best have each the rate at which it gets to"
    " the highest accuracy, not there soonest, on a hold-out (mnist_tune, at whose edge the"
    " first's lies). Final accuracy: at the last evaluation. Of two networks one of which never"
    " gets to an accuracy, that one counts with its whole run. Drift: from a tenth of the run on,"
    " how far a unit's median input moves in all, evaluation to evaluation, plus how far half its"
    " 15 to 85 % range does, over the mean of that half range; mean over the 300 hidden units."
    " Cosine: between a layer's weights and its gradient on one training batch. Singular values:"
    " of the map from one hidden layer's normalized inputs to the next one's, pooled over images,"
    " at the last evaluation. What is said of other quantities over layers or over the run is said"
    " of the worst of them, per seed."
)


# --- C5, C14: from accuracies ---------------------------------------------------------------------


def faster(fast: str, slow: str, target: float) -> Part:
    """Claimed: `slow` takes more steps to the target than `fast`. Of the two, one that never gets
    there counts with its whole run; if neither does, there is no ratio."""

    def of(found: Curves) -> Estimate:
        seeds, arms = statistics.common_seeds(found, (slow, fast)), (slow, fast)
        steps, whole = (
            pd.DataFrame({arm: of_runs(of_run, found, arm) for arm in arms}).loc[seeds]
            for of_run in (lambda run: run.steps_to(target), lambda run: run.planned)
        )
        counted = steps.fillna(whole).where(steps.notna().any(axis=1))
        bounds = steps[slow].isna() & steps[fast].notna()
        value = estimate(counted[slow] / counted[fast], ratio=True)
        return replace(value, bounds=int(bounds.sum()))

    what = f"steps of {slow} / steps of {fast} to {100 * target:g} %"
    return Part(what, (slow, fast), of, "above 1", reached(1))


def higher(arm: str, over: str) -> Part:
    """Claimed: `arm` ends at a higher accuracy than `over`."""

    def of(found: Curves) -> Estimate:
        seeds = statistics.common_seeds(found, (arm, over))
        return estimate(found[arm][s].last() - found[over][s].last() for s in seeds)

    return Part(f"final({arm}) − final({over})", (arm, over), of, "above 0", within(0, inf))


def fall(net: str, scales: tuple[str, ...], rule: str, judge: Judge) -> Part:
    """What the worst of these initial scales costs: best - worst final accuracy over them."""
    arms = tuple(f"{net}_{scale}" for scale in scales)

    def of(found: Curves) -> Estimate:
        seeds = statistics.common_seeds(found, arms)
        ends = [[found[arm][seed].last() for arm in arms] for seed in seeds]
        return estimate(max(of_seed) - min(of_seed) for of_seed in ends)

    what = f"{net}: best − worst final accuracy over initial scales {scales[0]} to {scales[-1]}"
    return Part(what, arms, of, rule, judge)


# --- C6, C15, C16: from what the probes watched ---------------------------------------------------


def quantity(
    what: str, arm: str, of_run: Callable[[Curve], float], rule: str, judge: Judge
) -> Part:
    """One number per run of an arm; for information only where the rule is ""."""

    def of(found: Curves) -> Estimate:
        return measured(of_runs(of_run, found, arm))

    return Part(f"{arm}: {what}", (arm,), of, rule, judge, NOT_MEASURED)


def _values(run: Curve, names: Iterable[str]) -> np.ndarray:
    """(evaluations, names). Raises KeyError for what the run has not watched."""
    return np.stack([run.metrics[name] for name in names], axis=1)


def drift(run: Curve, kinds: Iterable[str] = ("median", "spread")) -> float:
    """A run's drift (watched.drift), mean over the hidden layers, summed over the kinds."""
    return float(sum(_values(run, (f"drift/{k}/{kind}" for k in HIDDEN))[0].mean()
                     for kind in kinds))  # fmt: skip


def steadier(arm: str, than: str, kinds: tuple[str, ...], rule: str) -> Part:
    """Claimed: the inputs of the sigmoids drift further in `than` than in `arm`."""

    def of(found: Curves) -> Estimate:
        further, less = (of_runs(lambda run: drift(run, kinds), found, a) for a in (than, arm))
        return measured((further / less)[statistics.common_seeds(found, (arm, than))], ratio=True)

    what = f"drift of the {' and the '.join(kinds)}: {than} / {arm}"
    return Part(what, (than, arm), of, rule, within(1, inf), NOT_MEASURED)


def largest_fall(run: Curve) -> float:
    """The largest relative fall of a hidden layer's norm between evaluations; < 0: none fell."""
    norms = _values(run, (f"norm/{k}" for k in HIDDEN))
    return float((1 - norms[1:] / norms[:-1]).max())


def largest_cosine(run: Curve) -> float:
    """The largest |cosine| between a hidden layer's weights and their gradient."""
    return float(np.abs(_values(run, (f"cosine/{k}" for k in HIDDEN))).max())


def effective_rate(run: Curve) -> float:
    """lr / |W|^2 at the last evaluation over the first's, in the layer where it fell least."""
    effective = _values(run, ["lr"]) / _values(run, (f"norm/{k}" for k in HIDDEN)) ** 2
    return float((effective[-1] / effective[0]).max())


def median_singular_value(layer: int, when: int = -1) -> Callable[[Curve], float]:
    """The median singular value of a hidden layer's Jacobian, at the end or another evaluation."""
    return lambda run: float(_values(run, [f"jacobian/{layer}/q50"])[when, 0])


def furthest_factor(run: Curve) -> float:
    """By what factor the furthest of the 5 and 95 % quantiles is off 1, at the end."""
    ends = _values(run, (f"jacobian/{k}/q{p}" for k in (2, 3) for p in (5, 95)))[-1]
    with np.errstate(divide="ignore"):
        return float(np.exp(np.abs(np.log(ends)).max()))


def _growth(arm: str, judged: bool) -> Iterator[Part]:
    named = (
        ("largest fall of a hidden layer's norm", largest_fall, FALL),
        ("largest |cosine| of a hidden layer's weights and gradient", largest_cosine, COSINE),
        ("lr/‖W‖² of a hidden layer, last over first, at most", effective_rate, 1),
    )
    for what, of_run, limit in named:
        yield quantity(what, arm, of_run, f"below {limit:g}" if judged else "", within(-inf, limit))


def _singular(arm: str, judged: bool) -> Iterator[Part]:
    for layer in (2, 3):
        what, rule = (
            f"median singular value of layer {layer}'s Jacobian",
            f"{1 / NEAR:g} to {NEAR:g}",
        )
        yield quantity(what, arm, median_singular_value(layer), rule if judged else "",
                       within(1 / NEAR, NEAR))  # fmt: skip
        first = f"{what} at the first evaluation"
        yield quantity(first, arm, median_singular_value(layer, 0), "", within(1 / NEAR, NEAR))
    what = "5 and 95 % quantiles of the singular values, furthest factor from 1"
    yield quantity(what, arm, furthest_factor, f"below {FAR:g}" if judged else "",
                   within(-inf, FAR))  # fmt: skip


# --- the claims -----------------------------------------------------------------------------------

C5 = tuple(
    part
    for slow, fast in PAIRS
    for part in (*(faster(fast, slow, target) for target in TARGETS), higher(fast, slow))
)
C6 = (
    steadier("bn", "baseline", ("median", "spread"), "above 1"),
    *(steadier("bn", "baseline", (kind,), "") for kind in ("median", "spread")),
    steadier("bn_best", "baseline_best", ("median", "spread"), ""),
)
C14 = (
    fall("bn", SCALES, f"below {FLAT:g}", within(-inf, FLAT)),
    fall("baseline", SCALES, f"above {STEEP:g}", within(STEEP, inf)),
    *(fall(net, ALL_SCALES, "", within(-inf, FLAT)) for net in ("bn", "baseline")),
)
C15 = (*_growth("bn", True), *_growth("baseline", False))
C16 = (*_singular("bn", True), *_singular("baseline", False))


RULES = {
    "mnist": {"C5": C5, "C6": C6, "C15 (MNIST)": C15, "C16": C16},
    "mnist_initialization": {"C14 (MNIST)": C14},
}


def deviations(runs: pd.DataFrame) -> list[str]:
    """In what the runs depart from the paper's, or had to choose what it leaves open."""
    one = runs.iloc[0]
    rates = ", ".join(f"{lr:g}" for lr in sorted(runs["optim.lr"].unique()))
    deviation = ", ".join(f"{0.01 * s:g}" for s in sorted(runs["model.init_scale"].unique()))
    words = [
        "chosen, since the paper does not say: plain SGD without weight decay, learning rate"
        f" {rates}, initial weights of deviation {deviation}, pixels cut at half their range"
    ]
    if one["planned"] != 50_000:
        words.append(f"length: {one['planned']} steps (the paper: 50,000)")
    return words
