"""The command line: python -m batchnorm."""

import os
import sys
import textwrap
from contextlib import nullcontext, suppress

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException
from joblib import cpu_count
from omegaconf import DictConfig

from batchnorm import interrupt, replicas
from batchnorm.config import CONFIGS, ConfigError, compose_config, options, parse
from batchnorm.data import DataError
from batchnorm.experiment import Failed, Plan, at_once, plan, prepare, train_missing
from batchnorm.progress import Place, Watch, counted
from batchnorm.record import RecordError, code_version
from batchnorm.tracking import leave
from batchnorm.train import resolve_device, statistics_batch
from batchnorm.workers import end_with_parent, side_by_side

HELP = """\
Trains the runs of an experiment that have no record yet, each to one JSON file under outputs/.

    python -m batchnorm experiment=NAME [KEY=VALUE ...]     one after the other
    python -m batchnorm -m experiment=NAME KEY=V1,V2 ...    every combination (a Hydra multirun)

examples
    python -m batchnorm experiment=cifar10_learning_rate                  every arm, every seed
    python -m batchnorm experiment=cifar10_learning_rate arm=bn_x5 seed=2 one run
    python -m batchnorm experiment=cifar10_learning_rate scale=smoke      seconds; a test
    python -m batchnorm -m experiment=cifar10_learning_rate arm=baseline,bn_x5 'seed=range(3)' \\
        hydra/launcher=joblib hydra.launcher.n_jobs=2                     side by side
    python -m batchnorm -m experiment=cifar10_learning_rate arm=bn_x5 optim.lr=0.01,0.05
                                                  a sweep of your own, kept in outputs/scratch/

what to run
    experiment  {experiments}
    arm, seed   one arm, one seed (seeds=[0,1]: several); left out: all
    scale       smoke (seconds), quick (the default on a CPU, if there is one), full
where and how
    data_root   the folder of the data sets; also the environment variable BATCHNORM_DATA
    stand_in    auto, always, never: generated data in the place of real data
    device      auto, cpu, cuda          threads     torch's, per run
    output      where records go         wandb       auto, online, offline, disabled
    compile     false; true: torch.compile, on a GPU with CUDA graphs
  and for image folders, data=imagenette, data=imagenet, or data=image_folder data.folder=NAME
    cache       decoded images           loader      auto (memory where they fit), memory, stream
    workers     processes that decode, when streaming; null: as many as cores, at most 32
what a run is   (changes make it a run of your own, kept apart)
    data.*  model.*  optim.*  precision  evaluations  probes  own_draws; see
    src/batchnorm/config.py, or --cfg job, which prints them before scale and arm

A run that was stopped, by Ctrl-C or a crash, goes on from its checkpoint at the same command.
Next: scripts/report.py --root outputs draws figures and tables from the records; those of runs of
your own need --root outputs/scratch/NAME.
"""
# Hydra's own options that train nothing.
ASKING = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--version", "--shell-completion", "-sc")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 runs failed, 2 refused."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--help" in arguments or "-h" in arguments:
        names = textwrap.wrap(", ".join(options("experiment")), 84)
        print(HELP.format(experiments=("\n" + " " * 16).join(names)), end="")
        return 0
    interrupt.remember()
    code_version()  # that of the code which is imported by now: a commit may be made any time
    flags = [one for one in arguments if one.startswith("-")]
    overrides = [one for one in arguments if not one.startswith("-")]
    sweeping = flags in (["-m"], ["--multirun"])
    if replicas.count() > 1:
        if sweeping:
            print("error: -m: not under torchrun, which trains one run at a time", file=sys.stderr)
            return 2
        if not replicas.first():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    asking = any(one.split("=")[0] in ASKING for one in flags)
    if asking and not {"-m", "--multirun"} & {*flags}:
        sys.argv = [sys.argv[0], *arguments]
        job()
        return 0
    try:
        if flags and not sweeping:
            raise ConfigError(f"{' '.join(flags)}: no such options; see --help")
        if not arguments:
            raise ConfigError("say what to train, experiment=NAME; see --help")
        own = [one.input_line for one in parse(overrides) if one.is_hydra_override()]
        if own and not sweeping:
            raise ConfigError(f"{own[0]}: needs -m, a sweep; see --help")
        if sweeping:
            compose_config(own)  # such as a launcher that is not installed
        plans = [plan(one) for one in (combinations(overrides) if sweeping else [overrides])]
        refuse_one_run_twice(plans)
        beside = workers(overrides, plans[0].cfg.device) if sweeping else 1
        decided = agreed(plans, overrides)
        if "hydra/launcher=joblib" in overrides:
            decided.append(f"hydra.launcher.n_jobs={beside}")
        for one in plans:
            prepare(one)
        interrupt.stop_if_pressed()
    except (ConfigError, DataError, RecordError, KeyboardInterrupt) as error:
        return refused(error)
    return train_all(plans, [*overrides, *decided] if sweeping else None, beside)


def refused(error: BaseException) -> int:
    """Say in one line why nothing is trained, and return the exit status. After a Ctrl-C any error
    may be what a library has made of it."""
    if isinstance(error, KeyboardInterrupt) or interrupt.pressed():
        print("stopped before the first run", file=sys.stderr)
        return 130
    print(f"error: {error}", file=sys.stderr)
    return 2


def agreed(plans: list[Plan], overrides: list[str]) -> list[str]:
    """What `auto` came to, as overrides for the jobs of a sweep. Raises ConfigError where that is
    not the same in all of them."""
    said = {one.split("=")[0] for one in overrides}
    found = []
    for key in {"scale", "stand_in"} - said:
        values = sorted({one.cfg[key] for one in plans})
        if len(values) > 1:
            raise ConfigError(f"{key}: would be {' or '.join(values)}: say which, by {key}=")
        found.append(f"{key}={values[0]}")
    return sorted(found)


def train_all(plans: list[Plan], swept: list[str] | None, beside: int) -> int:
    """Train all plans, in this process or, with the overrides of a sweep, by its launcher, `beside`
    runs at a time, while a Watch tells how it goes. Returns the exit status."""
    places = [one.place(run) for one in plans for run in one.runs]
    cfg = plans[0].cfg
    announce(plans, places)
    failures: list[str] = []
    try:
        with (
            Watch(places, beside * max(map(at_once, plans))) if replicas.first() else nullcontext()
        ):
            if swept is not None:
                sys.argv = [sys.argv[0], "-m", *swept]
                with suppress(SystemExit):  # Hydra's, after a job that failed and has said why
                    job()
            else:
                failures = train_missing(plans[0])
            interrupt.stop_if_pressed()
    except Failed as error:
        lines = [f"process {replicas.rank()}: {one}" for one in error.args[0]]
        print("\n".join([*lines, "all processes stop"]), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if not replicas.first():
            return 130
        for place in places:  # of jobs that were ended before they could
            place.progress.unlink(missing_ok=True)
        done = sum(place.record.exists() for place in places)
        print(
            f"\nstopped: {done} of {len(places)} runs are done, those begun have checkpoints;"
            " the same command goes on from here",
            file=sys.stderr,
        )
        return 130
    if not replicas.first():
        return 0  # the records need not be on this machine
    missing = [place.name for place in places if not place.record.exists()]
    for name in missing:
        if not any(line.startswith(f"{name}:") for line in failures):
            failures.append(f"{name}: failed")
    for line in failures:
        print(line, file=sys.stderr)
    if cfg.stand_in == "always":
        print("STAND-IN DATA: these records say nothing about the paper; see stand_in in --help")
    return 1 if failures else 0


def announce(plans: list[Plan], places: list[Place]) -> None:
    """Say what is going to happen, and where it goes."""
    cfg, root = plans[0].cfg, plans[0].root
    if cfg.stand_in == "always":
        why = f": {plans[0].no_data}" if plans[0].no_data else ""
        print(f"STAND-IN DATA: generated images in the place of {cfg.data.name}{why}", flush=True)
    where = root if len({one.root for one in plans}) == 1 else f"folders under {cfg.output}"
    what = ", ".join(dict.fromkeys(f"{one.cfg.name}, scale {one.cfg.scale}" for one in plans))
    print(f"{what}: {counted(len(places), 'run')} -> {where}", flush=True)
    normalized = [run for one in plans for run in one.runs if run.model.norm != "none"]
    if normalized and statistics_batch(normalized[0]) < normalized[0].data.batch_size:
        print(
            f"BN's statistics are of {statistics_batch(normalized[0])} images, the part of each"
            f" process of {normalized[0].data.batch_size}; a larger data.batch_size, or"
            " model.sync_statistics=true, has them of more",
            flush=True,
        )


def combinations(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, exactly as Hydra's basic sweeper makes them."""
    parsed = [one for one in parse(overrides) if not one.is_hydra_override()]
    for one in parsed:
        if one.value_type == ValueType.GLOB_CHOICE_SWEEP:
            raise ConfigError(f"{one.input_line}: globs are not read here; name the values")
    try:
        (jobs,) = BasicSweeper.split_arguments(parsed, None)
    except HydraException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    if not jobs:
        raise ConfigError("-m: a key is swept over no values")
    if len({tuple(job) for job in jobs}) < len(jobs):
        raise ConfigError("-m: a key is swept over one value twice")
    return jobs


def refuse_one_run_twice(plans: list[Plan]) -> None:
    """Raises ConfigError where two jobs of a sweep have one record."""
    seen = set()
    for place in (one.place(run) for one in plans for run in one.runs):
        if place.record in seen:
            raise ConfigError(
                f"-m: {place.name} would be trained by two jobs: name it once (threads, loader and"
                " the like make no other run of it)"
            )
        seen.add(place.record)


def workers(overrides: list[str], device: str) -> int:
    """How many runs a sweep trains at a time: by joblib, if nobody says, as side_by_side."""
    said = [one.partition("=")[2] for one in overrides if one.startswith("hydra.launcher.n_jobs=")]
    if not said:
        by_joblib = "hydra/launcher=joblib" in overrides
        return side_by_side(resolve_device(device)) if by_joblib else 1
    try:
        return int(said[-1]) if int(said[-1]) > 0 else cpu_count()
    except ValueError as error:
        raise ConfigError(f"hydra.launcher.n_jobs={said[-1]}: must be a whole number") from error


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="config")
def job(cfg: DictConfig) -> None:
    """One job of a sweep. What it refuses was refused before the sweep began."""
    end_with_parent()
    failures = train_missing(plan(list(HydraConfig.get().overrides.task)))
    if failures:
        print(*failures, sep="\n", file=sys.stderr)  # Hydra tells those of the first job alone
        raise RuntimeError("; ".join(failures))


if __name__ == "__main__":
    leave(main())
