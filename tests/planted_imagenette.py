"""Planted worlds of the experiments on Imagenette: all is as the paper says, until a test changes
it."""

from pathlib import Path
from typing import Any

import numpy as np

from batchnorm import record
from batchnorm.report.ensemble import MEMBERS
from planted import ALIKE, Effect, one_record

SETTING = {
    "data": {
        **{"name": "image_folder", "folder": "imagenette-160", "train_images": 9469},
        **{"test_images": 3925, "image_size": 80, "crop_size": 64, "batch_size": 32},
    },
    "model": {"name": "inception", "width": 16, "depth": 34, "maps_4cd": 576},
}
FIGURE_2: dict[str, Effect] = {
    arm.replace("baseline", "inception") if arm.startswith("baseline") else arm: effect
    for arm, effect in ALIKE.items()
    if arm != "baseline_x30"
}
CHANGES = {"bn_x5": 0.70, "bn_x5_rate": 0.66, "bn_x5_dropout": 0.65, "bn_x5_l2": 0.69}
CHANGES |= {"bn_x5_decay": 0.68, "bn_x5_lrn": 0.695, "bn_x5_shuffling": 0.68}
CHANGES |= {"bn_x5_distortion": 0.69, "bn_x5_per_activation": 0.699}


def plant(root: Path, effects: dict[str, Effect] = FIGURE_2, seeds: int = 3, **what: Any) -> None:
    """Write a record for each arm and seed; `what` goes to one_record."""
    what = {"experiment": "imagenette", **what}
    for arm, effect in effects.items():
        for seed in range(seeds):
            write(root, one_record(arm, seed, effect, **what))


def plant_changes(root: Path, ends: dict[str, Any] | None = None, **what: Any) -> None:
    """The records of imagenette_changes, with the ends of some arms changed."""
    for arm, end in {**CHANGES, **(ends or {})}.items():
        each = end if isinstance(end, tuple) else (end,) * 3
        for seed, one in enumerate(each):
            effect = [(0, 0.1), (1, one)]
            write(root, one_record(arm, seed, effect, experiment="imagenette_changes", **what))


def plant_ensemble(root: Path, seeds: int = 3, classes: int = 10, **skill: float) -> None:
    """Six networks, each with errors of its own, fewer by 144 crops: `skill` sets how much larger
    the logit of the label is than chance, by `single` and by `crops`, and `shared` the part of the
    noise that all networks have in common."""
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        labels = rng.integers(classes, size=400)
        common = rng.normal(size=(400, classes))
        for arm in MEMBERS:
            own = rng.normal(size=(400, classes))
            shared = skill.get("shared", 0.3)
            noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
            arrays = {
                by: softmax(noise + skill.get(by, usual) * np.eye(classes)[labels])
                for by, usual in (("single", 1.5), ("crops", 2.0))
            }
            made = one_record(arm, seed, [(0, 0.1), (1, 0.6)], experiment="imagenette_ensemble")
            write(root, {**made, "arrays": {**arrays, "labels": labels.astype(np.int32)}})


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return (powers / powers.sum(1, keepdims=True)).astype(np.float16)


def write(root: Path, made: record.Record) -> None:
    for group, keys in SETTING.items():
        made["config"][group] |= keys
    made["environment"] |= {"statistics_batch": 32, "classes": 10}
    record.write(record.record_path(root, made["config"]), made)
