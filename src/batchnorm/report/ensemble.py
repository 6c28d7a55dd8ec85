"""Figure 4: errors by one crop and by 144, of one network and of six, from the probabilities that
runs leave beside their records."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from batchnorm import record
from batchnorm.report import paper, statistics, tables
from batchnorm.report.look import (
    GREY,
    GRID,
    HALO,
    OTHERS,
    PAPERS,
    WIDTH,
    bare,
    data_name,
    footer,
    look,
    title,
    where,
)

EXPERIMENTS = ("imagenette_ensemble", "imagenet_ensemble")
MEMBERS = tuple(f"member_{k}" for k in range(1, 7))
CROPS = {"single": 1, "crops": 144}  # what an array is called, and over how many crops it is a mean
SAYS = {"single": "1 crop", "crops": "144 crops"}
LOOKS = {"single": OTHERS[1], "crops": OTHERS[0]}
TITLE = "errors of ensembles of networks, and of crops"
FEW = 20  # classes below which top-5 says little, and top-2 stands in its place


@dataclass(frozen=True)
class Votes:
    """What one network says of the evaluation split: class probabilities (n, classes) by a single
    crop and by the mean over 144, and the labels (n,)."""

    single: np.ndarray
    crops: np.ndarray
    labels: np.ndarray

    def error(self, by: str, k: int) -> float:
        """The share of images whose label is not among the k most probable classes."""
        return error(getattr(self, by), self.labels, k)

    def learned(self) -> bool:
        """Whether the network, by a single crop, is better than chance."""
        return 1 - self.error("single", 1) >= statistics.untrained(1 / self.single.shape[1])


Members = dict[str, dict[int, Votes]]  # arm -> seed -> what it says


def left(table: pd.DataFrame) -> dict[str, dict[int, Path]]:
    """The records of the runs that left their votes beside them: arm -> seed -> path."""
    found: dict[str, dict[int, Path]] = {}
    for run in statistics.runs(table).itertuples():
        if run.arm in MEMBERS and record.beside(Path(run.file)).exists():
            found.setdefault(run.arm, {})[int(run.seed)] = Path(run.file)
    return found


def read(table: pd.DataFrame) -> Members:
    """The votes of every run of an experiment that left them. Raises RecordError."""

    def votes(path: Path) -> Votes:
        arrays = record.load_arrays(path)
        return Votes(*(arrays[name] for name in ("single", "crops", "labels")))

    return {arm: {seed: votes(path) for seed, path in runs.items()}
            for arm, runs in left(table).items()}  # fmt: skip


def error(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The top-k error (a fraction) of class probabilities (n, classes). Of classes that are equally
    probable each is as likely to be among the k best as the others."""
    own = np.take_along_axis(probabilities, labels[:, None].astype(int), 1)
    higher, equal = (probabilities > own).sum(1), (probabilities == own).sum(1)
    return float(1 - ((k - higher) / equal).clip(0, 1).mean())


def mean(networks: list[Votes], by: str) -> np.ndarray:
    """An ensemble's class probabilities (n, classes): the arithmetic mean of its networks'."""
    return np.mean([getattr(one, by).astype(np.float64) for one in networks], axis=0)


def mean_error(networks: list[Votes], by: str, k: int) -> float:
    """The top-k error of an ensemble."""
    return error(mean(networks, by), networks[0].labels, k)


def second(found: Members) -> int:
    """The k that stands beside 1: 5, or 2 where there are few classes."""
    one = next(iter(next(iter(found.values())).values()))
    return 5 if one.single.shape[1] >= FEW else 2


def points(table: pd.DataFrame) -> pd.DataFrame:
    """What draw draws: rows of seed, crops, networks, k, error (%), low, high: the mean, least and
    greatest over all ensembles of so many of the seed's networks; and series, "ours" or "paper"."""
    found = read(table)
    seeds = statistics.common_seeds(found, found) if found else []
    rows = []
    for seed in seeds:
        networks = [runs[seed] for runs in found.values()]
        for by, count in CROPS.items():
            for size in range(1, len(networks) + 1):
                means = (mean(list(some), by) for some in combinations(networks, size))
                ks, labels = (1, second(found)), networks[0].labels
                errors = 100 * np.array([[error(one, labels, k) for k in ks] for one in means])
                rows += [
                    {"series": "ours", "seed": seed, "crops": count, "networks": size, "k": k,
                     "error": of_k.mean(), "low": of_k.min(), "high": of_k.max()}
                    for k, of_k in zip(ks, errors.T, strict=True)
                ]  # fmt: skip
    rows += [
        {"series": "paper", "crops": row["crops"], "networks": row["models"], "k": k,
         "error": row[f"top_{k}"]}
        for row in paper.values()["figure_4"] if row["model"].startswith("BN-Inception")
        for k in (1, 5)
    ]  # fmt: skip
    columns = ["series", "seed", "crops", "networks", "k", "error", "low", "high"]
    return pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"})


def there(rows: pd.DataFrame) -> bool:
    """Whether points hold more than the paper's: whether runs left their probabilities."""
    return bool((rows["series"] == "ours").any())


@look
def draw(table: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """The error against the number of networks, by one crop and by 144: top-1, and top-5 or -2;
    `rows` are points(table)."""
    ours, published = (rows[rows["series"] == name] for name in ("ours", "paper"))
    figure = Figure((WIDTH, 3.8))
    for left, (ours_k, paper_k) in zip((0.075, 0.57), kinds(rows), strict=True):
        axes = figure.add_axes((left, 0.315, 0.41, 0.57))
        _panel(axes, ours[ours["k"] == ours_k], published[published["k"] == paper_k])
        axes.set_ylabel(f"top-{ours_k} error, %")
        axes.set_title(heading(ours_k, paper_k), loc="left", pad=4)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="center", ncols=4,
                  bbox_to_anchor=(0.5, 0.165))  # fmt: skip
    title(figure, f"{data_name(table)}: {TITLE}")
    footer(figure, words(table, rows))
    return figure


def kinds(rows: pd.DataFrame) -> tuple[tuple[int, int], tuple[int, int]]:
    """The k of our errors and of the paper's that stand beside them, for both panels."""
    ours = rows.loc[rows["series"] == "ours", "k"]
    return (1, 1), (int(ours.max()) if len(ours) else 5, 5)


def heading(ours: int, theirs: int) -> str:
    """A panel's title."""
    return f"top-{ours}" + ("" if ours == theirs else f" (the paper's points: top-{theirs})")


def drawn(table: pd.DataFrame) -> pd.DataFrame:
    """The runs of the seeds that all members have, which alone count."""
    found = left(table)
    return table[table["seed"].isin(statistics.common_seeds(found, found))]


def words(table: pd.DataFrame, rows: pd.DataFrame) -> str:
    """What stands under the figure."""
    table = drawn(table)
    networks = rows.loc[rows["series"] == "ours", "networks"].max()
    images = table["data.test_images"].max()
    return (
        f"{where(table)}, {networks} networks, {images:,} images. Lines: the mean over all"
        " ensembles of so many of the networks, and over seeds; bands: the least to the greatest."
        " An ensemble's probabilities are the arithmetic mean over its networks and crops."
        f" Hollow: the paper's Figure 4, 1,000 classes of ImageNet.{lost(read(table))}"
    )


def lost(found: Members) -> str:
    """Sentences on the networks that stayed at chance, which count all the same, and on the others
    alone."""
    names = [f"{arm} (seed {seed})" for arm, votes in found.items()
             for seed, one in votes.items() if not one.learned()]  # fmt: skip
    if not names:
        return ""
    said = f" Stayed at chance, and count: {', '.join(names)}."
    by_seed = [
        [votes[seed] for votes in found.values() if votes[seed].learned()]
        for seed in statistics.common_seeds(found, found)
    ]
    if not all(by_seed):
        return said
    alone = np.mean([np.mean([one.error("crops", 1) for one in rest]) for rest in by_seed])
    together = np.mean([mean_error(rest, "crops", 1) for rest in by_seed])
    others = f"{100 * alone:.1f} % alone, {100 * together:.1f} % together"
    return f"{said} The others, top-1 by 144 crops: {others}."


def _panel(axes: Axes, ours: pd.DataFrame, published: pd.DataFrame) -> None:
    for by, count in CROPS.items():
        colour, marker = LOOKS[by]
        part = ours[ours["crops"] == count].groupby("networks")
        middle = part["error"].mean()
        axes.fill_between(middle.index, part["low"].min(), part["high"].max(), color=colour,
                          alpha=0.2, lw=0)  # fmt: skip
        axes.plot(middle.index, middle, color=colour, marker=marker, label=SAYS[by], **HALO)
        theirs = published[published["crops"] == count].sort_values("networks")
        axes.plot(theirs["networks"], theirs["error"], color=colour, marker=marker,
                  label=f"paper, {SAYS[by]}", **PAPERS)  # fmt: skip
    bare(axes, "top")
    axes.grid(axis="y", **GRID)
    axes.set(xlabel="networks", xlim=(0.7, 6.3), xticks=range(1, 7))
    axes.set_ylim(0, min(100, axes.get_ylim()[1] * 1.25))
    axes.tick_params(color=GREY)


# --- the table ------------------------------------------------------------------------------------


def numbers(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Figure 4's rows, the paper's and then, from points(table), ours: model, resolution, crops,
    models, top_1, top_5, top_2 (errors, %), n (seeds). Ours are means over seeds; those of one
    network over all networks too. NaN: not printed, or not measured."""
    ours = rows[rows["series"] == "ours"]
    made = []
    for (crops, size), part in ours.groupby(["crops", "networks"]):
        if size in (1, ours["networks"].max()):
            of = part.groupby("k")["error"].mean()
            made.append({"model": _name(crops, size), "resolution": _resolution(table),
                         "crops": crops, "models": size, "n": part["seed"].nunique(),
                         **{f"top_{k}": value for k, value in of.items()}})  # fmt: skip
    columns = ["model", "resolution", "crops", "models", "top_1", "top_5", "top_2", "n"]
    return pd.DataFrame(paper.values()["figure_4"] + made).reindex(columns=columns)


def _name(crops: int, networks: int) -> str:
    kind = "ensemble" if networks > 1 else "one network"
    return f"ours: {kind}, {'single crop' if crops == 1 else 'multicrop'}"


def _resolution(table: pd.DataFrame) -> int:
    return int(table["data.crop_size"].iloc[0])


def printed(table: pd.DataFrame) -> tables.Printed | None:
    """The table of Figure 4, if the runs left their probabilities: the paper's rows, then ours."""
    rows = points(table)
    if not there(rows):
        return None
    found = numbers(table, rows)
    shown = [k for k in (1, 5, 2) if found[f"top_{k}"].notna().any()]
    names = ["model", "resolution", "crops", "networks", *(f"top-{k} error, %" for k in shown)]
    cells = [
        [row["model"], str(row["resolution"]), *(_whole(row[key]) for key in ("crops", "models")),
         *("–" if pd.isna(row[f"top_{k}"]) else f"{row[f'top_{k}']:.2f}" for k in shown)]
        for _, row in found.iterrows()
    ]  # fmt: skip
    return tables.Printed(found, names, cells, table_words(table))


def table_words(table: pd.DataFrame) -> str:
    """What stands under the table, of what sets ours apart."""
    table = drawn(table)
    return (
        f"Ours: {where(table)}, {table['data.test_images'].max():,} validation images; the errors"
        f" of one network are means over the members.{lost(read(table))} The other rows are the"
        " paper's, for ImageNet's 1,000 classes. Where there are ten classes, top-2 stands in the"
        " place of top-5."
    )


def _whole(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.0f}"
