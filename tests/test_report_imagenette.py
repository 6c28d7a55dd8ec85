"""Figures, tables and claims of the experiments with the paper's network on Imagenette."""

import numpy as np
import pytest

from batchnorm.report import (
    build,
    ensemble,
    figures,
    look,
    paper,
    statistics,
    studies_imagenette,
    verdicts,
)
from planted_imagenette import FIGURE_2, plant, plant_changes, plant_ensemble

LEDGER = {claim.id: claim for claim in verdicts.ledger()}
OF_CURVES = [f"C{n} (Imagenette)" for n in (8, 9, 10, 11, 12, 13)]
OF_CHANGES = [f"C{n} (Imagenette)" for n in (19, 20, 24)]


def verdict(root, claim):
    return verdicts.judge(LEDGER[claim], statistics.load(root))


# --- Figures 2 and 3 ------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", OF_CURVES)
def test_claims_hold_when_all_is_as_the_paper_says(tmp_path, claim):
    plant(tmp_path)
    row = verdict(tmp_path, claim)
    assert (row["verdict"], row["n"]) == ("holds", 3), row["parts"]
    said = "; ".join(row["deviations"])
    assert "Imagenette, 9,469 training images" in said
    assert "16/64" in said
    assert "64 pixels" in said


FAILING = {
    "C8": ("bn_baseline", [(0, 0.1), (1, 0.5)]),
    "C9": ("bn_x5", FIGURE_2["inception"]),
    "C10": ("bn_x30", FIGURE_2["inception"]),
    "C11": ("inception_x5", [(0, 0.1), (1, 0.65)]),
    "C12": ("inception_sigmoid", [(0, 0.1), (1, 0.5)]),
    "C13": ("bn_x5_sigmoid", [(0, 0.1), (1, 0.95)]),
}


@pytest.mark.parametrize("claim", FAILING)
def test_claims_fail_when_an_effect_is_the_other_way(tmp_path, claim):
    arm, effect = FAILING[claim]
    plant(tmp_path, {**FIGURE_2, arm: effect})
    assert verdict(tmp_path, f"{claim} (Imagenette)")["verdict"] == "fails"


def test_figure_2_has_the_papers_curves_over_ours(tmp_path):
    plant(tmp_path, noise=0)
    table = statistics.load(tmp_path)
    points = figures.learning_rate_points(table, paper.curves())
    assert set(points["series"]) == {
        *("curve", "match", "match_seed", "overflow", "paper", "paper_match")
    }
    of_paper = points[(points["series"] == "paper") & (points["arm"] == "inception")]
    assert (of_paper["step"].max(), of_paper["accuracy"].max()) == (3100, 0.722)
    assert set(points.loc[points["series"] == "paper", "arm"]) == {
        "inception", "bn_baseline", "bn_x5", "bn_x30", "bn_x5_sigmoid",
    }  # fmt: skip
    figure = figures.learning_rate(table, paper.curves())
    assert figure._suptitle.get_text().startswith("Imagenette: Inception, ")
    files = {path.name: content for path, content in build.render(tmp_path, tmp_path).items()}
    assert {f"imagenette.{kind}" for kind in ("png", "svg", "csv", "md")} <= files.keys()
    text = files["imagenette.md"].decode()
    assert "| bn_x5 | 0.1 | 169 | 18.3 [18.3, 18.3] |" in text
    assert "| Inception | 0.0015 | 31.0 | 1.0 | 0.722 |" in text
    assert b"agrees" in files["imagenette-compared.txt"]
    assert b"of other files" not in files["imagenette-compared.txt"]
    other = table.assign(**{"environment.data_checksum": "1"})
    (text,) = build._comparisons(tmp_path, tmp_path, other).values()
    assert text.splitlines()[1].startswith(b"yours are of other files of the data")


def test_an_arm_that_is_shorter_by_design_has_not_overflowed(tmp_path):
    """As on ImageNet, where the arms with BN take fewer steps."""
    plant(tmp_path, noise=0)
    plant(tmp_path, {"bn_x30": FIGURE_2["bn_x30"]}, noise=0, overflow=500)
    table = statistics.load(tmp_path)
    short = (table["arm"] == "bn_x5") & (table["step"] > 1500)
    figure = figures.learning_rate(table[~short])
    labels = [text.get_text() for text in figure.axes[0].texts]
    crossed = {one.split()[0]: one.endswith("×") for one in labels}
    assert (crossed["bn_x5"], crossed["bn_x30"]) == (False, True)


def test_chance_is_one_in_a_thousand_on_imagenet(tmp_path):
    plant(tmp_path, {"inception_x5": 12}, seeds=1)
    table = statistics.load(tmp_path)
    for classes, chance in ((None, 0.1), (10, 0.1), (1000, 0.001)):
        (runs,) = statistics.curves(table.assign(**{"environment.classes": classes})).values()
        assert runs[0].best() == runs[0].last() == runs[0].at(5000) == chance
        assert not runs[0].learned()
    near = statistics.Curve(np.array([1]), np.array([0.01]), 1, chance=0.001)
    assert near.learned(), "ten times chance"


def test_on_imagenet_a_sigmoid_net_at_a_hundredth_is_not_at_chance():
    of_ten, of_thousand = (
        LEDGER[f"C12 ({name})"].measure[0] for name in ("Imagenette", "ImageNet")
    )
    for accuracy, verdict_ in ((0.01, "fails"), (0.001, "holds")):
        found = statistics.estimate([accuracy] * 3)
        assert (of_thousand.judge(found), of_ten.judge(found)) == (verdict_, "holds")


# --- section 4.2.1 --------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", OF_CHANGES)
def test_claims_on_single_changes(tmp_path, claim):
    plant_changes(tmp_path)
    assert verdict(tmp_path, claim)["verdict"] == "holds"
    arm = {"C19": "lrn", "C20": "shuffling", "C24": "per_activation"}[claim.split()[0]]
    plant_changes(tmp_path, {f"bn_x5_{arm}": 0.75})
    assert verdict(tmp_path, claim)["verdict"] == "fails"
    plant_changes(tmp_path, {f"bn_x5_{arm}": (0.55, 0.7, 0.8)})
    assert verdict(tmp_path, claim)["verdict"] == "inconclusive"


def test_changes_are_paired_differences_to_bn_x5(tmp_path):
    plant_changes(tmp_path, noise=0)
    points = studies_imagenette.points(statistics.load(tmp_path))
    means = points[points["seed"].isna()].set_index("arm")["points"]
    assert list(means.index) == list(studies_imagenette.CHANGES)
    assert means["bn_x5_dropout"] == pytest.approx(-5)
    figure = studies_imagenette.draw(statistics.load(tmp_path))
    assert len(figure.axes[0].get_yticklabels()) == 8


# --- Figure 4 -------------------------------------------------------------------------------------


def test_the_error_counts_labels_that_are_not_among_the_k_best():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]])
    labels = np.array([0, 2, 1])
    assert ensemble.error(probabilities, labels, 1) == pytest.approx(2 / 3)
    assert ensemble.error(probabilities, labels, 2) == pytest.approx(1 / 6)  # one of two equals
    assert ensemble.error(probabilities, labels, 3) == 0


def test_an_ensemble_is_the_arithmetic_mean_of_probabilities():
    """Not of logits, and no vote: the label has the largest mean, and one network of three."""
    rows = ([[0.9, 0.1]], [[0.4, 0.6]], [[0.4, 0.6]])
    networks = [ensemble.Votes(np.array(r), np.array(r), np.array([0])) for r in rows]
    assert [one.error("single", 1) for one in networks] == [0, 1, 1]
    assert ensemble.mean_error(networks, "single", 1) == 0
    assert ensemble.mean_error(networks[1:], "crops", 1) == 1


def test_c25_follows_the_probabilities(tmp_path):
    plant_ensemble(tmp_path / "holds")
    row = verdict(tmp_path / "holds", "C25 (Imagenette)")
    assert (row["verdict"], row["n"]) == ("holds", 3), row["parts"]
    assert any("which member" in words for words in row["deviations"])
    plant_ensemble(tmp_path / "crops", crops=1.0)  # crops do harm
    assert verdict(tmp_path / "crops", "C25 (Imagenette)")["verdict"] == "fails"
    plant_ensemble(tmp_path / "alike", shared=1.0)  # six times the same network
    assert verdict(tmp_path / "alike", "C25 (Imagenette)")["verdict"] != "holds"
    plant_ensemble(tmp_path / "chance", single=0.0, crops=0.0)
    assert verdict(tmp_path / "chance", "C25 (Imagenette)")["verdict"] == "inconclusive"
    plant_ensemble(tmp_path / "few", seeds=1)
    assert verdict(tmp_path / "few", "C25 (Imagenette)")["verdict"] == "not run"


@pytest.mark.parametrize(("classes", "k"), [(10, 2), (30, 5)])
def test_figure_4_has_the_papers_rows_and_ours(tmp_path, classes, k):
    plant_ensemble(tmp_path, seeds=1, classes=classes)
    table = statistics.load(tmp_path)
    printed = ensemble.printed(table)
    numbers = printed.numbers
    assert list(numbers["model"][:7]) == [r["model"] for r in paper.values()["figure_4"]]
    ours = numbers[7:].set_index(["crops", "models"])
    assert list(ours.index) == [(1, 1), (1, 6), (144, 1), (144, 6)]
    assert ours[f"top_{k}"].notna().all()
    assert ours.loc[(144, 6), "top_1"] < ours.loc[(144, 1), "top_1"] < ours.loc[(1, 1), "top_1"]
    text = printed.markdown()
    assert "| BN-Inception multicrop | 224 | 144 | 1 | 21.99 | 5.82 |" in text
    assert "| ours: ensemble, multicrop | 64 | 144 | 6 |" in text
    assert ("top-2 error" in text) == (k == 2)
    assert look.render(ensemble.draw(table, ensemble.points(table)), "svg")


def test_figure_4_names_the_networks_that_stayed_at_chance(tmp_path):
    plant_ensemble(tmp_path, seeds=1)
    table = statistics.load(tmp_path)
    rows = ensemble.points(table)
    for said in (ensemble.words(table, rows), ensemble.table_words(table)):
        assert "at chance" not in said
    path = tmp_path / "records/quick/imagenette_ensemble/member_4-0.npz"
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "single": np.full_like(arrays["single"], 0.1)})
    for said in (ensemble.words(table, rows), ensemble.table_words(table)):
        assert "Stayed at chance, and count: member_4 (seed 0)." in said


def test_figure_4_where_only_some_have_run(tmp_path):
    plant_ensemble(tmp_path, seeds=1)
    for path in tmp_path.rglob("member_[456]-0.*"):
        path.unlink()
    (tmp_path / "records/quick/imagenette_ensemble/member_3-0.npz").unlink()  # overflowed
    points = ensemble.points(statistics.load(tmp_path))
    assert points.loc[points["series"] == "ours", "networks"].max() == 2
    names = {path.name for path in build.render(tmp_path)}
    assert {"imagenette_ensemble.svg", "imagenette_ensemble.md"} <= names
