"""Planted effects on MNIST give the verdicts that the rules promise."""

import json

import pytest

from batchnorm.report import build, claims_mnist, statistics, verdicts
from planted_mnist import ALIKE, BEST, BETTER, BN, INITIALIZATION, PLAIN, STEPS, changed, plant

LEDGER = {claim.id: claim for claim in verdicts.ledger() if claim.experiment in claims_mnist.RULES}
FLAT = {**PLAIN, "accuracy": [(0, 0.1), (5000, 0.9)]}


def plant_for(root, claim, arms=None, seeds=5):
    """The experiment that a claim is judged on, the given arms in place of its own."""
    if LEDGER[claim].experiment == "mnist":
        plant(root, {**ALIKE, **(arms or {})}, seeds)
    else:
        scales = {**INITIALIZATION, **(arms or {})}
        plant(root, scales, seeds, experiment="mnist_initialization", steps=5000)


def verdict(root, claim):
    return verdicts.judge(LEDGER[claim], statistics.load(root))


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    root = tmp_path_factory.mktemp("alike")
    plant_for(root, "C5")
    plant_for(root, "C14 (MNIST)")
    return root


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    root = tmp_path_factory.mktemp("few")
    plant_for(root, "C5", seeds=2)
    plant_for(root, "C14 (MNIST)", seeds=2)
    return root


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    root = tmp_path_factory.mktemp("made-up")
    plant(root, stand_in=True)
    return root


def test_they_are_in_the_ledger_beside_the_others():
    ids = [claim.id for claim in verdicts.ledger()]
    assert set(LEDGER) == {"C5", "C6", "C14 (MNIST)", "C15 (MNIST)", "C16"} <= set(ids)
    assert len(ids) == len(set(ids))
    assert "C8" in ids


@pytest.mark.parametrize("claim", LEDGER)
def test_holds_when_all_is_as_the_paper_says(alike, claim):
    row = verdict(alike, claim)
    assert (row["verdict"], row["scale"], row["n"]) == ("holds", "full", 5)
    assert {part["verdict"] for part in row["parts"]} <= {"holds", ""}
    assert row["records"]
    assert all((alike / path).is_file() for path in row["records"])
    assert "plain SGD" in row["deviations"][0]
    assert not any("ImageNet" in words for words in row["deviations"])


FAILING = {
    "slower at one rate": (
        "C5",
        {"bn": {**BN, "accuracy": [(0, 0.1), (30_000, 0.9), (STEPS, 0.985)]}},
    ),
    "behind when each is at its best": (
        "C5",
        {"baseline_best": {**PLAIN, "accuracy": BEST}, "bn_best": {**BN, "accuracy": BETTER}},
    ),
    "faster, but ends lower": (
        "C5",
        {"bn_best": {**BN, "accuracy": [(0, 0.1), (500, 0.98), (STEPS, 0.971)]}},
    ),
    "neither gets to 97 %": (
        "C5",
        {arm: {**ALIKE[arm], "accuracy": [(0, 0.1), (STEPS, 0.96)]} for arm in ("baseline", "bn")},
    ),
    "drifts more": ("C6", {"bn": {**BN, "wander": 1.0}}),
    "not flat with BN": (
        "C14 (MNIST)",
        {"bn_10": {**INITIALIZATION["bn_10"], "accuracy": [(0, 0.1), (5000, 0.92)]}},
    ),
    "flat without BN": ("C14 (MNIST)", {f"baseline_{s}": FLAT for s in ("0.1", "1", "10")}),
    "norms fall": ("C15 (MNIST)", {"bn": {**BN, "growth": -0.01}}),
    "the gradient is not at right angles": ("C15 (MNIST)", {"bn": {**BN, "cosine": 0.03}}),
    "small singular values": ("C16", {"bn": {**BN, "singular": [0.2, 0.25, 0.3, 0.8, 1.9]}}),
    "large singular values": ("C16", {"bn": {**BN, "singular": [0.9, 1.2, 2.5, 3.0, 4.0]}}),
    "some singular values near 0": ("C16", {"bn": {**BN, "singular": [0.05, 0.5, 0.8, 1.2, 1.9]}}),
    "some large singular values": ("C16", {"bn": {**BN, "singular": [0.2, 0.5, 0.8, 1.2, 15.0]}}),
}


@pytest.mark.parametrize("case", FAILING)
def test_fails_when_an_effect_is_the_other_way(tmp_path, case):
    claim, arms = FAILING[case]
    plant_for(tmp_path, claim, arms)
    assert verdict(tmp_path, claim)["verdict"] == "fails"


SCATTERED = {  # what two of five seeds do, the others being as the paper says
    "C5": {"bn_best": {**BN, "accuracy": BETTER}},
    "C6": {"bn": {**BN, "wander": 1.0}},
    "C14 (MNIST)": {"bn_10": {**INITIALIZATION["bn_10"], "accuracy": [(0, 0.1), (5000, 0.91)]}},
    "C15 (MNIST)": {"bn": {**BN, "growth": -0.03}},
    "C16": {"bn": {**BN, "singular": [0.11, 0.2, 0.3, 0.8, 1.9]}},
}


@pytest.mark.parametrize("claim", SCATTERED)
def test_inconclusive_when_seeds_scatter(tmp_path, claim):
    plant_for(tmp_path, claim)
    plant_for(tmp_path, claim, SCATTERED[claim], seeds=2)
    assert verdict(tmp_path, claim)["verdict"] == "inconclusive"


def test_a_network_that_never_gets_there_counts_with_its_whole_run(tmp_path):
    short = [(0, 0.1), (25_000, 0.96), (STEPS, 0.96)]
    plant(tmp_path, changed("baseline", accuracy=short), noise=0)
    row = verdict(tmp_path, "C5")
    part = next(p for p in row["parts"] if p["what"] == "steps of baseline / steps of bn to 97 %")
    bn = statistics.curves(statistics.load(tmp_path))["bn"][0].steps_to(0.97)
    assert part["value"] == pytest.approx(STEPS / bn)
    assert part["missing"] == 0
    assert row["verdict"] == "holds"


def test_the_plain_network_has_no_say_where_it_is_for_information(tmp_path):
    plant_for(tmp_path, "C15 (MNIST)", {"baseline": {**PLAIN, "growth": -0.05, "cosine": 0.9}})
    row = verdict(tmp_path, "C15 (MNIST)")
    assert row["verdict"] == "holds"
    assert any(part["what"].startswith("baseline") for part in row["parts"])


@pytest.mark.parametrize("claim", LEDGER)
def test_not_run_with_too_few_seeds_or_on_stand_in_data(two_seeds, made_up, claim):
    assert "needs 3 seeds" in verdict(two_seeds, claim)["reason"]
    row = verdict(made_up, claim)
    assert row["verdict"] == "not run"
    assert "STAND-IN DATA" in row["reason"]


def test_an_overflow_is_no_success(tmp_path):
    plant_for(tmp_path, "C5", {"bn": {**BN, "accuracy": 30}})
    found = {claim: verdict(tmp_path, claim)["verdict"] for claim in LEDGER}
    assert found["C5"] == "fails"
    assert {found["C6"], found["C15 (MNIST)"], found["C16"]} == {"inconclusive"}


def test_the_ledger_is_written_with_the_words_of_the_rules(alike):
    files = {path.name: content.decode() for path, content in build.render(alike).items()
             if path.name.startswith("claims")}  # fmt: skip
    assert claims_mnist.RULE in files["claims.md"]
    assert "## C5: holds (full scale, n 5)" in files["claims.md"]
    assert "* C8: " in files["claims.md"].partition("## Not run")[2]
    json.loads(files["claims.json"])
