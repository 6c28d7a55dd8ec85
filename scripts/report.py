"""Draw the figures, write the tables and judge the claims, from records alone."""

import argparse
import os
import sys
from pathlib import Path

from batchnorm.record import RecordError, write_atomically
from batchnorm.report.build import (
    COMPARED,
    EXPERIMENTS,
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
OUTPUTS = Path("outputs")
README = Path("README.md")
RECORDS = "records/*/*/*.json"  # of a root
SHOWN = 3  # so many roots are named


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status; every error is one line."""
    args = parse(arguments)
    try:
        if args.html and (args.check or args.compare or args.readme):
            raise ReportError("--html: writes the page alone; no --check, --compare, --readme")
        root = with_records(args.root)
        if args.html:
            return write_page(root)
        if args.check:
            return check(root, args.readme or README)
        return write(root, args.readme, compare=args.compare)
    except (RecordError, ReportError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # files are written whole, or not at all
        return 130
    except OSError as error:  # a folder that may not be written
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=REFERENCE, help="outputs or results (default)")
    parser.add_argument("--compare", action="store_true", help="yours beside results and the paper")
    parser.add_argument(
        "--readme",
        type=Path,
        help="also write the results section of this file, from results/ whatever the root",
    )
    parser.add_argument("--html", action="store_true", help="write report.html, the page, alone")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if stale, README too"
    )
    return parser.parse_args(arguments)


def with_records(root: Path) -> Path:
    """The root, or the stand-in root under it if only that has records. Raises ReportError."""
    folder = root / "records"
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        raise ReportError(f"{folder}: may not be read")
    for one in (root, root / "stand-in"):
        if any(one.glob(RECORDS)):
            return one
    raise ReportError(f"no records under {folder}{advice(root)}")


def advice(root: Path) -> str:
    """What can be done where a root has no records: of runs of one's own they are elsewhere."""
    places = (one / "scratch" for one in (root, root / "stand-in"))
    own = [one for place in places for one in sorted(place.glob("*")) if any(one.glob(RECORDS))]
    if own:
        more = [f"{len(own) - SHOWN} more"] if len(own) > SHOWN else []
        return f"; --root can be {' or '.join([*map(str, own[:SHOWN]), *more])}"
    if root == REFERENCE:
        return ": --root outputs draws your own"
    return ": run make reproduce-cifar first" if root == OUTPUTS else ""


def check(root: Path, readme: Path) -> int:
    """Compare what is on disk with what the records give; of a PNG only that it is there, since its
    bytes depend on the machine's image libraries."""
    files = render(root) | readme_file(readme)
    same = {path for path in files if path.suffix == ".png" and path.is_file()}
    old = stale({path: new for path, new in files.items() if path not in same})
    there = (path for part in ("figures", "tables") for path in root.glob(f"{part}/*/*"))
    left = [path for path in there if path not in files and not path.name.endswith(COMPARED)]
    for what, paths, then in (("stale", old, "run make figures"), ("of no record", left, "remove")):
        if paths:
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            print(f"{what}: {paths[0]}{more}; {then}", file=sys.stderr)
    return 1 if old or left else 0


def write(root: Path, readme: Path | None, compare: bool) -> int:
    """Write the files, and say where they are."""
    also = readme_file(readme) if readme else {}  # first: it may be refused
    written = build(root, REFERENCE if compare else None)
    for path, content in also.items():
        write_atomically(path, content)
    for path in written:
        if path.suffix == ".txt":
            print(path.read_text())
    for path in written:
        print(path)
    for name in sorted({path.parent.name for path in root.glob(RECORDS)}):
        if name not in EXPERIMENTS:
            print(f"{name}: not drawn; EXPERIMENTS of src/batchnorm/report/build.py says what is")
    if any(path.name.startswith(STAND_IN) for path in written):
        print(STAND_IN_LINE, end="")
    return 0


def write_page(root: Path) -> int:
    """Write the interactive page, and say where it is."""
    from batchnorm.report import page  # the other reports need not wait for its libraries

    for path in page.write(root):
        print(path)
        if path.name.startswith(STAND_IN):
            print(STAND_IN_LINE, end="")
    return 0


def readme_file(path: Path) -> Files:
    """The README with its results section made anew from the reference records."""
    try:
        text = replace_section(path.read_text(), "results", readme_section(REFERENCE))
    except (OSError, ReportError) as error:
        raise ReportError(f"{path}: {error}") from error
    return {path: text.encode()}


if __name__ == "__main__":
    sys.exit(main())
