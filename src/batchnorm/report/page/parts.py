"""What an interactive frame is made of: panels of Plotly traces, as plain dictionaries."""

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import pandas as pd

from batchnorm.report.look import GREY, Ink
from batchnorm.report.mnist import Net

Trace = dict[str, Any]

MEDIAN, BAND, SEEDS, PAPER = "median", "minimum to maximum", "each seed", "the paper"
HIDDEN = {SEEDS}  # layers that a reader has to ask for
SYMBOLS = {  # matplotlib's markers in Plotly's words; stars, since small polygons look like circles
    **{"o": "circle", "s": "square", "D": "diamond", "p": "star", "h": "hexagram", "x": "x"},
    **{"^": "triangle-up", "v": "triangle-down", "<": "triangle-left", ">": "triangle-right"},
}
SHORT, DOTTED = "6px,3px", "2px,3px"


@dataclass(frozen=True)
class Panel:
    """One set of axes. `log` names the axes ("x", "y", "xy") that begin logarithmic, `may_log`
    those that the reader may switch; `lines` are (axis, value) of reference lines, in grey; `wide`
    panels have a row to themselves."""

    traces: list[Trace]
    x: str
    y: str
    title: str = ""
    log: str = ""
    may_log: str = "xy"
    lines: tuple[tuple[str, float], ...] = ()
    height: int = 380  # pixels
    wide: bool = False
    layout: dict[str, Any] = field(default_factory=dict)  # keys of Plotly's layout, over ours

    def figure(self, mark: str) -> dict[str, Any]:
        """data and layout, as Plotly.newPlot takes them; `mark` is written into the frame."""
        axes = {
            f"{axis}axis": {
                "title": {"text": _wrapped(words, 32)},
                "type": "log" if axis in self.log else "linear",
            }
            for axis, words in (("x", self.x), ("y", self.y))
        }
        shapes = [_across(axis, value) for axis, value in self.lines]
        above = [*filter(None, _wrapped(self.title, 40).split("<br>"))]
        notes = [_note("<br>".join(above), 0, "left", 4)]
        if mark:
            notes.append(_note(mark, 1, "right", 4 + 16 * len(above)))
            above.append(mark)
        layout = {**axes, "height": self.height, "shapes": shapes, "annotations": notes,
                  "meta": {"may_log": list(self.may_log), "top": 24 + 18 * len(above)}}  # fmt: skip
        for key, value in self.layout.items():
            layout[key] = {**layout[key], **value} if isinstance(value, dict) else value
        return {"data": self.traces, "layout": layout}

    def words(self, layer: str) -> str:
        """The ends of each line of a layer, for those who do not see the plot."""
        lines = [t for t in self.traces if t["meta"]["layer"] == layer and len(t["x"])]
        ends = "; ".join(filter(None, map(_ends, lines)))
        return f"{self.title or 'Plot'}: {self.y} against {self.x}. {ends}."


def _ends(trace: Trace) -> str:
    points = [(x, y) for x, y in zip(trace["x"], trace["y"], strict=True)
              if x is not None and y is not None]  # fmt: skip
    if not points:
        return ""
    shown = points if len(points) == 1 else (points[0], points[-1])
    return f"{trace['name']} " + " to ".join(f"{_said(y)} at {_said(x)}" for x, y in shown)


def _said(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}" if abs(value) < 1e3 else f"{value:,}"


def _across(axis: str, value: float) -> dict[str, Any]:
    other = {"x": "y", "y": "x"}[axis]
    ends = {f"{axis}0": value, f"{axis}1": value, f"{other}0": 0, f"{other}1": 1}
    line = {"color": GREY, "width": 1, "dash": "dot"}
    return {"type": "line", f"{other}ref": "paper", **ends, "line": line, "layer": "below"}


def _wrapped(text: str, width: int) -> str:
    """The text in lines that fit the width of a phone."""
    return "<br>".join(textwrap.wrap(text, width))


def _note(text: str, x: float, side: str, up: int) -> dict[str, Any]:
    place = {"xref": "paper", "yref": "paper", "x": x, "y": 1, "xanchor": side, "yanchor": "bottom"}
    return {"text": text, **place, "showarrow": False, "align": side, "yshift": up}


@dataclass(frozen=True)
class Frame:
    """A figure of the page: its panels share the buttons that choose lines and layers."""

    name: str  # of the static figure: mnist_1a
    title: str
    caption: list[str]
    panels: list[Panel]
    points: pd.DataFrame  # what is drawn, as the static figure's CSV has it

    def groups(self) -> list[dict[str, Any]]:
        """The lines that can be switched on and off: name and, for a swatch, colour, symbol, dash
        and whether it is hollow, of the first trace of each."""
        found: dict[str, dict[str, Any]] = {}
        for trace in self._traces():
            name, area = trace["meta"]["group"], "fill" in trace
            symbol = "square" if area else trace["marker"]["symbol"]
            swatch = {
                **{"name": name, "colour": trace["meta"]["colour"], "symbol": symbol},
                **{
                    "line": "lines" in trace["mode"] and not area,
                    "dash": trace["line"].get("dash"),
                },
                **{"hollow": symbol.endswith("-open"), "alpha": trace["meta"].get("alpha", 1)},
            }
            found.setdefault(name, swatch)
        return list(found.values())

    def layers(self) -> dict[str, bool]:
        """The kinds of marks: name -> whether it is shown at first."""
        names = dict.fromkeys(trace["meta"]["layer"] for trace in self._traces())
        return {name: name not in HIDDEN for name in names}

    def may_log(self) -> list[tuple[str, bool]]:
        """The axes that can be switched, each with whether it begins logarithmic."""
        return [
            (axis, all(axis in panel.log for panel in self.panels if axis in panel.may_log))
            for axis in "xy"
            if any(axis in panel.may_log for panel in self.panels)
        ]

    def alt(self, panel: Panel) -> str:
        """What a panel shows, in words."""
        layers = [trace["meta"]["layer"] for trace in panel.traces]
        first = next((layer for layer in layers if layer not in (BAND, SEEDS)), "")
        return panel.words(first)

    def _traces(self) -> Iterator[Trace]:
        for panel in self.panels:
            yield from panel.traces


# --- traces ---------------------------------------------------------------------------------------


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


def dots_and_median(
    group: str, rows: pd.DataFrame, x: str, y: str, of: Ink, dash: str = "solid", **how: Any
) -> list[Trace]:
    """A line through the medians at each x, and a small point per run."""
    middle = rows.dropna(subset=y).groupby(x)[y].median()
    marks = line(group, MEDIAN, middle.index, middle, of, dash, **how)
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
