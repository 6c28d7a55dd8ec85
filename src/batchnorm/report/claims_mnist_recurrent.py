"""The rule of mnist_recurrent: does BN extend to recurrent networks (C29)?"""

import pandas as pd

from batchnorm.report.claims import speed_up
from batchnorm.report.quantities import above, shown

EXPERIMENT = "mnist_recurrent"
RULES = {
    EXPERIMENT: {
        "C29": (
            above("bn", "baseline"),
            speed_up("bn", 1, "", "baseline", "baseline"),
            shown(above("bn_gamma_1", "baseline")),
            shown(above("bn", "bn_gamma_1")),
        )
    }
}


def deviations(runs: pd.DataFrame) -> list[str]:
    """In what the runs depart from those of Cooijmans et al., there being none of the paper's."""
    one = runs.iloc[0]
    words = [
        "compared with Cooijmans et al. (2016), since the paper has no recurrent network: their"
        " momentum 0.9 read as RMSProp's decay; orthogonal weights for all four gates; input"
        " weights of length 1 and standardized pixels, which together drive a gate several times"
        " as far as theirs; forget gate opened by 1; a beta in each of BN's three places; their"
        " learning rate for all arms, swept for none; 60,000 training images (theirs: 50,000), and"
        " the best evaluation on test images",
        "pixels: a true permutation (theirs, by their code, draws pixels with repeats)",
    ]
    steps = int(one["model.time_steps"])
    if steps != 784:
        words.append(f"time steps: {steps}, each of {784 // steps} pixels (theirs: 784 of 1)")
    if one["planned"] != 100_000:
        words.append(f"length: {one['planned']} steps (theirs: 100,000)")
    if one["scale"] == "quick":
        words.append("quick scale: a short run; the verdict rests on it")
    return words
