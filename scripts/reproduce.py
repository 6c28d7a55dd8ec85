"""Train the missing runs of experiments, side by side, then draw them and compare.

python scripts/reproduce.py cifar10_learning_rate [EXPERIMENT ...] [KEY=VALUE ...]

hydra.launcher.n_jobs=N among them: so many runs at a time.
"""

import argparse
import subprocess
import sys
import textwrap
from pathlib import Path

from joblib import cpu_count

from batchnorm import interrupt
from batchnorm.__main__ import main, refused, workers
from batchnorm.config import ConfigError, options
from batchnorm.data import DataError
from batchnorm.experiment import Plan, plan
from batchnorm.progress import counted
from batchnorm.record import RecordError, load, record_path
from batchnorm.stack import stackable
from batchnorm.tracking import Mirror, belongs_to, leave, resolve_mode
from batchnorm.train import resolve_device

REFERENCE = Path("results")
REPORT = Path(__file__).with_name("report.py")
ALONE = ".venv/bin/python scripts/reproduce.py"
BY_JOBLIB, JOBS = "hydra/launcher=joblib", "hydra.launcher.n_jobs="


def command(made: Plan, overrides: list[str]) -> list[str]:
    """The command line that trains a plan side by side, which is faster than one run on all cores,
    or on a whole GPU. Where all runs can be stacked, a job is an arm's seeds as one stack; a GPU
    trains those in one process. Raises ConfigError for no number of jobs."""
    on_a_gpu = resolve_device(made.cfg.device).type != "cpu"
    stacked = not made.cfg.compile and all(stackable(run) for run in made.runs)
    beside = workers([*overrides, BY_JOBLIB], made.cfg.device)
    overrides = runs_of(overrides)
    if beside == 1 or (stacked and on_a_gpu):
        return overrides
    arms = ",".join(dict.fromkeys(run.arm for run in made.runs))
    seeds = ",".join(dict.fromkeys(str(run.seed) for run in made.runs))
    swept = ["arm"] if stacked else ["arm", "seed"]
    rest = [one for one in overrides if one.split("=")[0] not in swept]
    jobs = [f"arm={arms}"] if stacked else [f"arm={arms}", f"seed={seeds}"]
    if made.cfg.workers is None:  # processes that decode, of each run that streams its images
        rest.append(f"workers={max(1, cpu_count() // beside)}")
    return ["-m", *rest, *jobs, BY_JOBLIB, f"{JOBS}{beside}"]


def runs_of(overrides: list[str]) -> list[str]:
    """The overrides without how many runs train at a time."""
    return [one for one in overrides if not one.startswith(JOBS)]


def minutes(made: Plan) -> float | None:
    """What a plan's missing runs took where the reference records in results/ were made, shared
    between this machine's cores; None where there is no reference for one of them, and for runs of
    one's own or on a GPU."""
    if made.changed or resolve_device(made.cfg.device).type != "cpu":
        return None
    seconds = 0.0
    for run in made.runs:
        if made.place(run).record.exists():
            continue
        path = record_path(REFERENCE, run.config())
        if not path.exists():
            return None
        reference = load(path)
        seconds += reference["summary"]["seconds"] / reference["environment"].get("stacked", 1)
    return seconds / cpu_count() / 60


def announce(plans: list[Plan]) -> None:
    """One line for each study: how long it takes, and how to run it alone."""
    for made in plans:
        took, name = minutes(made), made.cfg.name
        about = "no reference to tell the time by"
        if took is not None:
            about = f"about {counted(round(took), 'minute')}"
        print(f"{name}: {counted(len(made.runs), 'run')}, {about}; alone: {ALONE} {name}")


def reproduce(names: list[str], overrides: list[str]) -> int:
    """Train and draw the experiments, one after the other. Returns the exit status: 2 for what is
    refused, before anything trains; else that of the training, or of the report."""
    said = [[f"experiment={name}", *overrides] for name in names]
    interrupt.remember()
    try:
        if not REPORT.is_file():
            raise ConfigError(f"{REPORT}: is not there, and draws what is trained")
        plans = [plan(runs_of(one)) for one in said]
        commands = [command(made, one) for made, one in zip(plans, said, strict=True)]
        announce(plans)
        interrupt.stop_if_pressed()
    except (ConfigError, DataError, RecordError, KeyboardInterrupt) as error:
        return refused(error)
    status = 0
    for one in commands:
        trained = main(one)
        if trained in (2, 130):  # refused, Ctrl-C
            return trained
        status = status or trained
    try:
        for root in dict.fromkeys(made.root for made in plans):
            report = [sys.executable, str(REPORT), "--root", str(root), "--compare"]
            status = subprocess.call(report) or status
        for made in plans:
            mirror_figures(made)
    except KeyboardInterrupt:
        print("stopped while drawing: the same command goes on", file=sys.stderr)
        return 130
    return status


def mirror_figures(made: Plan) -> None:
    """Send the experiment's figures to W&B, as one more run of its group."""
    drawn, names = sorted(made.root.glob(f"figures/{made.cfg.scale}/*.png")), options("experiment")
    figures = [one for one in drawn if belongs_to(one.stem, names) == made.cfg.name]
    mode = resolve_mode(made.cfg.wandb)
    mirror = Mirror(made.cfg.name, "figures", {}, Path(made.cfg.output), mode)
    for path in figures:
        mirror.image(path.stem, path)
    mirror.finish({})


def parse(arguments: list[str] | None = None) -> tuple[list[str], list[str]]:
    """The experiments that the command line names, and its overrides."""
    names = textwrap.fill(", ".join(options("experiment")), 84)
    more = "What KEY=VALUE may be: python -m batchnorm --help"
    parser = argparse.ArgumentParser(
        usage="reproduce.py [-h] EXPERIMENT ... [KEY=VALUE ...]",
        description=__doc__,
        epilog=f"experiments:\n{textwrap.indent(names, '  ')}\n\n{more}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("said", nargs="*", help=argparse.SUPPRESS)
    said = parser.parse_intermixed_args(arguments).said
    chosen = [one for one in said if "=" not in one]
    if not chosen:
        parser.error("no EXPERIMENT is named; --help lists them")
    return chosen, [one for one in said if "=" in one]


if __name__ == "__main__":
    leave(reproduce(*parse()))
