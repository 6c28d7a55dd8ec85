"""The command line as a person uses it: help, refusals, progress, Ctrl-C, sweeps, stand-in data."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib
import pytest
import torch

from batchnorm import __main__ as cli
from batchnorm import checkpoint, experiment, progress, record, together, workers
from batchnorm import train as training
from batchnorm.config import ConfigError
from batchnorm.train import train
from conftest import script, small_run, until

BASE = ["experiment=cifar10_learning_rate", "scale=smoke", "stand_in=always"]
BASE += ["wandb=disabled", "device=cpu"]
CPU = torch.device("cpu")


def a_gpu(monkeypatch, module, cores: int, memory: int) -> None:
    """As if there were one, of so many GiB, in a machine of so many cores."""
    for one in (cli, module):
        monkeypatch.setattr(one, "resolve_device", lambda name: torch.device("cuda"))
    for one in (workers, module):
        monkeypatch.setattr(one, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, memory * 2**30))


def test_joblib_trains_a_run_on_each_core_and_on_a_gpu_as_many_as_fill_it(monkeypatch):
    by_joblib = ["hydra/launcher=joblib"]
    assert cli.workers([], "cpu") == 1
    assert cli.workers(by_joblib, "cpu") == joblib.cpu_count()
    for cores, memory, expected in ((16, 79, 6), (4, 79, 2), (16, 11, 2), (1, 2, 1)):
        a_gpu(monkeypatch, cli, cores, memory)
        assert cli.workers(by_joblib, "auto") == expected
    assert cli.workers([*by_joblib, "hydra.launcher.n_jobs=3"], "auto") == 3


def test_reproduce_trains_side_by_side_on_a_gpu_and_stacks_in_one_process(here, monkeypatch):
    reproduce = script("reproduce")
    plans = {
        name: experiment.plan([f"experiment={name}", *BASE[1:]])
        for name in ("cifar10_learning_rate", "mnist")
    }
    for cores, beside in ((16, 6), (2, 1)):
        a_gpu(monkeypatch, reproduce, cores, memory=79)
        command = reproduce.command(plans["cifar10_learning_rate"], BASE)
        assert (f"hydra.launcher.n_jobs={beside}" in command) == (beside > 1)
        assert (f"workers={cores // beside}" in command) == (beside > 1)
        assert reproduce.command(plans["mnist"], BASE) == BASE


def test_how_many_runs_reproduce_trains_at_a_time_can_be_said(here, monkeypatch, capsys):
    reproduce, commands = script("reproduce"), []
    monkeypatch.setattr(reproduce, "main", lambda command: commands.append(command) or 130)
    for said, expected in (("3", 3), ("1", None)):
        jobs = [f"hydra.launcher.n_jobs={said}"]
        assert reproduce.reproduce(["cifar10_learning_rate"], [*BASE[1:], *jobs]) == 130
        found = [one for one in commands.pop() if "n_jobs" in one]
        assert found == ([f"hydra.launcher.n_jobs={expected}"] if expected else [])
    jobs = ["hydra.launcher.n_jobs=many"]
    assert reproduce.reproduce(["cifar10_learning_rate"], [*BASE[1:], *jobs]) == 2
    assert "n_jobs=many: must be a whole number" in capsys.readouterr().err


def test_a_reference_that_cannot_be_read_is_one_line(here, capsys):
    reproduce = script("reproduce")
    torn = here / "results/records/smoke/cifar10_learning_rate/baseline-0.json"
    torn.parent.mkdir(parents=True)
    torn.write_text("{")
    assert reproduce.reproduce(["cifar10_learning_rate"], [*BASE[1:], "device=cpu"]) == 2
    said = capsys.readouterr()
    assert "baseline-0.json" in said.err
    assert (len(said.err.splitlines()), said.out) == (1, "")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_explains_itself_with_examples(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    for part in ("examples", "cifar10_learning_rate", "scale", "hydra/launcher=joblib", "Ctrl-C"):
        assert part in said
    assert max(len(line) for line in said.splitlines()) <= 100


@pytest.mark.parametrize(
    "wrong",
    [
        "optim.lr=interval(0,1)",
        "hydra.launcher.n_jobs=two",
        "hydra.launcher.nope=1",
        "hydra/launcher=submitit_slurm",
        "seed=range(0)",
        "optim.lr=0.1,0.10",
    ],
)
def test_what_no_sweep_can_be_is_refused_in_one_line(wrong, here, capsys):
    assert cli.main(["-m", *BASE, wrong]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_sweep_of_values_that_hydra_writes_otherwise_finds_its_records(here, capsys):
    sweep = ["-m", *BASE, "arm=baseline", "seed=0", "data.augment=false", "optim.lr=1e-2,.05"]
    assert cli.main(sweep) == 0
    assert "[2/2]" in capsys.readouterr().out
    folders = sorted(path.name for path in here.glob("outputs/stand-in/scratch/*"))
    assert folders == [f"data.augment=False,optim.lr={lr}" for lr in ("0.01", "0.05")]


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_a_refusal_is_one_line_before_any_work(flags, here, capsys):
    assert cli.main([*flags, *BASE, "optim.lr_multiplier=-1"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: optim.lr_multiplier=-1")
    assert len(said.err.splitlines()) == 1
    assert said.out == ""
    assert list(here.iterdir()) == []


WRONG = ["~arms", "~data_root", "optim.lr=${nope}", f"seed={2**32}", "hydra/launcher=joblib"]
WRONG += ["optim.epochs=1e300", f"evaluations={10**9}"]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_refers_to_nothing_or_cannot_be_written_is_refused_in_one_line(wrong, here, capsys):
    assert cli.main([*BASE, wrong]) == 2
    said = capsys.readouterr()
    assert (len(said.err.splitlines()), said.out) == (1, "")


def test_a_record_that_lacks_a_part_is_refused_before_any_work(here, capsys):
    command = [*BASE, "arm=baseline", "seed=0"]
    assert cli.main(command) == 0
    (path,) = here.glob("outputs/stand-in/records/smoke/*/*.json")
    whole = record.load(path)
    lacks = [{key: value for key, value in whole.items() if key != part} for part in record.PARTS]
    lacks += [{**whole, "environment": {}}, {**whole, "summary": {"diverged": False}}]
    for less in lacks:
        record.write(path, less)
        capsys.readouterr()
        assert cli.main(command) == 2
        said = capsys.readouterr()
        assert "baseline-0.json: is not a whole record" in said.err
        assert (len(said.err.splitlines()), said.out) == (1, "")


def test_a_sweep_in_which_two_jobs_are_one_run_is_refused(here, capsys):
    """Side by side, both would train it, from one checkpoint and into one record."""
    for swept in ("threads=1,2", "seeds=[0,1],[1,2]"):
        assert cli.main(["-m", *BASE, "arm=baseline", swept]) == 2
        said = capsys.readouterr()
        assert "error: -m: baseline-" in said.err
        assert "would be trained by two jobs" in said.err
        assert (len(said.err.splitlines()), said.out) == (1, "")


def test_one_bad_value_in_a_sweep_stops_it_before_the_first_run(here, capsys):
    assert cli.main(["-m", *BASE, "arm=bn_x5", "seed=0", "optim.lr=0.1,-0.1"]) == 2
    assert "optim.lr=-0.1" in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_a_sweep_is_the_product_of_its_values():
    jobs = cli.combinations(["a=1,2", "seed=range(3)", "b=x", "hydra/launcher=joblib"])
    same = cli.combinations(["data.augment=false", "optim.lr=1e-2", "arm=a,b", "arm=c"])
    assert same == [["data.augment=False", "optim.lr=0.01", "arm=c"]], "as Hydra writes them"
    assert jobs == [[f"a={a}", f"seed={s}", "b=x"] for a in (1, 2) for s in (0, 1, 2)]


def test_runs_are_trained_once_and_a_stale_record_is_refused_by_name(here, capsys):
    command = [*BASE, "arm=baseline", "seed=0"]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "[1/1] baseline-0" in said
    assert said.strip().splitlines()[-1].startswith("STAND-IN DATA")
    (path,) = here.glob("outputs/stand-in/records/smoke/*/*.json")
    written = path.stat().st_mtime_ns
    assert cli.main(command) == 0
    assert "1 of 1 runs are done already" in capsys.readouterr().out
    dirty = record.load(path)
    dirty["environment"]["dirty"] = True
    record.write(path, dirty)
    written = path.stat().st_mtime_ns
    assert cli.main(command) == 0
    assert "1 by code that was not committed" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == written
    changed = record.load(path)
    changed["config"]["optim"]["lr"] = 0.5
    record.write(path, changed)
    assert cli.main(command) == 2
    assert "optim.lr: 0.5 -> " in capsys.readouterr().err


def test_an_unfinished_run_of_another_configuration_is_refused_before_any_work(here, capsys):
    made = experiment.plan([*BASE, "arm=baseline", "seed=0"])
    place, run = made.place(made.runs[0]), small_run()
    images = experiment.data.load(made.runs[0].data, experiment.where(made.cfg), CPU)
    checkpoint.save(place.checkpoint, run.config(), training.start(run, images, CPU))
    assert cli.main([*BASE, "seed=0"]) == 2
    said = capsys.readouterr()
    assert "baseline-0.ckpt: is of an unfinished run that is another one (arm: a -> " in said.err
    assert (len(said.err.splitlines()), said.out) == (1, "")
    place.checkpoint.write_bytes(b"no checkpoint")
    assert cli.main([*BASE, "arm=baseline", "seed=0"]) == 0
    assert "the run starts over" in capsys.readouterr().out


def test_nothing_but_the_record_is_left(here):
    folder = here / "outputs/stand-in/records/smoke/cifar10_learning_rate"
    folder.mkdir(parents=True)
    (folder / ".bn_x5-1.ckpt.12345").write_bytes(b"of a process that was killed")
    assert cli.main([*BASE, "arm=bn_x5", "seed=1"]) == 0
    left = sorted(p.name for p in folder.iterdir())
    assert left == ["bn_x5-1.json"]


def test_a_checkpoint_that_a_crash_left_beside_its_record_does_not_stay(here):
    command = [*BASE, "arm=baseline", "seed=0"]
    assert cli.main(command) == 0
    (path,) = here.glob("outputs/**/records/**/*.json")
    left = path.with_suffix(".ckpt")
    left.write_bytes(b"of its last step")  # killed between the record and the checkpoint's end
    assert cli.main(command) == 0
    assert not left.exists()


def test_a_run_whose_record_cannot_be_written_is_not_lost(here, monkeypatch, capsys):
    def full(*what):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(record, "write", full)
        assert cli.main([*BASE, "arm=baseline", "seed=0"]) == 1
    assert "baseline-0: OSError: no space left" in capsys.readouterr().err
    assert list(here.glob("outputs/**/baseline-0.ckpt")), "it goes when the record is there"


def test_what_another_command_has_trained_meanwhile_is_not_trained_again(here, monkeypatch):
    made = []

    def both_at_once(run, *rest):
        """The first run takes so long that another command makes the second one's record."""
        record_ = train(run, *rest)
        if not made:
            (place,) = [p.place(other).record for p in plans for other in p.runs if other != run]
            config_ = next(one.config() for p in plans for one in p.runs if one != run)
            record.write(place, {**record_, "config": config_})
        made.append(run.seed)
        return record_

    plans = [experiment.plan([*BASE, "arm=baseline", "seeds=[0,1]"])]
    monkeypatch.setattr(experiment, "train", both_at_once)
    assert cli.main([*BASE, "arm=baseline", "seeds=[0,1]"]) == 0
    assert made == [0]


def test_an_unfinished_run_of_another_number_of_processes_is_not_begun_anew(here, capsys):
    """There may be days of work in its checkpoint."""
    run = experiment.plan([*BASE, "arm=baseline", "seed=0"])
    (place,) = [run.place(one) for one in run.runs]
    images = experiment.data.load(run.runs[0].data, experiment.where(run.cfg), torch.device("cpu"))
    state = training.start(run.runs[0], images, torch.device("cpu"))
    batches = experiment.data.batches(images, run.runs[0].data, 0)
    precision = training.resolve_precision("auto", torch.device("cpu"))
    what = training.identity(run.runs[0], batches, precision)
    checkpoint.save(place.checkpoint, {**what, "replicas": 8}, state)
    before = place.checkpoint.read_bytes()
    assert cli.main([*BASE, "arm=baseline", "seed=0"]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "replicas: 8 -> None" in said
    assert place.checkpoint.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="as loky starts processes on POSIX")
def test_what_waits_for_a_server_does_not_keep_a_sweep_from_ending(here):
    """W&B's exit handler would, for as long as the server is silent."""
    (here / "sweep.py").write_text(
        "import atexit, time, joblib\n"
        "from batchnorm import workers\n"
        "def one(i):\n"
        "    workers.TO_END = 1.0\n"
        "    workers.end_with_parent()\n"
        "    atexit.register(time.sleep, 300)\n"
        "if __name__ == '__main__':\n"
        "    joblib.Parallel(n_jobs=2)(joblib.delayed(one)(i) for i in range(2))\n"
    )
    subprocess.run([sys.executable, "sweep.py"], cwd=here, check=True, timeout=120)


def test_a_sweep_of_experiments_with_scales_of_their_own_says_which(here, capsys):
    both = ["-m", "experiment=mnist,cifar10_learning_rate", "seed=0", *BASE[2:]]
    assert cli.main(both) == 2
    assert capsys.readouterr().err == "error: scale: would be full or quick: say which, by scale=\n"
    assert not list(here.glob("outputs/**/*.json"))


def test_records_that_could_not_be_written_are_refused_before_training(here, capsys):
    (here / "file").write_text("")
    assert cli.main([*BASE, "arm=bn_x5", "seed=0", "output=file"]) == 2
    said = capsys.readouterr().err
    folder = "file/stand-in/records/smoke/cifar10_learning_rate"
    assert said == f"error: output=file: {folder} cannot be written to\n"


def test_one_failed_run_does_not_lose_the_others(here, capsys, monkeypatch):
    def sometimes(run, *rest):
        if run.arm == "baseline_x5":
            raise RuntimeError("the machine is on fire")
        return train(run, *rest)

    monkeypatch.setattr(experiment, "train", sometimes)
    assert cli.main([*BASE, "seed=0"]) == 1
    said = capsys.readouterr()
    assert "baseline_x5-0: RuntimeError: the machine is on fire" in said.err.splitlines()[-1]
    assert len(list(here.glob("outputs/**/*.json"))) == 7


def test_an_error_after_a_run_has_left_its_record_is_a_failure_too(here, capsys, monkeypatch):
    """Of one of several processes: else it would wait for the others, which wait for it."""

    def stale(path):
        raise OSError("stale file handle")

    monkeypatch.setattr(record, "half_written", stale)
    assert cli.main([*BASE, "arm=bn_x5", "seed=0"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "bn_x5-0: OSError: stale file handle"
    assert len(list(here.glob("outputs/**/bn_x5-0.json"))) == 1


def test_stand_in_data_say_why_and_a_mistyped_folder_is_refused(here, capsys, monkeypatch):
    command = [one for one in BASE if one != "stand_in=always"] + ["arm=baseline", "seed=0"]
    assert cli.main([*command, "data_root=typo"]) == 2
    assert capsys.readouterr().err == "error: data_root=typo: must be a folder that is there\n"
    assert list(here.iterdir()) == []
    monkeypatch.setattr(experiment, "unavailable", lambda *where: "none in cellar")
    assert cli.main([*command, f"data_root={here}"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "STAND-IN DATA: generated images in the place of cifar10: none in cellar"


def test_images_that_cannot_be_had_leave_nothing_begun(here, capsys, monkeypatch):
    begun = []
    monkeypatch.setattr(experiment, "Mirror", lambda *what: begun.append(what))

    def full(*what):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(experiment.data, "load", full)
    assert cli.main([*BASE, "arm=baseline", "seed=0"]) == 1
    assert "OutOfMemoryError: no room" in capsys.readouterr().err.splitlines()[-1]
    assert not begun


def start(arguments: list[str], folder: Path) -> subprocess.Popen:
    """The command line, which hears Ctrl-C even where tests run in the background and do not."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    command = [sys.executable, "-m", "batchnorm", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def interrupted(process: subprocess.Popen) -> str:
    """What a process group says after Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=180)[1]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as at a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def swallowed(*into: type[Exception]) -> Iterator[None]:
    """Ctrl-C at this place, which a library catches, or makes an error of."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        for kind in into:
            raise kind("what a library says") from error
    yield


@pytest.mark.parametrize("into", [(), (ConfigError,)])
def test_a_ctrl_c_that_a_library_swallows_before_the_first_run_stops_all_the_same(
    into, here, interruptible, monkeypatch, capsys
):
    def planned(overrides):
        with swallowed(*into):
            return experiment.plan(overrides)

    monkeypatch.setattr(cli, "plan", planned)
    assert cli.main([*BASE, "arm=bn_x5", "seed=0"]) == 130
    assert capsys.readouterr().err == "stopped before the first run\n"
    assert not list(here.glob("outputs/**/*.json"))
    reproduce = script("reproduce")
    monkeypatch.setattr(reproduce, "plan", planned)
    assert reproduce.reproduce(["cifar10_learning_rate"], BASE[1:]) == 130


@pytest.mark.parametrize("into", [(), (RuntimeError,)])
@pytest.mark.parametrize("name", ["cifar10_learning_rate", "mnist"])
def test_a_ctrl_c_that_is_swallowed_while_a_run_trains_stops_at_the_next_step(
    name, into, here, interruptible, monkeypatch, capsys
):
    """Of a run alone, and of a stack; resumed, it ends."""
    place = training if name == "cifar10_learning_rate" else together
    row = place.evaluation_row

    def evaluated(*given):
        with swallowed(*into):
            return row(*given)

    arguments = [f"experiment={name}", *BASE[1:], "arm=" + ("bn_x5" if place is training else "bn")]
    monkeypatch.setattr(place, "evaluation_row", evaluated)
    assert cli.main(arguments) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    assert not list(here.glob("outputs/**/*.json"))
    monkeypatch.setattr(place, "evaluation_row", row)
    assert cli.main(arguments) == 0


def checkpoints(folder: Path) -> int:
    return len(list(folder.glob("outputs/**/*.ckpt")))


@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(launcher, here):
    """Long runs, interrupted as by a terminal: the signal goes to the whole process group."""
    flags = ["-m"] if launcher else []
    arguments = [*flags, *BASE, *launcher, "arm=baseline,bn_x5" if launcher else "arm=bn_x5"]
    arguments += ["seed=0", "optim.epochs=4000", "evaluations=300"]
    process = start(arguments, here)
    begun = 2 if launcher else 1
    until(lambda: process.poll() is not None or checkpoints(here) == begun)
    err = interrupted(process)
    assert process.returncode == 130
    assert "the same command goes on from here" in err
    assert "Traceback" not in err
    (root,) = here.glob("outputs/stand-in/scratch/*")
    assert "optim.epochs=4000" in root.name
    assert not list(here.glob("outputs/**/*.json"))
    assert list(here.glob("outputs/**/*.ckpt"))
    assert not list(here.glob("outputs/**/*.progress")), "the next command would ask who trains it"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux's /proc")
def test_runs_side_by_side_end_where_what_started_them_is_killed(here):
    arguments = ["-m", *BASE, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    arguments += ["arm=baseline,bn_x5", "seed=0", "optim.epochs=4000", "evaluations=300"]
    process = start(arguments, here)
    until(lambda: checkpoints(here) == 2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [Path("/proc") / pid for pid in children]
    training = [one for one in workers if b"LokyProcess" in (one / "cmdline").read_bytes()]
    assert len(training) == 2, "both runs are on their way"
    process.kill()
    until(lambda: not any(one.exists() for one in training), seconds=20)
    left = [one for one in training if one.exists()]
    for one in left:
        os.kill(int(one.name), signal.SIGKILL)
    process.communicate()
    assert not left


def test_a_sweep_side_by_side_leaves_the_records_of_one_after_the_other(here):
    """Hydra's joblib launcher, two processes: the same records, bit for bit."""
    both = "arm=baseline,bn_baseline"
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    sweep = start(["-m", *BASE, both, "seed=0,1", *launcher, "output=beside"], here)
    out, err = sweep.communicate(timeout=400)
    assert sweep.returncode == 0, err
    assert "[4/4]" in out
    for arm in ("baseline", "bn_baseline"):
        single = start([*BASE, f"arm={arm}", "threads=1", "output=after"], here)
        assert single.wait(timeout=240) == 0
    for path in here.glob("beside/stand-in/records/**/*.json"):
        ours = record.load(path)
        theirs = record.load(here / "after" / path.relative_to(here / "beside"))
        for key in ("step", "train/loss", "test/loss", "test/accuracy"):
            assert ours["metrics"][key] == theirs["metrics"][key], path.name


@pytest.mark.parametrize(("name", "jobs"), [("cifar10_learning_rate", 16), ("mnist", 4)])
def test_reproduce_names_every_run_and_as_many_jobs_as_cores(name, jobs, here, monkeypatch):
    """On MNIST a job is the stack of an arm's seeds."""
    reproduce = script("reproduce")
    monkeypatch.setattr(workers, "cpu_count", lambda: 3)
    said = [f"experiment={name}", *BASE[1:]]
    made = experiment.plan(said)
    command = reproduce.command(made, said)
    assert command[-2:] == ["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"]
    found = cli.combinations([one for one in command if one != "-m"])
    plans = [experiment.plan(job) for job in found]
    assert not any(one.changed for one in plans)
    names = [(run.arm, run.seed) for one in plans for run in one.runs]
    assert sorted(names) == sorted((run.arm, run.seed) for run in made.runs)
    assert len(found) == jobs


@pytest.mark.parametrize(
    ("trained", "status", "reported"), [([0, 0], 0, 1), ([1, 0], 1, 1), ([130, 0], 130, 0)]
)
def test_reproduce_draws_what_was_trained_unless_stopped(
    trained, status, reported, here, monkeypatch
):
    reproduce, reports = script("reproduce"), []
    monkeypatch.setattr(reproduce, "main", lambda command: trained.pop(0))
    monkeypatch.setattr(reproduce.subprocess, "call", lambda command: reports.append(command) or 0)
    both = ["cifar10_learning_rate", "cifar10_dropout"]
    assert reproduce.reproduce(both, BASE[1:]) == status
    assert len(trained) == (1 if status == 130 else 0)
    assert len(reports) == reported
    assert all("outputs/stand-in" in command for command in reports)
    assert all(Path(command[1]).is_file() for command in reports), "in any folder"


def test_reproduce_refuses_before_training_where_nothing_could_draw(here, monkeypatch, capsys):
    reproduce = script("reproduce")
    monkeypatch.setattr(reproduce, "REPORT", here / "report.py")
    assert reproduce.reproduce(["cifar10_learning_rate"], BASE[1:]) == 2
    assert capsys.readouterr().err.startswith(f"error: {here / 'report.py'}: is not there")
    assert list(here.iterdir()) == []


def test_reproduce_explains_itself_and_names_what_it_does_not_know(capsys):
    parse = script("reproduce").parse
    assert parse(["mnist", "scale=full", "mnist_tune"]) == (["mnist", "mnist_tune"], ["scale=full"])
    with pytest.raises(SystemExit, match="0"):
        parse(["--help"])
    said = capsys.readouterr().out
    assert "cifar10_learning_rate" in said and "hydra.launcher.n_jobs" in said
    assert max(len(line) for line in said.splitlines()) <= 100
    for wrong, expected in (["mnist", "-m", "scale=full"], "-m"), (["scale=full"], "EXPERIMENT"):
        with pytest.raises(SystemExit, match="2"):
            parse(wrong)
        assert expected in capsys.readouterr().err.splitlines()[-1]


def test_reproduce_counts_one_run_as_one(capsys, monkeypatch):
    reproduce = script("reproduce")
    monkeypatch.setattr(reproduce, "minutes", lambda made: 1.2)
    reproduce.announce([experiment.plan([*BASE, "arm=baseline", "seed=0"])])
    assert ": 1 run, about 1 minute; alone" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["screenshot", "bench", "bench_gpu", "bench_images"])
def test_help_of_a_script_does_nothing_else_and_an_unknown_option_is_named(
    name, here, monkeypatch, capsys
):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    main = script(name).main
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert f"\n    python scripts/{name}.py" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [name, "--comiled"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err.endswith("error: unrecognized arguments: --comiled\n")
    assert list(here.iterdir()) == []


def test_a_typo_is_refused_before_any_network_is_measured(here, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    bench, study = script("bench_gpu"), "cifar10_learning_rate"
    monkeypatch.setattr(bench, "alone", lambda network, *rest: pytest.fail(network))
    on_a_cpu = ["--device", "cpu", "stand_in=always"]
    with pytest.raises(SystemExit, match=r"^error: arm=typo"):
        bench.main([f"{study}/bn_x30", f"{study}/typo", *on_a_cpu])
    with pytest.raises(SystemExit, match=r"^error: .*--streamed: needs"):
        bench.main([f"{study}/bn_x30", "--streamed", *on_a_cpu])


def test_reproduce_tells_the_time_of_the_references_own_runs_alone(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    minutes = script("reproduce").minutes
    said = ["experiment=mnist", "scale=full", "stand_in=always", "output=/nonexistent"]
    assert minutes(experiment.plan(said)) > 1
    assert minutes(experiment.plan([*said, "optim.epochs=500"])) is None


def test_reproduce_fails_where_the_report_does(here, monkeypatch):
    reproduce = script("reproduce")
    monkeypatch.setattr(reproduce, "main", lambda command: 0)
    monkeypatch.setattr(reproduce.subprocess, "call", lambda command: 1)
    assert reproduce.reproduce(["mnist"], BASE[1:]) == 1


def test_progress_tells_accuracy_speed_and_time_left(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress.time, "time", lambda: 1e9)  # or runs would go on meanwhile
    places = [progress.Place(f"run-{i}", tmp_path / f"run-{i}.json") for i in range(4)]
    config, summary = small_run().config(), {"seconds": 100.0, "images_per_second": 2000.0}
    summary |= {"diverged": False, "diverged_at_step": None, "test/accuracy": 0.5}
    record.write(places[0].record, record.make(config, {}, summary, {}))
    watch = progress.Watch(places, workers=2)
    with watch:
        assert "1 of 4 runs are done" in capsys.readouterr().out
        assert watch.left([]) == pytest.approx(150)  # three runs of 100 s, two at a time
        status = {"step": 50, "steps": 100, "seconds": 50.0, "accuracy": 0.4}
        progress.report(places[1], {**status, "images_per_second": 1500})
        running = watch._running()
        assert watch.left(running) == pytest.approx(125)
        line = progress.status_line(running, 1, 4, watch.left(running))
        assert line == (
            "1/4 runs, 2:05 left | run-1: step 50 of 100, accuracy 40.0 %, 1,500 images/s"
        )
        diverged = {**summary, "diverged": True, "diverged_at_step": 7, "seconds": 1.0}
        record.write(places[1].record, record.make(config, {}, diverged, {}))
    said = capsys.readouterr().out
    assert "[2/4] run-1" in said
    assert "diverged at step 7" in said


def test_a_run_that_another_command_may_be_training_is_named(tmp_path, capsys, monkeypatch):
    places = [progress.Place(f"run-{i}", tmp_path / f"run-{i}.json") for i in range(2)]
    for place, ago in zip(places, (10, 90), strict=True):
        with monkeypatch.context() as then:
            then.setattr(progress.time, "time", lambda ago=ago: 1e9 - ago)
            progress.report(place, {})
    monkeypatch.setattr(progress.time, "time", lambda: 1e9)
    with progress.Watch(places, workers=1):
        said = capsys.readouterr().out
    assert said == "run-0 trained a moment ago: if another command still does, stop one of both\n"
