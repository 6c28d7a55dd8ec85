"""What the figures and tables of the CIFAR-10 studies say."""

import numpy as np
import pytest

import planted_cifar10
from batchnorm import record
from batchnorm.report import (
    build,
    look,
    statistics,
    studies,
    studies_ablations,
    studies_cifar10,
    studies_inception,
    studies_initialization,
    studies_rates,
    studies_shift,
)
from planted import chosen_rates
from planted import plant as plant_curves
from planted_cifar10 import HIT, LAYERS, WORLDS, made_of, plant

FIGURES = {
    "cifar10_dropout": studies_cifar10.dropout,
    "cifar10_depth": studies_cifar10.depth,
    "cifar10_initialization": studies_initialization.draw,
    "cifar10_ablations": studies_ablations.draw,
    "cifar10_shift": studies_shift.draw,
}


def marks(figure, panel, label):
    """The large markers of the line with this label: x -> y."""
    (line,) = (line for line in figure.axes[panel].get_lines() if line.get_label() == label)
    return dict(zip(line.get_xdata().tolist(), line.get_ydata().tolist(), strict=True))


@pytest.mark.parametrize("experiment", FIGURES)
def test_every_study_has_its_figure_and_its_points(tmp_path, experiment):
    plant(tmp_path, experiment)
    names = {path.name for path in build.render(tmp_path) if "figures" in path.parts}
    assert names == {f"{experiment}.{kind}" for kind in ("png", "svg", "csv")}


@pytest.mark.parametrize("experiment", FIGURES)
@pytest.mark.parametrize("stand_in", [False, True])
def test_unfinished_and_overflowed_studies_can_be_drawn(tmp_path, experiment, stand_in):
    for arm in (next(iter(WORLDS[experiment])), list(WORLDS[experiment])[-1]):
        for end in (0.5, HIT):
            root = tmp_path / arm / str(end)
            made = made_of(experiment, arm, 0, end, stand_in=stand_in)
            record.write(record.record_path(root, made["config"]), made)
            figure = FIGURES[experiment](statistics.load(root))
            assert look.render(figure, "svg")
            assert ("STAND-IN" in figure._suptitle.get_text()) == stand_in


def test_dropout_shows_means_and_the_gap(tmp_path):
    plant(tmp_path, "cifar10_dropout", {"bn_0": (0.5, 0.7, 0.71)}, noise=0)
    figure = studies_cifar10.dropout(statistics.load(tmp_path))
    bn = marks(figure, 0, "with BN")
    assert bn == pytest.approx({0: 1.91 / 3, 1: 0.72, 2: 0.715, 3: 0.66})  # at 0, 0.05, 0.1, 0.4
    assert marks(figure, 1, "with BN")[3] == pytest.approx(0.028)
    assert marks(figure, 1, "without BN")[0] == pytest.approx(0.01)
    (level,) = (text for text in figure.axes[0].texts if "no Dropout" in text.get_text())
    assert level.xy[1] == pytest.approx(1.91 / 3)


def test_shift_shows_accuracy_and_what_was_watched(tmp_path):
    plant(tmp_path, "cifar10_shift", noise=0)
    figure = studies_shift.draw(statistics.load(tmp_path))
    at = [list(marks(figure, panel, "with BN, noisy").values())[-1] for panel in range(3)]
    assert at == pytest.approx([0.61, 0.3 * 5 * 1.01 * 0.8, 0.899])  # of nine layers, times 1 to 9
    assert marks(figure, 1, "without BN")[3100] == pytest.approx(0.02 * 5 * 1.01 * 0.8)


def test_depth_has_a_line_per_kind(tmp_path):
    plant(tmp_path, "cifar10_depth", noise=0)
    figure = studies_cifar10.depth(statistics.load(tmp_path))
    assert marks(figure, 0, "BN, ReLU") == pytest.approx({6: 0.6, 12: 0.62, 24: 0.58, 48: 0.4})
    assert marks(figure, 0, "no BN, sigmoid")[48] == pytest.approx(0.1)


def test_the_schedule_is_chosen_by_the_mean_of_the_arms(tmp_path):
    for final_lr, ends in {0.1: (0.5, 0.8), 0.3: (0.6, 0.75), 0.6: (0.62, 0.7)}.items():
        arms = {f"{kind}_{final_lr}": [(0, 0.1), (1, end)]
                for kind, end in zip(("baseline", "bn_x5"), ends, strict=True)}  # fmt: skip
        plant_curves(tmp_path, arms, experiment="cifar10_schedule", final_lr=final_lr,
                     holdout=5000, noise=0)  # fmt: skip
    figure = studies_cifar10.schedule(statistics.load(tmp_path))
    assert marks(figure, 0, "mean") == pytest.approx({0.1: 0.65, 0.3: 0.675, 0.6: 0.66})
    assert "chosen: 0.3" in figure.axes[0].texts[0].get_text()


def test_every_arm_has_the_rate_of_its_own_highest_mean(tmp_path):
    ends = {0.01: (0.5, 0.6, 0.1), 0.1: (0.55, 0.4, 0.11), 1: (30, 0.3, 0.12)}
    for lr, tried in ends.items():
        curves = [end if end == 30 else [(0, end), (1, end)] for end in tried]
        names = (f"{arm}_{lr}" for arm in ("plain_6", "bn_6", "plain_48"))
        arms = dict(zip(names, curves, strict=True))
        plant_curves(tmp_path, arms, experiment="cifar10_tune_depth", lr=lr, holdout=5000, noise=0)
    table = statistics.load(tmp_path)
    assert chosen_rates(studies_rates.points(table)) == {"plain_6": 0.1, "bn_6": 0.01}, "48: chance"
    figure = studies_rates.draw(table)
    bold = {text.get_text() for text in figure.axes[0].texts if text.get_weight() == "bold"}
    assert bold == {"0.550", "0.600"}
    lost = [text.get_text() for text in figure.axes[0].texts if "×" in text.get_text()]
    assert lost == ["0.100  × 3"]
    assert "At an edge of the ladder, so that better may lie beyond: bn_6." in studies_rates.words(
        table
    )


def test_the_ladder_says_whose_rate_it_is(tmp_path):
    arms = {"lr_0.1": [(0, 0.1), (1, 0.6)]}
    plant_curves(tmp_path, arms, experiment="cifar10_tune_bn", holdout=5000, norm="batch")
    names = {path.name for path in build.render(tmp_path)}
    assert "cifar10_tune_bn.svg" in names
    figure = studies.learning_rate_ladder(statistics.load(tmp_path))
    assert "network with BN" in figure._suptitle.get_text()


def test_initialization_draws_weights_and_their_effective_rate(tmp_path):
    norms = {"bn_1": (4, 8), "plain_1": (3, 6)}
    plant(tmp_path, "cifar10_initialization", norms=norms, noise=0)
    points = studies_initialization.points(statistics.load(tmp_path))
    rows = points[points["arm"] == "bn_1"].set_index("series")
    mean = np.exp(np.mean(np.log(1 + np.arange(1, LAYERS) / 20)))  # without the last layer
    length = rows.loc["weights", "value"].to_numpy()[[0, -1]]
    assert length == pytest.approx([4 * mean, 8 * mean])
    rate = rows.loc["rate", "value"].to_numpy()[[0, -1]]
    assert rate == pytest.approx(0.02 / length**2)
    figure = studies_initialization.draw(statistics.load(tmp_path))
    ends = marks(figure, 0, "with BN")
    assert ends == pytest.approx({0.001: 0.5, 0.01: 0.6, 0.1: 0.62, 1: 0.625, 10: 0.61, 100: 0.5})
    assert marks(figure, 0, "without BN")[10] == pytest.approx(statistics.CHANCE)  # overflowed


def test_ablations_are_paired_differences_to_the_reference(tmp_path):
    plant(tmp_path, "cifar10_ablations", noise=0)
    points = studies_ablations.points(statistics.load(tmp_path))
    means = points[points["seed"].isna()].set_index("arm")["points"]
    assert means["bn_l2_fifth"] == pytest.approx(2)
    assert means["plain_lrn"] == pytest.approx(1)
    assert means["bn_sigmoid_after"] == pytest.approx(-5)  # to bn_sigmoid, not to bn
    other = points[points["change"] == "moving average"].groupby("batch")["points"].median()
    assert other.to_dict() == pytest.approx({2: -5, 8: -1, 32: -0.2, 128: -0.1})
    drawn = {arm for changes in studies_ablations.CHANGES.values() for _, arm, _ in changes}
    batches = {arm for arm in WORLDS["cifar10_ablations"] if "_batch_" in arm}
    assert drawn | batches | {"bn", "plain", "bn_sigmoid"} == set(WORLDS["cifar10_ablations"])


def test_the_small_inception_stands_beside_the_published_numbers(tmp_path):
    arms = {arm: [(0, 0.1), (1, 0.74)] for arm in ("bn_augmented", "bn", "plain")}
    plant_curves(tmp_path, arms, experiment="cifar10_inception_published", name="small_inception",
                 scale="full", noise=0,
                 more=lambda curve: {"training_set/accuracy": [0.9] * len(curve)})  # fmt: skip
    table = statistics.load(tmp_path)
    rows = studies_inception.published(table)
    assert list(rows["published_test"]) == [0.8905, 0.8603, 0.83, 0.82, 0.0978, 0.1012]
    assert list(rows["test"])[:3] == pytest.approx([0.74, 0.74, 0.74])
    files = {path.name: content.decode() for path, content in build.render(tmp_path).items()
             if path.suffix == ".md"}  # fmt: skip
    text = files["cifar10_inception_published.md"]
    assert "| 89.05 | bn_augmented | 3 | 90.00 | 74.00 [74.00, 74.00] |" in text
    assert "| plain_no_l2 | – | not run | not run |" in text
    test = studies_inception.draw(table).axes[1]
    marks = {line.get_label(): line.get_xdata() for line in test.get_lines()}
    assert sorted(marks["published"]) == sorted(rows["published_test"])
    assert np.nanmax(marks["ours, with BN"]) == pytest.approx(0.74)


def test_numbers_in_names_are_sorted_by_size():
    arms = planted_cifar10.ABLATIONS.keys() | {"bn_x5", "baseline"}
    ordered = statistics.paper.ordered(arms)
    assert ordered[:2] == ["baseline", "bn_x5"]
    sizes = [arm for arm in ordered if arm.startswith("bn_batch")]
    assert sizes == ["bn_batch_2", "bn_batch_8", "bn_batch_32"]
