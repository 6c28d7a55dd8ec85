"""What notebooks show of a table of runs: figures, tables, verdicts; "not run yet" without runs."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from batchnorm.report import statistics, verdicts
from batchnorm.report.look import WIDTH, render

NOT_RUN = "**Not run yet**: there are no records of this study."


@dataclass(frozen=True)
class Shown:
    """What a cell ends with: Markdown, or a PNG; Jupyter shows it by its MIME type."""

    content: str | bytes

    def _repr_mimebundle_(self, **which: Any) -> tuple[dict[str, str], dict[str, Any]]:
        if isinstance(self.content, str):
            return {"text/markdown": self.content}, {}
        size = {"width": round(100 * WIDTH)}  # half of its pixels: sharp on any screen
        return {"image/png": b64encode(self.content).decode()}, {"image/png": size}


def study(table: pd.DataFrame, experiment: str, scale: str | None = None) -> pd.DataFrame:
    """The rows of one experiment at a scale, else at that of most of its runs; without any, the
    table's columns and no rows."""
    rows = table[table["experiment"] == experiment]
    return rows[rows["scale"] == (scale or statistics.usual_scale(rows))]


def figure(draw: Callable[..., Figure], *tables: pd.DataFrame) -> Shown:
    """A figure, such as studies_cifar10.depth draws, of the tables it is a function of."""
    return Shown(render(draw(*tables), "png") if all(map(len, tables)) else NOT_RUN)


def text(write: Callable[[pd.DataFrame], str], table: pd.DataFrame) -> Shown:
    """Markdown, such as build.table_text writes, of the table it is a function of."""
    return Shown(write(table) if len(table) else NOT_RUN)


def claims(table: pd.DataFrame, experiment: str) -> Shown:
    """The verdicts on every claim that is judged on an experiment, and why others have none."""
    about = [claim for claim in verdicts.ledger() if claim.experiment == experiment]
    rows = [verdicts.judge(claim, table) for claim in about]
    judged = [row for row in rows if not row["reason"]]
    waiting = [
        f"* {row['id']}: {row['statement']}. Not run: {row['reason']}."
        for row in rows
        if row["reason"]
    ]
    return Shown("\n".join([verdicts.markdown_summary(judged), *waiting]))
