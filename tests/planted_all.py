"""A root with records of every experiment that has figures, written without training anything."""

from pathlib import Path
from unittest import mock

import numpy as np

import planted
import planted_cifar10
import planted_mnist
import planted_recurrent

RATES = (0.005, 0.01, 0.015, 0.03, 0.06)
LEFT = (0.1, 0.3, 0.6, 0.8)  # final_lr


def plant(root: Path, seeds: int = 3, evaluations: int | None = None, **what) -> int:
    """Write every experiment's records, each with so many evaluations (None: as planted alone), and
    return their number; `what` goes to one_record."""
    at = {module: _spaced(module, evaluations) for module in (planted, planted_mnist)}
    with (
        mock.patch.object(planted, "EVALUATIONS", at[planted]),
        mock.patch.object(planted_mnist, "EVALUATIONS", at[planted_mnist]),
        mock.patch("os.fsync"),  # a thousand of which take a minute on a busy disk
    ):
        _cifar10(root, seeds, **what)
        planted_mnist.plant(root, seeds=seeds, **what)
        planted_recurrent.plant(root, seeds=seeds, **what)
        for experiment, arms, more in (
            ("mnist_tune", planted_mnist.ladder(), {"holdout": 10_000}),
            ("mnist_initialization", planted_mnist.INITIALIZATION, {}),
        ):
            planted_mnist.plant(root, arms, seeds, experiment=experiment, **more, **what)
    return sum(1 for _ in root.glob("records/*/*/*.json"))


def _spaced(module, evaluations: int | None) -> list[int]:
    if evaluations is None:
        return module.EVALUATIONS
    return np.linspace(1, module.STEPS, evaluations).astype(int).tolist()


def fitted(curve: list[float]) -> dict[str, list[float]]:
    """The accuracy on training images, as it is watched."""
    return {"training_set/accuracy": [0.9] * len(curve)}


def _cifar10(root: Path, seeds: int, **what) -> None:
    planted.plant(root, seeds=seeds, **what)
    float32 = {"experiment": "cifar10_precision", "precision": "float32"}
    planted.plant(root, seeds=seeds, **float32, **what)
    inception = {"experiment": "cifar10_inception", "name": "small_inception"}
    planted.plant(root, planted.ALIKE, seeds, **inception, **what)
    published = {**inception, "experiment": "cifar10_inception_published", "more": fitted}
    nets = {net: planted.ALIKE["bn_baseline"] for net in ("bn_augmented", "bn", "plain_no_l2")}
    planted.plant(root, nets, seeds, **published, **what)
    held = {"holdout": 5000, **what}
    for experiment, best in (("cifar10_tune", 0.6), ("cifar10_tune_bn", 0.7)):
        for rate in RATES:
            end = best - abs(np.log(rate / 0.015)) / 20
            arm = {f"lr_{rate:g}": [(0, 0.1), (1, end)]}
            planted.plant(root, arm, seeds, experiment=experiment, lr=rate, **held)
    for study in ("depth", "ablations"):
        for rate in RATES:
            ends = {f"{net}_{rate:g}": [(0, 0.1), (1, 0.6 - rate)] for net in ("plain", "bn")}
            planted.plant(root, ends, seeds, experiment=f"cifar10_tune_{study}", lr=rate, **held)
    for left in LEFT:
        arms = {f"{arm}_{left:g}": planted.ALIKE[arm] for arm in ("baseline", "bn_x5", "bn_x30")}
        planted.plant(root, arms, seeds, experiment="cifar10_schedule", final_lr=left, **held)
    for experiment in planted_cifar10.WORLDS:
        planted_cifar10.plant(root, experiment, seeds=seeds, **what)
