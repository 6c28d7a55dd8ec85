"""A results root's figures, tables and ledger, made from its records as bytes and then written."""

import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from batchnorm import record
from batchnorm.report import (
    claims,
    comparison,
    ensemble,
    figures,
    look,
    mnist,
    mnist_initialization,
    mnist_percentiles,
    mnist_probes,
    mnist_table,
    mnist_tune,
    paper,
    statistics,
    studies,
    studies_ablations,
    studies_cifar10,
    studies_imagenette,
    studies_inception,
    studies_initialization,
    studies_rates,
    studies_recurrent,
    studies_shift,
    tables,
    verdicts,
)

STAND_IN = "STAND-IN-"  # begins the name of every file that is made from generated data
COMPARED = "-compared.txt"  # ends the name of a comparison with another root
STAND_IN_LINE = "STAND-IN DATA: generated images, not the real ones.\n"

Files = dict[Path, bytes]
# (an experiment's rows, all rows of its scale) -> folder and end of each file's name, and content
Maker = Callable[[pd.DataFrame, pd.DataFrame], Iterator[tuple[str, bytes]]]


class ReportError(Exception):
    """A report that cannot be made; the message is one line for the user."""


# --- what is made of each experiment --------------------------------------------------------------


def _learning_rate(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    published = paper.curves()
    points = figures.learning_rate_points(table, published)
    yield from _drawn(figures.learning_rate(table, published), points)


def _precision(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    """Only where the same arms and seeds have been run in bfloat16 too."""
    pair = studies.in_both_precisions(table, every)
    if pair:
        yield from _drawn(studies.precision(*pair), studies.precision_points(*pair))


def _mnist(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    """What was watched is drawn only where it was."""
    yield from _drawn(mnist.accuracy(table), mnist.accuracy_points(table), "_1a")
    at_one_rate = table[table["arm"].isin(mnist.PAIRS[0])].dropna(axis="columns", how="all")
    if "typical/p50" in at_one_rate:
        points = mnist_percentiles.percentile_points(table)
        yield from _drawn(mnist_percentiles.percentiles(table), points, "_1bc")
        yield from _drawn(mnist_probes.drift(table), mnist_probes.drift_points(table), "_drift")
    if {"norm/1", "jacobian/2/q50"} <= set(at_one_rate):
        yield from _drawn(mnist_probes.scale(table), mnist_probes.scale_points(table), "_scale")


def _figure(
    draw: Callable[[pd.DataFrame], Figure], points: Callable[[pd.DataFrame], pd.DataFrame]
) -> Maker:
    """Of an experiment that has one figure and its points."""

    def make(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
        yield from _drawn(draw(table), points(table))

    return make


def _ensemble(table: pd.DataFrame, every: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    """Only where the runs left their probabilities."""
    points = ensemble.points(table)
    if ensemble.there(points):
        yield from _drawn(ensemble.draw(table, points), points)


_tune = _figure(studies.learning_rate_ladder, studies.ladder_points)
_rates = _figure(studies_rates.draw, studies_rates.points)
# One of your own: _learning_rate draws any arms (speed-ups need one that is called baseline); the
# page draws it so without an entry.
EXPERIMENTS: dict[str, Maker] = {
    "mnist": _mnist,
    "mnist_tune": _figure(mnist_tune.tune, mnist_tune.tune_points),
    "mnist_initialization": _figure(
        mnist_initialization.initialization, mnist_initialization.initialization_points
    ),
    "mnist_recurrent": _figure(studies_recurrent.draw, studies_recurrent.points),
    "cifar10_learning_rate": _learning_rate,
    "cifar10_precision": _precision,
    "cifar10_tune": _tune,
    "cifar10_tune_bn": _tune,
    "cifar10_tune_dropout": _rates,
    "cifar10_tune_depth": _rates,
    "cifar10_tune_ablations": _rates,
    "cifar10_tune_sigmoid": _rates,
    "cifar10_tune_inception": _tune,
    "cifar10_schedule": _figure(studies_cifar10.schedule, studies_cifar10.schedule_points),
    "cifar10_dropout": _figure(studies_cifar10.dropout, studies_cifar10.dropout_points),
    "cifar10_depth": _figure(studies_cifar10.depth, studies_cifar10.depth_points),
    "cifar10_initialization": _figure(studies_initialization.draw, studies_initialization.points),
    "cifar10_ablations": _figure(studies_ablations.draw, studies_ablations.points),
    "cifar10_shift": _figure(studies_shift.draw, studies_shift.points),
    "cifar10_inception": _learning_rate,
    "cifar10_inception_published": _figure(studies_inception.draw, studies_inception.published),
    "imagenette": _learning_rate,
    "imagenette_tune": _tune,
    "imagenette_changes": _figure(studies_imagenette.draw, studies_imagenette.points),
    "imagenette_ensemble": _ensemble,
    "imagenet": _learning_rate,
    "imagenet_ensemble": _ensemble,
}


# The experiments that have a printed table: that of Figure 3, of Figure 1(a), of Figure 4, ...
TABLES: dict[str, Callable[[pd.DataFrame], tables.Printed | None]] = {
    **{name: tables.printed for name, make in EXPERIMENTS.items() if make is _learning_rate},
    **{name: ensemble.printed for name, make in EXPERIMENTS.items() if make is _ensemble},
    "mnist": mnist_table.printed,
    "cifar10_inception_published": studies_inception.printed,
}


def printed(table: pd.DataFrame) -> tables.Printed | None:
    """The printed table of one experiment at one scale, if it has one."""
    make = TABLES.get(table["experiment"].iloc[0])
    return make(table) if make else None


def table_text(table: pd.DataFrame) -> str:
    """The same as Markdown, with what stands under it; "" without one."""
    made = printed(table)
    return _heading(table) + made.markdown() if made else ""


def _heading(table: pd.DataFrame) -> str:
    return STAND_IN_LINE + "\n" if statistics.is_stand_in(table) else ""


def _tables(table: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    made = printed(table)
    if made:
        yield "tables .csv", csv(made.numbers)
        yield "tables .md", (_heading(table) + made.markdown()).encode()


def _drawn(figure: Figure, points: pd.DataFrame, part: str = "") -> Iterator[tuple[str, bytes]]:
    """`part` tells apart the figures of one experiment."""
    yield f"figures {part}.csv", csv(points)
    for kind in ("png", "svg"):
        yield f"figures {part}.{kind}", look.render(figure, kind)


def csv(numbers: pd.DataFrame) -> bytes:
    """Numbers as the bytes of a CSV file, to six digits."""
    return numbers.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()


# --- a root ---------------------------------------------------------------------------------------


def render(root: Path, reference: Path | None = None) -> Files:
    """Every file of the report on a root's records, by path; writes nothing.

    With a reference root, also the comparison with it. Raises RecordError.
    """
    table = statistics.load(root)
    if not len(table):
        return {}
    files: Files = {}
    for (scale, experiment), rows in table.groupby(["scale", "experiment"]):
        mark = STAND_IN if statistics.is_stand_in(rows) else ""
        make = EXPERIMENTS.get(experiment, lambda rows, every: iter(()))
        every = table[table["scale"] == scale]
        for kind, content in chain(make(rows, every), _tables(rows)):
            folder, suffix = kind.split()
            files[root / folder / scale / f"{mark}{experiment}{suffix}"] = content
    files |= _ledger(root, table)
    return files | _comparisons(root, reference, table) if reference else files


def _ledger(root: Path, table: pd.DataFrame) -> Files:
    rows = [verdicts.judge(claim, table) for claim in verdicts.ledger()]
    stand_in = statistics.is_stand_in(table)
    mark, line = (STAND_IN, STAND_IN_LINE + "\n") if stand_in else ("", "")
    text = json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return {
        root / f"{mark}claims.md": (line + verdicts.markdown(rows)).encode(),
        root / f"{mark}claims.json": text.encode(),
    }


def _comparisons(root: Path, reference: Path, table: pd.DataFrame) -> Files:
    files: Files = {}
    drawn = table[table["experiment"].isin(EXPERIMENTS)]
    for (experiment, scale), rows in drawn.groupby(["experiment", "scale"], sort=False):
        stand_in = statistics.is_stand_in(rows)
        theirs = statistics.load(reference, scale, experiment)
        published = TABLES.get(experiment) is tables.printed
        text = comparison.comparison(rows, theirs[:0] if stand_in else theirs, published)
        heading = f"{experiment}: {look.data_name(rows)}, {scale} scale, means over seeds; the"
        heading += " reference's with the interval of a repeat\n"
        if not stand_in and len(theirs) and other_data(rows, theirs):
            heading += "yours are of other files of the data (environment.data_checksum)\n"
        name = f"{STAND_IN if stand_in else ''}{experiment}{COMPARED}"
        files[root / "tables" / scale / name] = f"{heading}\n{text}".encode()
    return files


def other_data(yours: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    """Whether any of your runs are of data that none of the reference's are of."""
    column = "environment.data_checksum"
    return not set(yours[column]) <= set(theirs[column])


def build(root: Path, reference: Path | None = None) -> list[Path]:
    """Write the report on a root's records under it, and return the paths of its files.

    figures/<scale>/<experiment>.{svg,png,csv}, tables/<scale>/<experiment>.{md,csv}, claims.{md,
    json}; with a reference root, tables/<scale>/<experiment>-compared.txt. Raises RecordError.
    """
    files = render(root, reference)
    for path, content in files.items():
        record.write_atomically(path, content)
    return list(files)


def stale(files: Files) -> list[Path]:
    """Those of the files whose content on disk is another, or missing."""
    return [path for path, new in files.items() if not path.is_file() or path.read_bytes() != new]


# --- the README -----------------------------------------------------------------------------------


def readme_section(root: Path) -> str:
    """The table of Figure 3 at the scale of the most runs, and the verdicts, as Markdown.

    Raises RecordError, or ReportError where there are no records.
    """
    table = statistics.load(root)
    if not len(table):
        raise ReportError(f"no records under {root}/records to fill its results section from")
    parts = []
    rows = table[table["experiment"] == claims.EXPERIMENT]
    if len(rows):
        parts.append(table_text(rows[rows["scale"] == statistics.usual_scale(rows)]))
    rows = [verdicts.judge(claim, table) for claim in verdicts.ledger()]
    return "\n".join([*parts, verdicts.markdown_overview(rows)])


def replace_section(text: str, name: str, content: str) -> str:
    """The text with what stands between its markers `name:begin` and `name:end` replaced.

    Raises ReportError when the text does not have both, once each and in order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed or begin in rest or end in before + after:
        raise ReportError(f"needs the lines {begin} and {end}, once each and in this order")
    return f"{before}{begin}\n{content.strip()}\n{end}{after}"
