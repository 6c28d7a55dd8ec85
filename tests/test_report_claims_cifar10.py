"""Planted worlds give the verdicts that the rules of the CIFAR-10 studies promise."""

import pytest

import planted_cifar10 as planted
from batchnorm.report import claims_cifar10, statistics, verdicts
from planted_cifar10 import HIT, INFERENCE, plant

LEDGER = {claim.id: claim for claim in verdicts.ledger()}
CLAIMS = [id for id, claim in LEDGER.items() if claim.experiment in planted.WORLDS]
AT_CHANCE = {arm: 0.1 for world in planted.WORLDS.values() for arm in world}
WILD = (0.35, 0.6, 0.8)  # accuracies of three seeds, from which nothing follows


def verdict(root, claim, ends=None, **what):
    experiment = LEDGER[claim].experiment
    plant(root, experiment, {k: v for k, v in (ends or {}).items()
                             if k in planted.WORLDS[experiment]}, **what)  # fmt: skip
    return verdicts.judge(LEDGER[claim], statistics.load(root))


def planted_all(root, ends=None, **what):
    """The table of all studies, some arms of which end otherwise."""
    for experiment, world in planted.WORLDS.items():
        plant(root, experiment, {k: v for k, v in (ends or {}).items() if k in world}, **what)
    return statistics.load(root)


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    return planted_all(tmp_path_factory.mktemp("alike"))


@pytest.fixture(scope="module")
def at_chance(tmp_path_factory):
    return planted_all(tmp_path_factory.mktemp("chance"), AT_CHANCE)


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    return planted_all(tmp_path_factory.mktemp("few"), seeds=2)


@pytest.mark.parametrize("claim", CLAIMS)
def test_holds_when_all_is_as_the_paper_says(alike, claim):
    row = verdicts.judge(LEDGER[claim], alike)
    assert (row["verdict"], row["scale"], row["n"]) == ("holds", "quick", 3), row["parts"]
    assert {part["verdict"] for part in row["parts"]} <= {"holds", ""}


FAILS = [
    ("C4", {}, {"inference": INFERENCE | {"bn": (0, 0.02, 0)}}),  # a moving average is better
    ("C4", {}, {"inference": INFERENCE | {"bn_batch_2": (0, 0, 0.1)}}),
    ("C7", {"bn_noisy": 0.69}, {}),  # unstable inputs cost BN next to nothing
    ("C7", {}, {"shifts": planted.SHIFTS | {"bn": (0.01, 0.7)}}),  # gradients agree less with BN
    ("C14", {"bn_10": 0.4}, {}),  # BN is not flat
    ("C14", {f"plain_{s}": 0.45 for s in (0.1, 10)}, {}),  # nor is it needed to be
    ("C15", {}, {"norms": {"bn_0.1": (0.5, 0.6), "bn_1": (5, 6), "bn_10": (50, 60)}}),
    ("C15", {}, {"norms": {"bn_0.1": (2, 5), "bn_1": (6, 5), "bn_10": (50, 60)}}),  # shrinks
    ("C15", {}, {"norms": {"bn_0.1": (60, 70), "bn_1": (5, 6), "bn_10": (50, 60)}}),
    ("C17", {"bn_0": 0.68}, {}),
    ("C17", {}, {"gaps": planted.GAPS | {"bn_0": 0.1}}),  # overfits without Dropout
    ("C18", {"bn_l2_fifth": 0.66}, {}),
    ("C19", {"bn_lrn": 0.72}, {}),
    ("C20", {"bn_fixed_batches": 0.679}, {}),  # no effect
    ("C20", {"plain_fixed_batches": 0.45}, {}),  # the same without BN
    ("C21", {"bn_after": 0.72}, {}),
    ("C21", {"bn_sigmoid": 0.1}, {}),
    ("C22", {"bn_detached": 0.5}, {}),  # all is well
    ("C23", {"bn_no_affine": 0.7}, {}),
    ("C24", {"bn_per_activation": 0.72}, {}),
    ("C26", {"bn_batch_2": 0.1}, {}),
    ("C27", {"bn_0": 0.605}, {}),
    ("C27", {"plain_0.1": 0.75}, {}),
    ("C28", {"plain_relu_24": 0.4, "plain_relu_48": 0.4, "bn_relu_48": 0.1}, {}),
    ("C28", {f"bn_sigmoid_{d}": 0.1 for d in (6, 12, 24)}, {}),
]


@pytest.mark.parametrize(("claim", "ends", "what"), FAILS)
def test_fails_when_an_effect_is_the_other_way(tmp_path, claim, ends, what):
    assert verdict(tmp_path, claim, ends, **what)["verdict"] == "fails"


def test_every_claim_can_fail():
    assert {claim for claim, *_ in FAILS} == set(CLAIMS)


INCONCLUSIVE = [
    ("C4", {}, {"inference": {}}),  # not measured
    ("C7", {"bn_noisy": WILD}, {}),
    ("C14", {"bn_10": WILD}, {}),
    ("C15", {"bn_10": (0.61, 0.61, HIT)}, {}),
    ("C17", {"bn_0": WILD}, {}),
    ("C18", {"bn_l2_fifth": WILD}, {}),
    ("C19", {"bn_lrn": WILD}, {}),
    ("C20", {"bn_fixed_batches": WILD}, {}),
    ("C21", {"bn_after": WILD}, {}),
    ("C22", {"bn_detached": (0.1, HIT, 0.66)}, {}),
    ("C23", {"bn_no_affine": WILD}, {}),
    ("C24", {"bn_per_activation": WILD}, {}),
    ("C26", {"bn_batch_2": (0.1, 0.3, 0.5)}, {}),
    ("C27", {"plain_0": WILD}, {}),
    ("C28", {"bn_relu_24": (0.1, 0.4, 0.4), "bn_relu_48": (0.1, 0.4, 0.1), "plain_relu_12": 0.1,
             "bn_relu_12": (0.1, 0.4, 0.4)}, {}),  # in one seed no deeper
]  # fmt: skip


@pytest.mark.parametrize(("claim", "ends", "what"), INCONCLUSIVE)
def test_inconclusive_when_seeds_disagree_or_nothing_was_measured(tmp_path, claim, ends, what):
    assert verdict(tmp_path, claim, ends, **what)["verdict"] == "inconclusive"


def test_every_claim_can_be_inconclusive():
    assert {claim for claim, *_ in INCONCLUSIVE} == set(CLAIMS)


BASELINES = [  # arms without which a claim says nothing
    ("C4", "bn"),
    ("C4", "bn_batch_2"),
    ("C7", "plain"),
    ("C14", "plain_1"),
    ("C15", "bn_1"),
    ("C17", "bn_0.4"),
    ("C18", "bn"),
    ("C19", "bn_lrn"),
    ("C20", "plain"),
    ("C22", "bn"),
    ("C23", "bn"),
    ("C24", "bn_per_activation"),
    ("C27", "plain_0"),
    ("C28", "plain_relu_6"),
]


@pytest.mark.parametrize(("claim", "arm"), BASELINES)
@pytest.mark.parametrize("end", [0.1, HIT, (0.1, 0.4, 0.4)])
def test_a_baseline_that_did_not_learn_decides_nothing(tmp_path, claim, arm, end):
    row = verdict(tmp_path, claim, {arm: end})
    assert row["verdict"] == "inconclusive", row["parts"]
    assert any("chance" in verdicts.interval_words(part) or "shallowest" in part.get("why", "")
               for part in row["parts"])  # fmt: skip


@pytest.mark.parametrize("claim", [one for one in CLAIMS if one != "C26"])
def test_nothing_follows_where_nothing_learned(at_chance, claim):
    assert verdicts.judge(LEDGER[claim], at_chance)["verdict"] == "inconclusive"


@pytest.mark.parametrize("claim", CLAIMS)
def test_not_run_with_too_few_seeds(two_seeds, claim):
    row = verdicts.judge(LEDGER[claim], two_seeds)
    assert (row["verdict"], row["records"]) == ("not run", [])
    assert "needs 3 seeds" in row["reason"]


@pytest.mark.parametrize(
    "what",
    [
        {"shifts": planted.SHIFTS | {"bn_noisy": (0.01, 0.9)}},  # the noise did not do its work
        {"shifts": {}},  # nobody looked
        {"ends": {"bn": 0.55}},  # there is no lead to explain
    ],
)
def test_without_its_premise_c7_says_nothing(tmp_path, what):
    part = verdict(tmp_path, "C7", **what)["parts"][0]
    assert (part["n"], part["verdict"]) == (0, "inconclusive")
    assert "did not make inputs less stable" in part["why"]


def test_information_has_no_say_and_may_be_missing(tmp_path):
    row = verdict(tmp_path, "C14", {"bn_gaussian": 0.1, "bn_100": HIT, "plain_gaussian": 0.4})
    assert row["verdict"] == "holds"
    for path in tmp_path.rglob("*gaussian*.json"):
        path.unlink()
    row = verdicts.judge(LEDGER["C14"], statistics.load(tmp_path))
    assert row["verdict"] == "holds"
    assert not any("gaussian" in part["what"] for part in row["parts"])


def test_weights_that_grow_wild_count_as_blown_up(tmp_path):
    usual = {"bn": (5, 6)}
    ends = {"bn_detached": 0.5}
    share = verdict(tmp_path, "C22", ends, norms=usual | {"bn_detached": (5, 80)})["parts"][0]
    assert (share["value"], share["verdict"]) == (1, "holds")
    share = verdict(tmp_path, "C22", ends, norms=usual | {"bn_detached": (5, 40)})["parts"][0]
    assert (share["value"], share["verdict"]) == (0, "fails")


def test_the_deepest_that_learns_counts_whatever_fails_above_or_below_it(tmp_path):
    plant(tmp_path, "cifar10_depth", {"plain_relu_24": (0.4, 0.1, HIT), "bn_relu_12": 0.1})
    found = statistics.curves(statistics.load(tmp_path))
    assert list(claims_cifar10.deepest(found, "plain_relu")) == [24, 12, 12]
    assert list(claims_cifar10.deepest(found, "plain_sigmoid")) == [0, 0, 0]
    assert list(claims_cifar10.deepest(found, "bn_relu")) == [48, 48, 48]


def test_a_ladder_that_ends_too_soon_decides_nothing(tmp_path):
    row = verdict(tmp_path, "C28", {"plain_relu_48": 0.3, "bn_relu_48": 0.4})
    assert row["verdict"] == "inconclusive"


def test_the_claims_not_run_are_one_line_of_the_summary(tmp_path):
    plant(tmp_path, "cifar10_depth")
    table = statistics.load(tmp_path)
    rows = [verdicts.judge(claim, table) for claim in LEDGER.values()]
    summary = verdicts.markdown_summary(rows)
    assert [line.split(" | ")[0] for line in summary.splitlines()[2:3]] == ["| C28"]
    assert [line for line in summary.splitlines() if "C14" in line] == summary.splitlines()[-1:]
    text = verdicts.markdown(rows)
    assert "6 to 48-layer VGG-like convnet" in text
    assert sum(line.startswith("* C14: ") for line in text.splitlines()) == 1
