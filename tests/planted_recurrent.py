"""Planted world of mnist_recurrent: all is as others found, until a test changes it."""

from pathlib import Path
from typing import Any

from batchnorm import record
from planted import Effect, one_record

ALIKE: dict[str, Effect] = {
    "baseline": [(0, 0.1), (0.5, 0.80), (1, 0.90)],
    "bn": [(0, 0.1), (0.2, 0.85), (0.5, 0.93), (1, 0.95)],
    "bn_gamma_1": [(0, 0.1), (0.5, 0.70), (1, 0.85)],
}


def plant(
    root: Path, changed: dict[str, Effect] | None = None, seeds: int = 3, **what: Any
) -> None:
    """Write a record for each arm and seed; `what` goes to one_record."""
    what = {"experiment": "mnist_recurrent", "precision": "float32", **what}
    for arm, effect in {**ALIKE, **(changed or {})}.items():
        for seed in range(seeds):
            made = one_record(arm, seed, effect, **what)
            made["config"]["data"] |= {"name": "mnist", "augment": False, "permuted": True}
            made["config"]["model"] |= {"name": "lstm", "width": 100, "time_steps": 49}
            record.write(record.record_path(root, made["config"]), made)
