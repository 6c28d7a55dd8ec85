"""Frames of what is drawn over the steps of a run: Figures 1 and 2, and what was watched."""

from collections.abc import Iterator

import pandas as pd

from batchnorm.report import (
    figures,
    look,
    mnist,
    mnist_percentiles,
    mnist_probes,
    paper,
)
from batchnorm.report.look import Ink, split_of
from batchnorm.report.mnist import NETS, PAIRS
from batchnorm.report.page.parts import Frame, Panel
from batchnorm.report.page.traces import (
    BAND,
    DOTTED,
    MEAN,
    MEDIAN,
    PAPER,
    SHORT,
    Trace,
    band,
    dots,
    line,
    of_net,
    rows_of,
    seeds,
)

STEPS = "training steps"


# --- Figure 2 -------------------------------------------------------------------------------------


def learning_rate(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """Figure 2: accuracy against steps for every arm, with the paper's curves."""
    yield _accuracies(table, paper.curves())


def any_experiment(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """Accuracy against steps, for an experiment of the user's own."""
    yield _accuracies(table, None)


def _accuracies(table: pd.DataFrame, published: pd.DataFrame | None) -> Frame:
    points = figures.learning_rate_points(table, published)
    arms = list(table["arm"].unique())
    inks = {arm: look.ink(arm, place) for place, arm in enumerate(arms)}
    traces = [trace for arm in arms for trace in _arm(arm, table, points, inks[arm])]
    match = points.loc[points["series"] == "match", "accuracy"]
    lines = (("y", float(match.iloc[0])),) if len(match) else ()
    panels = [Panel(traces, STEPS, f"{split_of(table)} accuracy", lines=lines, height=460,
                    wide=True, layout={"yaxis": {"rangemode": "tozero"}})]  # fmt: skip
    caption = [
        f"{look.where(table)}, steps of {table['data.batch_size'].iloc[0]} images. Accuracy:"
        f" fraction of images.{figures.population(table)} Median, and band from minimum to maximum,"
        " over the seeds still running."
    ]
    compared = figures.compared(table, points)
    if compared:
        traces = [trace for arm in compared for trace in _matches(arm, points, inks[arm])]
        panels.append(Panel(traces, STEPS, "", "steps to match the baseline's best", may_log="x",
                            wide=True, **rows_of(compared)))  # fmt: skip
    if len(match):
        caption[0] += (
            f" Dotted line: the baseline's best accuracy, {match.iloc[0]:.3f}. Steps to match: each"
            " seed to the best of its own baseline, so not where median curves cross; large marks:"
            " medians, one that never gets there counting as the slowest."
        )
    if (points["series"] == "paper").any():
        caption[0] += (
            " Dashed, hollow marks: the paper's networks on ImageNet (its Figures 2 and 3), read"
            " off its plot (within 0.003), their 31 million steps laid on our baseline's run; its"
            " BN-x5 is drawn to 2.1 million only."
        )
    words = ", ".join(filter(None, [look.network_name(table), "accuracy against steps"])) + (
        f", {look.with_bn(table)}" if published is not None else ""
    )
    name = table["experiment"].iloc[0]
    return Frame(name, words, caption + figures.overflows(table), panels, points)


def _arm(arm: str, table: pd.DataFrame, points: pd.DataFrame, of: Ink) -> Iterator[Trace]:
    series = {name: part for name, part in points[points["arm"] == arm].groupby("series")}
    if "curve" in series:
        curve = series["curve"].sort_values("step")
        notes = [f"{r.low:.4g} to {r.high:.4g}, n {r.n:.0f}" for r in curve.itertuples()]
        yield line(arm, MEDIAN, curve["step"], curve["accuracy"], of, note=notes)
        yield band(arm, BAND, curve["step"], curve["low"], curve["high"], of)
        yield seeds(arm, _there(table, arm), "step", "accuracy", of)
    if "paper" in series:
        read = series["paper"]
        millions = read["step"] / figures.laid(table, paper.curves())
        notes = [f"{paper.values()['arms'][arm]}, {m:.3g} million steps" for m in millions]
        yield line(arm, PAPER, read["step"], read["accuracy"], of, SHORT, True, size=6, note=notes)
    if "overflow" in series and series["overflow"]["accuracy"].notna().any():
        at = series["overflow"].dropna(subset="accuracy")
        yield line(arm, "overflowed", at["step"], at["accuracy"], Ink(of.colour, "x"),
                   marks="markers", size=9)  # fmt: skip


def _matches(arm: str, points: pd.DataFrame, of: Ink) -> Iterator[Trace]:
    """A row: the steps of each seed to the baseline's best, their median, and the paper's."""
    series = {name: part for name, part in points[points["arm"] == arm].groupby("series")}
    for name, layer, how in (
        ("match", MEDIAN, {"size": 11}),
        ("paper_match", PAPER, {"hollow": True, "size": 9}),
    ):
        if name in series:
            at = series[name]["step"]
            yield line(arm, layer, at, [arm] * len(at), of, marks="markers", **how)
    if "match_seed" in series:
        yield dots(arm, series["match_seed"].assign(label=arm), "step", "label", of)


def _there(table: pd.DataFrame, arm: str) -> pd.DataFrame:
    return table[(table["arm"] == arm) & table["accuracy"].notna()]


# --- Figure 1 -------------------------------------------------------------------------------------


def mnist_figures(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[Frame]:
    """Figure 1, and what was watched inside the networks where it was."""
    yield _mnist_accuracy(table)
    at_one_rate = table[table["arm"].isin(PAIRS[0])].dropna(axis="columns", how="all")
    if "typical/p50" in at_one_rate:
        yield _percentiles(table)
        yield _drift(table)
    if {"norm/1", "jacobian/2/q50"} <= set(at_one_rate):
        yield _scale(table)


def _mnist_accuracy(table: pd.DataFrame) -> Frame:
    points = mnist.accuracy_points(table)
    far = [
        f"{arm} {found.largest:.3f} (at {mnist.thousands(found.step)})"
        for arm, found in mnist.accuracy_distances(points).items()
    ]
    caption = [
        f"{mnist.run_words(table)} Accuracy: fraction of the test images, population statistics."
        " Median, and band from minimum to maximum, over the seeds. Hollow marks: the paper's"
        " Figure 1(a), read off its plot; it gives no learning rate, and its curves are the same in"
        " both panels.",
        f"Largest vertical distance of our median from the paper's points: {', '.join(far)}.",
    ]
    panels = [
        Panel(
            [trace for arm in pair for trace in _mnist_arm(arm, table, points)],
            STEPS,
            "test accuracy",
            mnist.rates(table[table["arm"].isin(pair)], place),
            layout={"yaxis": {"range": [0.7, 1.0]}},
            may_log="x",
        )
        for place, pair in enumerate(PAIRS)
        if table["arm"].isin(pair).any()
    ]
    return Frame("mnist_1a", "test accuracy with and without BN, as in Figure 1(a)", caption,
                 panels, points)  # fmt: skip


def _mnist_arm(arm: str, table: pd.DataFrame, points: pd.DataFrame) -> Iterator[Trace]:
    series = {name: part for name, part in points[points["arm"] == arm].groupby("series")}
    if "ours" not in series:
        return
    ours, read = series["ours"], series["paper"]
    net = NETS[ours["norm"].iloc[0]]
    of, dash = of_net(net)
    notes = [f"{r.low:.4f} to {r.high:.4f}, n {r.n:.0f}" for r in ours.itertuples()]
    yield line(net.label, MEDIAN, ours["step"], ours["accuracy"], of, dash, note=notes)
    yield band(net.label, BAND, ours["step"], ours["low"], ours["high"], of)
    yield seeds(net.label, _there(table, arm), "step", "accuracy", of)
    notes = [
        "read with difficulty" if hard else "read off the plot" for hard in read["approximate"]
    ]
    yield line(net.label, PAPER, read["step"], read["accuracy"], of, DOTTED, True, note=notes)


MARKS = {85: "^", 50: "o", 15: "v"}  # of the percentiles


def _percentiles(table: pd.DataFrame) -> Frame:
    points = mnist_percentiles.percentile_points(table)
    panels = []
    for letter, (norm, net) in zip("bc", NETS.items(), strict=True):
        traces = []
        for percentile, mark in MARKS.items():
            of, _ = of_net(net)
            group = f"{percentile}th percentile"
            for series, layer in (("ours", "ours"), ("paper", PAPER)):
                part = points[(points["norm"] == norm) & (points["series"] == series)
                              & (points["percentile"] == percentile)]  # fmt: skip
                traces.append(line(group, layer, part["step"], part["value"],
                                   Ink(of.colour, mark), DOTTED if layer == PAPER else "solid",
                                   hollow=layer == PAPER))  # fmt: skip
        panels.append(Panel(traces, STEPS, "input of the sigmoid", f"({letter}) {net.label}",
                            may_log="x", layout={"yaxis": {"range": [-2.6, 2.6]}}))  # fmt: skip
    title = "inputs of one sigmoid of the last hidden layer, as in Figures 1(b) and (c)"
    words = mnist_percentiles.percentile_words(table, points)
    return Frame("mnist_1bc", title, words, panels, points)


# --- what was watched -----------------------------------------------------------------------------


def _drift(table: pd.DataFrame) -> Frame:
    points = mnist_probes.drift_points(table)
    panels = [
        Panel(
            [t for arm, part in points.groupby("arm", sort=False)
             for t in _drift_arm(arm, part[part["kind"] == kind])],
            "hidden layer",
            "in spreads of the unit",
            f"drift {words}",
            may_log="y",
            layout={"xaxis": {"tickvals": list(mnist_probes.HIDDEN)}},
        )
        for kind, words in mnist_probes.KINDS.items()
    ]  # fmt: skip
    return Frame("mnist_drift", "how far the inputs of the sigmoids drift",
                 mnist_probes.drift_words(table, points), panels, points)  # fmt: skip


def _drift_arm(arm: str, part: pd.DataFrame) -> list[Trace]:
    net = NETS[part["norm"].iloc[0]]
    of, dash = of_net(net)
    group = f"{net.label}, rate {part['lr'].iloc[0]:g}"
    means = part.dropna(subset="drift").groupby("layer")["drift"].mean()
    hollow = arm in PAIRS[1]
    return [
        line(group, MEAN, means.index, means, of, dash, hollow),
        dots(group, part, "layer", "drift", of),
    ]


DASHES = {1: "solid", 2: "10px,3px", 3: SHORT, 4: DOTTED}


def _scale(table: pd.DataFrame) -> Frame:
    points = mnist_probes.scale_points(table)
    panels = []
    for norm, net in NETS.items():
        of, _ = of_net(net)
        part = points[points["norm"] == norm]
        weights = part[part["quantity"] == "norm"]
        traces = [
            line(f"weights of layer {k}", MEDIAN, w["step"], w["value"], Ink(of.colour, mark),
                 DASHES[k])
            for (k, w), mark in zip(weights.groupby("layer"), "os^D", strict=False)
        ]  # fmt: skip
        panels.append(Panel(traces, STEPS, "norm / first norm", f"{net.label}: weights",
                            may_log="x", lines=(("y", 1),)))  # fmt: skip
        for layer in mnist_probes.JACOBIANS:
            of_layer = part[(part["quantity"] == "singular value") & (part["layer"] == layer)]
            title = f"{net.label}: Jacobian {layer}"
            panels.append(Panel(_singular(of_layer, of), STEPS, "singular value", title, log="y",
                                lines=(("y", 1),)))  # fmt: skip
    title = "norms of the weights, singular values of the Jacobians"
    return Frame("mnist_scale", title, mnist_probes.scale_words(table), panels, points)


def _singular(points: pd.DataFrame, of: Ink) -> list[Trace]:
    if not len(points):
        return []
    wide = points.pivot_table(index="step", columns="percent", values="value")
    steps = pd.Series(wide.index, index=wide.index)
    middle = line("median singular value", MEDIAN, steps, wide[50], of)
    areas = [
        band(f"{low} to {high} %", MEDIAN, steps, wide[low], wide[high], of, alpha)
        for low, high, alpha in ((5, 95, 0.15), (25, 75, 0.3))
    ]
    return [middle, *areas]
