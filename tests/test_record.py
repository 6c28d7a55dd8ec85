"""Records: written whole, read back equal, compared by what they say; and what may be published."""

import copy
import json
import os

import numpy as np
import pytest

from batchnorm import record
from conftest import script, small_run


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
    whole = script("publish").whole
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
    refusal = script("publish").refusal
    config = small_run(scale="quick", precision="auto", model__norm="batch").config()
    declared = {"a-0": config}
    good = {"config": config, "environment": {"commit": "c", "dirty": False, "data_checksum": "d"}}
    good["environment"]["precision"] = "float32"
    known = {"c": True, "lost": False}

    usual = {"precision": "float32", "statistics per batch": 1, "data of checksum": "d"}

    def why(declared=declared, scale="quick", stand_in=False, **environment) -> str | None:
        record = copy.deepcopy(good)
        record["config"]["scale"] = scale
        record["config"]["data"]["stand_in"] = stand_in
        record["environment"] |= environment
        return refusal(record, declared, known, usual)

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
    data = {"data of checksum": "d"}
    assert usual(records) == {"precision": "bfloat16", "statistics per batch": 4, **data}
    assert usual(records[:3]) == {"precision": "bfloat16", "statistics per batch": 1, **data}
    assert usual(records[3:]) == {"statistics per batch": 4, **data}


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
