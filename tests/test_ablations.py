"""The CIFAR-10 studies: what their arms change, and that nothing else differs between them."""

from functools import cache

import pandas as pd
import pytest

from batchnorm import config, optim
from batchnorm.config import Run
from batchnorm.experiment import plan
from batchnorm.record import SOURCE, flatten
from batchnorm.report import statistics, studies, studies_rates
from planted import chosen_rates

STUDIES = ["tune_bn", "dropout", "initialization", "depth", "ablations", "shift"]
STUDIES += ["inception", "inception_published"]
BN = {"model.norm": "batch"}
at_both_scales = pytest.mark.parametrize("scale", ["quick", "full"])
INITIAL = {"0.001": 0.001, "0.01": 0.01, "0.1": 0.1, "1": 1.0, "10": 10.0, "100": 100.0}


@cache
def runs(study: str, scale: str = "quick") -> dict[str, Run]:
    """The runs of one seed, by arm."""
    overrides = [f"experiment=cifar10_{study}", f"scale={scale}", "stand_in=always", "output=/x"]
    return {run.arm: run for run in plan([*overrides, "device=cpu", "seed=0"]).runs}


def changed(arm: Run, reference: Run) -> dict[str, object]:
    """What one arm has otherwise than another; without the rate of BN, see `bn_rate`."""
    ours, theirs = dict(flatten(arm.config())), dict(flatten(reference.config()))
    assert ours.keys() == theirs.keys()
    return {key: ours[key] for key in ours if ours[key] != theirs[key] and key != "arm"}


def bn_rate(study: str, scale: str = "quick") -> dict[str, float]:
    """The one rate of all of a study's BN arms, which the plain ones do not have."""
    rates = {run.model.norm != "none": set() for run in runs(study, scale).values()}
    for run in runs(study, scale).values():
        rates[run.model.norm != "none"].add(run.optim.lr)
    (rate,), (plain,) = rates[True], rates[False]
    assert plain == config.compose_config(["experiment=cifar10_tune"]).optim.lr
    assert rate != plain
    return {"optim.lr": rate}


def test_every_study_has_its_arms_and_three_seeds_at_quick_scale():
    assert {study: len(runs(study)) for study in STUDIES} == {
        "tune_bn": 5,
        "dropout": 8,
        "initialization": 14,
        "depth": 16,
        "ablations": 22,
        "shift": 4,
        "inception": 6,
        "inception_published": 6,
    }
    for study in STUDIES:
        made = plan([f"experiment=cifar10_{study}", "scale=quick", "stand_in=always", "output=/x"])
        assert {run.seed for run in made.runs} == {0, 1, 2}


def test_the_rate_of_bn_is_chosen_as_that_of_the_plain_network_is():
    plain = plan(["experiment=cifar10_tune", "scale=quick", "stand_in=always", "output=/x"]).runs[0]
    for name, run in runs("tune_bn").items():
        different = changed(run, plain)
        assert different.pop("optim.lr", 0.005) == float(name.removeprefix("lr_"))
        assert different == {"experiment": "cifar10_tune_bn", **BN}


@cache
def committed() -> pd.DataFrame:
    """All committed records."""
    return statistics.load(SOURCE / "results")


def chosen_by(experiment: str) -> pd.DataFrame:
    """The committed records of a study that chooses rates."""
    return committed()[committed()["experiment"] == experiment]


@pytest.mark.parametrize(
    "tune, used",
    [
        ("cifar10_tune", "cifar10_learning_rate"),
        ("cifar10_tune_inception", "cifar10_inception"),
        ("imagenette_tune", "imagenette"),
    ],
)
def test_the_1x_rate_is_what_the_records_choose(tune, used):
    points = studies.ladder_points(chosen_by(tune))
    assert set(points.loc[points["chosen"], "lr"]) == {
        config.compose_config([f"experiment={used}"]).optim.lr
    }


def test_the_rate_of_bn_is_what_the_records_choose():
    points = studies.ladder_points(chosen_by("cifar10_tune_bn"))
    assert set(points.loc[points["chosen"], "lr"]) == set(bn_rate("dropout").values())


@pytest.mark.parametrize("study", ["dropout", "depth", "ablations"])
def test_single_arms_have_the_rates_that_the_records_choose(study):
    points = studies_rates.points(chosen_by(f"cifar10_tune_{study}"))
    chosen = chosen_rates(points)
    arms, usual = runs(study), runs("dropout")
    for name in points["arm"].unique():
        otherwise = usual[f"{name.split('_')[0]}_0"].optim.lr
        assert arms[name].optim.lr == chosen.get(name, otherwise), name
    assert len(chosen) > 5


@at_both_scales
def test_shift_arms(scale):
    """Noise or BN and nothing else, the learning rate too."""
    arms = runs("shift", scale)
    for arm in ("plain", "bn"):
        assert changed(arms[f"{arm}_noisy"], arms[arm]) == {"model.noise": True}
    assert changed(arms["bn"], arms["plain"]) == BN
    assert {tuple(run.probes) for run in arms.values()} == {("shift",)}


@at_both_scales
def test_dropout_arms(scale):
    arms, rate = runs("dropout", scale), bn_rate("dropout", scale)
    for p in ("0", "0.05", "0.1", "0.4"):
        dropout = {"model.dropout": float(p)} if float(p) else {}
        assert changed(arms[f"plain_{p}"], arms["plain_0"]) == dropout
        assert changed(arms[f"bn_{p}"], arms[f"plain_{p}"]) == {**BN, **rate}
    assert arms["bn_0"].probes == ["training_set"]


@at_both_scales
def test_initialization_arms(scale):
    arms, rate = runs("initialization", scale), bn_rate("initialization", scale)
    starts = {name: {"model.init_scale": by} for name, by in INITIAL.items() if by != 1}
    starts |= {"1": {}, "gaussian": {"model.init": "gaussian"}}
    for name, start in starts.items():
        assert changed(arms[f"plain_{name}"], arms["plain_1"]) == start
        assert changed(arms[f"bn_{name}"], arms[f"plain_{name}"]) == {**BN, **rate}
    assert {run.optim.weight_decay for run in arms.values()} == {0}
    assert arms["bn_1"].probes == ["norms"]


def but_for_its_rate(arm: Run, reference: Run) -> dict[str, object]:
    """As changed, where every arm has a rate of its own."""
    return {key: value for key, value in changed(arm, reference).items() if key != "optim.lr"}


@at_both_scales
def test_depth_arms(scale):
    arms = runs("depth", scale)
    for depth in (6, 12, 24, 48):
        deeper = {"model.depth": depth} if depth != 6 else {}
        assert but_for_its_rate(arms[f"plain_relu_{depth}"], arms["plain_relu_6"]) == deeper
        sigmoid = but_for_its_rate(arms[f"plain_sigmoid_{depth}"], arms[f"plain_relu_{depth}"])
        assert sigmoid == {"model.activation": "sigmoid"}
        for kind in ("relu", "sigmoid"):
            plain, bn = (arms[f"{norm}_{kind}_{depth}"] for norm in ("plain", "bn"))
            assert but_for_its_rate(bn, plain) == BN
    assert arms["plain_relu_6"].model.dropout == 0


ALONE = {  # what an arm changes of bn, or of plain
    "l2_0": {"optim.weight_decay_multiplier": 0.0},
    "l2_fifth": {"optim.weight_decay_multiplier": 0.2},
    "lrn": {"model.lrn": True},
    "fixed_batches": {"data.fixed_batches": True},
    "batch_2": {"data.batch_size": 2, "optim.epochs_multiplier": 0.0156},
    "batch_8": {"data.batch_size": 8, "optim.epochs_multiplier": 0.0624},
    "batch_32": {"data.batch_size": 32, "optim.epochs_multiplier": 0.24968},
}
ALONE_WITH_BN = {
    "after": {"model.norm_after": True},
    "sigmoid": {"model.activation": "sigmoid"},
    "sigmoid_after": {"model.activation": "sigmoid", "model.norm_after": True},
    "detached": {"model.norm": "batch_detached"},
    "no_affine": {"model.norm": "batch_no_affine"},
    "per_activation": {"model.norm": "batch_per_activation"},
}


OWN_RATES = [f"{net}_batch_{size}" for net in ("plain", "bn") for size in (2, 8, 32)]


@at_both_scales
def test_ablation_arms(scale):
    arms, watched = runs("ablations", scale), {}
    expected = {f"bn_{name}": change for name, change in (ALONE | ALONE_WITH_BN).items()}
    expected |= {f"plain_{name}": change for name, change in ALONE.items()}
    assert arms.keys() == expected.keys() | {"bn", "plain"}
    for name, change in expected.items():
        compare = but_for_its_rate if name in OWN_RATES else changed
        different = compare(arms[name], arms[name.split("_")[0]])
        watched[name] = different.pop("probes", None)
        assert different == change, name
    different = changed(arms["bn"], arms["plain"])
    assert different.pop("probes") == ["norms", "inference"]
    assert different == {**BN, **bn_rate("dropout", scale)}
    assert arms["plain"].model.dropout == 0
    assert watched["bn_detached"] == ["norms"]
    assert [watched[f"bn_batch_{size}"] for size in (2, 8, 32)] == [["inference"]] * 3


@at_both_scales
def test_batches_of_every_size_get_equal_steps(scale):
    arms = runs("ablations", scale).values()
    steps = {optim.steps(run.optim, run.data.train_images // run.data.batch_size) for run in arms}
    assert len(steps) == 1


def test_fixed_batches_come_often_enough_to_matter():
    assert runs("ablations")["bn_fixed_batches"].optim.epochs >= 3


@at_both_scales
def test_inception_arms(scale):
    arms, convnet = runs("inception", scale), runs("learning_rate", scale)
    names = [name for name in arms if name in convnet]
    assert len(names) == 6
    for name in names:
        ours = changed(arms[name], arms["baseline"])
        assert ours == changed(convnet[name], convnet["baseline"]), name
    assert runs("inception", "full")["baseline"].model.width == 96


@at_both_scales
def test_published_inception_arms(scale):
    arms = runs("inception_published", scale)
    assert arms["bn"].optim.weight_decay == 5e-4
    no_l2, random = {"optim.weight_decay": 0.0}, {"data.random_labels": True}
    once, longer = {"optim.epochs_multiplier": 1.0}, {"optim.epochs_multiplier": 2.5}
    assert changed(arms["bn"], arms["plain"]) == BN | once | {"optim.lr": 0.1}
    assert changed(arms["bn_augmented"], arms["bn"]) == {"data.augment": True}
    assert changed(arms["plain_no_l2"], arms["plain"]) == no_l2
    assert changed(arms["bn_random_labels"], arms["bn"]) == no_l2 | random | longer
    assert changed(arms["plain_random_labels"], arms["plain"]) == no_l2 | random
    full = runs("inception_published", "full")["bn"]
    assert (full.model.width, full.optim.lr) == (96, 0.1)
    assert full.optim.final_lr == pytest.approx(0.95**60, rel=0.01)  # of their epochs, in fewer
