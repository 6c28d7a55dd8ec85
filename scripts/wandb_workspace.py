"""Make a Weights & Biases workspace for each experiment, and a report with the paper's figures."""

import argparse
import os
import sys
from pathlib import Path

from batchnorm.record import RecordError
from batchnorm.tracking import logged_in, said_mode
from batchnorm.workspace import PROJECT, report, send_figures, studies, workspace

NO_ACCOUNT = (
    "error: not logged in to Weights & Biases: run .venv/bin/wandb login, then this again;"
    " without an account, make dashboard shows the same curves"
)
SWITCHED_OFF = (
    "error: Weights & Biases is {mode}, by WANDB_MODE or a settings file: WANDB_MODE=online before"
    " the command has it otherwise, once"
)


def main(arguments: list[str] | None = None) -> int:
    """Build and save everything. Returns the exit status; every error is one line."""
    args = parse(arguments)
    mode = said_mode()
    if mode in ("offline", "disabled") or not logged_in():
        print(SWITCHED_OFF.format(mode=mode) if logged_in() else NO_ACCOUNT, file=sys.stderr)
        return 2
    try:
        found = studies(args.root)
    except RecordError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        import wandb

        entity = args.entity or os.environ.get("WANDB_ENTITY") or wandb.Api().default_entity
        for study in found:
            if study.figures:
                send_figures(study, Path("outputs"), "online", entity)
            print(workspace(entity, study).save().url)
        claims = args.root / "claims.md"
        text = claims.read_text() if claims.is_file() else ""
        print(report(entity, found, text).save().url)
    except Exception as error:  # whatever the server or the network says
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(f"error: Weights & Biases: {why}; what was saved before it stays", file=sys.stderr)
        return 1
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description=f"{__doc__} The project is {PROJECT}.")
    parser.add_argument("--root", type=Path, default=Path("results"), help="outputs or results")
    parser.add_argument("--entity", help="a team's name; left out: your default")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
