"""The W&B mirror: complete, silent about its failures after the first, and off the network."""

import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from batchnorm import tracking
from conftest import until

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
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment = {**clean, **away, "HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}
    command = [sys.executable, "-c", OFFLINE, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Weights & Biases" not in done.stdout, done.stdout
    assert seen == []
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    (log,) = folder.glob("*.wandb")
    leet = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    text = subprocess.run(leet, env=environment, capture_output=True, text=True, timeout=60).stdout
    assert len(text.splitlines()) > 4
    for said in ("arm-0", "group", "test/accuracy", "0.4", "diverged", "lr"):
        assert said in text, said
    for line in text.splitlines():
        json.loads(line)


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
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    account = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "a" * 40, "HOME": str(tmp_path)}
    command = [sys.executable, "-c", HANGING, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=clean | account, **pipes)
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
