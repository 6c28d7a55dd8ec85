"""Plotly's traces as plain dictionaries: lines, bands, points and intervals, each of a group (an
arm) and a layer (the median, each seed, the paper)."""

from collections.abc import Iterable
from math import isfinite
from typing import Any

import pandas as pd

from batchnorm.report.look import Ink
from batchnorm.report.mnist import Net

Trace = dict[str, Any]

MEDIAN, MEAN, BAND, SEEDS = "median", "mean", "minimum to maximum", "each seed"
PAPER = "the paper"
HIDDEN = {SEEDS}  # layers that a reader has to ask for
SYMBOLS = {  # matplotlib's markers in Plotly's words; stars, since small polygons look like circles
    **{"o": "circle", "s": "square", "D": "diamond", "p": "star", "h": "hexagram", "x": "x"},
    **{"^": "triangle-up", "v": "triangle-down", "<": "triangle-left", ">": "triangle-right"},
}
ROW = 26  # pixels
SHORT, DOTTED = "6px,3px", "2px,3px"


def values(column: Iterable[Any]) -> list[Any]:
    """Numbers as the CSV files have them, to six digits, NaN as None; text as it is."""
    return [_value(value) for value in column]


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if pd.isna(value) or not isfinite(value):
        return None
    rounded = float(f"{value:.6g}")
    return int(rounded) if rounded.is_integer() else rounded


def of_net(net: Net) -> tuple[Ink, str]:
    """The ink and the dash of a network of MNIST's figures."""
    return Ink(net.colour, net.marker), SHORT if net.dashes else "solid"


def line(
    group: str,
    layer: str,
    x: Iterable[Any],
    y: Iterable[Any],
    of: Ink,
    dash: str = "solid",
    hollow: bool = False,
    marks: str = "lines+markers",
    size: float = 8,
    note: Iterable[str] | None = None,
) -> Trace:
    """A line with at most ten markers, or, with marks="markers", a marker at each point; `note`
    adds a text per point to what hovering shows."""
    symbol = SYMBOLS.get(of.marker, "circle") + ("-open" if hollow else "")
    few = {"maxdisplayed": 10} if "lines" in marks else {}
    added = {} if note is None else {"text": list(note)}
    said = "<br>%{text}" if added else ""
    return {
        **{"type": "scatter", "x": values(x), "y": values(y), "mode": marks, "name": group},
        "line": {"color": of.colour, "dash": dash, "width": 1.2 if layer == PAPER else 2},
        "marker": {"color": of.colour, "symbol": symbol, "size": size, **few},
        "hovertemplate": f"<b>{group}</b>, {layer}<br>%{{x}}: %{{y}}{said}<extra></extra>",
        "meta": {"group": group, "layer": layer, "colour": of.colour},
        **added,
        **({"visible": False} if layer in HIDDEN else {}),
    }


def band(
    group: str,
    layer: str,
    x: pd.Series,
    low: pd.Series,
    high: pd.Series,
    of: Ink,
    alpha: float = 0.2,
) -> Trace:
    """An area between two lines; not to be hovered over."""
    there = (low.notna() & high.notna()).to_numpy()
    x, low, high = (values(column[there]) for column in (x, low, high))
    return {
        **{"type": "scatter", "x": x + x[::-1], "y": high + low[::-1], "mode": "lines"},
        **{"fill": "toself", "fillcolor": f"{of.colour}{round(255 * alpha):02x}", "name": group},
        **{"line": {"width": 0, "color": of.colour}, "hoverinfo": "skip"},
        "meta": {"group": group, "layer": layer, "colour": of.colour, "alpha": alpha},
    }


def seeds(group: str, rows: pd.DataFrame, x: str, y: str, of: Ink) -> Trace:
    """Every run's own line, as one trace with gaps between the runs."""
    xs, ys, notes = [], [], []
    for seed, run in rows.groupby("seed", sort=True):
        xs += [*values(run[x]), None]
        ys += [*values(run[y]), None]
        notes += [f"seed {seed}"] * (len(run) + 1)
    made = line(group, SEEDS, [], [], of, "solid", marks="lines", note=notes)
    return {**made, "x": xs, "y": ys, "line": {**made["line"], "width": 1}, "opacity": 0.7}


def dots(group: str, rows: pd.DataFrame, x: str, y: str, of: Ink, layer: str = "seeds") -> Trace:
    """A small point per run."""
    rows = rows.dropna(subset=y)
    notes = [f"seed {seed}" for seed in rows["seed"]]
    made = line(group, layer, rows[x], rows[y], Ink(of.colour, "o"), "solid", False, "markers", 5,
                notes)  # fmt: skip
    return {**made, "opacity": 0.7}


def dots_and_mean(
    group: str, rows: pd.DataFrame, x: str, y: str, of: Ink, dash: str = "solid", **how: Any
) -> list[Trace]:
    """A line through the means at each x, and a small point per run."""
    middle = rows.dropna(subset=y).groupby(x)[y].mean()
    marks = line(group, MEAN, middle.index, middle, of, dash, **how)
    return [marks, dots(group, rows, x, y, of)]


def interval(trace: Trace, axis: str, low: pd.Series, high: pd.Series) -> Trace:
    """The trace with a bar from low to high at each point along one axis."""
    at = trace[axis]
    bars = {
        **{"type": "data", "symmetric": False, "thickness": 1.5, "width": 0},
        "array": [_less(b, a) for a, b in zip(at, values(high), strict=True)],
        "arrayminus": [_less(a, b) for a, b in zip(at, values(low), strict=True)],
    }
    return {**trace, f"error_{axis}": {**bars, "color": trace["meta"]["colour"]}}


def _less(a: float | None, b: float | None) -> float:
    return 0.0 if a is None or b is None else float(f"{a - b:.6g}")


def differences(group: str, label: str, rows: pd.DataFrame, of: Ink) -> list[Trace]:
    """One row of a panel of differences, in `points`: of each row with a seed a point, of the one
    without the mean with its interval (low, high)."""
    one, mean = rows[rows["seed"].notna()].assign(label=label), rows[rows["seed"].isna()]
    made = line(group, "mean, 95 % interval", mean["points"], [label] * len(mean), of,
                marks="markers", size=9)  # fmt: skip
    return [interval(made, "x", mean["low"], mean["high"]), dots(group, one, "points", "label", of)]


def rows_of(labels: list[str]) -> dict[str, Any]:
    """Height and layout of a panel of differences, a row for each label from the top."""
    order = {"categoryorder": "array", "categoryarray": labels[::-1], "type": "category"}
    axis = {**order, "automargin": True, "range": [-0.7, len(labels) - 0.3]}
    return {"height": 150 + ROW * len(labels), "layout": {"yaxis": axis}}
