"""The interactive page: all there is, the same bytes, and in a real browser."""

import json
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest
from markupsafe import escape
from plotly.offline import get_plotlyjs

import planted_all
import planted_cifar10
from batchnorm.report import build, claims, page, statistics
from conftest import script
from planted import plant

LIMIT = 8_000_000  # bytes of the page


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A root with a few records of every experiment, and its page."""
    folder = tmp_path_factory.mktemp("page") / "results"
    planted_all.plant(folder, seeds=3)
    page.write(folder)
    return folder


@pytest.fixture(scope="module")
def html(root) -> str:
    return (root / "report.html").read_text()


def frames(html: str) -> dict[str, list[dict]]:
    """What is drawn, by frame."""
    script = '<script type="application/json">(.*?)</script>'
    found = re.findall(f'<figure class="frame" id="figure-([^"]*)".*?{script}', html, re.DOTALL)
    return {name: json.loads(text) for name, text in found}


def test_every_static_figure_has_its_frame(root, html, monkeypatch):
    monkeypatch.setattr(build.look, "render", lambda figure, kind: b"")  # the names will do
    drawn = {path.stem for path in build.render(root) if path.suffix == ".svg"}
    assert {name.rpartition("-")[0] for name in frames(html)} == drawn
    assert page.FRAMES.keys() <= build.EXPERIMENTS.keys()


def test_plotly_knows_every_key_and_value(html):
    for panels in frames(html).values():
        for panel in panels:
            go.Figure(panel)  # raises ValueError for what it does not know


def test_the_frame_draws_the_points_of_the_static_figure(root, html):
    panel, _ = frames(html)["cifar10_learning_rate-quick"]
    points = build.figures.learning_rate_points(
        statistics.load(root, "quick", "cifar10_learning_rate"), None
    )
    for arm, part in points[points["series"] == "curve"].groupby("arm"):
        (line,) = (
            trace
            for trace in panel["data"]
            if trace["meta"]["group"] == arm and trace["meta"]["layer"] == "median"
        )
        assert line["x"] == part["step"].tolist()
        assert line["y"] == pytest.approx(part["accuracy"].tolist(), rel=1e-5)


def test_the_panels_of_a_frame_begin_on_the_same_kind_of_axis(html):
    """One button switches them all, so that they must agree on what it says."""
    for name, panels in frames(html).items():
        for axis in "xy":
            kinds = {
                panel["layout"][f"{axis}axis"]["type"]
                for panel in panels
                if axis in panel["layout"]["meta"]["may_log"]
            }
            assert len(kinds) <= 1, (name, axis)


def test_the_same_records_give_the_same_bytes(root, html):
    assert page.render(root) == {root / "report.html": html.encode()}
    assert len(html.encode()) < LIMIT


def test_claims_tables_and_what_made_the_records_are_there(html):
    for words in ("C8", "inconclusive", "not run", "Deviations", "data checksum", "0" * 40):
        assert words in html
    assert "scripts/reproduce.py cifar10_depth scale=quick" in html
    assert all(str(escape(words)) in html for words in (*claims.RULE, *claims.CHANGED))
    assert "<td>1.0 [1.0, 1.0]</td>" in html  # of the table after Figure 3
    ours = html.replace(get_plotlyjs(), "")
    assert len(html) - len(ours) > 4_000_000  # there once
    assert not re.search(r'(src|href)="(https?:)?//', ours)


def test_scale_and_stand_in_data_are_marked_in_the_frame(tmp_path):
    plant(tmp_path, seeds=1, stand_in=True)
    ((path, content),) = page.render(tmp_path).items()
    assert path.name == "STAND-IN-report.html"
    panel, _ = frames(content.decode())["cifar10_learning_rate-quick"]
    notes = [note["text"] for note in panel["layout"]["annotations"]]
    assert "STAND-IN DATA, quick scale" in notes
    assert "No claim is judged on it" in content.decode()


def test_an_experiment_of_ones_own_is_drawn_too(tmp_path):
    plant(tmp_path, {"mine": [(0, 0.1), (1, 0.5)]}, seeds=1, experiment="<of my own>", scale="full")
    (content,) = page.render(tmp_path).values()
    assert b"<of my own>" not in content
    assert b"&lt;of my own&gt;" in content


def test_the_script_writes_the_page(tmp_path, monkeypatch, capsys):
    plant(tmp_path / "outputs", seeds=1)
    monkeypatch.chdir(tmp_path)
    assert script("report").main(["--root", "outputs", "--html"]) == 0
    assert capsys.readouterr().out == "outputs/report.html\n"
    assert "--root outputs --html" in (tmp_path / "outputs/report.html").read_text()
    assert script("report").main(["--html"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_commands_on_a_page_make_that_page():
    assert page._commands(Path("results"))["page_command"] == "make report"
    for root, said in (("mine/results", "mine/results"), ("outputs/scratch/a b", "'outputs/")):
        found = page._commands(Path(root))
        assert f"--root {said}" in found["figures_command"]
        assert found["page_command"] == f"{found['figures_command']} --html"


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, root):
    """Open the page without a network: (width, colour scheme) -> the page, and what went wrong."""
    contexts = []

    def open_page(width: int, scheme: str = "light"):
        context = browser.new_context(
            offline=True, color_scheme=scheme, viewport={"width": width, "height": 900}
        )
        contexts.append(context)
        context.set_default_timeout(240_000)  # a busy machine is slow to open 5 MB
        shown, wrong = context.new_page(), []
        shown.on("console", lambda said: wrong.append(said.text))
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("requestfailed", lambda request: wrong.append(request.url))
        shown.goto((root / "report.html").as_uri())
        return shown, wrong

    yield open_page
    for context in contexts:
        context.close()


FRAME = "#figure-cifar10_learning_rate-quick"
LINES = f"document.querySelectorAll('{FRAME} .scatterlayer .trace').length"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_everything_is_drawn_without_a_network_or_an_error(opened, width, scheme):
    shown, wrong = opened(width, scheme)
    shown.evaluate("document.querySelectorAll('.frame').forEach(draw)")
    panels = shown.locator(".panel")
    assert panels.count() == shown.locator(".panel .scatterlayer").count() > 20
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    assert wrong == []


def test_buttons_choose_arms_layers_and_axes_from_the_keyboard(opened):
    shown, wrong = opened(1280)
    frame = shown.locator(FRAME)
    frame.scroll_into_view_if_needed()
    shown.wait_for_selector(f"{FRAME}[data-drawn]")
    before = shown.evaluate(LINES)
    arm = frame.locator("button[data-group=bn_x5]")
    arm.focus()
    shown.keyboard.press("Enter")
    assert arm.get_attribute("aria-pressed") == "false"
    without = shown.evaluate(LINES)
    assert without < before
    frame.get_by_role("button", name="each seed").press("Enter")
    assert shown.evaluate(LINES) > without
    kind = f"document.querySelector('{FRAME} .panel')._fullLayout.xaxis.type"
    assert shown.evaluate(kind) == "linear"
    frame.get_by_role("button", name="log x").press("Enter")
    assert shown.evaluate(kind) == "log"
    frame.get_by_role("button", name="hide all").press("Enter")
    assert shown.evaluate(LINES) == 0
    assert wrong == []


def test_hovering_says_what_a_point_is(opened):
    shown, _ = opened(1280)
    shown.locator(FRAME).scroll_into_view_if_needed()
    shown.wait_for_selector(f"{FRAME}[data-drawn]")
    panel = f"document.querySelector('{FRAME} .panel')"
    shown.evaluate(f"Plotly.Fx.hover({panel}, [{{curveNumber: 0, pointNumber: 0}}])")
    text = shown.locator(f"{FRAME} .hoverlayer").first.text_content()
    assert "baseline" in text
    assert "n 3" in text


def test_every_plot_and_button_has_a_name(opened):
    shown, _ = opened(390)
    names = shown.evaluate(
        "[...document.querySelectorAll('[role=img]')].map(e => e.getAttribute('aria-label'))"
    )
    assert all(len(name) > 40 for name in names)
    buttons = shown.evaluate(
        "[...document.querySelectorAll('button')].map(e => e.textContent.trim())"
    )
    assert all(buttons)
    groups = shown.evaluate(
        "[...document.querySelectorAll('figure')].map(e => document.getElementById("
        "e.getAttribute('aria-labelledby')).textContent.trim())"
    )
    assert all(groups)


@pytest.mark.parametrize("experiment", ["cifar10_dropout", "cifar10_initialization"])
def test_networks_with_and_without_bn_are_not_taken_for_each_other(tmp_path, experiment):
    """By the records' own norm: what is drawn of each is of its runs alone."""
    planted_cifar10.plant(tmp_path, experiment)
    (content,) = page.render(tmp_path).values()
    panel = frames(content.decode())[f"{experiment}-quick"][0]
    rows = statistics.run_points(statistics.load(tmp_path), norm="model.norm")
    column = "best" if experiment == "cifar10_dropout" else "last"
    for label, norm in (("with BN", "batch"), ("without BN", "none")):
        drawn = [
            y
            for trace in panel["data"]
            if trace["meta"] == {**trace["meta"], "group": label, "layer": "seeds"}
            for y in trace["y"]
        ]
        expected = rows.loc[rows["norm"] == norm, column]
        assert sorted(drawn) == pytest.approx(sorted(expected), rel=1e-4)
