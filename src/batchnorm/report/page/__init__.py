"""The report as one page: self-contained, from the records alone, the same bytes every time."""

import base64
import json
import shlex
from collections.abc import Callable, Iterator
from importlib import resources
from math import cos, pi, sin
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from plotly.offline import get_plotlyjs

from batchnorm import record
from batchnorm.report import build, claims, claims_mnist, look, statistics
from batchnorm.report.page import curves, imagenette, ledger, rates, studies
from batchnorm.report.page.parts import Frame
from batchnorm.report.page.traces import (
    SYMBOLS,
)

NAME = "report.html"
# (an experiment's rows, all rows of its scale) -> its frames
FrameMaker = Callable[[pd.DataFrame, pd.DataFrame], Iterator[Frame]]
FRAMES: dict[str, FrameMaker] = {
    "mnist": curves.mnist_figures,
    "mnist_tune": rates.mnist_rates,
    "mnist_initialization": studies.mnist_scales,
    "mnist_recurrent": studies.recurrent,
    "cifar10_learning_rate": curves.learning_rate,
    "cifar10_precision": studies.precision,
    "cifar10_tune": rates.ladder,
    "cifar10_tune_bn": rates.ladder,
    "cifar10_tune_dropout": rates.of_every_arm,
    "cifar10_tune_depth": rates.of_every_arm,
    "cifar10_tune_ablations": rates.of_every_arm,
    "cifar10_tune_sigmoid": rates.of_every_arm,
    "cifar10_tune_inception": rates.ladder,
    "cifar10_schedule": rates.schedule,
    "cifar10_dropout": studies.dropout,
    "cifar10_depth": studies.depth,
    "cifar10_initialization": studies.cifar10_scales,
    "cifar10_ablations": studies.ablations,
    "cifar10_shift": studies.shift,
    "cifar10_inception": curves.learning_rate,
    "cifar10_inception_published": studies.published,
    "imagenette": curves.learning_rate,
    "imagenette_tune": rates.ladder,
    "imagenette_changes": imagenette.single_changes,
    "imagenette_ensemble": imagenette.figure_4,
    "imagenet": curves.learning_rate,
    "imagenet_ensemble": imagenette.figure_4,
}


def write(root: Path) -> list[Path]:
    """Write the page of a root's records under it, and return its path. Raises RecordError, or
    ReportError where there are no records."""
    files = render(root)
    for path, content in files.items():
        record.write_atomically(path, content)
    return list(files)


def render(root: Path) -> build.Files:
    """The page of a root's records, by path; writes nothing. Raises RecordError, or ReportError
    where there are no records."""
    table = statistics.load(root)
    if not len(table):
        raise build.ReportError(f"no records under {root}/records to make a page of")
    stand_in = statistics.is_stand_in(table)
    rows = ledger.claims(table)
    html = _template().render(
        sections=list(_sections(table)),
        claims=[row for row in rows if not row["reason"]],
        waiting=[row for row in rows if row["reason"]],
        counts=ledger.counts(rows),
        signs=ledger.SIGNS,
        rules=[*claims.RULE, claims_mnist.RULE],
        changed=[claims.CHANGED_HEAD, *claims.CHANGED],
        runs=len(statistics.runs(table)),
        stand_in=build.STAND_IN_LINE.strip() if stand_in else "",
        **_commands(root),
    )
    name = f"{build.STAND_IN if stand_in else ''}{NAME}"
    return {root / name: html.encode()}


def _commands(root: Path) -> dict[str, str]:
    """What makes the page again, and what the figures and tables beside it."""
    if root == Path("results"):
        return {"page_command": "make report", "figures_command": "make figures"}
    script = f".venv/bin/python scripts/report.py --root {shlex.quote(str(root))}"
    return {"page_command": f"{script} --html", "figures_command": script}


def _sections(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """One per experiment, in the order of FRAMES, then those of the user's own."""
    known = {name: place for place, name in enumerate(FRAMES)}
    found = sorted(table["experiment"].unique(), key=lambda name: (known.get(name, 99), name))
    by_scale = {key: rows for key, rows in table.groupby(["experiment", "scale"])}
    every = {scale: rows for scale, rows in table.groupby("scale")}
    for experiment in found:
        there = [one for one in statistics.SCALES if (experiment, one) in by_scale]
        scales = sorted(there, key=lambda one: -len(statistics.runs(by_scale[experiment, one])))
        made = [_at_scale(by_scale[experiment, one], every[one]) for one in scales]
        titles = [frame["title"] for at in made for frame in at["frames"]]
        yield {"name": experiment, "title": "; ".join(dict.fromkeys(titles)), "scales": made}


def _at_scale(rows: pd.DataFrame, every: pd.DataFrame) -> dict[str, Any]:
    experiment, scale = rows["experiment"].iloc[0], rows["scale"].iloc[0]
    marks = ["STAND-IN DATA"] if statistics.is_stand_in(rows) else []
    marks += [f"{scale} scale"]
    mark = ", ".join(marks) if marks != ["full scale"] else ""
    frames = FRAMES.get(experiment, curves.any_experiment)(rows, every)
    return {
        **{"experiment": experiment, "scale": scale, "marks": marks},
        "seeds": look.seeds_of(rows),
        "runs": len(statistics.runs(rows)),
        "frames": [_frame(frame, mark, look.data_name(rows)) for frame in frames],
        "table": build.printed(rows),
        "made_by": ledger.made_by(rows),
    }


def _frame(frame: Frame, mark: str, data: str) -> dict[str, Any]:
    drawn = [{**panel.figure(mark), "alt": frame.alt(panel)} for panel in frame.panels]
    content = base64.b64encode(build.csv(frame.points)).decode()
    return {
        **{"name": frame.name, "title": f"{data}: {frame.title}", "caption": frame.caption},
        **{"groups": frame.groups(), "layers": frame.layers(), "may_log": frame.may_log()},
        "panels": [
            {"alt": one.pop("alt"), "height": one["layout"]["height"], "wide": panel.wide}
            for one, panel in zip(drawn, frame.panels, strict=True)
        ],
        # "<" would let a text end the script that holds it
        "json": json.dumps(drawn, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "csv": content,
    }


def _template() -> jinja2.Template:
    folder = resources.files(__package__)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True,
                                     undefined=jinja2.StrictUndefined)  # fmt: skip
    environment.globals |= {
        **{name: (folder / f"page.{name}").read_text() for name in ("css", "js")},
        **{"plotly": get_plotlyjs(), "polygon": _polygon},
    }
    return environment.from_string((folder / "page.html").read_text())


CORNERS = {  # of a swatch's mark: how many, and the angle of the first, in degrees
    **{"square": (4, 45), "diamond": (4, 0), "star": (5, -90), "hexagram": (6, -90)},
    **{"triangle-up": (3, -90), "triangle-down": (3, 90), "triangle-left": (3, 180)},
    **{"triangle-right": (3, 0), "circle": (24, 0)},
}
CROSS = "9,3 11,1 14,5 17,1 19,3 15,7 19,11 17,13 14,9 11,13 9,11 13,7"  # around (14, 7)
assert {*CORNERS, "x"} == set(SYMBOLS.values())


def _polygon(symbol: str) -> str:
    """The points of a mark in a legend's swatch, around (14, 7), as SVG has them; a star has inner
    corners too."""
    if symbol == "x":
        return CROSS
    corners, first = CORNERS[symbol.removesuffix("-open")]
    radii = (6.0, 2.7) if symbol in ("star", "hexagram") else (5.0,)
    n = corners * len(radii)
    at = [((first + 360 * i / n) * pi / 180, radii[i % len(radii)]) for i in range(n)]
    return " ".join(f"{14 + r * cos(a):.1f},{7 + r * sin(a):.1f}" for a, r in at)
