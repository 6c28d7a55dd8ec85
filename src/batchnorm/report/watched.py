"""What probes watched, list-valued in a record, as the few numbers that are drawn and judged."""

from typing import Any

import numpy as np

IMAGES, EXAMPLES = 1000, 10  # that probes.percentiles and probes.jacobians look at
LATE = 0.1  # of the run: where a drift begins to be counted
PERCENTILES = (15, 50, 85)
QUANTILES = (5, 25, 50, 75, 95)  # of singular values, in percent


def reduced(metrics: dict[str, list[Any]], planned: int) -> dict[str, list[Any]]:
    """The metrics of a run of `planned` steps, with scalars in place of list-valued ones.

    `jacobian/k` becomes jacobian/k/q5 to q95. `preactivation/k` becomes drift/k/median and
    drift/k/spread (see drift; one value per run, in every row), and the last of them also
    typical/p15, p50 and p85: the curves of its most typical unit, and typical/unit: which it is.
    Any other list-valued metric is left out. Raises ValueError for lists of unequal lengths.
    """
    listed = {name: values for name, values in metrics.items() if list in set(map(type, values))}
    kept = {name: values for name, values in metrics.items() if name not in listed}
    late = np.array(metrics.get("step", []), float) >= LATE * planned
    layers = [name for name in listed if name.startswith("preactivation/")]  # in order of layer
    for name in layers:
        curves = np.array(listed[name], float)  # (evaluations, 3, units)
        kept |= _drifts(name.replace("preactivation", "drift"), curves, late)
    if layers:
        kept |= _typical(curves)
    for name in listed:
        if name.startswith("jacobian/"):
            kept |= _columns(name + "/q", QUANTILES, np.array(listed[name], float))
    return kept


def _columns(name: str, of: tuple[int, ...], values: np.ndarray) -> dict[str, list[float]]:
    return {f"{name}{p}": column.tolist() for p, column in zip(of, values.T, strict=True)}


def _drifts(name: str, curves: np.ndarray, late: np.ndarray) -> dict[str, list[float]]:
    of_median, of_spread = drift(curves[late])
    n = len(curves)
    return {f"{name}/median": [of_median] * n, f"{name}/spread": [of_spread] * n}


def _typical(curves: np.ndarray) -> dict[str, list[float]]:
    unit = medoid(np.moveaxis(curves, 2, 0))
    return {
        **_columns("typical/p", PERCENTILES, curves[:, :, unit]),
        "typical/unit": [float(unit)] * len(curves),
    }


def drift(curves: np.ndarray) -> tuple[float, float]:
    """How far the distributions of units move: (of their medians, of their spreads), no units.

    `curves`: 15th, 50th and 85th percentiles, (evaluations, 3, units). Of a unit: the sum of the
    absolute changes of its median, and of its spread (p85 - p15) / 2, from one evaluation to the
    next, over its mean spread; then the mean over units. NaN where a unit has no spread at all.
    """
    low, median, high = np.moveaxis(curves, 1, 0)
    spread = (high - low) / 2
    if len(curves) < 2 or not (spread.mean(0) > 0).all():
        return float("nan"), float("nan")
    moved = [np.abs(np.diff(of, axis=0)).sum(0) / spread.mean(0) for of in (median, spread)]
    return float(moved[0].mean()), float(moved[1].mean())


def medoid(curves: np.ndarray) -> int:
    """The unit whose curves are nearest to those of all others, of (units, ...): the smallest mean
    absolute distance; the first of equals."""
    flat = curves.reshape(len(curves), -1)
    return int(np.argmin([np.abs(flat - one).mean() for one in flat]))
