"""Planted effects give the verdicts that the rules promise."""

import json
import re

import pytest

from batchnorm.report import claims, statistics, verdicts
from batchnorm.report.statistics import Estimate
from planted import ALIKE, plant

LEDGER = {claim.id: claim for claim in verdicts.ledger()}
LINE = {v: [(0, 0.1), (1, v)] for v in (0.2, 0.4, 0.6, 0.7)}
NEVER = {**ALIKE, "bn_baseline": LINE[0.4], "bn_x5": LINE[0.4], "bn_x30": LINE[0.4]}
SIGMOID = [(0, 0.10), (1 / 31, 0.45), (4 / 31, 0.55), (1, 0.68)]


def verdict(root, claim):
    return verdicts.judge(LEDGER[claim], statistics.load(root))


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    root = tmp_path_factory.mktemp("alike")
    plant(root)
    return root


@pytest.mark.parametrize("claim", claims.RULES)
def test_holds_when_all_is_as_the_paper_says(alike, claim):
    row = verdict(alike, claim)
    assert (row["verdict"], row["scale"], row["n"]) == ("holds", "quick", 3)
    assert {part["verdict"] for part in row["parts"]} <= {"holds", ""}
    assert row["records"]
    assert all((alike / path).is_file() for path in row["records"])
    assert any("32x32" in words for words in row["deviations"])


@pytest.mark.parametrize(
    ("claim", "effects"),
    [
        ("C8", NEVER),  # no seed reaches the baseline's best
        ("C8", {**ALIKE, "bn_baseline": LINE[0.7]}),  # higher, but not twice as fast
        ("C9", {**ALIKE, "bn_x5": ALIKE["bn_baseline"]}),
        ("C10", {**ALIKE, "bn_x30": ALIKE["bn_x5"], "bn_x5": ALIKE["bn_x30"]}),
        ("C11", {**ALIKE, "baseline_x5": LINE[0.4]}),
        ("C12", {**ALIKE, "baseline_sigmoid": LINE[0.4]}),
        ("C12", {**ALIKE, "bn_x5_sigmoid": LINE[0.2]}),
        ("C13", {**ALIKE, "bn_x5_sigmoid": SIGMOID}),  # ahead at 1/31
        ("C13", {**ALIKE, "bn_x5_sigmoid": [(0, 0.1), (1 / 31, 0.3), (4 / 31, 0.5), (1, 0.68)]}),
    ],
)
def test_fails_when_an_effect_is_the_other_way(tmp_path, claim, effects):
    plant(tmp_path, effects)
    assert verdict(tmp_path, claim)["verdict"] == "fails"


@pytest.mark.parametrize("claim", ["C8", "C9", "C10", "C12", "C13"])
def test_inconclusive_when_seeds_scatter(tmp_path, claim):
    for seed, factor in enumerate((0.3, 1.0, 1.6)):
        effects = {
            arm: [(x, 0.1 + (y - 0.1) * factor) for x, y in effect]
            if arm in ("bn_baseline", "bn_x5", "bn_x5_sigmoid")
            else effect
            for arm, effect in ALIKE.items()
            if not isinstance(effect, int)
        }
        plant(tmp_path / str(seed), effects)
        for path in (tmp_path / str(seed)).rglob(f"*-{seed}.json"):
            target = tmp_path / path.relative_to(tmp_path / str(seed))
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    assert verdict(tmp_path, claim)["verdict"] == "inconclusive"


def test_a_speed_up_over_what_never_gets_there_is_said_to_be_a_bound(tmp_path):
    plant(tmp_path, {**ALIKE, "bn_x30": LINE[0.4]})
    plant(tmp_path, ALIKE, seeds=1)
    row = verdict(tmp_path, "C10")
    (part,) = (part for part in row["parts"] if part["what"] == "speed-up of bn_x5 over bn_x30")
    assert part["bounds"] == 2
    assert re.search(r"at least [\d.]+ \[.*\], a bound in 2 of 3 seeds", verdicts.markdown([row]))
    assert all(other["bounds"] == 0 for other in row["parts"] if other is not part)


def test_inconclusive_when_only_some_seeds_overflow(tmp_path):
    plant(tmp_path, {"baseline_x5": LINE[0.4]})
    plant(tmp_path, {"baseline_x5": 40}, seeds=2)
    row = verdict(tmp_path, "C11")
    assert row["verdict"] == "inconclusive"
    assert row["parts"][0]["value"] == pytest.approx(2 / 3)


def test_inconclusive_when_the_baseline_did_not_learn(tmp_path):
    plant(tmp_path, {**ALIKE, "baseline": [(0, 0.1), (1, 0.1)]})
    assert verdict(tmp_path, "C8")["verdict"] == "inconclusive"


@pytest.mark.parametrize("claim", claims.RULES)
def test_not_run_with_too_few_seeds_in_common(tmp_path, claim):
    plant(tmp_path, seeds=2)
    row = verdict(tmp_path, claim)
    assert row["verdict"] == "not run"
    assert "needs 3 seeds" in row["reason"]


def test_scales_are_never_mixed_and_smoke_never_counts(tmp_path):
    plant(tmp_path, {"baseline": ALIKE["baseline"]}, scale="quick")
    plant(tmp_path, {"bn_baseline": ALIKE["bn_baseline"]}, scale="full")
    plant(tmp_path, scale="smoke")
    assert verdict(tmp_path, "C8")["verdict"] == "not run"


def test_full_scale_goes_before_quick(tmp_path):
    plant(tmp_path, NEVER, scale="quick")
    plant(tmp_path, scale="full", seeds=5)
    row = verdict(tmp_path, "C8")
    assert (row["verdict"], row["scale"], row["n"]) == ("holds", "full", 5)


def test_seeds_that_only_some_arms_have_do_not_count(tmp_path):
    plant(tmp_path)
    plant(tmp_path, {"baseline": ALIKE["baseline"]}, seeds=5)
    row = verdict(tmp_path, "C8")
    assert row["n"] == 3
    assert {path[-6:] for path in row["records"]} == {"0.json", "1.json", "2.json"}


def claimed(rule):
    """The numbers in a rule's words, each with the side that is claimed: 1 above it, -1 below."""
    words = re.match(r"(above|below|within|) ?([−±]?)([\d.]+)(?: to ([\d.]+))?", rule)
    side, sign, number, upper = words.groups()
    if upper:
        return {float(number): 1, float(upper): -1}
    if sign == "±":
        return {-float(number): 1, float(number): -1}
    return {float(number) * (-1 if sign == "−" else 1): {"above": 1, "below": -1}[side]}


@pytest.mark.parametrize("claim", LEDGER)
def test_a_rule_judges_by_the_number_that_it_says(claim):
    for part in LEDGER[claim].measure:
        limits = claimed(part.rule) if part.rule not in ("", "every seed") else {}
        for limit, side in limits.items():
            for inside, expected in ((1e-6, "holds"), (-1e-6, "fails")):
                value = limit + side * inside
                found = part.judge(Estimate(value, value, value, n=3))
                assert found == expected, (part.what, part.rule)


def test_no_claim_is_judged_on_stand_in_data(tmp_path):
    plant(tmp_path, stand_in=True)
    table = statistics.load(tmp_path)
    for claim in LEDGER.values():
        row = verdicts.judge(claim, table)
        assert row["verdict"] == "not run"
        assert "STAND-IN DATA" in row["reason"]


def test_the_ledger_keeps_what_fails_and_says_its_scale(tmp_path):
    plant(tmp_path, NEVER)
    table = statistics.load(tmp_path)
    rows = [verdicts.judge(claim, table) for claim in verdicts.ledger()]
    json.dumps(rows, allow_nan=False)
    text = verdicts.markdown(rows)
    assert "## C8: fails (quick scale, n 3)" in text
    assert all(words in text for words in claims.RULE)
    assert all(claim in text for claim in LEDGER)


def test_the_overview_puts_a_verdict_beside_the_statement_that_it_is_about():
    def row(id: str, statement: str, verdict: str, n: int = 3) -> dict:
        reason = "" if n else "no runs"
        return {"id": id, "statement": statement, "verdict": verdict, "scale": "quick", "n": n,
                "reason": reason, "experiment": "cifar10_depth"}  # fmt: skip

    text = verdicts.markdown_overview([
        row("C1", "one", "holds"), row("C1 (Imagenette)", "one", "fails"),
        row("C2", "two", "holds"), row("C2 (MNIST)", "another two", "fails"),
        row("C1 (ImageNet)", "one", "", 0), row("C3", "three", "", 0),
    ])  # fmt: skip
    assert [line for line in text.splitlines()[2:] if line] == [
        "| C1 | one | CIFAR-10: holds (quick scale, n 3); Imagenette: fails (quick scale, n 3) |",
        "| C2 | two | CIFAR-10: holds (quick scale, n 3) |",
        "| C2 | another two | MNIST: fails (quick scale, n 3) |",
        "Not run: C3.",
    ]


def test_what_changed_after_runs_is_part_of_the_ledger():
    text = verdicts.markdown([])
    assert len(claims.CHANGED) == 8
    assert all(f"{i}. {words}" in text for i, words in enumerate(claims.CHANGED, 1))
