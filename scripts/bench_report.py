"""How long the report takes, and how much memory, on a thousand planted records of 250 evaluations.

Each of its parts in a process of its own, on two cores: load the records; draw every figure and
table; write the page. The targets are those of the project; exits with 1 where one is missed.

    python scripts/bench_report.py [--seeds 8] [--evaluations 250]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
SEEDS = 8  # of every arm: 1,120 records in all
UNITS = 100  # of a layer whose percentiles are watched, as on MNIST
MEASURE = """
import resource, sys, time
from pathlib import Path
from batchnorm.report import build, page, statistics
root, part = Path(sys.argv[1]), sys.argv[2]
begin = time.perf_counter()
{"load": statistics.load, "figures": build.build, "page": page.write}[part](root)
took = time.perf_counter() - begin
print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
TARGETS = {"load": 3.0, "figures": 60.0, "page": 20.0}  # seconds
MEMORY = 1.5  # GiB, the largest of all


def main() -> int:
    """Plant, measure each part, print, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"of every arm ({SEEDS})")
    parser.add_argument("--evaluations", type=int, default=250, help="of every run (250)")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        records = plant(root, args.seeds, args.evaluations)
        print(f"{records} records of {args.evaluations} evaluations")
        return int(any([missed(part, *measure(root, part)) for part in TARGETS]))


def plant(root: Path, seeds: int, evaluations: int) -> int:
    """Records of every experiment, as the tests plant them; returns their number."""
    sys.path.insert(0, str(TESTS))
    import planted_all
    import planted_mnist

    planted_mnist.UNITS = UNITS
    return planted_all.plant(root, seeds, evaluations)


def measure(root: Path, part: str) -> tuple[float, float]:
    """Seconds and peak GiB of one part of the report, in a fresh process, imports not counted."""
    command = [sys.executable, "-c", MEASURE, str(root), part]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, memory = map(float, done.stdout.split()[-2:])
    return seconds, memory


def missed(part: str, seconds: float, memory: float) -> bool:
    """Whether a target is missed; prints what was measured, and the targets."""
    print(f"{part:8} {seconds:6.1f} s (target {TARGETS[part]:g}), "
          f"peak {memory:.2f} GiB (target {MEMORY:g})")  # fmt: skip
    return seconds > TARGETS[part] or memory > MEMORY


if __name__ == "__main__":
    sys.exit(main())
