"""The ledger: each claim judged on the records, as plain rows and as Markdown."""

from typing import Any

import pandas as pd

from batchnorm.report import (
    claims,
    claims_cifar10,
    claims_cifar10_ablations,
    claims_cifar10_shift,
    claims_imagenette,
    claims_mnist,
    claims_mnist_recurrent,
    ensemble,
    paper,
    statistics,
)
from batchnorm.report.claims import (
    CHANGED,
    CHANGED_HEAD,
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

RULES: dict[str, dict[str, tuple[Part, ...]]] = {  # experiment -> claim -> how it is measured
    **claims_mnist.RULES,
    **claims_mnist_recurrent.RULES,
    claims.EXPERIMENT: claims.RULES,
    **claims_cifar10.RULES,
    **claims_cifar10_ablations.RULES,
    **claims_cifar10_shift.RULES,
    **claims_imagenette.RULES,
}
# An experiment's name begins with its data's.
DATA = {"mnist": "MNIST", "cifar10": "CIFAR-10", "imagenette": "Imagenette", "imagenet": "ImageNet"}
# Where a claim is not judged on curves.
READS = dict.fromkeys(ensemble.EXPERIMENTS, ensemble.read)


def ledger() -> list[Claim]:
    """Every claim: the paper's words (paper.yaml) with the rule that judges it, C4 before C14.

    What follows the first word of an id tells apart the rows of one claim; a row whose statement
    is another one has it under its whole id.
    """
    said = paper.values()["claims"]
    found = {
        id: Claim(
            id,
            **(said.get(id) or said[id.split()[0]]),
            measure=parts,
            experiment=experiment,
            read=READS.get(experiment, statistics.curves),
        )
        for experiment, rules in RULES.items()
        for id, parts in rules.items()
    }
    return [found[id] for id in paper.ordered(found)]


# --- one claim ------------------------------------------------------------------------------------


def judge(claim: Claim, table: pd.DataFrame) -> dict[str, Any]:
    """The claim's row in the ledger, from a table of runs of any experiments and scales."""
    row = {
        **{key: getattr(claim, key) for key in ("id", "statement", "where", "paper", "experiment")},
        "rule": [f"{part.what}: {part.rule}" for part in claim.measure if part.rule],
        **{"verdict": NOT_RUN, "reason": "", "scale": None, "n": 0},
        **{"parts": [], "deviations": [], "records": []},
    }
    real = table[(table["experiment"] == claim.experiment) & ~table["data.stand_in"]]
    if statistics.changed(real):
        why = f"runs of your own, with {statistics.changed(real)}, on which no claim is judged"
        return {**row, "reason": why}
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
    row = {"what": part.what, **value.as_dict(), "rule": part.rule, "verdict": verdict}
    return row if value.n else {**row, "why": part.unknown}


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
    if runs["model.name"].iloc[0] == "lstm":
        return claims_mnist_recurrent.deviations(runs)
    if runs["data.name"].iloc[0] == "mnist":
        return claims_mnist.deviations(runs)
    if runs["data.name"].iloc[0] == "image_folder":
        return claims_imagenette.deviations(runs) + _precision(runs)
    words = [
        f"data: CIFAR-10{_part_of(runs)}, 32x32 pixels, 10 classes (the paper: ImageNet, 224x224,"
        " 1000)",
        f"network: {_network(runs)} (the paper: Inception)",
        f"length: {_span(statistics.epochs(runs))} epochs, {_span(runs['planned'])} steps"
        f"{' in every arm' if runs['planned'].nunique() == 1 else ''} (the paper's baseline: 31"
        " million)",
        f"batch: {_span(runs['data.batch_size'])} images (the paper: 32)",
    ]
    if runs["arm"].str.match("bn_x(5|30)").any():
        words.append(
            "of section 4.2.1's changes: less L2, faster decay, no Dropout; LRN, shards and"
            " distorted colours are nowhere"
        )
    words.append(
        f"chosen here: 1x rate {_span(runs['optim.lr'])} (the paper: 0.0015), L2"
        f" {_span(runs['optim.weight_decay'])}, decay to {_span(runs['optim.final_lr'])} over the"
        f" baseline's run, {_initial(runs)}, momentum 0.9"
    )
    words += _dropout(runs) + _precision(runs)
    if runs["scale"].iloc[0] == "full":
        network = "network, " if runs["model.name"].iloc[0] == "convnet" else ""
        words.append(
            f"full scale's {network}length, L2 and decay: after test accuracies of BN-x30 were"
            " seen; its 1x rate: that of quick scale"
        )
    if runs["arm"].str.contains("_l2_").any():
        words.append("rates: those of the usual L2, not chosen anew")
    if runs["scale"].iloc[0] == "quick":
        words.append("quick scale: a short run of a narrow network; the verdict rests on it")
    return words


def _initial(runs: pd.DataFrame) -> str:
    """The initial weights; where they are what is varied, the rate is not chosen anew."""
    scale = _span(runs["model.init_scale"])
    if scale == "1":
        plain = (runs["model.norm"] == "none") & (runs["model.activation"] == "sigmoid")
        tried = " (for sigmoids without BN too; cifar10_tune_sigmoid tries others)"
        convnet = runs["model.name"].iloc[0] == "convnet"
        return f"He's initial weights{tried if convnet and plain.any() else ''}"
    fixed = ", and of deviation 0.01" if (runs["model.init"] == "gaussian").any() else ""
    return f"{scale} times He's initial weights{fixed}, all at one rate with BN and one without"


def _dropout(runs: pd.DataFrame) -> list[str]:
    """What Dropout there is in the networks that stand for those with the paper's."""
    rates = runs.loc[runs["model.dropout"] > 0, "model.dropout"]
    return [f"Dropout: {_span(rates)} where there is any (the paper: 0.4)"] if len(rates) else []


def _precision(runs: pd.DataFrame) -> list[str]:
    lower = sorted(set(runs["precision"]) - {"float32"})
    return [f"arithmetic: {', '.join(lower)} autocast"] if lower else []


def _network(runs: pd.DataFrame) -> str:
    width = _span(runs["model.width"])
    if runs["model.name"].iloc[0] == "small_inception":
        return f"small Inception of Zhang et al. (2017), width {width} (theirs: 96)"
    return f"{_span(runs['model.depth'])}-layer VGG-like convnet of width {width}"


def _part_of(runs: pd.DataFrame) -> str:
    images = runs["data.train_images"].min()
    return f", {images} of its training images" if images < 50_000 else ""


def _span(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low:.10g}" if low == high else f"{low:.10g} to {high:.10g}"


# --- the ledger as files --------------------------------------------------------------------------


def markdown_summary(rows: list[dict[str, Any]]) -> str:
    """A line per claim: statement, the paper's numbers, ours, and the verdict; those not run in one
    line under the table."""
    names = ["claim", "statement", "paper", "here", "verdict"]
    run = [row for row in rows if not row["reason"]]
    lines = [[r["id"], r["statement"], r["paper"], _here(r), _verdict(r)] for r in run]
    table = markdown_table(names, lines) if lines else ""
    rest = ", ".join(row["id"] for row in rows if row["reason"])
    return "\n".join(filter(None, [table, f"Not run: {rest}.\n" if rest else ""]))


def markdown_overview(rows: list[dict[str, Any]]) -> str:
    """A line per statement with all of its verdicts; the claims judged nowhere in one line under
    the table."""
    run = [row for row in rows if not row["reason"]]
    claimed: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in run:
        claimed.setdefault((row["id"].split()[0], row["statement"]), []).append(row)
    lines = [[id, said, "; ".join(map(_place, same))] for (id, said), same in claimed.items()]
    table = markdown_table(["claim", "statement", "verdict"], lines) if lines else ""
    ids = {id for id, _ in claimed}
    rest = ", ".join(row["id"] for row in rows if row["id"].split()[0] not in ids)
    return "\n".join(filter(None, [table, f"Not run: {rest}.\n" if rest else ""]))


def _place(row: dict[str, Any]) -> str:
    """A verdict, with the network that its id ends in, if it does, or the data."""
    where = row["id"].partition(" ")[2].strip("()") or DATA[row["experiment"].split("_")[0]]
    return f"{where}: {_verdict(row)}"


def markdown(rows: list[dict[str, Any]]) -> str:
    """The whole ledger: the summary, the rule in words, and how each claim was judged."""
    rules = "".join(f"* {words}\n" for words in (*RULE, claims_mnist.RULE))
    changed = "".join(f"{i}. {words}\n" for i, words in enumerate(CHANGED, 1))
    sections = ["# Claims of the paper\n", markdown_summary(rows), f"## The rule\n\n{rules}"]
    sections.append(f"{CHANGED_HEAD}\n\n{changed}")
    sections += [_section(row) for row in rows if not row["reason"]]
    rest = [_line(row) for row in rows if row["reason"]]
    return "\n".join([*sections, "\n".join(["## Not run", "", *rest, ""])] if rest else sections)


def _line(row: dict[str, Any]) -> str:
    """A claim that was not run, with the rule that it waits for."""
    said = f"* {row['id']}: {row['statement']} ({row['where']})"
    return f"{said}. Claimed: {'; '.join(row['rule'])}. Not run: {row['reason']}."


def _section(row: dict[str, Any]) -> str:
    lines = [f"## {row['id']}: {_verdict(row)}", "", f"{row['statement']} ({row['where']}).", ""]
    lines += [f"* {_part(part)}" for part in row["parts"]]
    lines.append(f"* {row['scale']} scale, {row['n']} seeds: {grouped(row['records'])}")
    lines.append(f"* Deviations: {'; '.join(row['deviations'])}")
    return "\n".join(lines) + "\n"


def _part(part: dict[str, Any]) -> str:
    judged = f"; claimed: {part['rule']}: **{part['verdict']}**" if part["rule"] else " (no rule)"
    return f"{part['what']}: {interval_words(part)}{judged}"


def _here(row: dict[str, Any]) -> str:
    ruled = [part for part in row["parts"] if part["rule"]]
    return "<br>".join(f"{part['what']}: {interval_words(part)}" for part in ruled)


def _verdict(row: dict[str, Any]) -> str:
    return f"{row['verdict']} ({row['scale']} scale, n {row['n']})" if row["n"] else row["verdict"]


def grouped(paths: list[str]) -> str:
    """Paths of records, those of one arm in one: records/quick/x/{arm}-{0,1,2}.json."""
    stems: dict[str, list[str]] = {}
    for path in paths:
        stem, _, seed = path.removesuffix(".json").rpartition("-")
        stems.setdefault(stem, []).append(seed)
    return ", ".join(f"`{stem}-{{{','.join(seeds)}}}.json`" for stem, seeds in stems.items())


def interval_words(part: dict[str, Any]) -> str:
    """A measured part as "0.120 [0.110, 0.130]", or in words where it has no value."""
    if not part["n"]:
        return part["why"]
    if part["missing"] == part["n"]:
        return "never reached"
    ends = "" if part["low"] is None else f" [{part['low']:.3g}, {part['high']:.3g}]"
    least = "at least " if part["bounds"] else ""
    words = f"{least}{part['value']:.3g}{ends}"
    if part["bounds"]:
        words += f", a bound in {part['bounds']} of {part['n']} seeds"
    if part["missing"]:
        words += f", never reached in {part['missing']} of {part['n']} seeds"
    return words
