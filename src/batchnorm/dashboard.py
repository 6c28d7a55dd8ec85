"""The live page: the runs of one study as curves and as a table, by Bokeh's server."""

import time

from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import (
    ColumnDataSource,
    DataTable,
    Div,
    NumberFormatter,
    Select,
    StringFormatter,
    TableColumn,
)
from bokeh.plotting import figure
from bokeh.server.server import Server

from batchnorm.live import ACCURACY, Follower, Seen, curves, rows, words
from batchnorm.report.inks import ink

EVERY = 1000  # milliseconds between looks at the files
CHART = 2  # its place in the layout


def serve(follower: Follower, port: int) -> Server:
    """A started server of the page, for this machine alone. Raises OSError where the port is
    taken."""
    server = Server(
        lambda document: Page(follower).show(document),
        port=port,
        address="127.0.0.1",
        allow_websocket_origin=[f"localhost:{port}", f"127.0.0.1:{port}"],
    )
    server.start()
    return server


class Page:
    """What one browser tab shows, kept up with the files."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.study = Select(title="study", sizing_mode="stretch_width")
        self.curve = Select(title="curve", value=ACCURACY, width=220)
        self.across = Select(title="against", value="step", options=["step", "seconds"], width=120)
        self.words = Div()
        self.table = ColumnDataSource(rows([], 0))
        self.arms: dict[str, ColumnDataSource] = {}
        self.ends = ColumnDataSource({"x": [], "y": []})  # of runs that diverged
        self.drawn: list[str] = []  # which axes and arms the chart is of
        self.sent: dict[str, list[Seen]] = {}  # which runs are in which arm's lines
        controls = row(self.study, self.curve, self.across, sizing_mode="stretch_width")
        parts = [controls, self.words, self.chart([]), table(self.table)]
        self.layout = column(*parts, sizing_mode="stretch_width")

    def show(self, document: Document) -> None:
        """Fill a tab's document, and keep it up."""
        self.update()
        for one in (self.study, self.curve, self.across):
            one.on_change("value", lambda attr, old, new: self.update())
        document.title = "Runs"
        document.add_root(self.layout)
        document.add_periodic_callback(self.update, EVERY)

    def update(self) -> None:
        """Look at the files, and send to the browser what has changed."""
        now, runs = time.time(), self.follower.look()
        self._offer(runs)
        shown = [one for one in runs if one.study == self.study.value]
        others = [one for one in runs if one.study != self.study.value]
        self.words.text = words(shown, others, now)
        self._draw(shown)
        _send(self.table, rows(shown, now))

    def _offer(self, runs: list[Seen]) -> None:
        """What there is to choose from; at first, the study that something happened in last."""
        studies = sorted({one.study for one in runs})
        if studies != self.study.options:
            self.study.options = studies
        if runs and self.study.value not in studies:
            self.study.value = max(runs, key=lambda one: one.at).study
        found = (name for one in runs if one.study == self.study.value for name in one.metrics)
        names = [ACCURACY, *dict.fromkeys(found)]
        if names != self.curve.options:
            self.curve.options = names
        if self.curve.value not in names:
            self.curve.value = ACCURACY

    def _draw(self, runs: list[Seen]) -> None:
        across, name = self.across.value, self.curve.value
        arms: dict[str, list[Seen]] = {}
        for one in runs:
            arms.setdefault(one.arm, []).append(one)
        anew = self.drawn != [across, name, *arms]
        if anew:
            axes = self.chart(list(arms))
            self.drawn, self.sent = [across, name, *arms], {}
        for arm, of_arm in arms.items():
            if self.sent.get(arm) != of_arm:
                self.arms[arm].data = curves(of_arm, across, name)
                self.sent[arm] = of_arm
        ends = curves([one for one in runs if one.diverged_at is not None], across, name)
        _send(self.ends, {key: [line[-1] for line in ends[key]] for key in "xy"})
        if anew:  # now that it has data to take its ranges from
            self.layout.children[CHART] = axes

    def chart(self, arms: list[str]) -> figure:
        """Axes with an empty set of lines for each arm; a click on its name hides them."""
        axes = figure(
            height=430,
            sizing_mode="stretch_width",
            x_axis_label=self.across.value,
            y_axis_label=self.curve.value,
            tools="pan,wheel_zoom,box_zoom,reset,save,hover",
            tooltips=[("run", "@name"), (self.curve.value, "$y")],
        )
        self.arms = {arm: ColumnDataSource(curves([], "", "")) for arm in arms}
        for place, (arm, lines) in enumerate(self.arms.items()):
            colour = ink(arm, place).colour
            axes.multi_line("x", "y", source=lines, color=colour, legend_label=arm, alpha=0.8)
        axes.scatter("x", "y", source=self.ends, marker="x", size=10, color="crimson")
        if arms:
            axes.legend.click_policy = "hide"
            axes.legend.ncols = 1 + len(arms) // 20
            axes.add_layout(axes.legend[0], "right")
        return axes


def table(source: ColumnDataSource) -> DataTable:
    """One row a run."""

    def numbers(pattern: str) -> NumberFormatter:
        return NumberFormatter(format=pattern, nan_format="–", text_align="right")

    columns = [
        ("run", "run", StringFormatter()),
        ("state", "state", StringFormatter()),
        ("left", "time left", numbers("00:00:00")),
        ("step", "step", numbers("0,0")),
        ("steps", "of", numbers("0,0")),
        ("accuracy", "accuracy", numbers("0.00 %")),
        ("speed", "images/s", numbers("0,0")),
        ("seconds", "trained for", numbers("00:00:00")),
    ]
    return DataTable(
        source=source,
        columns=[TableColumn(field=key, title=title, formatter=how) for key, title, how in columns],
        index_position=None,
        reorderable=False,  # would want jquery-ui
        height=360,
        sizing_mode="stretch_width",
    )


def _send(source: ColumnDataSource, data: dict[str, list]) -> None:
    """Give a source other data; the same are not sent again."""
    if repr(dict(source.data)) != repr(data):  # a NaN is not equal to itself
        source.data = data
