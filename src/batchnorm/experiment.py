"""An experiment's missing runs, trained one after the other or stacked, each to its record."""

import gc
import os
import shutil
import sys
import sysconfig
import traceback
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from batchnorm import checkpoint, config, data, interrupt, record, replicas
from batchnorm.checkpoint import State
from batchnorm.config import ConfigError, Run
from batchnorm.data import Where
from batchnorm.probes import in_numbers
from batchnorm.progress import Place, outcome, report
from batchnorm.together import Member, stacks, train_together
from batchnorm.tracking import MODES, Mirror, refused, resolve_mode
from batchnorm.train import (
    apart,
    environment,
    resolve_device,
    resolve_precision,
    statistics_batch,
    train,
)
from batchnorm.validation import validate

IN_ONE_LINE = (data.DataError, data.Unavailable, record.RecordError)  # errors that are for the user
MIRROR_SHARE = 0.02  # of a run's time: the longest wait for W&B; what is left goes on meanwhile
SETTINGS = {
    "wandb": MODES,
    "stand_in": ("auto", "always", "never"),
    "loader": ("auto", "memory", "stream"),
}


class Failed(Exception):
    """Runs that failed, a line for each, in one of several processes."""


@dataclass(frozen=True)
class Plan:
    """What a command line asks for: the runs, and the root that their records go under."""

    cfg: DictConfig
    runs: list[Run]
    root: Path
    changed: str  # what the runs are that the experiment does not declare; "" for declared runs
    no_data: str = ""  # why there are generated data in the place of real ones, if nobody said so

    def place(self, run: Run) -> Place:
        """The files of one run, and its name."""
        name = f"{run.name} {self.changed}".strip()
        return Place(name, record.record_path(self.root, run.config()))


def plan(overrides: list[str]) -> Plan:
    """Compose, expand and validate everything, and decide where the records go; train nothing.

    Raises ConfigError, DataError or RecordError, each with one line for the user.
    """
    try:
        cfg = settle(overrides)
        runs = expanded(cfg, overrides)
    except OmegaConfBaseException as error:  # a key that was deleted, or refers to one that is not
        raise ConfigError(config.explain(error)) from error
    for run in runs:
        validate(run)
        if cfg.compile and run.model.sync_statistics and replicas.count() > 1:
            raise ConfigError("compile=True: must be false with model.sync_statistics=true")
        data.refuse_sizes(run.data, Path(cfg.data_root))
    root, why = Path(cfg.output), ""
    if cfg.stand_in == "always":
        root = root / "stand-in"
        if "stand_in" not in config.said(overrides):
            why = unavailable(cfg.data.name, cfg.data_root, cfg.data.folder)
    changed = config.departures(overrides)
    refuse_alike(runs, changed)
    if not changed or runs == declared(overrides, changed, cfg):
        made = Plan(cfg, runs, root, "", why)
    else:
        name = ",".join(changed)
        made = Plan(cfg, runs, root / "scratch" / folder_name(name), name, why)
    refuse_stale(made)
    return made


def refuse_alike(runs: list[Run], changed: list[str]) -> None:
    """Raises ConfigError where what the user changes makes two arms the same network: a ladder's
    key, say, whose values their names still have."""
    found: dict[str, str] = {}
    for run in runs if changed else []:
        same = found.setdefault(str(replace(run, arm="")), run.arm)
        if same != run.arm:
            raise ConfigError(
                f"{', '.join(changed)}: makes one network of the arms {same} and {run.arm}: name"
                " one of them, by arm="
            )


def expanded(cfg: DictConfig, overrides: list[str]) -> list[Run]:
    """config.expand, with the numbers of images where all are wanted."""
    runs = config.expand(cfg, overrides)
    return [replace(run, data=data.sized(run.data, Path(cfg.data_root))) for run in runs]


def folder_name(changed: str) -> str:
    """A file name of what runs of the user's own change; shortened where it would be too long."""
    name = changed.replace("/", "_")
    return name if len(name) <= 150 else f"{name[:140]}-{zlib.crc32(name.encode()):08x}"


def settle(overrides: list[str]) -> DictConfig:
    """The composed config, with scale and stand_in decided where they say `auto`."""
    chosen = config.said(overrides)
    which = [one for one in overrides if one.split("=")[0] in ("arm", "seed")]
    rest = [one for one in overrides if one not in which]
    cfg = composed(tuple(rest)).copy()
    try:
        for key, value in config.said(which).items():
            OmegaConf.update(cfg, key, value)
    except OmegaConfBaseException as error:
        raise ConfigError(config.explain(error)) from error
    for key in ("data_root", "output", "cache"):
        if not str(cfg[key]).strip():
            empty = " (BATCHNORM_DATA is empty)" if key == "data_root" else ""
            raise ConfigError(f"{key}=: must name a folder{empty}")
    for key, allowed in SETTINGS.items():
        config.one_of(key, cfg[key], allowed)
    if replicas.first() and (why := refused(cfg.wandb)):
        raise ConfigError(why)
    if cfg.threads is not None and cfg.threads < 1:
        raise ConfigError(f"threads={cfg.threads}: must be a whole number from 1, or null")
    if cfg.workers is not None and cfg.workers < 0:
        raise ConfigError(f"workers={cfg.workers}: must be a whole number from 0, or null")
    config.one_of("data.name", cfg.data.name, data.NAMES)
    device = resolve_device(cfg.device)
    if cfg.compile:
        refuse_compiling(device)
    if cfg.scale == "auto":
        cfg.scale = "quick" if device.type == "cpu" and "quick" in cfg.scales else "full"
    if cfg.stand_in == "auto":
        if not Path(cfg.data_root).is_dir() and cfg.data_root != config.DATA_ROOT:
            raise ConfigError(f"data_root={cfg.data_root}: must be a folder that is there")
        why = unavailable(cfg.data.name, cfg.data_root, cfg.data.folder)
        if why and "data.folder" in chosen:
            raise ConfigError(f"data.folder={cfg.data.folder}: {why}; or say stand_in=always")
        cfg.stand_in = "always" if why else "never"
    return cfg


def refuse_compiling(device: torch.device) -> None:
    """Raises ConfigError where compiled steps cannot be had."""
    variable, usual = ("CXX", "g++") if device.type == "cpu" else ("CC", "gcc")
    if not shutil.which(os.environ.get(variable, usual)):
        raise ConfigError(f"compile=True: must be false, since there is no compiler ({usual})")
    header = Path(sysconfig.get_path("include"), "Python.h")  # which the generated code includes
    if not header.exists():
        raise ConfigError(f"compile=True: must be false, since there is no {header}")


@lru_cache
def composed(overrides: tuple[str, ...]) -> DictConfig:
    """compose_config, once for each set of overrides."""
    return config.compose_config(list(overrides))


@lru_cache
def unavailable(name: str, root: str, folder: str) -> str:
    """data.unavailable, looked up once."""
    return data.unavailable(name, Path(root), folder)


def declared(overrides: list[str], changed: list[str], cfg: DictConfig) -> list[Run]:
    """The runs that the experiment file itself declares, for the same arms, seeds and scale."""
    keys = {one.split("=")[0] for one in changed}
    kept = [one for one in overrides if one.split("=")[0] not in (*keys, "scale", "stand_in")]
    plain = settle([*kept, f"scale={cfg.scale}", f"stand_in={cfg.stand_in}"])
    try:
        return expanded(plain, [one for one in overrides if one.startswith("seeds=")])
    except (ConfigError, data.DataError):  # an arm or scale that only the overrides declare
        return []


def refuse_stale(made: Plan) -> None:
    """Raises RecordError where a record, or the checkpoint of an unfinished run, is there that
    another configuration left."""
    device = resolve_device(made.cfg.device)
    for run in made.runs:
        path = made.place(run).record
        try:
            there = path.exists()
        except OSError as error:
            raise record.RecordError(f"{path}: {error.strerror}") from error
        if not there:
            precision = resolve_precision(run.precision, device)
            what = {**run.config(), "precision": precision, "device": device.type}
            checkpoint.refuse_another(made.place(run).checkpoint, what)
            continue
        try:
            found = record.load(path)
            old = config.completed(record.as_made(found))
            outcome(found)
        except (KeyError, TypeError, StopIteration) as error:
            why = f"{path}: is not a whole record ({error}); move it away"
            raise record.RecordError(why) from error
        changed = record.differences(old, as_it_will_be(run, device))
        if changed:
            raise record.RecordError(
                f"{path}: is of another configuration ({'; '.join(changed)});"
                f" move it away, or all of {path.parent}, to train anew"
            )


def as_it_will_be(run: Run, device: torch.device) -> dict[str, Any]:
    """The config of a run as the device and the processes will have it, as record.as_made."""
    precision = resolve_precision(run.precision, device)
    made = {"precision": precision, "statistics_batch": statistics_batch(run)}
    return record.as_made({"config": run.config(), "environment": made})


def at_once(made: Plan) -> int:
    """How many of a plan's runs train at a time in one process: the size of its largest stack."""
    return max(map(len, grouped(made, made.runs)))


def grouped(made: Plan, runs: list[Run]) -> list[list[Run]]:
    """The runs that train at once: as one stack, where this process is the only one."""
    alone = replicas.count() > 1 or made.cfg.compile
    return [[run] for run in runs] if alone else stacks(runs, resolve_device(made.cfg.device))


def where(cfg: DictConfig) -> Where:
    """Where images are, and how they are to be had."""
    return Where(Path(cfg.data_root), Path(cfg.cache), cfg.loader, cfg.workers)


def prepare(made: Plan) -> None:
    """See that records can be written, and decode the image folders of the runs that are still to
    train, if that is not done. Raises ConfigError, DataError for images that cannot be read."""
    for folder in {made.place(run).record.parent for run in made.runs}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK)
        except OSError:
            writable = False
        if not writable:
            raise ConfigError(f"output={made.cfg.output}: {folder} cannot be written to")
    for run in made.runs:
        if not made.place(run).record.exists():
            data.prepare(run.data, where(made.cfg))


def train_missing(made: Plan) -> list[str]:
    """Train the runs of a plan that have no record yet. A run that fails does not stop the others,
    unless there are several processes; returns what failed, one line each."""
    with replicas.joined(resolve_device(made.cfg.device)):
        missing = replicas.of_first(lambda: without_record(made, made.runs))
        failures = train_runs(made, missing) if missing else []
        if failures and replicas.count() > 1:  # the others may wait for this one for ever
            raise Failed(failures)
    return failures


def without_record(made: Plan, runs: list[Run]) -> list[Run]:
    """Those of the runs that are still to train. Of the others no checkpoint stays: a crash may
    have left one beside the record, and it would bring that back if it were moved away later."""
    missing = []
    for run in runs:
        place = made.place(run)
        if not place.record.exists():
            missing.append(run)
        else:
            place.checkpoint.unlink(missing_ok=True)
    return missing


def train_runs(made: Plan, missing: list[Run]) -> list[str]:
    """Train these runs of a plan, in this process; as train_missing."""
    if made.cfg.threads is not None:
        torch.set_num_threads(made.cfg.threads)
    torch.backends.cudnn.allow_tf32 = False  # what is called float32 is float32 on a GPU too
    torch.set_float32_matmul_precision("highest")
    device, mode = resolve_device(made.cfg.device), resolve_mode(made.cfg.wandb)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # for what goes to "the" GPU
    failures = []
    for group in grouped(made, missing):
        # another command may have trained some of them meanwhile
        runs = replicas.of_first(lambda group=group: without_record(made, group))
        try:
            if runs:
                train_group(made, runs, device, mode)
        except Exception as error:
            interrupt.stop_if_pressed()  # what a library has made of it
            why = str(error)
            if not isinstance(error, IN_ONE_LINE):
                traceback.print_exc(file=sys.stderr)
                why = f"{type(error).__name__}: {error}"
            unfinished = [run for run in runs if not made.place(run).record.exists()]
            failures += [f"{made.place(run).name}: {why}" for run in unfinished or runs]
            if replicas.count() > 1:
                break
    return failures


def train_group(made: Plan, runs: list[Run], device: torch.device, mode: str) -> None:
    """Train runs, several as one stack, and write the record of each as it ends."""
    images = data.load(runs[0].data, where(made.cfg), device)
    members = [member(made, run, mode, images.checksum) for run in runs]
    try:
        if len(members) > 1:
            train_together(members, images, device)
        else:
            (one,) = members
            tell, compiled = one.on_progress, made.cfg.compile
            one.on_record(train(one.run, images, device, one.saved, tell, compiled))
    except BaseException:
        for one in members:
            one.on_failure()
        raise
    finally:
        if made.cfg.compile:
            torch.compiler.reset()  # what stays counts towards a limit, and holds a GPU's memory
        gc.collect()  # a streamed run's batches and their workers refer to each other


def mirrored(made: Plan, run: Run, mode: str, checksum: str) -> Mirror:
    """The W&B mirror of a run, by the name that the terminal has for it, with what sets it apart
    from others of its arm, and what it is made by and from."""
    place, device = made.place(run), resolve_device(made.cfg.device)
    precision = resolve_precision(run.precision, device)
    images = "STAND-IN DATA" if run.data.stand_in else "real"
    marks = {"STAND-IN DATA": run.data.stand_in, "changed": bool(made.changed)}
    marks["resumed"] = place.checkpoint.exists()
    tags = [run.scale, *(tag for tag, has in marks.items() if has)]
    folder = Path(made.cfg.output)  # W&B makes a folder of its own in it
    said = {**run.config(), "precision": precision}
    mirror = Mirror(run.experiment, place.name, said, folder, mode, tags, job_type="train")
    by = environment(record.code_version(), device, precision, checksum)
    changes = folder_name(made.changed) or "none"
    mirror.config({"images": images, "changes": changes, "environment": by})
    return mirror


def member(made: Plan, run: Run, mode: str, checksum: str) -> Member:
    """A run that tells its progress to its files and its curves to W&B, and leaves its record; its
    checkpoint goes when the record is there. In the first process, if there are several."""
    place = made.place(run)
    if not replicas.first():
        return Member(run, place.checkpoint)
    mirror = mirrored(made, run, mode, checksum)

    def on_progress(state: State, steps: int) -> None:
        metrics, _ = apart(state.metrics)
        mirror.curves(metrics, in_numbers)
        curve = metrics.get(f"{run.data.split}/accuracy", [None])
        images = state.step * run.data.batch_size
        report(
            place,
            {
                "step": state.step,
                "steps": steps,
                "seconds": state.seconds,
                "accuracy": curve[-1],
                "images_per_second": images / state.seconds if state.seconds else 0,
                "metrics": {k: v for k, v in metrics.items() if not isinstance(v[-1], list)},
            },
        )

    def on_record(left: record.Record) -> None:
        record.write(place.record, left)
        for leftover in (place.checkpoint, place.progress, *record.half_written(place.record)):
            leftover.unlink(missing_ok=True)
        mirror.curves(left["metrics"], in_numbers)
        mirror.config({"environment": left["environment"]})
        chance = 1 / left["environment"]["classes"]
        best = max(left["metrics"].get(f"{run.data.split}/accuracy", []), default=chance)
        mirror.summary({"best": best})  # as report.statistics has it
        mirror.finish(left["summary"])
        mirror.wait(min(60.0, max(1.0, MIRROR_SHARE * left["summary"]["seconds"])))

    def on_failure() -> None:
        mirror.finish({}, exit_code=1)
        with suppress(OSError):  # what has failed is what is to be told
            place.progress.unlink(missing_ok=True)

    return Member(run, place.checkpoint, on_progress, on_record, on_failure)
