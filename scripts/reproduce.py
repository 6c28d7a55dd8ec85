"""Train an experiment's missing runs, side by side on a CPU, then draw them and compare.

python scripts/reproduce.py cifar10_learning_rate [KEY=VALUE ...]
"""

import os
import subprocess
import sys
from pathlib import Path

from batchnorm.__main__ import main
from batchnorm.config import ConfigError, options
from batchnorm.data import DataError
from batchnorm.experiment import Plan, plan
from batchnorm.record import RecordError
from batchnorm.stack import stackable
from batchnorm.tracking import Mirror, leave, resolve_mode
from batchnorm.train import resolve_device


def command(made: Plan, overrides: list[str]) -> list[str]:
    """The command line that trains a plan: on a CPU one single-threaded run (or one stack of an
    arm's seeds) per core, which is faster than one run on all cores; on a GPU all in this process,
    one after the other or stacked."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if resolve_device(made.cfg.device).type != "cpu" or cores == 1:
        return overrides
    arms = ",".join(dict.fromkeys(run.arm for run in made.runs))
    seeds = ",".join(dict.fromkeys(str(run.seed) for run in made.runs))
    stacked = all(stackable(run) for run in made.runs)
    swept = ["arm"] if stacked else ["arm", "seed"]
    rest = [one for one in overrides if one.split("=")[0] not in swept]
    jobs = [f"arm={arms}"] if stacked else [f"arm={arms}", f"seed={seeds}"]
    return ["-m", *rest, *jobs, "hydra/launcher=joblib", f"hydra.launcher.n_jobs={cores}"]


def reproduce(overrides: list[str]) -> int:
    """Returns the exit status: that of the training, or of the report where all trained."""
    try:
        made = plan(overrides)
    except (ConfigError, DataError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    trained = main(command(made, overrides))
    if trained == 130:  # Ctrl-C
        return trained
    report = [sys.executable, "scripts/report.py", "--root", str(made.root), "--compare"]
    drawn = subprocess.call(report)
    mirror_figures(made)
    return trained or drawn


def mirror_figures(made: Plan) -> None:
    """Send the experiment's figures to W&B, as one more run of its group."""
    figures = sorted(made.root.glob(f"figures/{made.cfg.scale}/*{made.cfg.name}.png"))
    mode = resolve_mode(made.cfg.wandb)
    mirror = Mirror(made.cfg.name, "figures", {}, Path(made.cfg.output), mode)
    for path in figures:
        mirror.image(path.stem, path)
    mirror.finish({})


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"usage: reproduce.py EXPERIMENT [KEY=VALUE ...]; one of {options('experiment')}")
    leave(reproduce([f"experiment={sys.argv[1]}", *sys.argv[2:]]))
