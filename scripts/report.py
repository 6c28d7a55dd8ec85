"""Draw the figures, write the tables and judge the claims, from records alone."""

import argparse
import sys
from pathlib import Path

from batchnorm.record import RecordError, write_atomically
from batchnorm.report.build import (
    STAND_IN,
    STAND_IN_LINE,
    Files,
    ReportError,
    build,
    readme_section,
    render,
    replace_section,
    stale,
)

REFERENCE = Path("results")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status; every error is one line."""
    args = parse(arguments)
    try:
        roots = [root for root in (args.root, args.root / "stand-in") if has_records(root)]
        if not roots:
            missing = f"no records under {args.root}/records"
            raise ReportError(f"{missing}: run make reproduce-cifar first")
        return check(roots, args.readme) if args.check else write(roots, args)
    except (RecordError, ReportError) as error:
        print(error, file=sys.stderr)
        return 1


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=REFERENCE, help="outputs or results (default)")
    parser.add_argument("--compare", action="store_true", help="yours beside results and the paper")
    parser.add_argument("--readme", type=Path, help="also write the results section of this file")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    return parser.parse_args(arguments)


def has_records(root: Path) -> bool:
    """Whether any run has left its record under this root."""
    return any(root.glob("records/*/*/*.json"))


def check(roots: list[Path], readme: Path | None) -> int:
    """Compare what is on disk with what the records give."""
    files = {path: content for root in roots for path, content in render(root).items()}
    old = stale(files | readme_file(readme))
    if old:
        more = f" and {len(old) - 1} more" if len(old) > 1 else ""
        print(f"stale: {old[0]}{more}; run python scripts/report.py", file=sys.stderr)
    return 1 if old else 0


def write(roots: list[Path], args: argparse.Namespace) -> int:
    """Write the files, and say where they are."""
    written = [path for root in roots for path in build(root, REFERENCE if args.compare else None)]
    for path, content in readme_file(args.readme).items():
        write_atomically(path, content)
    for path in written:
        if path.suffix == ".txt":
            print(path.read_text())
    for path in written:
        print(path)
    if any(path.name.startswith(STAND_IN) for path in written):
        print(STAND_IN_LINE, end="")
    return 0


def readme_file(path: Path | None) -> Files:
    """The README with its results section made anew from the reference records."""
    if path is None:
        return {}
    try:
        text = replace_section(path.read_text(), "results", readme_section(REFERENCE))
    except (OSError, ReportError) as error:
        raise ReportError(f"{path}: {error}") from error
    return {path: text.encode()}


if __name__ == "__main__":
    sys.exit(main())
