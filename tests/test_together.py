"""Stacked training: many small networks as one computation, each as if it were alone."""

import os
from dataclasses import replace

import pytest
import torch

from batchnorm import checkpoint, record
from batchnorm import train as training
from batchnorm.config import Data, Model, Optim
from batchnorm.data import DataSet, Split
from batchnorm.probes import PROBES
from batchnorm.stack import stackable
from batchnorm.together import Member, restored, stacks, train_together
from conftest import small_run

CPU = torch.device("cpu")


def digits(count=600) -> DataSet:
    """Ten random binary patterns with a fifth of their pixels redrawn."""
    generator = torch.Generator().manual_seed(3)
    patterns = torch.randint(0, 2, (10, 12, 12, 1), generator=generator)
    labels = torch.randint(10, (count,), generator=generator)
    noise = torch.randint(0, 2, (count, 12, 12, 1), generator=generator)
    redrawn = torch.rand(count, 12, 12, 1, generator=generator) < 0.2
    images = torch.where(redrawn, noise, patterns[labels]).to(torch.uint8)
    return DataSet(Split(images[:500], labels[:500]), Split(images[500:], labels[500:]), 10, "test")


def mlp_run(seed=0, norm="none", lr=0.5, probes=(), scale=10.0, steps=200, evaluations=4):
    return small_run(
        seed=seed,
        arm=f"{norm}_{lr}",
        evaluations=evaluations,
        probes=list(probes),
        data=Data("mnist", train_images=500, test_images=100, binary=True, batch_size=20),
        model=Model(
            name="mlp",
            norm=norm,
            activation="sigmoid",
            init="gaussian",
            init_scale=scale,
            width=16,
            depth=4,
        ),
        optim=Optim(lr=lr, epochs=steps / 25, final_lr=0.5),
    )


def changed(key, value):
    """A run like mlp_run(), but for one key such as optim.momentum."""
    run = mlp_run()
    part, _, name = key.rpartition(".")
    if not part:
        return replace(run, **{name: value})
    return replace(run, **{part: replace(getattr(run, part), **{name: value})})


def together(runs, folder, data=None) -> list[record.Record]:
    made = {}
    members = [
        Member(
            run, folder / f"{run.name}.ckpt", on_record=lambda r, n=run.name: made.update({n: r})
        )
        for run in runs
    ]
    train_together(members, data or digits(), CPU)
    return [made[run.name] for run in runs]


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_stacked_run_is_what_it_would_be_alone(norm, tmp_path):
    """200 steps at three seeds and two rates: curves and weights to the rounding of float32."""
    runs = [mlp_run(seed, norm, lr, ["norms"]) for seed, lr in ((0, 0.5), (1, 0.5), (0, 0.1))]
    for run, stacked in zip(runs, together(runs, tmp_path), strict=True):
        alone = training.train(run, digits(), CPU, tmp_path / "alone.ckpt")
        assert stacked["environment"]["stacked"] == 3
        assert alone["metrics"].keys() == stacked["metrics"].keys()
        for key in alone["metrics"].keys() - {"seconds"}:
            near = pytest.approx(alone["metrics"][key], rel=1e-4, abs=2e-5)
            assert stacked["metrics"][key] == near, key
        (tmp_path / "alone.ckpt").unlink()
    assert stacked["summary"]["parameters"] == alone["summary"]["parameters"]


def test_stacked_runs_differ_by_seed_and_rate_and_learn(tmp_path):
    runs = [mlp_run(seed, "batch", lr, steps=400) for seed, lr in ((0, 0.5), (1, 0.5), (0, 0.1))]
    made = together(runs, tmp_path)
    assert len({tuple(one["metrics"]["train/loss"]) for one in made}) == 3
    assert made[0]["summary"]["test/accuracy"] > 0.5


def test_stopped_before_its_record_it_is_not_trained_again(tmp_path):
    """The checkpoints of the last step are there, and the records are not."""
    runs = [mlp_run(0), mlp_run(1)]
    assert [m["metrics"] for m in together(runs, tmp_path)] == [
        m["metrics"] for m in together(runs, tmp_path)
    ]


@pytest.mark.parametrize("every", [15.0, 0.0])
def test_killed_and_gone_on_with_ends_in_the_same_records(every, tmp_path, monkeypatch):
    """Bit for bit: none of a stack's checkpoints is replaced before all are written."""
    monkeypatch.setattr("batchnorm.together.SAVE_EVERY", every)
    runs = [mlp_run(seed, "batch") for seed in (0, 1, 2)]
    whole = together(runs, tmp_path / "whole")
    written, fsync = [], os.fsync

    def dies(descriptor):
        written.append(descriptor)
        if len(written) == 5:  # in the middle of the second checkpoints
            raise KeyboardInterrupt
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", dies)
    with pytest.raises(KeyboardInterrupt):
        together(runs, tmp_path / "killed")
    monkeypatch.setattr(os, "fsync", fsync)
    steps = {restored(Member(r, tmp_path / f"killed/{r.name}.ckpt"), digits(), CPU).state.step
             for r in runs}  # fmt: skip
    assert len(steps) == 1
    for before, after in zip(whole, together(runs, tmp_path / "killed"), strict=True):
        for key in before["metrics"].keys() - {"seconds"}:
            assert after["metrics"][key] == before["metrics"][key]


def test_every_member_is_told_of_its_evaluations_and_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr("batchnorm.together.SAVE_EVERY", float("inf"))  # at evaluations alone
    runs = [mlp_run(0), mlp_run(1)]
    saved, made = ({run.seed: [] for run in runs} for _ in range(2))
    members = [
        Member(
            run,
            tmp_path / f"{run.seed}.ckpt",
            on_progress=lambda state, steps, n=run.seed: saved[n].append((state.step, steps)),
            on_record=made[run.seed].append,
        )
        for run in runs
    ]
    train_together(members, digits(), CPU)
    for run in runs:
        (metrics,) = (one["metrics"] for one in made[run.seed])
        assert saved[run.seed] == [(step, 200) for step in metrics["step"]]


def test_a_member_with_draws_of_its_own_has_batches_of_its_own(tmp_path):
    run = changed("own_draws", 2)
    one = restored(Member(run, tmp_path / "a.ckpt"), digits(), CPU)
    assert one.batches.seed == run.draws != run.seed


def test_the_seconds_before_a_checkpoint_count(tmp_path):
    runs = [mlp_run(0), mlp_run(1)]
    for run in runs:
        one = restored(Member(run, tmp_path / f"{run.name}.ckpt"), digits(), CPU)
        one.state.seconds = 1000.0
        checkpoint.save(one.member.saved, training.identity(run, one.batches, "float32"), one.state)
    for made in together(runs, tmp_path):
        assert 1000 < made["metrics"]["seconds"][0] < made["summary"]["seconds"] < 2000
        assert made["summary"]["images_per_second"] == 200 * 20 / made["summary"]["seconds"]


def test_a_checkpoint_of_another_run_does_not_keep_the_others_from_training(tmp_path):
    runs, made = [mlp_run(0), mlp_run(1)], []
    members = [
        Member(run, tmp_path / f"{run.seed}.ckpt", on_record=lambda one: made.append(one))
        for run in runs
    ]
    state = training.start(runs[0], digits(), CPU)
    checkpoint.save(members[0].saved, {**runs[0].config(), "replicas": 8}, state)
    with pytest.raises(record.RecordError, match=r"0\.ckpt: is of an unfinished run"):
        train_together(members, digits(), CPU)
    assert [one["config"]["seed"] for one in made] == [1]


def test_a_run_that_diverges_ends_and_the_others_do_not_notice(tmp_path):
    calm = [mlp_run(0, "none", 0.1), mlp_run(1, "none", 0.1)]
    wild = mlp_run(0, "none", 1e38)
    first, lost, second = together([calm[0], wild, calm[1]], tmp_path / "with")
    assert lost["summary"]["diverged"]
    assert lost["summary"]["diverged_at_step"] < 10
    without = together(calm, tmp_path / "without")
    for with_it, alone in zip((first, second), without, strict=True):
        assert with_it["metrics"]["test/loss"] == pytest.approx(alone["metrics"]["test/loss"])


def test_what_is_stacked():
    assert stackable(mlp_run())
    assert not stackable(small_run())
    many = [mlp_run(seed, norm) for norm in ("none", "batch") for seed in range(7)]
    sizes = [len(group) for group in stacks([*many, small_run()], CPU)]
    assert sizes == [5, 2, 5, 2, 1]
    (group,) = stacks(many[:7], torch.device("cuda"))
    assert len(group) == 7


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim.momentum", 0.9),
        ("optim.weight_decay", 1e-3),
        ("optim.name", "rmsprop"),
        ("optim.clip", 1.0),
        ("model.dropout", 0.1),
        ("model.norm", "batch_detached"),
        ("data.augment", True),
        ("data.name", "image_folder"),
        ("precision", "bfloat16"),
        ("probes", ["inference"]),
    ],
)
def test_what_a_stack_does_not_do_trains_alone(key, value):
    assert not stackable(changed(key, value))
    assert len(stacks([changed(key, value)] * 2, CPU)) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim.epochs", 9.0),
        ("optim.epochs_multiplier", 2.0),
        ("evaluations", 5),
        ("probes", ["norms"]),
        ("data.train_images", 400),
        ("model.width", 8),
    ],
)
def test_runs_of_other_shapes_are_stacked_apart(key, value):
    assert stackable(changed(key, value))
    assert len(stacks([mlp_run(), changed(key, value)], CPU)) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("optim.lr", 0.1),
        ("optim.final_lr", 0.1),
        ("model.init", "he"),
        ("model.init_scale", 1.0),
    ],
)
def test_runs_of_one_shape_are_stacked_whatever_they_start_from(key, value):
    assert len(stacks([mlp_run(), changed(key, value)], CPU)) == 1


def test_probes_change_nothing(tmp_path):
    plain, watched = (
        training.train(mlp_run(0, "batch", probes=p), digits(), CPU, tmp_path / f"{len(p)}.ckpt")
        for p in ((), tuple(sorted(PROBES.keys() - {"probabilities"})))  # of image folders
    )
    for key in plain["metrics"].keys() - {"seconds"}:
        assert plain["metrics"][key] == watched["metrics"][key], key


def test_probes_come_back_from_a_record(tmp_path):
    made = training.train(mlp_run(probes=["percentiles"]), digits(), CPU, tmp_path / "a.ckpt")
    record.write(tmp_path / "a.json", made)
    assert record.load(tmp_path / "a.json")["metrics"] == made["metrics"]
    lines = (tmp_path / "a.json").read_text().splitlines()
    assert sum("preactivation/1" in line for line in lines) == 1
    assert len(lines) < 120
