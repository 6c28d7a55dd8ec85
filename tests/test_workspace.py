"""The W&B workspaces and the report: built and serialised without an account."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from planted import ALIKE, plant

pytest.importorskip("wandb_workspaces", reason="the W&B workspace needs wandb-workspaces")
from batchnorm import workspace

ROOT = Path(__file__).parents[1]


def percentiles(accuracy: list[float]) -> dict[str, list]:
    return {f"preactivation/{k}": [[[0.0], [1.0], [2.0]]] * len(accuracy) for k in (1, 2)}


@pytest.fixture
def root(tmp_path) -> Path:
    plant(tmp_path, ALIKE, seeds=1)
    plant(tmp_path, {"bn": ALIKE["bn_x5"]}, experiment="mnist", scale="full", more=percentiles)
    plant(tmp_path, {"lr_1": ALIKE["bn_x5"]}, experiment="mnist_tune", scale="full", holdout=99)
    folder = tmp_path / "figures" / "full"
    folder.mkdir(parents=True)
    for name in ("mnist_1a", "mnist_1bc", "mnist_tune"):
        (folder / f"{name}.png").write_bytes(
            (ROOT / "results/figures/full/mnist_1a.png").read_bytes()
        )
    return tmp_path


def serialised(built) -> str:
    return built._to_model().model_dump_json()


def test_each_experiment_has_its_figures_split_and_layers(root):
    found = {one.name: one for one in workspace.studies(root)}
    assert list(found) == ["mnist", "mnist_tune", "cifar10_learning_rate"]
    assert [path.stem for path in found["mnist"].figures] == ["mnist_1a", "mnist_1bc"]
    assert [path.stem for path in found["mnist_tune"].figures] == ["mnist_tune"]
    assert (found["mnist"].layers, found["mnist_tune"].layers) == (2, 0)
    assert found["mnist_tune"].accuracy == "validation/accuracy"
    with pytest.raises(workspace.record.RecordError, match="train something first"):
        workspace.studies(root / "empty")


def test_a_workspace_shows_one_experiment_grouped_by_arm(root):
    study = next(one for one in workspace.studies(root) if one.name == "mnist")
    text = serialised(workspace.workspace("somebody", study))
    sections = json.loads(text)["spec"]["section"]["panel_bank_config"]["sections"]
    shown = {one["name"]: [panel["config"] for panel in one["panels"]] for one in sections}
    first = shown["accuracy"][0]
    assert (first["x_axis"], first["metrics"], first["group_by"]) == (
        "step",
        ["test/accuracy"],
        "arm.value",
    )
    bars = [metric for config in shown["divergence and throughput"] for metric in config["metrics"]]
    assert bars == ["diverged", "diverged_at_step", "images_per_second"]
    assert [config["metrics"] for config in shown["percentiles"]] == [
        [f"preactivation/{k}/p{p}" for p in (15, 50, 85)] for k in (1, 2)
    ]
    runs = json.loads(text)["spec"]["section"]["run_sets"][0]
    filters = json.dumps(runs["filters"])
    for key, value in {"experiment": "mnist", "scale": "full", "images": "real"}.items():
        assert f'"{key}"' in filters and f'"{value}"' in filters, key
    assert '"changes"' in filters and '"none"' in filters
    assert [key["name"] for key in runs["grouping"]] == ["arm.value"]


def test_the_report_has_the_figures_the_curves_and_the_claims(root):
    built = workspace.report("somebody", workspace.studies(root), "| C1 | holds |")
    text = serialised(built)
    for said in ("mnist_1bc", "mnist-figures", "validation/accuracy", "| C1 | holds |", "somebody"):
        assert said in text, said
    headings = [block.text for block in built.blocks if type(block).__name__ == "H1"]
    assert headings == ["mnist", "mnist_tune", "cifar10_learning_rate", "Claims"]


def test_only_whole_runs_of_the_study_at_hand_are_chosen(tmp_path):
    scratch = tmp_path / "stand-in" / "scratch" / "optim.lr=0.5"
    plant(scratch, {"bn": ALIKE["bn_x5"]}, experiment="mnist", scale="smoke", stand_in=True)
    (study,) = workspace.studies(scratch)
    said = str(workspace.chosen(study))
    for key, value in {
        **{"experiment": "mnist", "scale": "smoke", "images": "STAND-IN DATA"},
        **{"changes": "optim.lr=0.5", "State": ["running", "finished"]},
    }.items():
        assert repr(key) in said.replace('"', "'") and repr(value) in said, (key, said)


def test_figures_are_sent_under_their_names_to_one_run(root, tmp_path):
    study = next(one for one in workspace.studies(root) if one.name == "mnist")
    workspace.send_figures(study, tmp_path, "offline")
    (folder,) = tmp_path.glob("wandb/offline-run-*-mnist-figures")
    sent = {path.name.split("_0_")[0] for path in folder.glob("files/media/images/*.png")}
    assert sent == {"mnist_1a", "mnist_1bc"}


def test_without_an_account_it_says_in_one_line_what_to_do(tmp_path):
    said = refused(tmp_path)
    assert "not logged in" in said and "wandb login" in said


def test_switched_off_it_says_so_and_not_that_nobody_is_logged_in(tmp_path):
    said = refused(tmp_path, WANDB_API_KEY="a" * 40, WANDB_MODE="offline")
    assert "is offline, by WANDB_MODE" in said and "logged in" not in said


def refused(folder: Path, **more: str) -> str:
    """The one line with which the script refuses somebody without settings."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment = {**clean, "HOME": str(folder), "NETRC": str(folder / "none"), **more}
    command = [sys.executable, str(ROOT / "scripts" / "wandb_workspace.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    return line
