"""The colour and the marker that an arm has, in every figure and on every page."""

from typing import NamedTuple


class Ink(NamedTuple):
    """What sets an arm apart, in colour and in grey."""

    colour: str  # of Okabe and Ito's colour-blind safe eight, less the yellow
    marker: str


INKS = {
    "baseline": Ink("#000000", "o"),
    "baseline_x5": Ink("#E69F00", "v"),
    "baseline_x30": Ink("#7F7F7F", "<"),
    "baseline_sigmoid": Ink("#009E73", "p"),
    "bn_baseline": Ink("#D55E00", "s"),
    "bn_x5": Ink("#56B4E9", "^"),
    "bn_x30": Ink("#0072B2", "h"),
    "bn_x5_sigmoid": Ink("#CC79A7", ">"),
}
INKS |= {f"inception{kind}": INKS[f"baseline{kind}"] for kind in ("", "_x5", "_sigmoid")}


OTHERS = (  # for what is no arm of Figure 2: of Tol's colour-blind safe muted ones
    Ink("#332288", "o"),
    Ink("#999933", "D"),
    Ink("#882255", "^"),
    Ink("#44AA99", "v"),
    Ink("#CC6677", "s"),
    Ink("#117733", "p"),
    Ink("#AA4499", ">"),
    Ink("#88CCEE", "<"),
)


def ink(arm: str, place: int = 0) -> Ink:
    """The ink of an arm; for one without its own, another by its place: colours come again with
    other markers."""
    if arm in INKS:
        return INKS[arm]
    times, at = divmod(place, len(OTHERS))
    return Ink(OTHERS[at].colour, OTHERS[(at + times) % len(OTHERS)].marker)
