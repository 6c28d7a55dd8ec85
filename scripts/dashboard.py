"""Follow running and finished runs on a page of this machine: make dashboard."""

import argparse
import logging
import sys
from pathlib import Path

from tornado.ioloop import IOLoop

from batchnorm.dashboard import serve
from batchnorm.live import Follower
from batchnorm.progress import counted


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C. Returns the exit status."""
    args = parse(arguments)
    logging.getLogger("bokeh").setLevel(logging.ERROR)
    follower = Follower(args.root)
    runs = follower.look()
    for path, why in follower.complaints.items():
        print(f"{path}: is left out: {why}", file=sys.stderr)
    try:
        serve(follower, args.port)
    except OSError as error:
        print(
            f"error: port {args.port}: {error.strerror}; choose another with --port",
            file=sys.stderr,
        )
        return 2
    where = ", ".join(map(str, args.root))
    print(
        f"{counted(len(runs), 'run')} under {where}, and those to come:"
        f" http://localhost:{args.port}",
        flush=True,
    )
    try:
        IOLoop.current().start()
    except KeyboardInterrupt:
        print("\nstopped; runs go on as they were")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--root",
        type=Path,
        nargs="+",
        default=[Path("outputs"), Path("results")],
        help="what to follow (default: outputs results)",
    )
    parser.add_argument("--port", type=int, default=5006)
    args = parser.parse_args(arguments)
    if not 1 <= args.port <= 65535:
        parser.error(f"--port {args.port}: must be from 1 to 65535")
    return args


if __name__ == "__main__":
    sys.exit(main())
