"""The rules of the experiments with the paper's network, on Imagenette and on ImageNet, and what
sets their runs apart from the paper's."""

from collections.abc import Callable
from math import inf

import numpy as np
import pandas as pd

from batchnorm.report import claims, statistics
from batchnorm.report.claims import Part, within
from batchnorm.report.ensemble import MEMBERS, Members, Votes, mean_error
from batchnorm.report.quantities import above, no_worse, shown
from batchnorm.report.statistics import Estimate, estimate


def lower(what: str, one: Callable[[list[Votes]], float], other: Callable[[list[Votes]], float],
          rule: str = "above 0") -> Part:  # fmt: skip
    """Claimed: of the networks of a seed, the top-1 error `other` is lower than `one`."""

    def of(found: Members) -> Estimate:
        seeds = statistics.common_seeds(found, MEMBERS)
        sets = [[found[arm][seed] for arm in MEMBERS] for seed in seeds]
        learned = all(v.learned() for votes in sets for v in votes)
        return estimate((one(v) - other(v) for v in sets) if learned else [])

    return Part(what, MEMBERS, of, rule, within(0, inf), "a network stayed at chance")


def alone(by: str) -> Callable[[list[Votes]], float]:
    """The mean top-1 error of the networks, each for itself."""
    return lambda votes: float(np.mean([one.error(by, 1) for one in votes]))


def together(by: str) -> Callable[[list[Votes]], float]:
    """The top-1 error of the mean of their probabilities."""
    return lambda votes: mean_error(votes, by, 1)


ENSEMBLE = (
    lower("top-1 error of a network by 1 crop − by 144", alone("single"), alone("crops")),
    lower("top-1 error by 144 crops of one network − of six", alone("crops"), together("crops")),
    lower("top-1 error by 1 crop of one network − of six",
          alone("single"), together("single"), rule=""),
)  # fmt: skip
RULES: dict[str, dict[str, tuple[Part, ...]]] = {
    "imagenette": {f"{id} (Imagenette)": parts for id, parts in claims.rules("inception").items()},
    "imagenet": {f"{id} (ImageNet)": parts
                 for id, parts in claims.rules("inception", statistics.untrained(0.001)).items()},
    "imagenette_changes": {
        "C19 (Imagenette)": (no_worse("bn_x5", "bn_x5_lrn"),),
        "C20 (Imagenette)": (
            above("bn_x5", "bn_x5_shuffling", 0.005, ", half of the paper's point"),
            *(shown(above("bn_x5", f"bn_x5_{change}"))
              for change in ("rate", "dropout", "l2", "decay", "distortion")),
        ),
        "C24 (Imagenette)": (no_worse("bn_x5", "bn_x5_per_activation"),),
    },
    "imagenette_ensemble": {"C25 (Imagenette)": ENSEMBLE},
    "imagenet_ensemble": {"C25 (ImageNet)": ENSEMBLE},
}  # fmt: skip


def deviations(runs: pd.DataFrame) -> list[str]:
    """In what runs on Imagenette or ImageNet depart from the paper's."""
    chosen = (
        f"L2 {runs['optim.weight_decay'].max():g}, decay to {runs['optim.final_lr'].max():g} over"
        " the baseline's run, He's initial weights, momentum 0.9, the strength of the distortion,"
        " the number of shards"
    )
    if runs["experiment"].iloc[0] in ("imagenet", "imagenet_ensemble"):
        words = [f"chosen here, as the paper does not say: {chosen}"]
    else:
        words = [*_smaller(runs), f"chosen here: 1x rate {runs['optim.lr'].min():g} (the paper:"
                 f" 0.0015), {chosen}"]  # fmt: skip
    maps = f"{runs['model.maps_4cd'].max():g}"
    words.append(
        f"Figure 5, at its width: 4c and 4d of {maps} maps (its sizes say 576, its paths add up to"
        " 608); with 1000 classes 11.2 million parameters (the paper's text: 13.6)"
    )
    batches = _statistics_batches(runs)
    if batches != "32":
        words.append(f"batch statistics: of {batches} images (the paper: 32)")
    if runs["arm"].isin(MEMBERS).all():
        images = runs["data.test_images"].max()
        words += [
            f"errors: over {images:,} validation images (the paper: 50,000)",
            "crops: 42 of the 144 differ where an image is a square, as all of Imagenette are that"
            " the reference's runs saw",
            "which member has which change: chosen here; larger initial weights: all doubled, the"
            " last linear layer's too",
        ]
    if "bn_x5_shuffling" in set(runs["arm"]):
        words.append(
            "shards are no multiples of a batch: without shuffling within them two thirds of an"
            " image's neighbours stay in its batch from epoch to epoch, with it a tenth"
        )
    if runs["scale"].iloc[0] == "quick":
        words.append("quick scale: a short run of a narrow network; the verdict rests on it")
    return words


def _statistics_batches(runs: pd.DataFrame) -> str:
    """How many images the batch statistics of BN are taken over."""
    normalized = runs[runs["model.norm"] != "none"]
    found = normalized["environment.statistics_batch"].unique()
    return ", ".join(f"{one:g}" for one in sorted(found)) or "32"


def _smaller(runs: pd.DataFrame) -> list[str]:
    """What is smaller on Imagenette."""
    steps, epochs = runs["planned"], runs["optim.epochs"]
    crop, whole = (runs[f"data.{key}_size"].max() for key in ("crop", "image"))
    folder, images = runs["data.folder"].iloc[0], runs["data.train_images"].max()
    name = "Imagenette" if folder == "imagenette-160" else folder
    return [
        f"data: {name}, {images:,} training images, {statistics.classes(runs)} classes (the paper:"
        " ImageNet, 1.28 million, 1000), resized before; the reference's to squares, whatever"
        " their shape",
        f"crops: {crop:g} pixels (the paper: 224), the single one {crop / whole:.2g} of the side",
        f"network: the paper's Inception, {runs['model.width'].max()}/64 of its width",
        "stem: one 7x7 convolution (the paper: separable)",
        f"length: {epochs.max():g} epochs, {steps.max():,} steps in every arm (the paper's"
        " baseline: 31 million)",
        "the 1x rate is the plain network's best of five on held-out images, at quick scale (0.005"
        " as good: imagenette_tune); the decay is CIFAR-10's",
    ]
