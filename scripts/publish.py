"""Promote finished records of declared experiments from outputs/ to results/.

Refuses, one line each, records made by uncommitted code, by a commit that is not in this history,
of another configuration than the experiment now declares, or of stand-in data.
"""

import argparse
import sys
from pathlib import Path

from batchnorm.config import ConfigError
from batchnorm.data import DataError
from batchnorm.experiment import plan
from batchnorm.record import Record, RecordError, differences, in_history, load, record_path, write


def refusal(record: Record, declared: dict[str, dict], known: dict[str | None, bool]) -> str | None:
    """Why a record may not become part of the reference; None when it may."""
    config, made = record["config"], record["environment"]
    if config["data"]["stand_in"]:
        return "is of STAND-IN DATA"
    if made["dirty"] is not False:
        return "was made by code that is not committed"
    if not known[made["commit"]]:
        return f"was made by commit {made['commit']}, which is not in this history"
    name = f"{config['arm']}-{config['seed']}"
    if name not in declared:
        return "is of a run that its experiment does not declare"
    changed = differences(config, declared[name])
    return f"is stale: {'; '.join(changed)}" if changed else None


def declared_runs(experiment: str, scale: str) -> dict[str, dict]:
    """The configs that an experiment file declares at one scale, by run name."""
    nowhere = "output=/nonexistent"  # so that the records are not compared twice
    made = plan([f"experiment={experiment}", f"scale={scale}", "stand_in=never", nowhere])
    return {run.name: run.config() for run in made.runs}


def publish(source: Path, target: Path) -> int:
    """Copy what may be copied. Returns how many records were refused."""
    refused = promoted = 0
    for folder in sorted(source.glob("records/*/*")):
        records = [load(path) for path in sorted(folder.glob("*.json"))]
        declared = declared_runs(folder.name, folder.parent.name)
        known = in_history(record["environment"]["commit"] for record in records)
        for record in records:
            why = refusal(record, declared, known)
            if why:
                refused += 1
                print(f"refused: {record_path(source, record['config'])} {why}", file=sys.stderr)
            else:
                promoted += 1
                write(record_path(target, record["config"]), record)
    print(f"{promoted} records promoted to {target}/records, {refused} refused")
    return refused


def main() -> int:
    """Returns the exit status: 0, or 1 when anything was refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, default=Path("outputs"))
    parser.add_argument("--target", type=Path, default=Path("results"))
    parser.add_argument("--scale", help="only this scale")
    options = parser.parse_args()
    try:
        return 1 if publish(options.source, options.target) else 0
    except (ConfigError, DataError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
