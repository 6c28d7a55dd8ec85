"""The ledger: each claim judged on the records, as plain rows and as Markdown."""

from typing import Any

import pandas as pd

from batchnorm.report import mnist_claims, statistics
from batchnorm.report.claims import (
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    NOT_RUN,
    RULE,
    SCALES,
    SEEDS,
    Claim,
    Part,
)
from batchnorm.report.tables import markdown_table


def judge(claim: Claim, table: pd.DataFrame) -> dict[str, Any]:
    """The claim's row in the ledger, from a table of runs of any experiments and scales."""
    row = {
        **{key: getattr(claim, key) for key in ("id", "statement", "where", "paper")},
        "rule": [f"{part.what}: {part.rule}" for part in claim.measure if part.rule],
        **{"verdict": NOT_RUN, "reason": "", "scale": None, "n": 0},
        **{"parts": [], "deviations": [], "records": []},
    }
    real = table[(table["experiment"] == claim.experiment) & ~table["data.stand_in"]]
    for scale in SCALES:
        rows = real[real["scale"] == scale]
        seeds = statistics.common_seeds(claim.read(rows), claim.arms())
        if len(seeds) >= SEEDS:
            return {**row, **_judged(claim, rows[rows["seed"].isin(seeds)]), "n": len(seeds)}
    return {**row, "reason": _why_not(claim, table, real)}


def _judged(claim: Claim, rows: pd.DataFrame) -> dict[str, Any]:
    found = claim.read(rows)
    parts = [_measured(part, found) for part in claim.measure if set(part.arms) <= found.keys()]
    verdicts = {part["verdict"] for part in parts if part["rule"]}
    used = statistics.runs(rows[rows["arm"].isin({a for p in claim.measure for a in p.arms})])
    return {
        "verdict": FAILS if FAILS in verdicts else HOLDS if verdicts == {HOLDS} else INCONCLUSIVE,
        "scale": rows["scale"].iloc[0],
        "parts": parts,
        "deviations": deviations(used),
        "records": list(used["path"]),
    }


def _measured(part: Part, found: dict[str, dict[int, Any]]) -> dict[str, Any]:
    value = part.of(found)
    verdict = part.judge(value) if part.rule else ""
    return {"what": part.what, **value.as_dict(), "rule": part.rule, "verdict": verdict}


def _why_not(claim: Claim, table: pd.DataFrame, real: pd.DataFrame) -> str:
    if not len(real) and statistics.is_stand_in(table):
        return "the runs saw STAND-IN DATA, on which no claim is judged"
    counted = real[real["scale"].isin(SCALES)]
    if not len(counted):
        return f"no runs of {claim.experiment} at {' or '.join(SCALES)} scale"
    seeds = statistics.runs(counted).groupby(["scale", "arm"]).size()
    have = [f"{arm} {max(seeds.get((s, arm), 0) for s in SCALES)}" for arm in claim.arms()]
    return f"needs {SEEDS} seeds in common at one scale; has {', '.join(have)}"


def deviations(runs: pd.DataFrame) -> list[str]:
    """In what the runs depart from the paper's."""
    one = runs.iloc[0]
    if one["data.name"] == "mnist":
        return mnist_claims.deviations(runs)
    words = [
        "data: CIFAR-10, 32x32 pixels, 10 classes (the paper: ImageNet, 224x224, 1000)",
        f"network: {one['model.depth']}-layer VGG-like convnet of width {one['model.width']}"
        " (the paper: Inception)",
        f"length: {one['optim.epochs']:g} epochs, {one['planned']} steps (the paper's baseline: 31"
        " million)",
        f"batch: {one['data.batch_size']} images (the paper: 32)",
    ]
    if one["scale"] == "quick":
        words.append("quick scale: a short run of a narrow network; the verdict rests on it")
    return words


# --- the ledger as files --------------------------------------------------------------------------


def markdown_summary(rows: list[dict[str, Any]]) -> str:
    """One line per claim: statement, the paper's numbers, ours, and the verdict."""
    names = ["claim", "statement", "paper", "here", "verdict"]
    lines = [[r["id"], r["statement"], r["paper"], _here(r), _verdict(r)] for r in rows]
    return markdown_table(names, lines)


def markdown(rows: list[dict[str, Any]]) -> str:
    """The whole ledger: the summary, the rule in words, and how each claim was judged."""
    sections = ["# Claims of the paper\n", markdown_summary(rows), f"## The rule\n\n{RULE}\n"]
    sections.append(f"On MNIST: {mnist_claims.RULE}\n")
    return "\n".join([*sections, *map(_section, rows)])


def _section(row: dict[str, Any]) -> str:
    lines = [f"## {row['id']}: {_verdict(row)}", "", f"{row['statement']} ({row['where']}).", ""]
    lines += [f"* Claimed: {rule}" for rule in row["rule"] if row["reason"]]
    lines += [f"* {_part(part)}" for part in row["parts"]]
    if row["reason"]:
        lines.append(f"* Not run: {row['reason']}.")
    else:
        lines.append(f"* {row['scale']} scale, {row['n']} seeds: {_seeds(row['records'])}")
        lines.append(f"* Deviations: {'; '.join(row['deviations'])}")
    return "\n".join(lines) + "\n"


def _part(part: dict[str, Any]) -> str:
    judged = f"; claimed: {part['rule']}: **{part['verdict']}**" if part["rule"] else " (no rule)"
    return f"{part['what']}: {interval_words(part)}{judged}"


def _here(row: dict[str, Any]) -> str:
    if row["reason"]:
        return row["reason"]
    return "; ".join(f"{part['what']}: {interval_words(part)}" for part in row["parts"])


def _verdict(row: dict[str, Any]) -> str:
    return f"{row['verdict']} ({row['scale']} scale, n {row['n']})" if row["n"] else row["verdict"]


def _seeds(paths: list[str]) -> str:
    """Paths of records, those of one arm in one: records/quick/x/{arm}-{0,1,2}.json."""
    grouped: dict[str, list[str]] = {}
    for path in paths:
        stem, _, seed = path.removesuffix(".json").rpartition("-")
        grouped.setdefault(stem, []).append(seed)
    return ", ".join(f"`{stem}-{{{','.join(seeds)}}}.json`" for stem, seeds in grouped.items())


def interval_words(part: dict[str, Any]) -> str:
    """A measured part as "0.120 [0.110, 0.130]", or in words where it has no value."""
    if not part["n"]:
        return "the baseline stayed at chance"
    if part["missing"] == part["n"]:
        return "never reached"
    ends = "" if part["low"] is None else f" [{part['low']:.3g}, {part['high']:.3g}]"
    never = f", never reached in {part['missing']} of {part['n']} seeds" if part["missing"] else ""
    return f"{part['value']:.3g}{ends}{never}"
