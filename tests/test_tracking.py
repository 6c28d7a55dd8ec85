"""The W&B mirror: complete, silent about its failures after the first, and off the network."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from batchnorm import experiment, tracking
from batchnorm.config import ConfigError
from conftest import until

CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
KEY = {"WANDB_API_KEY": "a" * 40}


def nobody(folder: Path) -> dict[str, str]:
    """The environment of somebody without settings or a login."""
    return {**CLEAN, "HOME": str(folder), "NETRC": str(folder / "none")}


def done(code: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A program that has ended, of somebody without settings or a login, in an empty folder."""
    where = {"env": nobody(folder) | more, "cwd": folder}
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **where)


def inspected(log: Path) -> dict[str, list[dict]]:
    """What an offline run's file holds, by kind."""
    leet = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    away = nobody(log.parent)
    text = subprocess.run(leet, env=away, capture_output=True, text=True, timeout=120).stdout
    found: dict[str, list[dict]] = {}
    for line in map(json.loads, text.splitlines()):
        found.setdefault(line["type"], []).append(line.get(line["type"], {}))
    return found


OFFLINE = """
import sys
from pathlib import Path
from batchnorm.tracking import Mirror, resolve_mode
assert resolve_mode("auto") == "offline"
mirror = Mirror("group", "arm-0", {"optim": {"lr": 0.5}}, Path(sys.argv[1]), "offline")
for step in (10, 40):
    mirror.log({"step": step, "test/accuracy": step / 100})
mirror.finish({"diverged": False})
mirror.wait(30)
"""


@pytest.fixture
def listener():
    """A server that accepts connections, never answers, and counts them."""
    server, seen = socket.create_server(("127.0.0.1", 0)), []

    def accept() -> None:
        while True:
            try:
                seen.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}", seen
    server.close()


def test_offline_it_writes_everything_and_connects_to_nothing(tmp_path, listener):
    address, seen = listener
    away = {"WANDB_BASE_URL": address, "HTTP_PROXY": address, "HTTPS_PROXY": address}
    ended = done(OFFLINE, tmp_path, **away)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout + ended.stderr == ""
    assert seen == []
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    (log,) = folder.glob("*.wandb")
    text = json.dumps(inspected(log))
    for said in ("arm-0", "group", "test/accuracy", "0.4", "diverged", "lr"):
        assert said in text, said


HANGING = """
import sys
from pathlib import Path
from batchnorm.tracking import Mirror, leave, resolve_mode
mirror = Mirror("group", "arm-0", {}, Path(sys.argv[1]), resolve_mode("auto"))
mirror.log({"step": 1})
mirror.finish({})
input()
leave(3, patience=1.0)
"""


def test_a_server_that_never_answers_does_not_keep_the_program_from_ending(tmp_path, listener):
    address, seen = listener
    account = {"WANDB_BASE_URL": address, "HOME": str(tmp_path), **KEY}
    command = [sys.executable, "-c", HANGING, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=CLEAN | account, **pipes)
    try:
        until(lambda: bool(seen))
        _, said = process.communicate("\n", timeout=60)
    finally:
        process.kill()
    assert seen, "logged in, it is online"
    assert process.returncode == 3
    assert "not everything was sent" in said


def test_a_failure_is_said_once_and_stops_nothing(tmp_path, monkeypatch, capsys):
    def broken():
        raise OSError("no such server")

    monkeypatch.setattr(tracking, "_wandb", broken)
    mirror = tracking.Mirror("group", "arm-0", {}, tmp_path, "online")
    for step in range(5):
        mirror.log({"step": step})
    mirror.finish({})
    mirror.wait(5)
    assert capsys.readouterr().out.count("no such server; going on without it") == 1


def test_a_server_that_hangs_costs_no_more_than_the_wait(tmp_path, monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(tracking, "_wandb", lambda: answer.wait(60))
    monkeypatch.setattr(tracking.Mirror, "unended", [])
    monkeypatch.setattr(tracking.Mirror, "cut_off", False)
    mirror = tracking.Mirror("group", "arm-0", {}, tmp_path, "online")
    for step in range(100):
        mirror.log({"step": step})
    mirror.finish({})
    mirror.wait(0.2)
    assert mirror._thread.is_alive(), "it still waits, and we do not"
    answer.set()
    mirror.wait(60)


def test_disabled_it_does_nothing_at_all(tmp_path):
    mirror = tracking.Mirror("group", "arm-0", {}, tmp_path, "disabled")
    mirror.log({"step": 1})
    mirror.finish({})
    mirror.wait(1)
    assert list(tmp_path.iterdir()) == []
    assert tracking.resolve_mode("offline") == "offline"


CUT_OFF = """
import sys
from pathlib import Path
from batchnorm.tracking import Mirror, leave, resolve_mode
mirrors = [Mirror("g", f"arm-{i}", {}, Path(sys.argv[1]), resolve_mode("auto")) for i in (0, 1)]
for mirror in mirrors:
    mirror.log({"step": 7, "test/accuracy": 0.25})
    mirror.finish({})
    mirror.wait(60)
late = Mirror("g", "arm-2", {}, Path(sys.argv[1]), "online")
late.log({"step": 7, "test/accuracy": 0.25})
late.finish({})
leave(0, patience=60)
"""


def test_where_no_server_can_be_had_runs_are_written_offline_which_is_said_once(tmp_path):
    nowhere = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_INIT_TIMEOUT": "3", **KEY}
    ended = done(CUT_OFF, tmp_path, **nowhere)
    assert (ended.returncode, ended.stderr) == (0, "")
    (line,) = ended.stdout.splitlines()
    assert f"wandb sync {tmp_path}/wandb/offline-run-*" in line
    logs = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(logs) == 3
    for log in logs:
        assert inspected(log)["history"][0]["item"]["test/accuracy"] == 0.25


NAMED = """
import sys
from pathlib import Path
from batchnorm.tracking import Mirror
mirror = Mirror("g", "a-0 optim.lr=0.5,b=1", {}, Path(sys.argv[1]), "offline", ["smoke"], "train")
mirror.finish({}, exit_code=1)
mirror.wait(60)
"""


def test_a_run_is_named_by_its_changes_and_a_failed_one_has_failed(tmp_path):
    assert done(NAMED, tmp_path).returncode == 0
    (log,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    found = inspected(log)
    (run,) = found["run"]
    assert (run["display_name"], run["run_group"]) == ("a-0 optim.lr=0.5,b=1", "g")
    assert (run["tags"], run["job_type"], run["project"]) == (["smoke"], "train", "batchnorm")
    assert found["exit"][0]["exit_code"] == 1


def test_names_that_the_user_has_given_are_used(tmp_path):
    own = {"WANDB_PROJECT": "p", "WANDB_RUN_GROUP": "mine", "WANDB_NAME": "n"}
    assert done(NAMED, tmp_path, **own).returncode == 0
    (log,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    (run,) = inspected(log)["run"]
    assert (run["display_name"], run["run_group"], run["project"]) == ("n", "mine", "p")


MODES = """
from batchnorm.tracking import logged_in, refused, resolve_mode
print(resolve_mode("auto"), resolve_mode("online"), logged_in(), refused("auto"), refused("online"))
"""


@pytest.mark.parametrize(
    "settings, more, said",
    [
        ("disabled", KEY, "disabled online True  "),
        ("offline", KEY, "offline online True  "),
        ("", KEY, "online online True  "),
        ("", {}, "offline online False  wandb=online: nobody is logged in: run .venv/bin/wandb"),
        ("disabled", {"WANDB_MODE": "online"}, "online online False WANDB_MODE=online: nobody"),
        ("", KEY | {"WANDB_MODE": "dryrun"}, "offline online True  "),
    ],
)
def test_the_mode_is_what_the_user_has_said_to_the_library(tmp_path, settings, more, said):
    (tmp_path / "wandb").mkdir()
    if settings:  # as `wandb disabled` writes it
        (tmp_path / "wandb" / "settings").write_text(f"[default]\nmode = {settings}\n")
    ended = done(MODES, tmp_path, **more)
    assert ended.stdout.startswith(said), ended.stdout + ended.stderr
    assert ended.stderr == ""


def test_online_by_name_without_a_login_trains_nothing(monkeypatch):
    monkeypatch.setattr(tracking, "logged_in", lambda: False)
    with pytest.raises(ConfigError, match="wandb login"):
        experiment.plan(["experiment=mnist", "scale=smoke", "stand_in=always", "wandb=online"])


@pytest.fixture
def halves(tmp_path, monkeypatch):
    """The two W&B runs of a run that was stopped after two evaluations and gone on with, and its
    record."""
    said = ["experiment=mnist", "scale=smoke", "arm=bn", "seed=0", "stand_in=always"]
    said += ["wandb=offline", "optim.lr=0.07", f"output={tmp_path}"]
    made, found = experiment.plan(said), []

    def stop(place, status):
        if len(status["metrics"].get("step", [])) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(experiment, "report", stop)
        with pytest.raises(KeyboardInterrupt):
            experiment.train_missing(made)
    for goes_on in (False, True):
        if goes_on:
            assert experiment.train_missing(made) == []
        for mirror in tracking.Mirror.unended:
            mirror.wait(60)
        logs = set(tmp_path.glob("wandb/offline-run-*/*.wandb"))
        (log,) = logs.difference(*found)
        found.append({log})
    (left,) = experiment.record.load_all(made.root)
    return *(inspected(log) for (log,) in found), left


def test_a_run_that_is_gone_on_with_is_whole_and_says_what_it_is(halves):
    first, second, left = halves
    assert [one["exit"][0].get("exit_code", 0) for one in (first, second)] == [1, 0]
    steps = [[row["item"]["step"] for row in one["history"]] for one in (first, second)]
    assert steps == [left["metrics"]["step"][:2], left["metrics"]["step"]]
    run = second["run"][0]
    assert run["display_name"] == "bn-0 optim.lr=0.07"
    assert run["tags"] == ["smoke", "STAND-IN DATA", "changed", "resumed"]
    assert "resumed" not in first["run"][0]["tags"]
    begun = second["config"][0]["update"]
    assert (begun["images"], begun["changes"]) == ("STAND-IN DATA", "optim.lr=0.07")
    by, made = begun["environment"], left["environment"]
    for key in ("device", "precision", "commit", "dirty", "data_checksum"):
        assert by[key] == made[key], key
    assert second["config"][-1]["update"]["environment"] == made
    assert run["config"]["update"]["precision"] == made["precision"]
    summaries = [one["update"] for one in second["summary"]]
    assert {"best": max(left["metrics"]["test/accuracy"])} in summaries
    assert left["summary"] in summaries
