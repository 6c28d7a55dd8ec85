"""A Weights & Biases workspace for each experiment, and a report, built from records and figures.

The runs that they show are those that tracking.Mirror sent, with the record's config: of a study,
those of its scale and data, and without changes of one's own unless it is a study of them. Building
them needs no account; saving does.
"""

import os
from dataclasses import dataclass
from pathlib import Path

os.environ["WANDB_ERROR_REPORTING"] = "false"  # before wandb is imported; see tracking

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from batchnorm import record
from batchnorm.tracking import PROJECT, belongs_to

LAYERS = ("p15", "p50", "p85")  # of a layer's pre-activations, as probes.in_numbers names them


@dataclass(frozen=True)
class Study:
    """What there is to show of one experiment."""

    name: str
    accuracy: str  # the metric: of the split evaluated on
    layers: int  # whose percentiles were watched
    figures: tuple[Path, ...]
    text: str  # its table, as Markdown
    scale: str
    images: str  # real, or STAND-IN DATA: in these words the config of a W&B run says it
    changes: str  # none, or the folder of runs of one's own


def studies(root: Path) -> list[Study]:
    """The experiments under a results root, each with its figures and table at its best scale.

    Raises RecordError, also where there are none.
    """
    by_name: dict[str, list[record.Record]] = {}
    for one in record.load_all(root):
        by_name.setdefault(one["config"]["experiment"], []).append(one)
    if not by_name:
        raise record.RecordError(f"no records under {root}/records: train something first")
    return [_study(root, name, list(by_name), found) for name, found in by_name.items()]


def _study(root: Path, name: str, names: list[str], found: list[record.Record]) -> Study:
    scales = {one["config"]["scale"] for one in found}
    usual = [scale for scale in ("full", "quick", "smoke") if scale in scales]
    scale = (usual or sorted(scales))[0]
    found = [one for one in found if one["config"]["scale"] == scale]
    pictures = sorted((root / "figures" / scale).glob("*.png"))
    table = root / "tables" / scale / f"{name}.md"
    watched = {key for one in found for key in one["metrics"] if key.startswith("preactivation/")}
    data = found[0]["config"]["data"]
    split = "validation" if data["holdout"] else "test"
    root = root.resolve()
    return Study(
        name,
        f"{split}/accuracy",
        len(watched),
        tuple(path for path in pictures if belongs_to(path.stem, names) == name),
        table.read_text() if table.is_file() else "",
        scale,
        "STAND-IN DATA" if data["stand_in"] else "real",
        root.name if root.parent.name == "scratch" else "none",
    )


def chosen(study: Study) -> expr.And:
    """The W&B runs of a study. Of a run that was stopped and gone on with, only the one that went
    on, which is whole: the other failed, or crashed."""
    return expr.And(
        expr.Config("experiment") == study.name,
        expr.Config("scale") == study.scale,
        expr.Config("images") == study.images,
        expr.Config("changes") == study.changes,
        expr.Metric("State").isin(["running", "finished"]),
    )


def panels(study: Study) -> dict[str, list]:
    """The panels of an experiment by section; curves and bars are means over an arm's seeds."""
    arm = wr.Config("arm")

    def curve(x: str, y: list[str], title: str) -> wr.LinePlot:
        return wr.LinePlot(
            title=title, x=x, y=y, groupby=arm, groupby_aggfunc="mean", groupby_rangefunc="minmax"
        )

    def bars(metric: str, title: str) -> wr.BarPlot:
        return wr.BarPlot(title=title, metrics=[metric], groupby=arm, groupby_aggfunc="mean")

    found: dict[str, list] = {
        "accuracy": [
            curve("step", [study.accuracy], "accuracy against steps"),
            curve("seconds", [study.accuracy], "accuracy against seconds"),
            curve("step", ["train/loss"], "training loss"),
            bars("best", "best accuracy"),
        ],
        "divergence and throughput": [
            bars("diverged", "share of runs that diverged"),
            bars("diverged_at_step", "step that they diverged at"),
            bars("images_per_second", "images per second"),
        ],
    }
    if study.layers:
        found["percentiles"] = [
            curve(
                "step",
                [f"preactivation/{k}/{p}" for p in LAYERS],
                f"inputs of nonlinearity {k}: 15th, 50th, 85th percentiles of the median unit",
            )
            for k in range(1, study.layers + 1)
        ]
    return found


def workspace(entity: str, study: Study) -> ws.Workspace:
    """The workspace of one experiment: its runs, grouped by arm."""
    return ws.Workspace(
        entity=entity,
        project=PROJECT,
        name=study.name,
        sections=[
            ws.Section(name=name, panels=shown, is_open=True)
            for name, shown in panels(study).items()
        ],
        settings=ws.WorkspaceSettings(x_axis="step"),
        runset_settings=ws.RunsetSettings(filters=chosen(study), groupby=[expr.Config("arm")]),
    )


def report(entity: str, found: list[Study], claims: str) -> wr.Report:
    """The report: of each experiment its figures, table and curves; then the claims (Markdown).

    Run sets name no project: theirs is the report's."""
    blocks: list = [wr.TableOfContents()]
    for study in found:
        blocks += [wr.H1(study.name), *_figures(study)]
        if study.text:
            blocks.append(wr.MarkdownBlock(study.text))
        runs = wr.Runset(name=study.name, filters=chosen(study), groupby=["config.arm"])
        shown = [panel for section in panels(study).values() for panel in section]
        blocks.append(wr.PanelGrid(runsets=[runs], panels=shown))
    if claims:
        blocks += [wr.H1("Claims"), wr.MarkdownBlock(claims)]
    return wr.Report(
        entity=entity,
        project=PROJECT,
        title="Batch Normalization, reproduced",
        description="Ioffe and Szegedy, arXiv 1502.03167",
        blocks=blocks,
        width="fluid",
    )


def figures_id(study: Study) -> str:
    """The W&B run that holds an experiment's figures: one, however often they are sent."""
    return f"{study.name}-figures"


def _figures(study: Study) -> list:
    """A grid with the figures of a study, which the run of send_figures holds."""
    if not study.figures:
        return []
    held = wr.Runset(name="figures", filters=expr.And(expr.Metric("ID") == figures_id(study)))
    media = wr.MediaBrowser(media_keys=[path.stem for path in study.figures], num_columns=1)
    media.layout = wr.Layout(x=0, y=0, w=24, h=14)
    return [wr.PanelGrid(runsets=[held], panels=[media])]


def send_figures(study: Study, folder: Path, mode: str, entity: str | None = None) -> None:
    """Send a study's figures to its run of figures; `mode` offline keeps them in `folder`."""
    import wandb

    run = wandb.init(
        entity=entity,
        project=PROJECT,
        group=study.name,
        name="figures",
        job_type="figures",
        id=figures_id(study),
        resume="allow",
        dir=str(folder),
        mode=mode,
        settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
    )
    run.log({path.stem: wandb.Image(str(path)) for path in study.figures})
    run.finish()
