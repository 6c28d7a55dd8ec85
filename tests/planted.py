"""Records with known effects, written without training anything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from batchnorm import record

STEPS = 3100  # of every planted run: one of them is 1e4 of the paper's
EVALUATIONS = [25, 50, 100, 200, 400, 700, 1000, 1500, 2000, 2600, 3100]

# The accuracy at fractions of the run, linear between them; a number: overflows at that step.
Effect = list[tuple[float, float]] | int
ALIKE: dict[str, Effect] = {  # everything as the paper says
    "baseline": [(0, 0.10), (1 / 31, 0.20), (4 / 31, 0.35), (0.5, 0.50), (1, 0.62)],
    "baseline_x5": 40,
    "baseline_x30": 12,
    "baseline_sigmoid": [(0, 0.10), (1, 0.10)],
    "bn_baseline": [(0, 0.10), (1 / 31, 0.40), (4 / 31, 0.55), (0.5, 0.70), (1, 0.74)],
    "bn_x5": [(0, 0.10), (1 / 31, 0.53), (2 / 31, 0.66), (0.5, 0.76), (1, 0.79)],
    "bn_x30": [(0, 0.10), (1 / 31, 0.42), (4 / 31, 0.66), (0.5, 0.80), (1, 0.83)],
    "bn_x5_sigmoid": [(0, 0.10), (1 / 31, 0.30), (4 / 31, 0.55), (0.5, 0.64), (1, 0.68)],
}
RATE = {"x5": 5.0, "x30": 30.0}


def plant(root: Path, effects: dict[str, Effect] = ALIKE, seeds: int = 3, **what: Any) -> None:
    """Write a record per arm and seed; `what` goes to one_record."""
    for arm, effect in effects.items():
        for seed in range(seeds):
            made = one_record(arm, seed, effect, **what)
            record.write(record.record_path(root, made["config"]), made)


def one_record(
    arm: str,
    seed: int,
    effect: Effect,
    scale: str = "quick",
    experiment: str = "cifar10_learning_rate",
    noise: float = 0.004,
    stand_in: bool = False,
    precision: str = "bfloat16",
    holdout: int = 0,
    overflow: int | None = None,  # ends the curve of `effect` at this step
    more: Callable[[list[float]], dict[str, list]] = lambda accuracy: {},  # further metrics
    **changed: Any,  # keys of model, data or optim
) -> record.Record:
    """A record whose curve is `effect`, with noise that the arms of a seed half share."""
    at = effect if isinstance(effect, int) else overflow
    steps = [step for step in EVALUATIONS if at is None or (step < at and effect != at)]
    accuracy = []
    if steps:
        shift = np.random.default_rng(seed).normal(0, noise)
        own = np.random.default_rng([seed, *arm.encode()]).normal(0, noise / 2, len(steps))
        clean = np.interp(np.array(steps) / STEPS, *np.transpose(effect))
        accuracy = np.where(clean > 0.1, clean + shift + own, 0.1).tolist()
    config = {
        **{"experiment": experiment, "arm": arm, "seed": seed, "scale": scale},
        **{"precision": "auto", "evaluations": len(EVALUATIONS)},
        "data": {
            **{"name": "cifar10", "stand_in": stand_in, "train_images": 50_000 - holdout},
            **{"test_images": 10_000, "holdout": holdout, "augment": True, "batch_size": 128},
        },
        "model": {
            **{"name": "convnet", "norm": "batch" if "bn" in arm else "none", "dropout": 0.1},
            **{"activation": "sigmoid" if "sigmoid" in arm else "relu", "init": "he"},
            **{"init_scale": 1.0, "width": 16, "depth": 10},
        },
        "optim": {
            **{"lr": 0.02, "lr_multiplier": next((v for k, v in RATE.items() if k in arm), 1.0)},
            **{"momentum": 0.9, "weight_decay": 5e-4, "weight_decay_multiplier": 1.0},
            **{"epochs": 3.0, "final_lr": 0.3, "decay_speed": 1.0},
        },
    }
    for group in ("model", "data"):
        config[group].update({k: changed.pop(k) for k in list(changed) if k in config[group]})
    config["optim"].update(changed)
    split = "validation" if holdout else "test"
    final = {f"{split}/accuracy": accuracy[-1] if at is None else None, f"{split}/loss": None}
    summary = {
        **{"steps": STEPS, "seconds": 60.0, "images_per_second": 6600.0, "parameters": 70_000},
        **{"diverged": at is not None, "diverged_at_step": at, **final},
    }
    metrics = {
        **{"step": steps, "lr": [0.02] * len(steps), "seconds": [float(s) for s in steps]},
        **{f"train/{quantity}": [0.5] * len(steps) for quantity in ("loss", "accuracy")},
        **{f"{split}/loss": [1.0] * len(steps), f"{split}/accuracy": accuracy},
        **more(accuracy),
    }
    environment = {
        **{"commit": "0" * 40, "dirty": False, "python": "3.12", "torch": "2.9", "device": "cpu"},
        **{"threads": 1, "precision": precision, "data_checksum": "0"},
    }
    return record.make(config, environment, summary, metrics if steps else {})


def chosen_rates(points: pd.DataFrame) -> dict[str, float]:
    """The rate that studies_rates.points marks, of every arm that learned at some rate."""
    return points[points["chosen"]].drop_duplicates("arm").set_index("arm")["lr"].to_dict()
