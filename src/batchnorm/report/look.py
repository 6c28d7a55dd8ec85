"""How every figure looks: colours, type, labels and footer, and its bytes, the same every time."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from scipy.optimize import isotonic_regression

from batchnorm.report import statistics
from batchnorm.report.inks import INKS as INKS
from batchnorm.report.inks import OTHERS as OTHERS
from batchnorm.report.inks import Ink
from batchnorm.report.inks import ink as ink

look = style.context(
    [
        "default",
        {
            "font.family": "DejaVu Sans",
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.labelsize": 8,
            "axes.spines.right": False,
            "axes.linewidth": 0.6,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 7,
            "legend.frameon": False,
            "lines.linewidth": 1.5,
            "lines.markersize": 4.5,
            "savefig.dpi": 200,
            "svg.hashsalt": "batchnorm",
        },
    ]
)
WIDTH = 7.0  # inches
SMALL = 7  # points
GREY = "#595959"
HALO = {"markeredgecolor": "white", "markeredgewidth": 0.6}  # markers on their lines
PAPERS = {  # a line of the paper's, beside ours in the same colour: hollow markers
    "linewidth": 0.9,
    "dashes": (4, 2),
    "markersize": 4.5,
    "markerfacecolor": "white",
}


PLAIN, BN = INKS["baseline"], Ink("#0072B2", "s")  # where norm is what sets lines apart
GRID = {"color": "#E5E5E5", "linewidth": 0.5}
DOTS = "Small points: one seed each; line: through the means."
DATA_NAMES = {"cifar10": "CIFAR-10", "mnist": "MNIST"}  # by data.name, or by data.folder
DATA_NAMES |= {"imagenette-160": "Imagenette", "imagenet": "ImageNet"}
NETWORKS = {"small_inception": "small Inception", "inception": "Inception"}


def data_name(table: pd.DataFrame) -> str:
    """The data set of a table's runs, as it is written in prose."""
    first = table.iloc[0]
    name = first["data.folder"] if first["data.name"] == "image_folder" else first["data.name"]
    name = DATA_NAMES.get(name, name)
    return f"STAND-IN DATA in place of {name}" if statistics.is_stand_in(table) else name


def network_name(table: pd.DataFrame) -> str | None:
    """The network of a table's runs, if it is one with a name."""
    return NETWORKS.get(table["model.name"].iloc[0])


def split_of(table: pd.DataFrame) -> str:
    """The images that accuracies are of: validation, if some were held out, else test."""
    return "validation" if (table["data.holdout"] > 0).any() else "test"


def with_bn(table: pd.DataFrame) -> str:
    """Which networks a table's runs are of: with BN, without, or both."""
    norms = {norm if not norm.startswith("batch") else "BN" for norm in table["model.norm"]}
    others = " and ".join(sorted(norms - {"none"}))
    if "none" not in norms:
        return f"with {others}"
    return f"with and without {others}" if others else "without BN"


def title(figure: Figure, text: str) -> None:
    """The figure's title."""
    figure.suptitle(text, x=0.01, y=0.985, ha="left", va="top", fontsize=9, weight="bold")


def footer(figure: Figure, *paragraphs: str) -> None:
    """A caption at the foot of the figure, as wide as the figure is."""
    text = "\n".join(_caption(figure.get_figwidth(), paragraphs))
    figure.text(0.01, 0.015, text, fontsize=SMALL, color=GREY, va="bottom", linespacing=1.3)


def caption_height(width: float, *paragraphs: str) -> float:
    """What a caption takes of the foot of a figure that wide; both in inches."""
    return 0.1 + 1.35 * SMALL / 72 * len(_caption(width, paragraphs))


def _caption(width: float, paragraphs: Iterable[str]) -> list[str]:
    points = 72 * (width - 0.14)
    return [line for words in paragraphs for line in wrapped(words, points)]


def wrapped(words: str, points: float) -> list[str]:
    """Words as lines no wider than that in small type, by the advances of their glyphs: a PNG's are
    rounded to pixels, an SVG's are not, and neither may run over the edge."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer) <= points:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _width(text: str) -> float:
    font = FontProperties(family="DejaVu Sans", size=SMALL)
    return text_to_path.get_text_width_height_descent(text, font, False)[0]


def seeds_of(table: pd.DataFrame) -> str:
    """The number of seeds per arm, such as "3 seeds" or "2 to 3 seeds"."""
    counts = statistics.runs(table).groupby("arm")["seed"].nunique()
    low, high = int(counts.min()), int(counts.max())
    return f"{low} seed{'s' * (low != 1)}" if low == high else f"{low} to {high} seeds"


def seeds_per_arm(table: pd.DataFrame) -> str:
    """The same for a caption, such as "3 seeds per arm (bn_x30: 2)"."""
    counts = statistics.runs(table).groupby("arm", sort=False)["seed"].nunique()
    fewer = counts[counts < counts.max()]
    if len(fewer) > 3:
        return f"{seeds_of(table)} per arm"
    most = seeds_of(table[~table["arm"].isin(fewer.index)])
    but = ", ".join(f"{arm}: {count}" for arm, count in fewer.items())
    return f"{most} per arm" + (f" ({but})" if but else "")


def spread(heights: Sequence[float], gap: float, ceiling: float) -> list[float]:
    """Heights for labels, in the order given: at least `gap` apart, none above the ceiling nor, if
    there is room, below 0, and otherwise as near as can be (least squares) to those wanted."""
    order = np.argsort(heights, kind="stable")
    least = gap * np.arange(len(order))  # what those below take up
    placed = np.empty(len(order))
    wanted = isotonic_regression(np.asarray(heights)[order] - least).x
    placed[order] = wanted.clip(0).clip(max=ceiling - gap * (len(order) - 1)) + least
    return placed.tolist()


def bare(axes: Axes, *sides: str) -> None:
    """Take the given sides of the frame away."""
    axes.spines[list(sides)].set_visible(False)


@look
def render(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of a "png" or "svg" file: no dates, no versions, fixed ids."""
    buffer = io.BytesIO()
    drop = {"svg": ["Date", "Creator"], "png": ["Software"]}[kind]
    figure.savefig(buffer, format=kind, metadata=dict.fromkeys(drop))
    return buffer.getvalue()


def seeds_and_mean(
    axes: Axes, points: pd.DataFrame, x: str, y: str, of: Ink, label: str, **line: Any
) -> None:
    """A small point per row, a line with large markers through the means at each x."""
    points = points.dropna(subset=y)
    middle = points.groupby(x)[y].mean()
    axes.plot(points[x], points[y], ".", color=of.colour, markersize=3, alpha=0.7, zorder=2)
    axes.plot(middle.index, middle, color=of.colour, marker=of.marker, label=label, zorder=3,
              **(HALO | line))  # fmt: skip


def median_and_band(
    axes: Axes, part: pd.DataFrame, y: str, of: Ink, style: str, label: str
) -> None:
    """A line through a column of medians against steps, a band from `low` to `high`."""
    axes.fill_between(part["step"], part["low"], part["high"], color=of.colour, alpha=0.2, lw=0)
    axes.plot(part["step"], part[y], style, color=of.colour, marker=of.marker, label=label, **HALO)


def ticks(axes: Axes, values: Iterable[float]) -> None:
    """Ticks on the x axis at these values and nowhere else."""
    values = sorted(set(values))
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xticks([], minor=True)


def edge_words(tried: Iterable[float], chosen: Iterable[float]) -> str:
    """A sentence for a footer where what was chosen is the least or the largest that was tried."""
    tried, ends = set(tried), set(chosen)
    if len(tried) < 2 or not ends & {min(tried), max(tried)}:
        return ""
    return " The choice lies at an edge of what was tried: better may lie beyond."


def half_frame(points: pd.DataFrame) -> float:
    """Half the width of a frame for points, low and high of every arm around 0, which one arm that
    is ruined, or of wild seeds, must not set for all the others."""
    extents = points[["points", "low", "high"]].abs().max(axis=1).groupby(points["arm"]).max()
    usual = extents[extents > 0].median()
    return 1.0 if pd.isna(usual) else 1.1 * min(extents.max(), 3 * usual)


def interval(mean: Any, digits: int) -> str:
    """The points of a row, signed, and its low and high, where it has them."""
    value, low, high = (number(x, digits) for x in (mean.points, mean.low, mean.high))
    return value if pd.isna(mean.low) else f"{value}  [{low}, {high}]"


def number(value: float, digits: int, sign: str = "+") -> str:
    """A value to so many digits, with a true minus sign and no negative zero; sign as in format."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")


def judged_on(table: pd.DataFrame) -> str:
    """The images that a table's accuracies are of, as they are written in prose."""
    held = table["data.holdout"].max()
    return f"{held:,} images cut from the training set" if held else "the test images"


def where(table: pd.DataFrame) -> str:
    """The data, scale and seeds of a figure's footer; and, of runs that the experiment does not
    declare, what they change: the name of their folder."""
    changed = statistics.changed(table)
    own = f", with {changed}" if changed else ""
    return f"{data_name(table)}, {table['scale'].iloc[0]} scale, {seeds_per_arm(table)}{own}"
