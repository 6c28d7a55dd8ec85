"""Planted worlds of the CIFAR-10 studies: all is as the paper says, until a test changes it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from batchnorm import record
from planted import one_record

LAYERS = 10  # watched by the norms probe; the last is not normalized
HIT = "overflow"  # in place of an accuracy: the run overflows at its first steps

Ends = Mapping[str, Any]  # arm -> accuracy at the end, HIT, or a tuple of these, one per seed

DROPOUT = {"plain_0": 0.60, "plain_0.05": 0.60, "plain_0.1": 0.595, "plain_0.4": 0.54}
DROPOUT |= {"bn_0": 0.72, "bn_0.05": 0.72, "bn_0.1": 0.715, "bn_0.4": 0.66}
INITIALIZATION = {"plain_0.001": 0.1, "plain_0.01": 0.1, "plain_0.1": 0.1, "plain_1": 0.45}
INITIALIZATION |= {"plain_10": HIT, "plain_100": HIT, "plain_gaussian": 0.1, "bn_gaussian": 0.62}
INITIALIZATION |= {"bn_0.001": 0.5, "bn_0.01": 0.6, "bn_0.1": 0.62, "bn_1": 0.625}
INITIALIZATION |= {"bn_10": 0.61, "bn_100": 0.5}
DEPTH = dict(zip((f"plain_relu_{d}" for d in (6, 12, 24, 48)), (0.5, 0.42, 0.1, 0.1), strict=True))
DEPTH |= {f"plain_sigmoid_{d}": 0.1 for d in (6, 12, 24, 48)}
DEPTH |= dict(zip((f"bn_relu_{d}" for d in (6, 12, 24, 48)), (0.6, 0.62, 0.58, 0.4), strict=True))
DEPTH |= {"bn_sigmoid_6": 0.5, "bn_sigmoid_12": 0.4, "bn_sigmoid_24": 0.25, "bn_sigmoid_48": 0.1}
ABLATIONS = {
    **{"bn": 0.68, "plain": 0.5, "bn_l2_0": 0.69, "bn_l2_fifth": 0.70, "plain_l2_0": 0.49},
    **{"plain_l2_fifth": 0.505, "bn_lrn": 0.675, "plain_lrn": 0.51, "bn_fixed_batches": 0.66},
    **{"plain_fixed_batches": 0.499, "bn_after": 0.66, "bn_sigmoid": 0.5, "bn_sigmoid_after": 0.45},
    **{"bn_detached": (0.1, HIT, 0.12), "bn_no_affine": 0.66, "bn_per_activation": 0.677},
    **{"bn_batch_2": 0.32, "bn_batch_8": 0.5, "bn_batch_32": 0.62},
    **{"plain_batch_2": 0.3, "plain_batch_8": 0.4, "plain_batch_32": 0.45},
}
SHIFT = {"plain": 0.6, "bn": 0.7, "plain_noisy": 0.45, "bn_noisy": 0.61}
WORLDS = {
    "cifar10_dropout": DROPOUT,
    "cifar10_initialization": INITIALIZATION,
    "cifar10_depth": DEPTH,
    "cifar10_ablations": ABLATIONS,
    "cifar10_shift": SHIFT,
}
# What a probe of an arm measures; each quantity is at the first evaluation, and at the last.
GAPS = {arm: 0.01 if arm.startswith("plain") else 0.03 for arm in DROPOUT} | {"bn_0.4": 0.028}
SHIFTS = {"plain": (0.02, 0.8), "bn": (0.01, 0.95)}  # how far a step moves inputs; the cosine
SHIFTS |= {"plain_noisy": (0.2, 0.7), "bn_noisy": (0.3, 0.9)}
STATISTICS = ("biased", "moving_average", "batch")
INFERENCE = {"bn": (-0.0005, -0.001, -0.002), "bn_batch_2": (-0.02, -0.05, -0.15)}
INFERENCE |= {"bn_batch_8": (-0.003, -0.01, -0.06), "bn_batch_32": (0.0003, -0.002, -0.012)}


def plant(
    root: Path, experiment: str, ends: Ends | None = None, seeds: int = 3, **what: Any
) -> None:
    """Write the records of an experiment's world, with the `ends` of some arms changed."""
    for arm, end in {**WORLDS[experiment], **(ends or {})}.items():
        for seed in range(seeds):
            one = end[seed % len(end)] if isinstance(end, tuple) else end
            made = made_of(experiment, arm, seed, one, **what)
            record.write(record.record_path(root, made["config"]), made)


def made_of(
    experiment: str,
    arm: str,
    seed: int,
    end: float | str,
    gaps: Mapping[str, float] = GAPS,
    inference: Mapping[str, tuple[float, float, float]] = INFERENCE,
    norms: Mapping[str, tuple[float, float]] | None = None,
    shifts: Mapping[str, tuple[float, float]] = SHIFTS,
    **what: Any,
) -> record.Record:
    """The record of one run."""

    def more(accuracy: list[float]) -> dict[str, list]:
        n = len(accuracy)
        if not n:
            return {}
        found = {"other/3": [[-1.0, 0.0, 1.0]] * n}  # lists are no column of the table
        if experiment == "cifar10_dropout":
            found["training_set/accuracy"] = [a + gaps[arm] for a in accuracy]
        if experiment == "cifar10_ablations" and arm in inference:
            for name, off in zip(
                ("biased", "moving_average", "batch"), inference[arm], strict=True
            ):
                found[f"inference/{name}"] = [None] * (n - 1) + [accuracy[-1] + off]
        if experiment == "cifar10_shift" and arm in shifts:
            far, cosine = shifts[arm]
            own = (1 + seed / 100) * np.linspace(1.2, 0.8, n)
            found |= {f"moved/{k}": (far * own * k).tolist() for k in range(1, LAYERS)}
            cosines = {f"agreement/{k}": [cosine - seed / 1000] * n for k in range(2, LAYERS + 1)}
            found |= cosines
        if norms is None or arm in norms:
            found |= watched(arm, n, *(norms or {}).get(arm, grown(arm)))
        return found

    effect = 12 if end == HIT else [(0, 0.1), (1, end)]
    return one_record(arm, seed, effect, experiment=experiment, more=more, **config(arm), **what)


def grown(arm: str) -> tuple[float, float]:
    """Mean length of a layer's weights at the first evaluation and the last: small weights grow."""
    scale = float(re.findall(r"[\d.]+$", arm)[0]) if re.search(r"\d$", arm) else 1.0
    return max(5 * scale, 2.0), max(6 * scale, 5.0)


def watched(arm: str, evaluations: int, first: float, last: float) -> dict[str, list]:
    """The norms probe's metrics: weights that grow, gradients of 1 / their length."""
    norm = np.geomspace(first, last, evaluations)
    cosine = 1e-4 if arm.startswith("bn") else 0.05
    found = {}
    for k in range(1, LAYERS + 1):
        found[f"norm/{k}"] = (norm * (1 + k / 20)).tolist()
        found[f"gradient/{k}"] = (1 / norm).tolist()
        found[f"cosine/{k}"] = [cosine * (-1) ** k] * evaluations
    return found


def config(arm: str) -> dict[str, Any]:
    """The keys in which an arm's config differs, as far as a figure reads them."""
    norm, _, rest = arm.partition("_")
    found: dict[str, Any] = {"norm": "batch" if norm == "bn" else "none"}
    kind, _, last = rest.rpartition("_")
    number = float(last) if re.fullmatch(r"[\d.]+", last) else None
    if kind in ("relu", "sigmoid") and number:
        found |= {"activation": kind, "depth": int(number)}
    elif kind == "batch" and number:
        found["batch_size"] = int(number)
    elif number is not None:
        found |= {"dropout": number, "init_scale": number}
    return found | ({"init": "gaussian"} if last == "gaussian" else {})
