"""Per-seed quantities, pairing and intervals."""

import json
from math import inf, isnan

import numpy as np
import pandas as pd
import pytest

import planted
from batchnorm.record import RecordError
from batchnorm.report import statistics
from batchnorm.report.statistics import CHANCE, Curve, estimate, repeat_interval
from planted import plant


def curve(steps, accuracy, diverged_at=inf):
    return Curve(np.array(steps, float), np.array(accuracy, float), 100, diverged_at)


def test_steps_to_interpolates_the_first_crossing():
    run = curve([10, 20, 30, 40], [0.3, 0.5, 0.4, 0.9])
    assert run.steps_to(0.4) == pytest.approx(15)
    assert run.steps_to(0.5) == 20
    assert run.steps_to(0.7) == pytest.approx(36)
    assert run.steps_to(0.2) == pytest.approx(5)  # from chance at step 0
    assert isnan(run.steps_to(0.95))
    assert run.steps_to(0.1) == 0


def test_accuracy_at_a_step():
    run = curve([10, 20], [0.3, 0.5], diverged_at=25)
    assert [run.at(step) for step in (0, 5, 15, 22, 25)] == pytest.approx(
        [CHANCE, 0.2, 0.4, 0.5, CHANCE]
    )


def test_every_baseline_reaches_its_own_target_in_its_own_run(tmp_path):
    """Were its best read otherwise than its steps, speed-ups would be of nothing."""
    plant(tmp_path, {"baseline": [(0, 0.1), (0.8, 0.6), (1, 0.5)]}, seeds=4, noise=0.02)
    found = statistics.curves(statistics.load(tmp_path))
    steps = statistics.steps_to_baseline(found, "baseline")
    for seed, run in found["baseline"].items():
        assert steps[seed] == run.steps[run.accuracy.argmax()] < run.planned
    assert list(statistics.speed_up(found, "baseline")) == [1.0] * 4


def test_a_run_that_overflows_before_its_first_evaluation_is_at_chance(tmp_path):
    plant(tmp_path, {"baseline": [(0, 0.1), (1, 0.6)], "baseline_x30": 12})
    table = statistics.load(tmp_path)
    found = statistics.curves(table)
    assert (table["arm"] == "baseline_x30").sum() == 3
    assert list(statistics.best(found, "baseline_x30")) == [CHANCE] * 3
    assert statistics.steps_to_baseline(found, "baseline_x30").isna().all()
    assert found["baseline_x30"][0].diverged_at == 12


def test_a_run_that_overflows_later_keeps_its_best(tmp_path):
    plant(tmp_path, {"baseline": [(0, 0.1), (1, 0.6)]}, overflow=1100, noise=0)
    run = statistics.curves(statistics.load(tmp_path))["baseline"][0]
    assert run.steps.max() == 1000
    assert run.best() == pytest.approx(0.1 + 0.5 * 1000 / planted.STEPS)


def test_pairs_are_by_seed_whatever_the_order_and_whoever_is_missing(tmp_path):
    plant(tmp_path, noise=0.02)
    (tmp_path / "records/quick/cifar10_learning_rate/bn_x5-1.json").unlink()
    table = statistics.load(tmp_path)
    shuffled = statistics.curves(table.sample(frac=1, random_state=0))
    found = statistics.curves(table)
    speed = statistics.speed_up(found, "bn_x5")
    assert list(speed.index) == [0, 2]
    assert speed.equals(statistics.speed_up(shuffled, "bn_x5"))
    base, fast = found["baseline"][2], found["bn_x5"][2]
    assert speed[2] == base.steps_to(base.best()) / fast.steps_to(base.best())


def test_the_slower_one_that_never_gets_there_counts_with_its_whole_run(tmp_path):
    arms = {"baseline": (1, 0.6), "bn_x5": (0.5, 0.7), "bn_x30": (1, 0.3)}
    plant(tmp_path, {arm: [(0, 0.1), end] for arm, end in arms.items()}, noise=0)
    found = statistics.curves(statistics.load(tmp_path))
    steps = statistics.steps_to_baseline(found, "bn_x5")
    ratios = statistics.speed_up(found, "bn_x5", "bn_x30")
    assert ratios.tolist() == pytest.approx((planned(found) / steps).tolist())
    assert statistics.speed_up(found, "bn_x30", "bn_x5").isna().all()
    del found["baseline"]
    assert not len(statistics.speed_up(found, "bn_x5"))  # an arm alone, as the user may train it


def planned(found: statistics.Curves) -> int:
    return found["bn_x30"][0].planned


def test_the_split_evaluated_on_is_the_accuracy(tmp_path):
    plant(tmp_path, {"baseline": [(0, 0.1), (1, 0.6)]}, holdout=5000)
    table = statistics.load(tmp_path)
    assert table["accuracy"].equals(table["validation/accuracy"].rename("accuracy"))


def test_metrics_are_columns_if_they_are_numbers(tmp_path):
    def more(accuracy):
        n = len(accuracy)
        lists = {"other/3": [[-1.0, 0.0, 1.0]] * n, "late/1": [None] * (n - 1) + [[0.0]]}
        return {**lists, "inference/batch": [None] * (n - 1) + [0.5], "never": [None] * n}

    plant(tmp_path, {"bn": [(0, 0.1), (1, 0.6)]}, seeds=2, more=more)
    plant(tmp_path, {"plain": [(0, 0.1), (1, 0.6)]}, seeds=1)
    table = statistics.load(tmp_path)
    assert not {"other/3", "late/1"} & set(table)
    last = table[table["step"] == planted.STEPS].set_index(["arm", "seed"])["inference/batch"]
    assert last["bn", 1] == 0.5
    assert isnan(last["plain", 0])
    assert table["inference/batch"].notna().sum() == 2
    run = statistics.curves(table)["bn"][0]
    assert run.metrics["inference/batch"][-1] == 0.5
    assert len(run.metrics["inference/batch"]) == len(run.steps)


def test_rows_are_in_order_of_experiment_arm_seed_and_step(tmp_path):
    plant(tmp_path, {arm: [(0, 0.1), (1, 0.6)] for arm in ("b_10", "b_9", "bn_x5", "baseline")})
    plant(tmp_path, {"a": 12}, experiment="another", seeds=1)
    table = statistics.load(tmp_path)
    assert list(table["arm"].unique()) == ["a", "baseline", "bn_x5", "b_9", "b_10"]
    rows = table.groupby("arm", sort=False)
    assert all(part["seed"].is_monotonic_increasing for _, part in rows)
    assert list(table["step"]) == [0, *planted.EVALUATIONS * 12]


def test_metrics_of_different_lengths_are_refused(tmp_path):
    plant(tmp_path, {"bn": [(0, 0.1), (1, 0.6)]}, seeds=1, more=lambda _: {"norm/1": [1.0]})
    with pytest.raises(RecordError, match=r"bn-0.json: .*equally long"):
        statistics.load(tmp_path)


def test_a_broken_record_is_one_line_that_names_the_file(tmp_path):
    plant(tmp_path, {"baseline": 12}, seeds=1)
    path = next(tmp_path.rglob("*.json"))
    found = json.loads(path.read_text())
    del found["summary"]["steps"]
    path.write_text(json.dumps(found))
    with pytest.raises(RecordError, match=r"baseline-0.json: .*steps is missing"):
        statistics.load(tmp_path)


def test_too_few_or_missing_values_give_no_interval():
    assert isnan(estimate([0.5]).low)
    assert estimate([0.5]).value == 0.5
    assert isnan(estimate([]).value)
    partly = estimate([2.0, 8.0, np.nan], ratio=True)
    assert (partly.value, partly.n, partly.missing) == (pytest.approx(4), 3, 1)
    assert isnan(partly.low)


def coverage(draw, n, mean, interval):
    samples = draw(size=(1500, n))
    return np.mean([low <= mean <= high for low, high in map(interval, samples)])


def student(values):
    found = estimate(values)
    return found.low, found.high


@pytest.mark.parametrize("n", [3, 4, 5])
def test_intervals_cover_where_a_bootstrap_does_not(n):
    rng = np.random.default_rng(n)

    def bootstrap(values):
        return np.percentile(rng.choice(values, (300, n)).mean(1), [2.5, 97.5])

    assert coverage(rng.normal, n, 0, student) == pytest.approx(0.95, abs=0.02)
    assert coverage(rng.normal, n, 0, bootstrap) < 0.87
    # Honestly: values as skewed as an exponential's are covered less often than they should be.
    assert 0.85 < coverage(rng.exponential, n, 1, student) < 0.93


def test_intervals_are_student_s_to_the_digit():
    """The quantile of two degrees of freedom is 4.3027; of ratios, on a log scale."""
    found = estimate([1.0, 2.0, 3.0])
    assert (found.low, found.high) == pytest.approx(
        (2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), rel=1e-6
    )
    again = repeat_interval([1.0, 2.0, 3.0], 5)
    assert again.high - again.value == pytest.approx(4.302653 * (1 / 3 + 1 / 5) ** 0.5, rel=1e-6)
    ratio = estimate([2.0, 4.0, 8.0], ratio=True)
    assert ratio.value == pytest.approx(4)
    assert ratio.high == pytest.approx(4 * np.exp(4.302653 * np.log(2) / 3**0.5), rel=1e-6)


def test_rows_that_are_drawn_have_their_interval_the_right_way_round():
    *each, mean = statistics.drawn({"arm": "a"}, pd.Series({0: 1.0, 1: 2.0, 2: 4.0}))
    assert [row["points"] for row in each] == [1, 2, 4]
    assert mean["points"] == pytest.approx(7 / 3)
    assert mean["low"] < mean["points"] < mean["high"]


def test_ratios_are_covered_on_a_log_scale():
    rng = np.random.default_rng(0)

    def interval(values):
        found = estimate(values, ratio=True)
        return found.low, found.high

    assert coverage(rng.lognormal, 3, 1, interval) == pytest.approx(0.95, abs=0.02)


def test_the_interval_of_a_share_is_the_exact_one():
    assert statistics.share(3, 3).low == pytest.approx(0.025 ** (1 / 3))
    assert (statistics.share(0, 3).low, statistics.share(3, 3).high) == (0, 1)
    assert statistics.share(0, 3).high == pytest.approx(1 - 0.025 ** (1 / 3))


def test_the_interval_of_a_repeat_covers_the_mean_of_new_seeds():
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(1500, 5)), rng.normal(size=(1500, 3)).mean(1)
    found = [repeat_interval(values, 3) for values in old]
    inside = [one.low <= mean <= one.high for one, mean in zip(found, new, strict=True)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)
