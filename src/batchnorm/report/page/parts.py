"""What an interactive frame is made of: panels of Plotly traces, as plain dictionaries."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from batchnorm.report.look import GREY
from batchnorm.report.page.traces import BAND, HIDDEN, SEEDS, Trace


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


def name_of(table: pd.DataFrame) -> str:
    """The experiment of a table's rows."""
    return table["experiment"].iloc[0]
