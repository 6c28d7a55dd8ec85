"""Figure 1 and the MNIST studies: what is drawn, and what is said of it."""

import numpy as np
import pytest

from batchnorm import record
from batchnorm.report import (
    build,
    look,
    mnist,
    mnist_initialization,
    mnist_percentiles,
    mnist_probes,
    mnist_table,
    mnist_tune,
    paper,
    statistics,
    watched,
)
from planted_mnist import ALIKE, BN, INITIALIZATION, PLAIN, STEPS, changed, ladder, plant


def words(figure):
    texts = [text.get_text() for text in [*figure.texts, figure._suptitle]]
    return " ".join(" ".join(texts).split())


def plant_everything(root, **what):
    plant(root, seeds=3, **what)
    plant(root, ladder(), seeds=3, experiment="mnist_tune", holdout=10_000, **what)
    plant(root, INITIALIZATION, seeds=3, experiment="mnist_initialization", steps=5000, **what)


# --- the paper's points ---------------------------------------------------------------------------


def test_the_papers_curves_have_their_points_and_signs():
    read = paper.mnist_accuracy().set_index(["norm", "step"])
    assert len(read) == 22
    assert read.loc[("batch", 49_000), "accuracy"] == 0.982
    assert read.loc[("none", 8000), "accuracy"] == 0.908
    assert list(read[read["approximate"]].index) == [("none", s) for s in (4000, 12_000, 49_000)]
    inputs = paper.mnist_percentiles()
    at = inputs.set_index(["norm", "percentile", "fraction"])["value"]
    assert len(inputs) == 66
    assert (at["none", 15, 0.3], at["none", 50, 0.5], at["batch", 15, 0.97]) == (
        -1.81,
        -0.17,
        -1.93,
    )
    assert at["none", 85, 0.01] == at["none", 50, 0.01] == at["none", 15, 0.01]  # coincident


def test_distance_is_the_largest_one_at_the_points():
    found = mnist.distance([0, 10, 20], [0.0, 1.0, 1.0], [5, 10, 15], [0.4, 1.3, 1.0])
    assert found.largest == pytest.approx(0.3)
    assert found.step == 10
    between = mnist.distance([0, 10], [0.0, 1.0], [5], [0.9])  # linear between our steps
    assert between.largest == pytest.approx(0.4)
    assert np.isnan(mnist.distance([], [], [5], [0.9]).largest)


# --- what was watched -----------------------------------------------------------------------------


def test_the_typical_unit_is_the_medoid():
    curves = np.zeros((5, 4, 3))
    curves[:, 1:] = np.array([-3, 0.5, 1, 2, 30.0])[:, None, None]
    assert watched.medoid(curves) == 2  # the median; the mean, 6.1, is nearest to unit 3
    assert watched.medoid(curves[::-1]) == 2
    assert watched.medoid(curves[[2, 0, 1, 3, 4]]) == 0


def test_drift_of_known_curves():
    curves = np.zeros((4, 3, 2))
    curves[:, 1, 0] = [0, 1, 0, 1]  # moves 3 in all
    curves[:, 0], curves[:, 2] = curves[:, 1] - 2, curves[:, 1] + 2  # a spread of 2
    assert watched.drift(curves) == pytest.approx((3 / 2 / 2, 0))  # the other unit stays
    curves[:, 2, 1] = [2, 4, 4, 4]  # spreads 2, 3, 3, 3
    assert watched.drift(curves) == pytest.approx((3 / 4, 1 / 2.75 / 2))
    assert watched.drift(10 * curves) == pytest.approx(watched.drift(curves))
    assert np.isnan(watched.drift(0 * curves)).all()


def test_lists_become_scalars_and_drift_counts_from_a_tenth_of_the_run():
    one = [[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]
    other = [[4.0, 4.0], [5.0, 5.0], [6.0, 6.0]]
    metrics = {
        "step": [9, 10, 100],
        "preactivation/1": [other, one, one],
        "jacobian/2": [[1, 2, 3, 4, 5]] * 3,
        "of_my_own": [[1], [2], [3]],
    }
    found = watched.reduced(metrics, 100)
    assert found["drift/1/median"] == [0, 0, 0]  # what moved did so before step 10
    assert watched.reduced(metrics, 90)["drift/1/median"] == [5, 5, 5]
    assert found["typical/p85"] == [6, 1, 1]
    assert found["jacobian/2/q75"] == [4, 4, 4]
    assert "of_my_own" not in found
    assert watched.reduced({}, 100) == {}


# --- the figures ----------------------------------------------------------------------------------


def test_everything_is_drawn_in_the_expected_places(tmp_path):
    plant_everything(tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in build.render(tmp_path)}
    drawn = ("_1a", "_1bc", "_drift", "_scale", "_tune", "_initialization")
    kinds = ("csv", "png", "svg")
    assert names == {f"figures/full/mnist{name}.{kind}" for name in drawn for kind in kinds} | {
        *("tables/full/mnist.md", "tables/full/mnist.csv"),
        *("claims.md", "claims.json"),
    }


def test_figure_1a_stands_beside_the_papers_curves(tmp_path):
    plant(tmp_path, noise=0)
    table = statistics.load(tmp_path)
    figure = mnist.accuracy(table)
    left, right = figure.axes
    drawn = {line.get_label(): line for axes in (left, right) for line in axes.get_lines()}
    assert drawn["baseline"].is_dashed()
    assert not drawn["bn"].is_dashed()
    assert set(drawn) == {*ALIKE, *(f"paper: {arm}" for arm in ALIKE)}
    assert list(drawn["paper: bn"].get_xdata())[-1] == 49_000
    assert left.get_ylim() == (0.7, 1.0)
    assert left.get_title(loc="left") == "both at learning rate 0.1"
    assert right.get_title(loc="left") == "each at its best rate: 1 without BN, 1 with BN"
    near = mnist.accuracy_distances(mnist.accuracy_points(table))
    assert near["bn"].largest < 0.01
    assert f"baseline_best {near['baseline_best'].largest:.3f} (at 4K)" in words(figure)


def test_distances_are_those_of_the_median_over_the_seeds(tmp_path):
    flat = [(0, 0.5), (STEPS, 0.5)]
    plant(tmp_path, {"bn": {**BN, "accuracy": flat}}, noise=0)
    plant(tmp_path, {"bn": {**BN, "accuracy": [(0, 0.9), (STEPS, 0.9)]}}, seeds=2, noise=0)
    points = mnist.accuracy_points(statistics.load(tmp_path))
    assert mnist.accuracy_distances(points)["bn"].largest == pytest.approx(0.982 - 0.5)


def test_figure_1bc_draws_the_typical_unit_of_the_median_seed(tmp_path):
    plant(tmp_path, noise=0)
    for seed, end in enumerate((0.97, 0.99, 0.98)):
        plant(tmp_path, changed("bn", accuracy=[(0, 0.1), (STEPS, end)]), seeds=[seed], noise=0)
    table = statistics.load(tmp_path)
    table = table[table["seed"] < 3]
    assert mnist_percentiles.median_seed(table, "bn") == 2
    points = mnist_percentiles.percentile_points(table)
    ours = points[(points["series"] == "ours") & (points["arm"] == "bn")]
    assert set(ours["seed"]) == {2}
    metrics = record.load(tmp_path / "records/full/mnist/bn-2.json")["metrics"]
    unit = ours["unit"].iloc[0]
    expected = [evaluation[2][unit] for evaluation in metrics["preactivation/3"]]
    assert list(ours.loc[ours["percentile"] == 85, "value"]) == pytest.approx(expected)
    far = mnist_percentiles.percentile_distances(points)
    said = f"bn 85 % {far['bn', 85].largest:.2f}"
    assert said in words(mnist_percentiles.percentiles(table))


def test_the_sweep_says_how_nearly_the_plain_network_ties(tmp_path):
    plant(tmp_path, ladder(), seeds=3, experiment="mnist_tune", holdout=10_000, noise=0)
    table = statistics.load(tmp_path)
    points = mnist_tune.tune_points(table)
    chosen = points[points["chosen"]].groupby("norm")[["lr", "std"]].first()
    assert chosen.loc["none"].tolist() == [1, 0.1]
    assert chosen.loc["batch"].tolist() == [0.3, 0.1]
    text = words(mnist_tune.tune(table))
    assert "0.9740 without BN (rate 1, deviation 0.1)" in text
    assert "0.9780 with BN (rate 0.3, deviation 0.1)" in text
    assert "BN is ahead by 0.40 [0.40, 0.40] points" in text
    assert "(below 0: behind) by as little as 0.20 [0.20, 0.20] points, at rate 1" in text
    assert "10,000 images cut from the training set" in text


def test_the_sweep_says_where_bn_is_sooner(tmp_path):
    """At rate 1 four times sooner, at 3 as soon; at 0.1 the plain network never gets there."""
    at = {0.1: (None, 0.16), 1.0: (0.64, 0.16), 3.0: (0.64, 0.64)}  # of the run, to 0.95
    arms = {}
    for lr, pair in at.items():
        for net, kind, when in zip(("baseline", "bn"), (PLAIN, BN), pair, strict=True):
            curve = [(STEPS * when, 0.95), (STEPS, 0.96)] if when else [(STEPS, 0.9)]
            how = {"accuracy": [(0, 0.1), *curve], "lr": lr, "init_scale": 10}
            arms[f"{net}_lr{lr:g}_std0.1"] = {**kind, **how}
    plant(tmp_path, arms, seeds=3, experiment="mnist_tune", holdout=10_000, noise=0)
    table = statistics.load(tmp_path)
    ratios = {lr: found.value for (lr, _), found in mnist_tune.sooner(table).items()}
    assert ratios == pytest.approx({0.1: 6.25, 1.0: 4, 3.0: 1}, rel=0.01)
    assert "with BN fewer at 2 of 3, more at 0" in words(mnist_tune.tune(table))


def test_the_sweep_keeps_what_overflowed_or_did_not_learn(tmp_path):
    arms = ladder() | {"baseline_lr3_std0.1": {**PLAIN, "accuracy": 40, "lr": 3.0}}
    plant(tmp_path, arms, seeds=2, experiment="mnist_tune", holdout=10_000)
    table = statistics.load(tmp_path)
    points = mnist_tune.tune_points(table)
    assert list(points.loc[points["diverged"], "accuracy"]) == [statistics.CHANCE] * 2
    figure = mnist_tune.tune(table)
    assert "↓ 0.10" in {text.get_text() for text in figure.axes[0].texts}
    assert look.render(figure, "png")


def test_drift_and_scale_points_hold_what_was_watched(tmp_path):
    plant(tmp_path, noise=0)
    table = statistics.load(tmp_path)
    drifts = mnist_probes.drift_points(table)
    assert len(drifts) == 4 * 5 * 3 * 2
    means = drifts.groupby(["arm", "kind"])["drift"].mean()
    assert means["baseline", "median"] > 3 * means["bn", "median"]
    points = mnist_probes.scale_points(table)
    norms = points[(points["quantity"] == "norm") & (points["arm"] == "bn")]
    first = norms[norms["layer"] == 4].sort_values("step")["value"]
    assert list(first)[:3] == pytest.approx([1, 1.02, 1.02**2])
    ends = points[(points["step"] == STEPS) & (points["percent"] == 50)].groupby("norm")["value"]
    assert ends.mean()["batch"] == pytest.approx(0.8, rel=0.03)


def test_initial_scales_are_read_from_the_config(tmp_path):
    arms = {f"x_{name}": does for name, does in INITIALIZATION.items()}
    plant(tmp_path, arms, experiment="mnist_initialization", steps=5000, noise=0)
    points = mnist_initialization.initialization_points(statistics.load(tmp_path))
    assert sorted(points["std"].unique()) == [0.001, 0.01, 0.1, 1, 10]


@pytest.mark.parametrize("arms", [["bn"], ["baseline"], ["bn_best"], ["baseline", "bn_best"]])
def test_an_unfinished_experiment_can_be_drawn(tmp_path, arms):
    plant(tmp_path, {arm: ALIKE[arm] for arm in arms}, seeds=1)
    made = {path.name for path in build.render(tmp_path)}
    assert "mnist_1a.png" in made
    assert ("mnist_1bc.png" in made) == (arms != ["bn_best"])


@pytest.mark.parametrize("arm", ["baseline", "bn"])
def test_a_network_that_overflowed_at_once_does_not_stop_the_report(tmp_path, arm):
    plant(tmp_path, changed(arm, accuracy=30), seeds=3)
    made = {path.name for path in build.render(tmp_path)}
    assert {"mnist_1a.png", "mnist_1bc.png", "mnist_scale.png", "mnist.md"} <= made
    plant(tmp_path, {arm: {**ALIKE[arm], "accuracy": 30} for arm in ALIKE}, seeds=3)
    made = {path.name for path in build.render(tmp_path)}
    assert {"mnist_1a.png", "mnist.md"} <= made


def test_stand_in_data_are_named_on_every_figure(tmp_path):
    plant_everything(tmp_path, stand_in=True)
    for path, content in build.render(tmp_path).items():
        assert path.name.startswith("STAND-IN-")
        if path.suffix == ".md":
            assert b"STAND-IN DATA" in content
    table = statistics.load(tmp_path, experiment="mnist")
    for draw in (
        mnist.accuracy,
        mnist_percentiles.percentiles,
        mnist_probes.drift,
        mnist_probes.scale,
    ):
        assert "STAND-IN DATA" in draw(table)._suptitle.get_text()


# --- the table ------------------------------------------------------------------------------------


def test_the_table_counts_steps_and_who_gets_there(tmp_path):
    line = [(0, 0.1), (10_000, 0.96), (STEPS, 0.96)]
    plant(tmp_path, changed("baseline", accuracy=line), noise=0)
    up = [(0, 0.1), (10_000, 0.96), (STEPS, 0.98)]
    plant(tmp_path, {"baseline": {**PLAIN, "accuracy": up}}, seeds=2, noise=0)
    printed = mnist_table.printed(statistics.load(tmp_path))
    row = printed.numbers.set_index("arm").loc["baseline"]
    between = 9389 + 1500 * (0.95 - 0.90745) / (0.96 - 0.90745)  # of the evaluations there
    assert row["steps_95"] == pytest.approx(between, abs=2)
    assert np.isnan(row["steps_97"])
    assert (row["reached_95"], row["reached_97"], row["n"]) == (5, 2, 5)
    assert row["final"] == pytest.approx((3 * 0.96 + 2 * 0.98) / 5)
    assert row["paper_steps_95"] == pytest.approx(12_000 + 4000 * 8 / 14)
    assert row["lr"] == 0.1
    assert row["std"] == 0.1
    text = printed.markdown()
    assert "| 2 of 5 seeds |" in text
    assert "| at most 4,000 |" in text
