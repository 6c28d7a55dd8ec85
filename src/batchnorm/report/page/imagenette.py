"""Frames of the experiments on Imagenette that are not curves: single changes, and Figure 4."""

from collections.abc import Iterator

import pandas as pd

from batchnorm.report import ensemble, studies_imagenette
from batchnorm.report.look import BN, Ink
from batchnorm.report.page.parts import Frame, Panel, name_of
from batchnorm.report.page.traces import (
    BAND,
    PAPER,
    SHORT,
    Trace,
    band,
    differences,
    line,
    rows_of,
)

MEAN = "mean over ensembles and seeds"


def single_changes(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """What BN-x5 loses or gains where one of the paper's choices is taken back."""
    points = studies_imagenette.points(table)
    traces, labels = [], []
    for change, rows in points.groupby("change", sort=False):
        traces += differences("BN-x5", change, rows, BN)
        labels.append(change)
    if not traces:
        return
    panel = Panel(traces, "best accuracy − that of BN-x5, percentage points", "", may_log="",
                  lines=(("x", 0),), wide=True, **rows_of(labels))  # fmt: skip
    words = [studies_imagenette.words(table)]
    yield Frame(name_of(table), studies_imagenette.TITLE, words, [panel], points)


def figure_4(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """Errors against the number of networks, by one crop and by 144; only where the runs left
    their probabilities."""
    points = ensemble.points(table)
    if not ensemble.there(points):
        return
    panels = []
    for ours_k, paper_k in ensemble.kinds(points):
        traces = [
            trace
            for by, count in ensemble.CROPS.items()
            for trace in _by_crops(
                ensemble.SAYS[by],
                ensemble.LOOKS[by],
                points[(points["crops"] == count) & (points["k"] == ours_k)],
                points[(points["crops"] == count) & (points["k"] == paper_k)],
            )
        ]
        panels.append(Panel(traces, "networks", f"top-{ours_k} error, %",
                            ensemble.heading(ours_k, paper_k),
                            layout={"yaxis": {"rangemode": "tozero"}}))  # fmt: skip
    yield Frame(name_of(table), ensemble.TITLE, [ensemble.words(table, points)], panels, points)


def _by_crops(label: str, of: Ink, ours: pd.DataFrame, published: pd.DataFrame) -> Iterator[Trace]:
    part = ours[ours["series"] == "ours"].groupby("networks")
    middle = part["error"].mean()
    yield line(label, MEAN, middle.index, middle, of)
    yield band(label, BAND, pd.Series(middle.index, middle.index), part["low"].min(),
               part["high"].max(), of)  # fmt: skip
    theirs = published[published["series"] == "paper"].sort_values("networks")
    yield line(label, PAPER, theirs["networks"], theirs["error"], of, SHORT, True)
