"""Records: written whole, read back equal, compared by what they say; and what may be published."""

import copy
import json
import os
import shutil
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest

from batchnorm import record
from batchnorm.config import completed
from conftest import script, small_run
from planted import ALIKE, one_record


def test_a_record_reads_back_as_it_was_written(tmp_path):
    made = record.make(
        small_run().config(),
        {"commit": "c"},
        {"diverged": False},
        {"step": [1, 2], "a": [0.5, 0.25]},
    )
    path = record.record_path(tmp_path, made["config"])
    record.write(path, made)
    assert path.relative_to(tmp_path).as_posix() == "records/smoke/test/a-0.json"
    assert record.load(path) == made
    assert '"a": [0.5, 0.25]' in path.read_text(), "a curve is one line"


def test_what_is_not_finite_is_null_in_the_file(tmp_path):
    path = tmp_path / "r.json"
    record.write(path, {"version": 1, "metrics": {"loss": [1.0, float("nan"), float("inf")]}})
    assert json.loads(path.read_text())["metrics"]["loss"] == [1.0, None, None]


def test_no_record_is_there_before_its_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "write_atomically", lambda path, content: asked.append(path.name))
    asked: list[str] = []
    record.write(tmp_path / "r.json", {"version": 1, "arrays": {"votes": np.ones(2)}})
    assert asked == ["r.npz", "r.json"]


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    record.write_atomically(path, b"old")

    def crash(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        record.write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert record.load_all(tmp_path) == []


def test_of_several_files_none_is_replaced_before_all_are_written(tmp_path, monkeypatch):
    paths = [tmp_path / "a", tmp_path / "b"]
    record.write_all_atomically(dict.fromkeys(paths, b"old"))
    monkeypatch.setattr(os, "fsync", mock.Mock(side_effect=[None, OSError("full")]))
    with pytest.raises(OSError, match="full"):
        record.write_all_atomically(dict.fromkeys(paths, b"new"))
    assert [path.read_bytes() for path in paths] == [b"old", b"old"]
    assert sorted(tmp_path.iterdir()) == paths


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 99}'])
def test_what_is_no_record_is_named(tmp_path, content):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(record.RecordError, match=r"r\.json: .*move it away"):
        record.load(path)


def test_differences_name_the_keys():
    old, new = small_run().config(), small_run(optim__lr=0.03, model__norm="batch").config()
    assert record.differences(old, new) == ["model.norm: none -> batch", "optim.lr: 0.02 -> 0.03"]
    assert record.differences(old, old) == []


def test_a_record_that_lacks_its_probabilities_is_not_published(tmp_path):
    def whole(path):
        return script("publish").whole(path, record.load(path))

    for name, diverged in (("a", False), ("b", True)):
        config = {"probes": ["probabilities"]}
        record.write(tmp_path / f"{name}.json", record.make(config, {}, {"diverged": diverged}, {}))
    with pytest.raises(record.RecordError, match=r"a\.npz"):
        whole(tmp_path / "a.json")
    assert "arrays" not in whole(tmp_path / "b.json")
    votes = {"single": np.ones((2, 3), np.float16)}
    record.write(tmp_path / "a.json", {**record.load(tmp_path / "a.json"), "arrays": votes})
    record.write(tmp_path / "new" / "a.json", whole(tmp_path / "a.json"))
    assert record.load_arrays(tmp_path / "new" / "a.json")["single"].tolist() == [[1, 1, 1]] * 2


def test_only_clean_current_real_declared_records_are_published():
    publish = script("publish")
    config = small_run(scale="quick", precision="auto", model__norm="batch").config()
    declared = {"a-0": config}
    good = {"config": config, "environment": {"commit": "c", "dirty": False, "data_checksum": "d"}}
    good["environment"]["precision"] = "float32"
    known = {"c": True, "lost": False}

    usual = {"precision": "float32", "statistics per batch": 1, "data of checksum": "d"}
    usual["loader"] = "memory"

    def why(declared=declared, scale="quick", stand_in=False, **environment) -> str | None:
        record = copy.deepcopy(good)
        record["config"]["scale"] = scale
        record["config"]["data"]["stand_in"] = stand_in
        record["environment"] |= environment
        return publish.refusal(record, declared, known) or publish.odd(record, usual)

    assert why() is None
    assert "not committed" in why(dirty=True)
    assert "not committed" in why(dirty=None)
    assert "not in this history" in why(commit="lost")
    assert why({"a-0": {**declared["a-0"], "seed": 9}}) == "is stale: seed: 0 -> 9"
    assert "precision bfloat16, but most of its experiment with float32" in why(
        precision="bfloat16"
    )
    assert "statistics per batch 4, but most" in why(statistics_batch=4)
    assert "data of checksum e, but most" in why(data_checksum="e")
    assert "loader stream, but most" in why(loader="stream")
    assert "does not declare" in why({})
    assert "STAND-IN" in why(stand_in=True)
    assert "smoke" in why(scale="smoke")


def test_the_usual_precision_is_that_of_the_records_that_leave_it_to_the_machine():
    usual = script("publish").usually
    made = [("auto", "bfloat16"), ("auto", "bfloat16"), ("auto", "float32")]
    made += [("float32", "float32")] * 3
    records = [
        {
            "config": {"precision": c, "model": {"norm": "batch"}, "data": {"batch_size": 16}},
            "environment": {
                **{"precision": e, "statistics_batch": 16 if e == "bfloat16" else 4},
                "data_checksum": "d",
            },
        }
        for c, e in made
    ]
    data = {"data of checksum": "d", "loader": "memory"}
    assert usual(records) == {"precision": "bfloat16", "statistics per batch": 4, **data}
    assert usual(records[:3]) == {"precision": "bfloat16", "statistics per batch": 1, **data}
    assert usual(records[3:]) == {"statistics per batch": 4, **data}


@pytest.fixture
def published(tmp_path, monkeypatch, capsys):
    """scripts/publish.py from outputs to results, whose experiment declares one seed of an arm: ->
    exit status, stdout, stderr."""
    publish = script("publish")
    config = completed(one_record("baseline", 0, ALIKE["baseline"])["config"])
    monkeypatch.setattr(publish, "declared_runs", lambda *study: {"baseline-0": config})
    monkeypatch.setattr(publish, "in_history", lambda commits: dict.fromkeys(commits, True))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["publish.py", "--source", "outputs", "--target", "results"])
    return lambda: (publish.main(), *capsys.readouterr())


def written(root, seed=0, dirty=False):
    """The file of a planted record."""
    made = one_record("baseline", seed, ALIKE["baseline"])
    made["environment"]["dirty"] = dirty
    record.write(record.record_path(root, made["config"]), made)
    return record.record_path(root, made["config"])


def test_good_records_are_promoted_and_the_others_named(tmp_path, published):
    good, bad = written(tmp_path / "outputs"), written(tmp_path / "outputs", seed=1, dirty=True)
    status, said, refused = published()
    assert (status, said) == (1, "1 records promoted to results/records, 1 refused\n")
    outputs, results = tmp_path / "outputs", tmp_path / "results"
    expected = f"refused: {bad.relative_to(tmp_path)} was made by code that is not committed\n"
    assert refused == expected
    (promoted,) = results.rglob("*.json")
    assert promoted.relative_to(results) == good.relative_to(outputs)
    assert record.load(promoted) == record.load(good)
    bad.unlink()
    assert published() == (0, "1 records promoted to results/records, 0 refused\n", "")


def test_a_source_without_records_is_named(tmp_path, published):
    assert published() == (1, "", "no records under outputs/records/*\n")


def test_records_that_lack_a_part_or_are_another_runs_are_not_promoted(tmp_path, published):
    mine = written(tmp_path / "outputs")
    copy = mine.with_name("baseline-0 copy.json")
    copy.write_bytes(mine.read_bytes())
    status, said, refused = published()
    assert (status, said) == (1, "1 records promoted to results/records, 1 refused\n")
    assert (
        "baseline-0 copy.json: is not a whole record (its file's name is another run's)" in refused
    )
    copy.unlink()
    made = record.load(mine)
    del made["summary"]["diverged"]
    record.write(mine, made)
    status, _, refused = published()
    assert status == 1
    assert "is not a whole record (its diverged is missing)" in refused


def test_records_made_otherwise_than_the_reference_beside_them_are_refused(tmp_path, published):
    mine = written(tmp_path / "outputs")
    made = record.load(mine)
    made["environment"]["data_checksum"] = "another"
    record.write(mine, made)
    for seed in (1, 2):
        written(tmp_path / "results", seed=seed)
    status, _, said = published()
    assert status == 1
    assert "was made with data of checksum another, but most of its experiment with 0" in said
    assert len(list((tmp_path / "results").rglob("*.json"))) == 2


def test_a_published_record_that_is_no_longer_declared_is_named(tmp_path, published):
    written(tmp_path / "outputs")
    stale = written(tmp_path / "results", seed=1)
    status, _, said = published()
    assert status == 1
    assert said.startswith("in results already, to be made anew or removed: ")
    assert f"{stale.relative_to(tmp_path)} is of a run that its experiment does not declare" in said


def test_statistics_over_other_images_make_another_run():
    def made(norm: str, **environment) -> dict:
        config = {"precision": "auto", "model": {"norm": norm}, "data": {"batch_size": 32}}
        return record.as_made(
            {"config": config, "environment": {"precision": "float32", **environment}}
        )

    assert made("batch", statistics_batch=4) != made("batch", statistics_batch=32)
    assert made("batch") == made("batch", statistics_batch=32), "before it was recorded"
    assert made("none", statistics_batch=4) == made("none", statistics_batch=32)


def test_the_commit_is_that_of_the_source_tree():
    version = record.code_version()
    if version["commit"] is None:
        pytest.skip("the source tree is no git checkout")
    assert len(version["commit"]) == 40
    assert record.in_history([version["commit"], "0" * 40, None]) == {
        version["commit"]: True,
        "0" * 40: False,
        None: False,
    }


CHANGED = {  # file -> whether a run may depend on it
    **dict.fromkeys(("src/a.py", "src/new.py", "configs/a.yaml", "scripts/a.py"), True),
    **{"pyproject.toml": True, "requirements.lock": True, "README.md": False},
}


@pytest.mark.skipif(not shutil.which("git"), reason="no git")
@pytest.mark.parametrize("path", CHANGED)
def test_code_is_not_committed_where_a_run_depends_on_what_is_not(path, tmp_path, monkeypatch):
    for one in (tmp_path / name for name in CHANGED if name != "src/new.py"):
        one.parent.mkdir(exist_ok=True)
        one.write_text("old")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for said in (["init"], ["add", "."], [*who, "commit", "-m", "all"]):
        subprocess.run(["git", *said], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setattr(record, "SOURCE", tmp_path)
    version = record.code_version.__wrapped__  # as if asked for the first time
    assert version()["dirty"] is False
    (tmp_path / path).write_text("changed")
    assert version()["dirty"] is CHANGED[path]
    first = version()["commit"]
    assert record.code_since([first, None, "0" * 40]) == set()
    for said in (["add", "."], [*who, "commit", "-m", "more"]):
        subprocess.run(["git", *said], cwd=tmp_path, check=True, capture_output=True)
    assert record.code_since([first]) == ({first} if CHANGED[path] else set())
