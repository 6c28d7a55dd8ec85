"""Seeds that pair: each random stream of a run is a function of the run's seed and a step.

Arms at one seed so start from the same weights and see the same batches, and a run that goes on
from a checkpoint draws what it would have drawn, with no generator state to keep.
"""

from numpy.random import SeedSequence

STREAMS = {
    "weights": 0, "order": 1, "augment": 2, "dropout": 3, "population": 4, "labels": 5,
    "shards": 6, "pixels": 7,
}  # fmt: skip


def stream(seed: int, name: str, index: int = 0) -> int:
    """The 63-bit seed of one independent stream, at one index (a step, an epoch). A seed is one
    word of 32 bits: one of two words would be taken for a smaller one and another stream."""
    words = SeedSequence([seed, STREAMS[name], index]).generate_state(2)
    return int(words[0]) << 31 | int(words[1]) >> 1
