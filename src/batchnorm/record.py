"""The record that a run leaves: one JSON file, written whole or not at all; where a run leaves
arrays too, those are in a file beside it."""

import glob
import io
import json
import os
import subprocess
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

VERSION = 1
PARTS = ("config", "environment", "summary", "metrics")  # of a record, each by keys
SOURCE = Path(__file__).resolve().parents[2]
CODE = ["src", "configs", "scripts", "pyproject.toml", "requirements.lock"]  # what "dirty" means

Record = dict[str, Any]


class RecordError(Exception):
    """A record that cannot be read or must not be used; the message is one line for the user."""


def record_path(root: Path, config: dict[str, Any]) -> Path:
    """The file of the run that `config` describes, under a results root (outputs/, results/)."""
    name = f"{config['arm']}-{config['seed']}.json"
    return root / "records" / config["scale"] / config["experiment"] / name


def make(
    config: dict[str, Any],
    environment: dict[str, Any],
    summary: dict[str, Any],
    metrics: dict[str, list],
    arrays: dict[str, np.ndarray] | None = None,
) -> Record:
    """A record: what the run was, where it was made, how it ended, and its curves; and arrays,
    which are written beside it."""
    return {
        "version": VERSION,
        "config": config,
        "environment": environment,
        "summary": summary,
        "metrics": metrics,
        **({"arrays": arrays} if arrays else {}),
    }


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, finds all of it or none of it."""
    write_all_atomically({path: content})


def write_all_atomically(contents: dict[Path, bytes]) -> None:
    """Write files as write_atomically, and replace none before all are on the disk."""
    written = {path.with_name(f".{path.name}.{os.getpid()}"): path for path in contents}
    for path in contents:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for temporary, path in written.items():
            with temporary.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for temporary, path in written.items():
            temporary.replace(path)
    except BaseException:  # a full disk, Ctrl-C
        for temporary in written:
            temporary.unlink(missing_ok=True)
        raise


def half_written(path: Path) -> list[Path]:
    """What killed processes have left of a run's files, the record among them."""
    return list(path.parent.glob(f".{glob.escape(path.stem)}.*"))


def write(path: Path, record: Record) -> None:
    """Write one record, its arrays first, to an .npz file of the same name. A NaN is written as
    null, so that any JSON reader can read it."""
    kept = {key: value for key, value in record.items() if key != "arrays"}
    if record.get("arrays"):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **record["arrays"])
        write_atomically(beside(path), buffer.getvalue())
    write_atomically(path, f"{_text(_finite(kept))}\n".encode())


def load(path: Path) -> Record:
    """Read one record. Raises RecordError, naming the file, when it is not one."""
    try:
        record = orjson.loads(path.read_bytes())  # three times as fast as json, on long records
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be read as a record ({error}); move it away") from error
    if not isinstance(record, dict) or record.get("version") != VERSION:
        raise RecordError(f"{path}: is not a record of version {VERSION}; move it away")
    for part in PARTS:
        if not isinstance(record.get(part), dict):
            raise RecordError(
                f"{path}: is not a whole record (its {part} is missing); move it away"
            )
    return record


def beside(path: Path) -> Path:
    """Where the arrays of a record are, if it has any."""
    return path.with_suffix(".npz")


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the record in this file. Raises RecordError where they cannot be read."""
    try:
        with np.load(beside(path), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RecordError(f"{beside(path)}: cannot be read ({error}); move {path} away") from error


def load_all(root: Path) -> list[Record]:
    """Every record under a results root, in order of path."""
    return [load(path) for path in sorted(root.glob("records/*/*/*.json"))]


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The keys in which two configs differ, each as "optim.lr: 0.01 -> 0.02"."""
    before, after = dict(flatten(old)), dict(flatten(new))
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if key not in before or key not in after or before[key] != after[key]
    ]


def as_made(record: Record) -> dict[str, Any]:
    """The config of a record with what the machine decided: the precision, where a config says
    auto, and with BN the images of a batch statistic, fewer in several processes. Runs that differ
    in them are not the same run."""
    config, made = record["config"], record["environment"]
    found = {**config, "precision": made["precision"]}
    if config["model"]["norm"] != "none":
        found["statistics_batch"] = made.get("statistics_batch", config["data"]["batch_size"])
    return found


def flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested dictionaries as pairs of dotted key and value."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@cache
def code_version() -> dict[str, Any]:
    """The commit of the source tree, and whether code or configs differ from it: as it was when
    first asked, since that is the code that this process has imported."""
    commit = _git("rev-parse", "HEAD")
    dirty = _git("status", "--porcelain", "--", *CODE)
    return {"commit": commit, "dirty": None if commit is None else dirty != ""}


def code_since(commits: Iterable[str | None]) -> set[str]:
    """Those of the commits since which code or configs are known to have changed."""
    known = {commit for commit in commits if commit}
    return {one for one in known if _git("diff", "--name-only", one, "HEAD", "--", *CODE)}


def in_history(commits: Iterable[str | None]) -> dict[str | None, bool]:
    """For each commit, whether the current one descends from it."""
    return {
        commit: commit is not None
        and _git("merge-base", "--is-ancestor", commit, "HEAD") is not None
        for commit in set(commits)
    }


def _git(*arguments: str) -> str | None:
    """The output of a git command in the source tree, or None when it fails or there is no git."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=SOURCE, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def _text(value: Any, indent: str = "") -> str:
    """As JSON with a line for each key; lists stay on one."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, allow_nan=False)
    inner = indent + " "
    lines = [f"{inner}{json.dumps(key)}: {_text(one, inner)}" for key, one in value.items()]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
