"""What is said of runs while they train: to the live page through files, to W&B row by row."""

import json
import os
import subprocess
import sys
import time
from math import isnan, nan
from pathlib import Path

import pytest

from batchnorm import experiment, live, record
from batchnorm.probes import in_numbers
from batchnorm.progress import Place, report
from planted import one_record, plant

STUDY = "records/quick/cifar10_learning_rate"


def say(root: Path, arm: str, step: int, curve: list[float], steps: int = 100) -> None:
    """Leave the progress file of a run that has trained for `step` seconds."""
    metrics = {"step": [10 * (i + 1) for i in range(len(curve))], "seconds": curve}
    said = {"step": step, "steps": steps, "seconds": step, "images_per_second": 50.0}
    place = Place(arm, root / STUDY / f"{arm}-0.json")
    report(place, {**said, "metrics": {**metrics, "test/accuracy": curve}})


def test_a_run_is_followed_from_its_progress_to_its_record(tmp_path):
    follower = live.Follower([tmp_path])
    assert follower.look() == []
    say(tmp_path, "bn_x5", 20, [0.2, 0.4])
    (one,) = follower.look()
    now = time.time()
    assert (one.name, one.state(now), one.accuracies) == ("bn_x5-0", "running", [0.2, 0.4])
    assert one.study == f"{tmp_path}/quick/cifar10_learning_rate"
    assert one.left(one.at) == pytest.approx(80)
    assert one.left(one.at + 30) == pytest.approx(50)
    assert follower.look() == [one], "an unchanged file is not read again"
    plant(tmp_path, {"bn_x5": [(0, 0.1), (1, 0.9)]}, seeds=1)
    (ended,) = follower.look()  # the progress file is still there
    assert (ended.state(now), ended.finished, ended.step) == ("finished", True, 3100)
    assert isnan(ended.left(now))


def test_a_run_that_says_nothing_any_more_is_not_called_running(tmp_path):
    say(tmp_path, "bn", 20, [0.2])
    (one,) = live.Follower([tmp_path]).look()
    later = one.at + live.SILENT + 1
    assert one.state(later) == "no word"
    assert isnan(one.left(later))
    assert "1 no word" in live.words([one], [], later)


def test_overflows_and_runs_without_an_evaluation_are_shown(tmp_path):
    plant(tmp_path, {"early": 12, "late": 900}, seeds=1)
    runs = live.Follower([tmp_path]).look()
    table = live.rows(runs, time.time())
    assert table["state"] == ["diverged at step 12", "diverged at step 900"]
    assert table["step"] == [12, 900]
    assert live.words(runs, [], time.time()) == "<b>2 runs</b>: 2 diverged."
    assert live.curves(runs, "step", live.ACCURACY)["name"] == []


def test_what_is_no_record_is_named_and_the_rest_is_shown(tmp_path):
    plant(tmp_path, {"bn": [(0, 0.1), (1, 0.9)]}, seeds=1)
    broken = tmp_path / STUDY / "bn-1.json"
    broken.write_text("{")
    follower = live.Follower([tmp_path])
    assert [one.name for one in follower.look()] == ["bn-0"]
    assert list(follower.complaints) == [broken]
    record.write(broken, one_record("bn", 1, [(0, 0.1), (1, 0.9)]))
    assert len(follower.look()) == 2
    assert follower.complaints == {}


def test_scratch_and_stand_in_runs_are_studies_of_their_own(tmp_path):
    for part in ("", "scratch/optim.lr=1", "stand-in"):
        plant(tmp_path / part, {"bn": [(0, 0.1), (1, 0.9)]}, seeds=1)
    runs = live.Follower([tmp_path]).look()
    assert len({one.study for one in runs}) == 3
    (generated,) = [one for one in runs if "stand-in" in one.study]
    assert "STAND-IN DATA" in live.words([generated], [], time.time())


def test_lists_become_numbers_for_who_plots_numbers_alone():
    row = {"step": 3, "preactivation/1": [[-1.0, -3, -2], [0, 1, 2], [5, 5, 6]]}
    row["jacobian/2"] = [0.1, 0.2, 0.3, 0.4, 0.5]
    numbers = in_numbers(row)
    layer = {"preactivation/1/p15": -2.0, "preactivation/1/p50": 1, "preactivation/1/p85": 5}
    quantiles = {
        f"jacobian/2/q{q}": q_is
        for q, q_is in zip((5, 25, 50, 75, 95), row["jacobian/2"], strict=True)
    }
    assert numbers == {"step": 3, **layer, **quantiles}


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A run trained with a follower looking on whenever it says something, and W&B offline."""
    output, seen = tmp_path_factory.mktemp("output"), []
    follower = live.Follower([output])
    said = ["experiment=mnist", "scale=smoke", "arm=bn", "seed=0", "stand_in=always"]
    made = experiment.plan([*said, "wandb=offline", f"output={output}"])

    def report_and_look(place, status):
        report(place, status)
        seen.extend(follower.look())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(experiment, "report", report_and_look)
        assert experiment.train_missing(made) == []
    for mirror in experiment.Mirror.unended:
        mirror.wait(60)
    (found,) = record.load_all(output / "stand-in")
    return output, found, [*seen, *follower.look()]


def test_a_training_run_tells_its_curves_as_it_goes(followed):
    _, found, seen = followed
    steps = found["metrics"]["step"]
    heights = [len(one.accuracies) for one in seen]
    assert heights == sorted(heights)
    assert set(range(1, len(steps) + 1)) <= set(heights), "every evaluation was to be seen"
    assert [one.finished for one in seen] == [False] * (len(seen) - 1) + [True]
    assert seen[-2].metrics == seen[-1].metrics, "the record has what was said last"
    assert seen[-1].accuracies == found["metrics"]["test/accuracy"]


def test_the_offline_wandb_file_has_the_rows_of_the_record(followed):
    output, found, _ = followed
    (log,) = output.glob("wandb/offline-run-*/*.wandb")
    leet = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    away = {**os.environ, "HOME": str(output)}
    text = subprocess.run(leet, env=away, capture_output=True, text=True, timeout=120).stdout
    lines = [json.loads(line) for line in text.splitlines()]
    rows = [one["history"]["item"] for one in lines if one["type"] == "history"]
    metrics = found["metrics"]
    assert len(rows) == len(metrics["step"]) == 3
    for i, row in enumerate(rows):
        said = {key: value for key, value in row.items() if not key.startswith("_")}
        wanted = in_numbers({key: values[i] for key, values in metrics.items()})
        assert said == pytest.approx(wanted, nan_ok=True)
    (started,) = [one["run"] for one in lines if one["type"] == "run"]
    assert {**started["config"]["update"], "_wandb": 0} == {**found["config"], "_wandb": 0}
    assert (started["run_group"], started["display_name"]) == ("mnist", "bn-0")
    ends = [one["summary"]["update"] for one in lines if one["type"] == "summary"]
    assert found["summary"] in ends


def test_nan_is_what_a_null_is():
    assert repr(live.numbers({"a": [1.0, None], "b": [[1.0]]})) == repr({"a": [1.0, nan]})
