"""The live page in a browser: complete, off the network, and up to date by itself."""

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from planted import ALIKE, plant
from test_live import say

pytest.importorskip("bokeh", reason="the live page needs bokeh")
from batchnorm.dashboard import EVERY

SCRIPT = Path(__file__).parents[1] / "scripts" / "dashboard.py"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def served(tmp_path):
    """The page of a root with the records of eight arms; and that root."""
    plant(tmp_path, ALIKE, seeds=2)
    port = free_port()
    command = [sys.executable, str(SCRIPT), "--root", str(tmp_path), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        hung = threading.Timer(300, serving.kill)
        hung.start()
        try:
            said = serving.stdout.readline()
            hung.cancel()
            assert "16 runs" in said
            yield f"http://127.0.0.1:{port}/", tmp_path
        finally:
            serving.kill()


def test_the_page_follows_runs_by_itself(served, browser):
    address, root = served
    page = browser.new_page()
    trouble, asked = [], []
    page.on("console", lambda said: said.type == "error" and trouble.append(said.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.get_by_text("16 runs: 4 diverged, 12 finished").wait_for(timeout=60_000)
    page.get_by_text("diverged at step 12").first.wait_for()
    say(root, "bn_x30", 50, [0.1, 0.7])  # a progress file of seed 0, whose record exists: no news
    plant(root, {"bn_x5": ALIKE["bn_x5"]}, seeds=3)
    page.get_by_text("17 runs: ").wait_for(timeout=20_000)
    say(root, "a_new_arm", 50, [0.1, 0.7])
    page.get_by_text("18 runs: 1 running, 4 diverged, 13 finished; ").wait_for(timeout=20_000)
    assert page.locator(".slick-row").first.inner_text().split("\n")[:2] == [
        "a_new_arm-0",
        "running",
    ]
    assert EVERY < 5000
    assert trouble == []
    assert all(url.startswith((address, address.replace("http", "ws"))) for url in asked), asked
    page.close()


def test_the_chart_has_a_line_for_each_run_and_keeps_to_what_is_chosen(served, browser):
    address, _ = served
    page = browser.new_page()
    page.goto(address)
    page.get_by_text("16 runs").wait_for(timeout=60_000)
    lines = """() => {
        const axes = Bokeh.documents[0].roots()[0].children[2];
        const drawn = axes.renderers.filter((one) => one.glyph.type === "MultiLine");
        return [axes.left[0].axis_label,
                Object.fromEntries(drawn.flatMap((one) => [...one.data_source.data["name"]
                    .map((name, i) => [name, [...one.data_source.data["y"][i]].at(-1)])]))];
    }"""
    label, drawn = page.evaluate(lines)
    assert label == "accuracy"
    assert len(drawn) == 12
    assert drawn["bn_x30-0"] == pytest.approx(0.83, abs=0.03)
    page.locator("select").nth(1).select_option("train/loss")
    page.wait_for_function(f"() => ({lines})()[0] === 'train/loss'", timeout=20_000)
    assert set(page.evaluate(lines)[1].values()) == {0.5}
    page.close()


def test_a_taken_port_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, str(SCRIPT), "--root", str(tmp_path), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"port {port}" in done.stderr
