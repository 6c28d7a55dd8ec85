"""Frames of the studies that choose learning rates and their decay."""

from collections.abc import Iterator

import pandas as pd

from batchnorm.report import (
    look,
    mnist_tune,
    paper,
    studies,
    studies_cifar10,
    studies_rates,
)
from batchnorm.report.look import DOTS, GREY, Ink, split_of
from batchnorm.report.mnist import NETS
from batchnorm.report.page.parts import Frame, Panel, name_of
from batchnorm.report.page.traces import (
    MEAN,
    SHORT,
    Trace,
    dots_and_mean,
    interval,
    line,
    of_net,
)


def ticks_at(points: pd.DataFrame, x: str) -> dict[str, dict]:
    """The layout of an x axis with ticks at the values of a column and nowhere else."""
    at = sorted(float(f"{value:.6g}") for value in points[x].dropna().unique())
    return {"xaxis": {"tickvals": at, "ticktext": [f"{value:g}" for value in at]}}


def ladder(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """Best accuracy against the learning rate."""
    points, network = studies.ladder_points(table), studies.network_words(table)
    traces = dots_and_mean(network, points, "lr", "best", studies.ink_of(table))
    lost = points[points["diverged"]]
    if len(lost):
        traces.append(line("overflowed", "seeds", lost["lr"], lost["best"], Ink(GREY, "x"),
                           marks="markers"))  # fmt: skip
    chosen = points.loc[points["chosen"], "lr"].iloc[0]
    split = split_of(table)
    panel = Panel(traces, "initial learning rate", f"best {split} accuracy", log="x",
                  lines=(("x", chosen),), layout=ticks_at(points, "lr"))  # fmt: skip
    caption = [
        f"{look.where(table)}. Best accuracy of each run (fraction of images), on"
        f" {look.judged_on(table)}. {DOTS} Dotted line: the rate with the highest mean, {chosen:g},"
        " which was chosen. A run that overflowed is drawn at chance."
        + look.edge_words(points["lr"], [chosen])
    ]
    yield Frame(name_of(table), f"learning rate of the {network}", caption, [panel], points)


def of_every_arm(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """Best accuracy of every arm at every rate."""
    points = studies_rates.points(table)
    without = set(table.loc[table["model.norm"] == "none", "arm"].str.rpartition("_")[0])
    traces, places = [], {"solid": 0, SHORT: 0}
    for arm, part in points.groupby("arm", sort=False):
        dash = SHORT if arm in without else "solid"
        traces += dots_and_mean(arm, part, "lr", "best", look.ink("", places[dash]), dash)
        places[dash] += 1
    chosen = points[points["chosen"]].groupby("arm", sort=False)[["lr", "best"]].mean()
    traces.append(line("chosen", MEAN, chosen["lr"], chosen["best"], Ink("#000000", "p"),
                       marks="markers"))  # fmt: skip
    panel = Panel(traces, "initial learning rate", f"best {split_of(table)} accuracy", log="x",
                  layout=ticks_at(points, "lr"))  # fmt: skip
    lost = "Overflowed runs count, and are drawn, as chance"
    caption = [
        studies_rates.words(table, "small points: seeds; lines: through their means", "Stars", lost)
        + " Dashed: without BN." * (SHORT in {trace["line"]["dash"] for trace in traces})
    ]
    title = studies_rates.subject(table)
    yield Frame(name_of(table), title, caption, [panel], points)


def mnist_rates(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """Best accuracy of both networks against the learning rate, and the gap between them."""
    points = mnist_tune.tune_points(table)
    deviations = sorted(points["std"].unique())
    traces = []
    for (norm, std), part in points.groupby(["norm", "std"], sort=False):
        of, dash = of_net(NETS[norm])
        name, hollow = f"{NETS[norm].label}, deviation {std:g}", std != deviations[-1]
        traces += dots_and_mean(name, part, "lr", "accuracy", of, dash, hollow=hollow)
    found = mnist_tune.gaps(points)
    ticks = ticks_at(points, "lr")
    left = Panel(traces, "learning rate", f"best {split_of(table)} accuracy", "accuracy", log="x",
                 layout=ticks)  # fmt: skip
    right = Panel(_gaps(found, deviations), "learning rate", "with − without BN, points",
                  "difference, paired by seed", log="x", may_log="x", lines=(("y", 0),),
                  layout={**ticks, "yaxis": {"range": [-1, 4]}})  # fmt: skip
    caption = [
        f"{look.where(table)}. Best accuracy of each run (fraction), on {look.judged_on(table)}."
        f" {DOTS} The difference: mean and 95 % interval (Student's t), in percentage points,"
        " at the same rate, deviation and seed; one above 4 lies outside the frame until it is"
        " zoomed out.",
        *filter(None, [mnist_tune.tie_words(points), mnist_tune.sooner_words(table)]),
    ]
    panels = [left, right] if found else [left]
    yield Frame(name_of(table), "learning rates of both networks", caption, panels, points)


def _gaps(found: list[mnist_tune.Gap], deviations: list[float]) -> list[Trace]:
    traces = []
    for std in deviations:
        part = [gap for gap in found if gap.std == std]
        rates = [gap.lr for gap in part]
        ends = pd.DataFrame([vars(gap.points) for gap in part], columns=["value", "low", "high"])
        made = line(f"difference, deviation {std:g}", "mean, 95 % interval", rates, ends["value"],
                    Ink(GREY, "D"), hollow=std != deviations[-1])  # fmt: skip
        traces.append(interval(made, "y", ends["low"], ends["high"]))
    return traces


def schedule(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """Best accuracy against the rate left at the end, a line per arm."""
    points = studies_cifar10.schedule_points(table)
    traces = []
    for place, kind in enumerate(paper.ordered(set(points["kind"]) - {"mean"})):
        part = points[points["kind"] == kind]
        traces += dots_and_mean(kind, part, "final_lr", "best", look.ink(kind, place))
    means = points[points["kind"] == "mean"]
    traces.append(line("mean of the arms", MEAN, means["final_lr"], means["best"],
                       Ink(GREY, "D"), SHORT))  # fmt: skip
    chosen = means.loc[means["chosen"], "final_lr"].iloc[0]
    panel = Panel(traces, "final_lr: the rate at the end, as a share of the initial rate",
                  "best validation accuracy", lines=(("x", chosen),),
                  layout=ticks_at(points, "final_lr"))  # fmt: skip
    caption = [
        f"{look.where(table)}. Best accuracy of each run (fraction), on {look.judged_on(table)}."
        f" {studies_cifar10.dots(points)} Dotted line: where the mean of the arms is highest,"
        f" {chosen:g}, which the rule chooses." + look.edge_words(points["final_lr"], [chosen])
    ]
    title = "the decay of the learning rate that all arms share"
    yield Frame(name_of(table), title, caption, [panel], points)
