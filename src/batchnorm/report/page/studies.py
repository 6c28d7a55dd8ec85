"""Frames of the studies, with a point per run: precision, Dropout, depth, single changes."""

from collections.abc import Iterator

import pandas as pd

from batchnorm.report import (
    look,
    mnist_initialization,
    studies,
    studies_ablations,
    studies_cifar10,
    studies_inception,
    studies_initialization,
    studies_recurrent,
    studies_shift,
)
from batchnorm.report.look import BN, DOTS, PLAIN, Ink
from batchnorm.report.mnist import NETS
from batchnorm.report.page.curves import STEPS
from batchnorm.report.page.parts import Frame, Panel, name_of
from batchnorm.report.page.rates import ticks_at
from batchnorm.report.page.traces import (
    BAND,
    MEAN,
    MEDIAN,
    SHORT,
    band,
    differences,
    dots,
    dots_and_mean,
    interval,
    line,
    of_net,
    rows_of,
)
from batchnorm.report.statistics import CHANCE

OF_NORM = (("batch", BN, "with BN"), ("none", PLAIN, "without BN"))


# --- precision ------------------------------------------------------------------------------------


def precision(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """What bfloat16 changes; only where the same arms and seeds have been run in both."""
    pair = studies.in_both_precisions(table, every)
    if not pair:
        return
    points = studies.precision_points(*pair)
    arms = list(points["arm"].unique())
    panels = []
    for quantity, words in studies.PANELS.items():
        part = points[points["quantity"] == quantity]
        inks = {arm: look.ink(arm, place) for place, arm in enumerate(arms)}
        traces = [trace for arm, rows in part.groupby("arm", sort=False)
                  for trace in differences(arm, arm, rows, inks[arm])]  # fmt: skip
        panels.append(Panel(traces, "best test accuracy, percentage points", "", words,
                            may_log="", lines=(("x", 0),), **rows_of(arms)))  # fmt: skip
    both = pd.concat(pair)
    caption = [
        f"{look.where(both)}, paired. Large mark: mean, with its 95 % interval (Student's t);"
        " small points: one seed."
    ]
    yield Frame(name_of(table), "what bfloat16 changes", caption, panels, points)


# --- Dropout, depth, initial weights --------------------------------------------------------------


def dropout(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """Test accuracy, and its distance to the training accuracy, against Dropout."""
    points = studies_cifar10.dropout_points(table)
    panels = [
        Panel(
            [trace for norm, of, label in OF_NORM
             for trace in dots_and_mean(label, points[points["norm"] == norm], "dropout", y, of)],
            "Dropout: probability of dropping a unit",
            words,
            may_log="",
            lines=lines,
            layout=ticks_at(points, "dropout"),
        )
        for y, words, lines in (
            ("best", "best test accuracy", ()),
            ("gap", "training − test accuracy", (("y", 0),)),
        )
    ]  # fmt: skip
    caption = [
        f"{look.where(table)}. Best accuracy of each run (fraction of test images),"
        f" {studies_cifar10.DROPOUT_RATES}; accuracy on training images less that on"
        f" test images at the end, neither augmented, with population statistics. {DOTS}"
    ]
    yield Frame(name_of(table), "what Dropout adds, with and without BN", caption, panels, points)


def depth(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """Best test accuracy against depth, for ReLU and sigmoid, with and without BN."""
    points = studies_cifar10.depth_points(table)
    traces = []
    for (norm, activation), (label, of, style) in studies_cifar10.KINDS.items():
        part = points[(points["norm"] == norm) & (points["activation"] == activation)]
        dash = SHORT if style == "--" else "solid"
        traces += dots_and_mean(label, part, "depth", "best", of, dash) if len(part) else []
    panel = Panel(traces, "weight layers", "best test accuracy", log="x", lines=(("y", CHANCE),),
                  layout=ticks_at(points, "depth"))  # fmt: skip
    caption = [
        f"{look.where(table)}. Best accuracy of each run (fraction of test images), equally many"
        f" steps at all depths, {studies_cifar10.DEPTH_RATES}."
        f" {DOTS} Dotted line: chance."
    ]
    title = "how deep a network still learns, with and without BN"
    yield Frame(name_of(table), title, caption, [panel], points)


def mnist_scales(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """The error after equally many steps against the deviation of the initial weights."""
    points = mnist_initialization.initialization_points(table)
    traces = []
    for norm, part in points.groupby("norm", sort=False):
        of, dash = of_net(NETS[norm])
        part = part.assign(error=1 - part["accuracy"])
        means = part.groupby("std")["error"].mean()
        traces.append(line(NETS[norm].label, MEAN, means.index, means, of, dash))
        traces.append(dots(NETS[norm].label, part, "std", "error", of))
    panel = Panel(traces, "deviation of the initial weights",
                  f"test error after {table['planned'].max():,} steps", log="xy",
                  lines=(("y", 1 - CHANCE), ("x", 0.01), ("x", 1.0)),
                  layout=ticks_at(points, "std"))  # fmt: skip
    words = mnist_initialization.initialization_words(table, points)
    words = words.replace("Shaded:", "Between the dotted lines:")
    title = "how much the scale of the initial weights matters"
    yield Frame(name_of(table), title, [words], [panel], points)


def cifar10_scales(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """Accuracy after equal steps against the initial scale; weights and their rate over time."""
    points = studies_initialization.points(table)
    ends = points[points["series"] == "last"].copy()
    fixed = ends["scale"].isna()
    ends["scale"] = ends["scale"].fillna(studies_initialization.FIXED)
    traces = []
    for norm, of, label in OF_NORM:
        for apart in (~fixed, fixed):  # not joined by a line
            part = ends[(ends["norm"] == norm) & apart]
            traces += dots_and_mean(label, part, "scale", "value", of) if len(part) else []
    ticks = ticks_at(ends, "scale")
    text = ticks["xaxis"]["ticktext"]
    place = f"{studies_initialization.FIXED:g}"
    ticks["xaxis"]["ticktext"] = ["fixed 0.01" if one == place else one for one in text]
    panels = [Panel(traces, "deviation of the initial weights / He's", "test accuracy at the end",
                    log="x", may_log="x", lines=(("y", CHANCE),), layout=ticks)]  # fmt: skip
    for series, words in (("weights", "|W|, per layer"), ("rate", "effective rate lr / |W|²")):
        lines = [
            line(arm, "median over the seeds", part["step"], part["value"], of,
                 SHORT if arm.startswith("plain") else "solid")
            for arm, of in studies_initialization.WATCHED.items()
            if len(part := points[(points["arm"] == arm) & (points["series"] == series)])
            and (series == "weights" or arm.startswith("bn"))
        ]  # fmt: skip
        panels += [Panel(lines, STEPS, words, log="y", may_log="y")] if lines else []
    caption = [
        f"{look.where(table)}, no L2 penalty, {studies_initialization.rates(table)}."
        " Accuracy (fraction of test images) after equally"
        f" many steps; chance (dotted) where a run overflowed. {DOTS} Over the steps: medians over"
        " the seeds of the length of a layer's weights, and of the learning rate over its square"
        " (section 3.3), geometric means over all weight layers but the last; arm names end in the"
        " initial scale. Fixed, gaussian: deviation 0.01 in every layer."
    ]
    yield Frame(name_of(table), "initial weights, with and without BN", caption, panels, points)


# --- single changes, Inception --------------------------------------------------------------------


def ablations(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """What each change alone does; accuracy by batch size; other statistics at test time."""
    points = studies_ablations.points(table)
    changed = points[~points["group"].isin(("C26", "C4"))]
    traces, labels = [], []
    for _, rows in changed.groupby("arm", sort=False):
        first = rows.iloc[0]
        _, of, group = OF_NORM[0 if first["arm"].startswith("bn") else 1]
        labels.append(f"{first['group'].removesuffix('  the transform')}: {first['change']}")
        traces += differences(group, labels[-1], rows, of)
    rows = rows_of(labels)
    limit = look.half_frame(changed)
    rows["layout"]["xaxis"] = {"range": [-limit, limit]}
    panels = [Panel(traces, "best test accuracy with − without, percentage points", "",
                    "one change at a time", may_log="", lines=(("x", 0),), wide=True,
                    **rows)]  # fmt: skip
    panels += [_batches(points), _inference(points)]
    caption = [
        f"{look.where(table)}, paired by seed. Differences: large mark: mean, with its 95 %"
        " interval (Student's t), which may leave the frame until it is zoomed out; small points:"
        " one seed. Batch sizes (C26): equally many steps at"
        " each, so 64 times fewer images at 2 than at 128, and its own learning rate"
        " (cifar10_tune_ablations). Statistics at test time (C4):"
        " accuracy at the end less that with the paper's."
        f" {DOTS}"
    ]
    panels = [panel for panel in panels if panel.traces]
    yield Frame(name_of(table), "one change at a time", caption, panels, points)


def published(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """The small Inception's accuracies on test images, a row a network, beside the published."""
    rows = studies_inception.published(table)
    labels = pd.Series(studies_inception.names(rows))
    with_bn = rows["network"].str.startswith("with BN")
    theirs = rows["published_test"]
    traces = [line("published", "Zhang et al. (2017)", theirs, labels, Ink("#000000", "D"),
                   hollow=True, marks="markers", size=9)]  # fmt: skip
    for (_, of, words), chosen in zip(OF_NORM, (with_bn, ~with_bn), strict=True):
        ours = rows[chosen]
        made = line(words, "mean, 95 % interval", ours["test"], labels[chosen], of, marks="markers")
        traces.append(interval(made, "x", ours["low"], ours["high"]))
    panel = Panel(traces, "accuracy on test images (dotted: chance)", "", may_log="", wide=True,
                  lines=(("x", CHANCE),), **rows_of(list(labels)))  # fmt: skip
    title = "the small Inception beside its published numbers"
    words = studies_inception.published_words(table)
    yield Frame(name_of(table), title, [words], [panel], rows)


def _batches(points: pd.DataFrame) -> Panel:
    part = points[points["group"] == "C26"]
    traces = []
    for change, of, label in (("bn", BN, "with BN"), ("plain", PLAIN, "without BN")):
        rows = part[part["change"] == change]
        traces += dots_and_mean(label, rows, "batch", "points", of) if len(rows) else []
    return Panel(traces, "images in a mini-batch", "best test accuracy, %", "C26 batch size",
                 log="x", may_log="x", lines=(("y", 100 * CHANCE),),
                 layout=ticks_at(part, "batch"))  # fmt: skip


def _inference(points: pd.DataFrame) -> Panel:
    part = points[points["group"] == "C4"]
    traces = []
    for change, drawn in studies_ablations.LINES.items():
        rows = part[part["change"] == change]
        dash = {"-": "solid", "--": SHORT, ":": "2px,3px"}[drawn.style]
        made = dots_and_mean(change, rows, "batch", "points", drawn.ink, dash)
        traces += made if len(rows) else []
    return Panel(traces, "images in a mini-batch", "accuracy − with the paper's, points",
                 "C4 statistics at test time", log="x", may_log="x", lines=(("y", 0),),
                 layout=ticks_at(part, "batch"))  # fmt: skip


def shift(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """Accuracy, and what a step does to what layers see, with inputs unstable on purpose."""
    points, panels = studies_shift.points(table), []
    for quantity, words in studies_shift.PANELS.items():
        traces = []
        for arm, (of, style, label) in studies_shift.ARMS.items():
            part = points[(points["quantity"] == quantity) & (points["arm"] == arm)]
            part, dash = part.sort_values("step"), "solid" if style == "-" else SHORT
            traces.append(line(label, MEDIAN, part["step"], part["value"], of, dash))
            traces.append(band(label, BAND, part["step"], part["low"], part["high"], of))
        log = "y" if quantity == "moved" else ""
        panels.append(Panel(traces, STEPS, words, log=log, may_log="x"))
    words = [studies_shift.words_of(table)]
    yield Frame(name_of(table), studies_shift.TITLE, words, panels, points)


def recurrent(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """The error of an LSTM, with and without BN at each time step."""
    points, traces = studies_recurrent.points(table), []
    for arm, (of, style, label) in studies_recurrent.ARMS.items():
        part = points[points["arm"] == arm].sort_values("step")
        dash = "solid" if style == "-" else SHORT
        traces.append(line(label, MEDIAN, part["step"], part["error"], of, dash))
        traces.append(band(label, BAND, part["step"], part["low"], part["high"], of))
    levels = tuple(("y", level) for level in studies_recurrent.THEIRS.values())
    panel = Panel(traces, STEPS, studies_recurrent.ERROR, log="y", may_log="xy", lines=levels)
    words = [studies_recurrent.words_of(table)]
    yield Frame(name_of(table), studies_recurrent.TITLE, words, [panel], points)
