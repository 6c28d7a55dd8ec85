"""What the page says of claims and of the making of records: plain rows for its template."""

from typing import Any

import pandas as pd

from batchnorm.report import statistics, verdicts
from batchnorm.report.claims import FAILS, HOLDS, INCONCLUSIVE, NOT_RUN

SIGNS = {HOLDS: "✓", FAILS: "✗", INCONCLUSIVE: "?", NOT_RUN: "–"}
MADE_BY = {  # column of the records' table: its name on the page
    "environment.commit": "commit",
    "environment.dirty": "uncommitted changes",
    "environment.device": "machine",
    "environment.threads": "threads",
    "environment.stacked": "runs at once",
    "environment.precision": "precision",
    "environment.python": "Python",
    "environment.torch": "PyTorch",
    "environment.data_checksum": "data checksum",
}


def claims(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Every claim's row of the ledger, with a sign for its verdict, and the measured parts in
    words."""
    rows = []
    for claim in verdicts.ledger():
        row = verdicts.judge(claim, table)
        parts = [{**part, "here": verdicts.interval_words(part)} for part in row["parts"]]
        more = {"sign": SIGNS[row["verdict"]], "seen": verdicts.grouped(row["records"])}
        rows.append({**row, **more, "parts": parts})
    return rows


def counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How many claims have each verdict, in the order holds, fails, inconclusive, not run."""
    return {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in SIGNS}


def made_by(rows: pd.DataFrame) -> dict[str, list[str]]:
    """What made the records of one experiment at one scale: name -> its values, with the number of
    runs where there are several."""
    runs = statistics.runs(rows)
    found = {}
    for column, name in MADE_BY.items():
        if column in runs and runs[column].notna().any():
            counted = runs[column].map(_said, na_action="ignore").value_counts(sort=False)
            several = len(counted) > 1
            found[name] = [f"{value} ({n} runs)" if several else value
                           for value, n in sorted(counted.items())]  # fmt: skip
    return found


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
