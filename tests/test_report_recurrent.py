"""C29: planted effects give the verdicts that the rule promises; the arms; the figure."""

import pytest

from batchnorm.experiment import plan
from batchnorm.record import flatten
from batchnorm.report import build, look, statistics, studies_recurrent, verdicts
from planted import plant as plant_others
from planted_recurrent import ALIKE, plant

SLOW = [(0, 0.1), (0.9, 0.5), (1, 0.95)]  # gets to the baseline's best, but late


def verdict(root):
    (claim,) = (one for one in verdicts.ledger() if one.id == "C29")
    return verdicts.judge(claim, statistics.load(root))


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, "holds"),
        ({"bn": [(0, 0.1), (1, 0.85)]}, "fails"),
        ({"baseline": [(0, 0.1), (0.3, 0.9), (1, 0.85)], "bn": SLOW}, "fails"),
        ({"baseline": [(0, 0.1), (1, 0.1)]}, "inconclusive"),
        ({"bn_gamma_1": 30}, "holds"),  # which has no say
    ],
)
def test_c29_is_judged_by_where_bn_ends_and_how_fast(tmp_path, changed, wanted):
    plant(tmp_path, changed)
    assert verdict(tmp_path)["verdict"] == wanted


def test_c29_is_open_where_seeds_disagree_or_are_few(tmp_path):
    plant(tmp_path / "few", seeds=2)
    assert verdict(tmp_path / "few")["verdict"] == "not run"
    for seeds, end in ((3, 0.99), (2, 0.95), (1, 0.7)):  # the later over the earlier
        plant(tmp_path / "wild", {"bn": [(0, 0.1), (1, end)]}, seeds=seeds)
    assert verdict(tmp_path / "wild")["verdict"] == "inconclusive"


def test_c29_says_how_its_runs_differ_from_the_published_ones(tmp_path):
    plant(tmp_path)
    plant_others(tmp_path, seeds=1)  # whose records have no time steps
    said = " ".join(verdict(tmp_path)["deviations"])
    table = statistics.load(tmp_path)
    rows = table[table["experiment"] == "mnist_recurrent"]
    assert "in 49 time steps, pixels in one random order" in studies_recurrent.words_of(rows)
    assert "time steps: 49, each of 16 pixels (theirs: 784 of 1)" in said
    assert "length: 3100 steps (theirs: 100,000)" in said


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_the_arms_differ_in_nothing_but_bn(scale):
    said = ["experiment=mnist_recurrent", f"scale={scale}", "stand_in=always", "output=/x"]
    runs = {run.arm: dict(flatten(run.config())) for run in plan([*said, "seed=0"]).runs}
    assert runs.keys() == ALIKE.keys()
    for arm, changes in (
        ("bn", {"model.norm": "batch", "model.gamma": 0.1}),
        ("bn_gamma_1", {"model.norm": "batch"}),
    ):
        ours, theirs = runs[arm], runs["baseline"]
        assert {key: ours[key] for key in ours if ours[key] != theirs[key]} == {
            "arm": arm,
            **changes,
        }


@pytest.mark.parametrize("stand_in", [False, True])
def test_the_figure_shows_medians_unfinished_or_overflowed_too(tmp_path, stand_in):
    for name, changed in (("whole", {}), ("overflowed", {"bn_gamma_1": 30})):
        root = tmp_path / name
        plant(root, changed, noise=0, stand_in=stand_in)
        table = statistics.load(root)
        figure = studies_recurrent.draw(table)
        assert look.render(figure, "svg")
        assert ("STAND-IN" in figure._suptitle.get_text()) == stand_in
        ends = {
            line.get_label(): line.get_ydata()[-1]
            for line in figure.axes[0].get_lines()
            if ":" in str(line.get_label())
        }
        assert ends["LSTM with BN, gamma from 0.1: 5.0 %"] == pytest.approx(5)
        assert len(ends) == (3 if name == "whole" else 2)
        caption = " ".join(" ".join(text.get_text() for text in figure.texts).split())
        said = "bn_gamma_1: overflowed at step 30 (3 of 3 seeds)."
        assert (said in caption) == (name == "overflowed")
    drawn = {path.suffix for path in build.render(tmp_path / "whole") if "figures" in path.parts}
    assert drawn == {".png", ".svg", ".csv"}
