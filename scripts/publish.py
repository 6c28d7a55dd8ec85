"""Promote finished records of declared experiments from outputs/ to results/.

Refuses, one line each, records made by uncommitted code, by a commit that is not in this history,
of another configuration than the experiment now declares, at smoke scale, of stand-in data, or in
another precision, on other data, or with batch statistics of more or fewer images, than most of
their experiment, where it leaves that to the machine.
Names records already in results/ that are stale by the same rule.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from batchnorm.config import ConfigError, completed
from batchnorm.data import DataError
from batchnorm.experiment import expanded, settle
from batchnorm.record import (
    Record,
    RecordError,
    as_made,
    beside,
    differences,
    in_history,
    load,
    load_arrays,
    write,
)
from batchnorm.report import statistics

Configs = dict[str, dict[str, Any]]
Usual = dict[str, Any]


def refusal(record: Record, declared: Configs, known: dict[str | None, bool]) -> str | None:
    """Why a record may not become part of the reference; None when it may, if it was made as most
    of its experiment (see odd). `known`: which commits are in this history."""
    config, made = record["config"], record["environment"]
    if config["data"]["stand_in"]:
        return "is of STAND-IN DATA"
    if config["scale"] == "smoke":
        return "is at smoke scale, which only tests that everything runs"
    if made["dirty"] is not False:
        return "was made by code that is not committed"
    if not known[made["commit"]]:
        return f"was made by commit {made['commit']}, which is not in this history"
    name = f"{config['arm']}-{config['seed']}"
    if name not in declared:
        return "is of a run that its experiment does not declare"
    changed = differences(completed(config), declared[name])
    return f"is stale: {'; '.join(changed)}" if changed else None


def odd(record: Record, usual: Usual) -> str | None:
    """In what a record was made otherwise than most of its experiment (`usual`: see usually)."""
    for what, value in left_open(record).items():
        if value != usual[what]:
            return f"was made with {what} {value}, but most of its experiment with {usual[what]}"
    return None


def left_open(record: Record) -> Usual:
    """What a config leaves to the machine, and what it came to: the data, whether images came from
    memory or streamed, `precision: auto`, and with BN how many batch statistics there are for one
    batch (each process has a part of it)."""
    config, made = record["config"], as_made(record)
    where = record["environment"]
    found: Usual = {"data of checksum": where["data_checksum"]}
    found["loader"] = where.get("loader", "memory")
    if config["precision"] == "auto":
        found["precision"] = made["precision"]
    if "statistics_batch" in made:
        found["statistics per batch"] = config["data"]["batch_size"] // made["statistics_batch"]
    return found


def usually(records: Iterable[Record]) -> Usual:
    """What is left open came to in most of these records. It is one for all arms, or they would
    differ in more than they declare."""
    counted: dict[str, Counter[Any]] = {}
    for one in records:
        for what, value in left_open(one).items():
            counted.setdefault(what, Counter())[value] += 1
    return {what: values.most_common(1)[0][0] for what, values in counted.items()}


def declared_runs(experiment: str, scale: str) -> Configs:
    """The configs that an experiment file declares at one scale, by run name."""
    said = [f"experiment={experiment}", f"scale={scale}", "stand_in=never"]
    return {run.name: run.config() for run in expanded(settle(said), said)}


def whole(path: Path, found: Record) -> Record:
    """The record of this file with its arrays, if it has any. Raises RecordError."""
    probes = "probabilities"
    left = probes in found["config"].get("probes", []) and not found["summary"]["diverged"]
    return {**found, "arrays": load_arrays(path)} if left or beside(path).exists() else found


def sorted_out(root: Path, scale: str, target: Path) -> tuple[dict[Path, Record], list[str]]:
    """The records of a root that may be published, by path under it, and a line for each other.
    Most of an experiment: of what may be published here, and is in the target and stays there."""
    good: dict[Path, Record] = {}
    refused: list[str] = []
    for folder in sorted(root.glob(f"records/{scale}/*")):
        paths = sorted(folder.glob("*.json"))
        try:
            declared = declared_runs(folder.name, folder.parent.name)
        except (ConfigError, DataError, RecordError) as error:
            refused.append(f"{folder}: {error}")
            continue
        records = {}
        for path in paths:
            try:
                found = load(path)
                statistics.row(found, path, root)  # it may lack a part
                records[path] = whole(path, found)
            except RecordError as error:
                refused.append(str(error))
        known = in_history(record["environment"]["commit"] for record in records.values())
        why = {path: refusal(record, declared, known) for path, record in records.items()}
        there = sorted((target / folder.relative_to(root)).glob("*.json"))
        stay = [load(path) for path in there if path.name not in {one.name for one in paths}]
        usual = usually([*(records[path] for path in records if not why[path]), *stay])
        for path, record in records.items():
            reason = why[path] or odd(record, usual)
            if reason:
                refused.append(f"{path} {reason}")
            else:
                good[path.relative_to(root)] = record
    return good, refused


def main() -> int:
    """Returns the exit status: 0, or 1 where nothing is found, or anything was refused or is
    stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=Path("outputs"))
    parser.add_argument("--target", type=Path, default=Path("results"))
    parser.add_argument("--scale", default="*", help="only this scale")
    options = parser.parse_args()
    good, refused = sorted_out(options.source, options.scale, options.target)
    if not good and not refused:
        print(f"no records under {options.source}/records/{options.scale}", file=sys.stderr)
        return 1
    for path, record in good.items():
        write(options.target / path, record)
    _, stale = sorted_out(options.target, options.scale, options.target)
    for line in refused:
        print(f"refused: {line}", file=sys.stderr)
    for line in stale:
        print(f"in {options.target} already, to be made anew or removed: {line}", file=sys.stderr)
    print(f"{len(good)} records promoted to {options.target}/records, {len(refused)} refused")
    return 1 if refused or stale else 0


if __name__ == "__main__":
    sys.exit(main())
