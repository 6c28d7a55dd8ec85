"""MNIST records with known effects, written without training anything."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from batchnorm import record
from batchnorm.report import paper

STEPS = 50_000
EVALUATIONS = [max(1, round(STEPS * (i / 30) ** 2)) for i in range(1, 31)]
UNITS = 12  # of each hidden layer: enough for a typical one


def published_accuracy(norm: str) -> list[tuple[float, float]]:
    """The paper's curve as (step, accuracy), from chance at step 0, with BN by way of step 1000."""
    read = paper.mnist_accuracy()
    read = read[read["norm"] == norm]
    early = [(0, 0.1), (1000, 0.9)] if norm == "batch" else [(0, 0.1)]
    return [*early, *zip(read["step"], read["accuracy"], strict=True)]


# What a network does. accuracy: (step, value), linear between, or the step where it overflows;
# wander: how far all units are shifted beyond the paper's curves, at every other evaluation;
# growth: of the norms, per evaluation; singular: quantiles of the Jacobians at the end.
PLAIN = {
    "accuracy": published_accuracy("none"),
    "wander": 0.0,
    "growth": 0.01,
    "cosine": 0.05,
    "singular": [0.001, 0.01, 0.05, 0.2, 0.6],
}
BN = {
    "accuracy": published_accuracy("batch"),
    "wander": 0.0,
    "growth": 0.02,
    "cosine": 1e-4,
    "singular": [0.2, 0.5, 0.8, 1.2, 1.9],
}
BEST = [(0, 0.1), (300, 0.92), (2000, 0.955), (8000, 0.972), (STEPS, 0.979)]
BETTER = [(0, 0.1), (1000, 0.92), (4000, 0.950), (25_000, 0.973), (STEPS, 0.974)]
ALIKE: dict[str, dict[str, Any]] = {  # everything as the paper says
    "baseline": PLAIN,
    "bn": BN,
    "baseline_best": {**PLAIN, "accuracy": BETTER, "lr": 1.0},
    "bn_best": {**BN, "accuracy": BEST, "lr": 1.0},
}
INITIALIZATION = {
    f"{net}_{scale:g}": {**kind, "init_scale": 10 * scale, "accuracy": [(0, 0.1), (5000, end)]}
    for net, kind, ends in (
        ("baseline", PLAIN, (0.114, 0.114, 0.90, 0.75, 0.35)),
        ("bn", BN, (0.955, 0.956, 0.958, 0.950, 0.80)),
    )
    for scale, end in zip((0.01, 0.1, 1, 10, 100), ends, strict=True)
}


def ladder() -> dict[str, dict[str, Any]]:
    """mnist_tune: best at 1 without BN, at 0.3 with it, both nearly as good."""
    ends = {
        "baseline": (0.90, 0.965, 0.970, 0.974, 0.960),
        "bn": (0.970, 0.973, 0.978, 0.976, 0.97),
    }
    return {
        f"{net}_lr{lr:g}_std{std:g}": {
            **(BN if net == "bn" else PLAIN),
            **{"accuracy": [(0, 0.1), (STEPS, end - 0.02 * (0.1 - std))]},
            **{"lr": lr, "init_scale": 100 * std},
        }
        for net, at in ends.items()
        for lr, end in zip((0.03, 0.1, 0.3, 1, 3), at, strict=True)
        for std in (0.05, 0.1)
    }


def plant(
    root: Path,
    arms: dict[str, dict[str, Any]] = ALIKE,
    seeds: int | Iterable[int] = 5,
    **what: Any,
) -> None:
    """Write a record per arm and seed; `what` goes to one_record."""
    for arm, does in arms.items():
        for seed in range(seeds) if isinstance(seeds, int) else seeds:
            made = one_record(arm, seed, does, **what)
            record.write(record.record_path(root, made["config"]), made)


def changed(arm: str, **does: Any) -> dict[str, dict[str, Any]]:
    """ALIKE, but for what one arm does."""
    return {**ALIKE, arm: {**ALIKE[arm], **does}}


def one_record(
    arm: str,
    seed: int,
    does: dict[str, Any],
    scale: str = "full",
    experiment: str = "mnist",
    noise: float = 0.0005,
    stand_in: bool = False,
    holdout: int = 0,
    steps: int = STEPS,
) -> record.Record:
    """A record of a run that does as it is told, with noise that the arms of a seed half share."""
    norm = "batch" if arm.startswith("bn") else "none"
    own = np.random.default_rng([seed, *arm.encode()])
    at = does["accuracy"] if isinstance(does["accuracy"], int) else None
    evaluations = [] if at else [s for s in EVALUATIONS if s < steps] + [steps]
    split = "validation" if holdout else "test"
    metrics: dict[str, list] = {"step": evaluations}
    if evaluations:
        shift = np.random.default_rng(seed).normal(0, noise)
        accuracy = np.interp(evaluations, *np.transpose(does["accuracy"]))
        accuracy = accuracy + shift + own.normal(0, noise / 2, len(evaluations))
        metrics |= _scalars(split, accuracy.tolist(), does)
    if evaluations and experiment == "mnist":
        metrics |= _watched(norm, does, np.array(evaluations) / steps, own)
    return record.make(
        _config(arm, seed, does, norm, scale, experiment, stand_in, holdout, steps),
        {"commit": "0" * 40, "dirty": False, "precision": "float32", "data_checksum": "0"},
        {"steps": steps, "seconds": 30.0, "diverged": at is not None, "diverged_at_step": at},
        metrics if evaluations else {},
    )


def _scalars(split: str, accuracy: list[float], does: dict[str, Any]) -> dict[str, list]:
    n = len(accuracy)
    return {
        **{"lr": [does.get("lr", 0.1)] * n, "seconds": [float(i) for i in range(n)]},
        **{"train/loss": [0.1] * n, "train/accuracy": accuracy},
        **{f"{split}/loss": [0.1] * n, f"{split}/accuracy": accuracy},
    }


def _watched(
    norm: str, does: dict[str, Any], fractions: np.ndarray, own: np.random.Generator
) -> dict[str, list]:
    n = len(fractions)
    growth = (1 + does["growth"]) ** np.arange(n)
    sign = does["cosine"] * (-1.0) ** np.arange(n)
    start = [0.05, 0.2, 0.4, 0.7, 1.1]
    singular = np.linspace(start, does["singular"], n) * np.exp(own.normal(0, 0.03, (n, 1)))
    singular[-1] = np.array(does["singular"]) * np.exp(own.normal(0, 0.01))
    found: dict[str, list] = {}
    for layer in (1, 2, 3, 4):
        found[f"norm/{layer}"] = (2.0 * layer * growth).tolist()
        found[f"gradient/{layer}"] = (0.1 / growth).tolist()
        found[f"cosine/{layer}"] = (sign / layer).tolist()
    for layer in (1, 2, 3):
        found[f"preactivation/{layer}"] = _percentiles(norm, does, fractions, own).tolist()
    found |= {f"jacobian/{layer}": singular.tolist() for layer in (2, 3)}
    return found


def _percentiles(
    norm: str, does: dict[str, Any], fractions: np.ndarray, own: np.random.Generator
) -> np.ndarray:
    """(evaluations, 3, units): the paper's curves, shifted and widened for each unit."""
    read = paper.mnist_percentiles()
    read = read[read["norm"] == norm]
    curves = np.stack([_curve(read, p, fractions) for p in (15, 50, 85)], axis=1)
    curves = curves * own.normal(1, 0.01, (len(fractions), 1))
    wander = does["wander"] * (np.arange(len(fractions)) % 2)[:, None, None]
    return curves[:, :, None] * own.lognormal(0, 0.2, UNITS) + own.normal(0, 0.2, UNITS) + wander


def _curve(read: Any, percentile: int, fractions: np.ndarray) -> np.ndarray:
    part = read[read["percentile"] == percentile]
    return np.interp(fractions, part["fraction"], part["value"])


def _config(
    arm: str,
    seed: int,
    does: dict[str, Any],
    norm: str,
    scale: str,
    experiment: str,
    stand_in: bool,
    holdout: int,
    steps: int,
) -> dict[str, Any]:
    return {
        **{"experiment": experiment, "arm": arm, "seed": seed, "scale": scale},
        **{"precision": "float32", "evaluations": 30},
        "probes": ["percentiles", "norms", "jacobians"],
        "data": {
            **{"name": "mnist", "stand_in": stand_in, "train_images": 60_000 - holdout},
            **{"test_images": 10_000, "holdout": holdout, "augment": False, "binary": True},
            "batch_size": 60,
        },
        "model": {
            **{"name": "mlp", "norm": norm, "activation": "sigmoid", "dropout": 0.0},
            **{"init": "gaussian", "init_scale": does.get("init_scale", 10.0)},
            **{"width": 100, "depth": 4},
        },
        "optim": {
            **{"lr": does.get("lr", 0.1), "lr_multiplier": 1.0, "momentum": 0.0},
            **{"weight_decay": 0.0, "weight_decay_multiplier": 1.0},
            **{"epochs": steps / 1000, "final_lr": 1.0, "decay_speed": 1.0},
        },
    }
