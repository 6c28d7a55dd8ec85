"""The command line: python -m batchnorm."""

import itertools
import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from batchnorm.config import CONFIGS, ConfigError
from batchnorm.data import DataError
from batchnorm.experiment import Plan, plan, train_missing
from batchnorm.progress import Place, Watch
from batchnorm.record import RecordError

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
    arm, seed   one arm, one seed; left out: all
    scale       smoke (seconds), quick (the default on a CPU), full (the default on a GPU)
where and how
    data_root   the folder of the data sets; also the environment variable BATCHNORM_DATA
    stand_in    auto, always, never: generated data in the place of real data
    device      auto, cpu, cuda          threads     torch's, per run
    output      where records go         wandb       auto, online, offline, disabled
what a run is   (changes make it a run of your own, kept apart)
    data.*  model.*  optim.*  precision  evaluations; see src/batchnorm/config.py, or --cfg job

A run that was stopped, by Ctrl-C or a crash, goes on from its checkpoint at the same command.
Next: scripts/report.py --root outputs draws figures and tables from the records.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 runs failed, 2 refused."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--help" in arguments or "-h" in arguments:
        names = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))
        print(HELP.format(experiments=", ".join(names)), end="")
        return 0
    flags = [one for one in arguments if one.startswith("-")]
    overrides = [one for one in arguments if not one.startswith("-")]
    sweeping = flags in (["-m"], ["--multirun"])
    if flags and not sweeping:
        sys.argv = [sys.argv[0], *arguments]
        job()  # Hydra's own flags, such as --cfg job
        return 0
    try:
        plans = [plan(one) for one in (combinations(overrides) if sweeping else [overrides])]
    except (ConfigError, DataError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return train_all(plans, overrides, sweeping)


def train_all(plans: list[Plan], overrides: list[str], sweeping: bool) -> int:
    """Train all plans, in this process or by the sweep's launcher, while a Watch tells how it
    goes. Returns the exit status."""
    places = [one.place(run) for one in plans for run in one.runs]
    cfg = plans[0].cfg
    announce(plans, places)
    failures: list[str] = []
    try:
        with Watch(places, workers(overrides)):
            if sweeping:
                decided = [f"scale={cfg.scale}", f"stand_in={cfg.stand_in}"]
                sys.argv = [sys.argv[0], "-m", *overrides, *decided]
                job()
            else:
                failures = train_missing(plans[0])
    except KeyboardInterrupt:
        done = sum(place.record.exists() for place in places)
        print(
            f"\nstopped: {done} of {len(places)} runs are done, nothing is lost;"
            " the same command goes on from here",
            file=sys.stderr,
        )
        return 130
    except SystemExit:
        pass  # Hydra's, after a job that failed and has said why; what is missing is listed below
    missing = [place.name for place in places if not place.record.exists()]
    for name in missing:
        why = next((line for line in failures if line.startswith(f"{name}:")), f"{name}: failed")
        print(why, file=sys.stderr)
    if cfg.stand_in == "always":
        print(
            f"STAND-IN DATA: no real data were found under {cfg.data_root} nor could be"
            " downloaded; these records say nothing about the paper"
        )
    return 1 if missing else 0


def announce(plans: list[Plan], places: list[Place]) -> None:
    """Say what is going to happen, and where it goes."""
    cfg, root = plans[0].cfg, plans[0].root
    if cfg.stand_in == "always":
        print("STAND-IN DATA: generated images in the place of", cfg.data.name, flush=True)
    where = root if len({one.root for one in plans}) == 1 else root.parent
    print(f"{cfg.name}, scale {cfg.scale}: {len(places)} runs -> {where}/", flush=True)


def combinations(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, as Hydra's basic sweeper will make them."""
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    choices = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [o.input_line]
        for o in parsed
        if not o.is_hydra_override()
    ]
    return [list(one) for one in itertools.product(*choices)]


def workers(overrides: list[str]) -> int:
    """How many runs a sweep trains at a time."""
    jobs = [o.split("=")[1] for o in overrides if o.startswith("hydra.launcher.n_jobs=")]
    if jobs:
        return int(jobs[0]) if int(jobs[0]) > 0 else os.cpu_count() or 1
    return (os.cpu_count() or 1) if "hydra/launcher=joblib" in overrides else 1


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="config")
def job(cfg: DictConfig) -> None:
    """One job of a sweep. What it refuses was refused before the sweep began."""
    failures = train_missing(plan(list(HydraConfig.get().overrides.task)))
    if failures:
        raise RuntimeError("; ".join(failures))


if __name__ == "__main__":
    sys.exit(main())
