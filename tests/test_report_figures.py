"""What the figures draw."""

from itertools import pairwise

import pytest

from batchnorm.report import figures, look, paper, statistics, studies
from planted import ALIKE, STEPS, plant


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def words(figure):
    texts = [text.get_text() for text in [*figure.texts, *figure.axes[0].texts, figure._suptitle]]
    return " ".join(" ".join(texts).split())


def test_every_point_belongs_to_a_series_where_nothing_overflowed(tmp_path):
    plant(tmp_path, {arm: ALIKE[arm] for arm in ("baseline", "bn_x5")})
    points = figures.learning_rate_points(statistics.load(tmp_path), paper.curves())
    kinds = {"curve", "match", "match_seed", "paper", "paper_match"}
    assert set(points["series"]) == kinds


def test_a_line_per_arm_beside_the_papers(tmp_path):
    plant(tmp_path)
    drawn = lines(figures.learning_rate(statistics.load(tmp_path), paper.curves()))
    for arm in ALIKE:
        assert (arm in drawn) == (arm not in ("baseline_x5", "baseline_x30"))
    published = drawn["paper: baseline"]
    assert published.get_xdata()[-1] == pytest.approx(STEPS)  # 31 M steps: our whole run
    assert published.get_color() == drawn["baseline"].get_color()
    assert published.is_dashed()
    styles = [(drawn[a].get_color(), drawn[a].get_marker()) for a in ALIKE if a in drawn]
    assert len({c for c, _ in styles}) == len({m for _, m in styles}) == len(styles)


def test_steps_to_the_baselines_best_have_a_row_of_their_own(tmp_path):
    plant(tmp_path, noise=0)
    figure = figures.learning_rate(statistics.load(tmp_path), paper.curves())
    (strip,) = [axes for axes in figure.axes if "steps to match" in axes.get_title(loc="left")]
    drawn = {line.get_label(): line for line in strip.get_lines()}
    expected = 3100 * (1 / 31 + (0.62 - 0.53) / (0.66 - 0.53) / 31)
    assert drawn["match: bn_x5"].get_xdata()[0] == pytest.approx(expected)
    assert drawn["match_seed: bn_x5"].get_xdata()[0] == pytest.approx(expected)
    assert drawn["match: baseline"].get_xdata()[0] == STEPS
    assert drawn["paper_match: bn_x5"].get_xdata()[0] == pytest.approx(STEPS * 2.1 / 31)
    assert not any("baseline_sigmoid" in label for label in drawn)  # never
    assert "paper_match: bn_x5_sigmoid" not in drawn  # the paper's cell is blank
    rows = [text.get_text() for text in strip.texts]
    assert "bn_x5  169" in rows and not any("baseline_x30" in row for row in rows)


def test_close_ends_are_shown_larger_where_there_is_room(tmp_path):
    high = {arm: [(0, 0.8), (1, 0.9 + 0.01 * k)] for k, arm in enumerate(("baseline", "bn_x5"))}
    plant(tmp_path / "close", high)
    (main, *_) = figures.learning_rate(statistics.load(tmp_path / "close")).axes
    (inset,) = main.child_axes
    low, top = inset.get_ylim()
    assert 0.8 < low < 0.9 < 0.91 < top < 0.95
    plant(tmp_path / "far", {**high, "baseline_sigmoid": [(0, 0.1), (1, 0.1)]})
    (main, *_) = figures.learning_rate(statistics.load(tmp_path / "far")).axes
    assert not main.child_axes


def test_overflows_are_marked_or_listed(tmp_path):
    plant(tmp_path, {**ALIKE, "baseline_x5": 40})
    plant(tmp_path, {"baseline_x5": [(0, 0.1), (1, 0.6)]}, seeds=1, overflow=1100)
    figure = figures.learning_rate(statistics.load(tmp_path))
    crosses = {
        (line.get_label(), int(line.get_xdata()[0])): line.get_ydata()[0]
        for line in figure.axes[0].get_lines()
        if line.get_label().startswith("overflow")
    }
    assert crosses["overflow: baseline_x5", 1100] > 0.1
    assert crosses["overflow: baseline_x5", 40] == 0  # before any accuracy
    assert crosses["overflow: baseline_x30", 12] == 0
    assert "baseline_x30: overflowed at step 12 (3 of 3 seeds)" in words(figure)
    assert "baseline_x5: overflowed at step 40 to 1100 (3 of 3 seeds)" in words(figure)


@pytest.mark.parametrize("arms", [["bn_x5"], ["baseline"], ["baseline_x30"]])
def test_an_unfinished_experiment_can_be_drawn(tmp_path, arms):
    plant(tmp_path, {arm: ALIKE[arm] for arm in arms}, seeds=1)
    figure = figures.learning_rate(statistics.load(tmp_path), paper.curves())
    assert look.render(figure, "png")


def test_stand_in_data_are_named_on_every_figure(tmp_path):
    plant(tmp_path, stand_in=True)
    table = statistics.load(tmp_path)
    for figure in (
        figures.learning_rate(table),
        studies.learning_rate_ladder(table),
        studies.precision(table, table),
    ):
        assert "STAND-IN DATA" in figure._suptitle.get_text()


def test_the_ladder_chooses_the_highest_mean(tmp_path):
    tried = {0.01: [(0, 0.1), (1, 0.5)], 0.02: [(0, 0.1), (1, 0.6)], 0.1: 30}
    for lr, effect in tried.items():
        plant(tmp_path, {f"lr_{lr}": effect}, experiment="cifar10_tune", holdout=5000, lr=lr)
    table = statistics.load(tmp_path)
    points = studies.ladder_points(table)
    assert set(points.loc[points["chosen"], "lr"]) == {0.02}
    assert list(points.loc[points["lr"] == 0.1, "best"]) == [statistics.CHANCE] * 3
    assert "chosen: 0.02 ★" in words(studies.learning_rate_ladder(table))


def test_precision_differences_are_paired_points(tmp_path):
    half = {arm: [(x, y + 0.01) for x, y in ALIKE[arm]] for arm in ("baseline", "bn_x5")}
    half["bn_x5"] = [(x, y + 0.02) for x, y in half["bn_x5"]]
    plant(tmp_path / "a", half, noise=0)
    plant(tmp_path / "b", {arm: ALIKE[arm] for arm in half}, noise=0, precision="float32")
    points = studies.precision_points(
        statistics.load(tmp_path / "a"), statistics.load(tmp_path / "b")
    )
    means = points[points["seed"].isna()].set_index(["quantity", "arm"])["points"]
    assert means["difference", "baseline"] == pytest.approx(1)
    assert means["difference", "bn_x5"] == pytest.approx(3)
    assert means["bias", "bn_x5"] == pytest.approx(2)


def test_labels_are_spread_apart():
    placed = look.spread([0.5, 0.51, 0.99, 1.0], 0.06, 0.99)
    ordered = sorted(placed)
    assert all(b - a >= 0.06 - 1e-9 for a, b in pairwise(ordered))
    assert max(placed) <= 0.99
