"""Training: what may not change a run, and what must."""

import dataclasses
from itertools import pairwise
from math import isfinite
from statistics import fmean

import pytest
import torch

from batchnorm import checkpoint, models, optim
from batchnorm import train as training
from batchnorm.data import Batches, DataSet, Split
from batchnorm.evaluate import evaluate
from batchnorm.layers import NORMS, BatchNorm
from batchnorm.record import RecordError
from conftest import cannot_compile, small_run

CPU = torch.device("cpu")
NORM = {"model__norm": "batch"}


def trained(run, data, tmp_path, **options):
    path = tmp_path / "run.ckpt"
    return training.train(run, data, CPU, path, **options)


def without_clock(record):
    metrics = {key: values for key, values in record["metrics"].items() if key != "seconds"}
    summary = {k: v for k, v in record["summary"].items() if "second" not in k}
    return {**record, "metrics": metrics, "summary": summary}


class Killed(BaseException):
    """As sudden as a signal."""


NOISE = {**NORM, "model__noise": True, "model__dropout": 0.0, "probes": ["shift"]}


LSTM = {**NORM, "model__name": "lstm", "model__time_steps": 32, "model__activation": "tanh"}
LSTM |= {"optim__name": "rmsprop", "optim__lr": 0.001, "optim__clip": 1.0, "data__augment": False}


@pytest.mark.parametrize("changes", [{}, NORM, NOISE, {"data__holdout": 10}, LSTM])
def test_a_run_killed_at_any_step_ends_as_one_that_was_not(
    changes, small_data, tmp_path, monkeypatch
):
    run = small_run(**changes)
    (tmp_path / "whole").mkdir()
    whole = trained(run, small_data, tmp_path / "whole")
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)  # a checkpoint at every step
    step = training.train_step
    for last in (1, 4, 5, 11, 17):  # 18 steps in all

        def killed_after(state, *rest, last=last):
            if state.step == last:
                raise Killed
            return step(state, *rest)

        monkeypatch.setattr(training, "train_step", killed_after)
        with pytest.raises(Killed):
            trained(run, small_data, tmp_path)
    monkeypatch.setattr(training, "train_step", step)
    assert without_clock(trained(run, small_data, tmp_path)) == without_clock(whole)


@pytest.mark.skipif(bool(cannot_compile("cpu")), reason=cannot_compile("cpu"))
def test_compiled_it_is_the_same_run_to_rounding(small_data, tmp_path):
    run = small_run(**NORM, model__dropout=0.0)
    plain, compiled = (
        trained(run, small_data, tmp_path / str(compiled), compiled=compiled)
        for compiled in (False, True)
    )
    assert compiled["environment"]["compiled"] and not plain["environment"]["compiled"]
    assert compiled["metrics"]["train/loss"] == pytest.approx(plain["metrics"]["train/loss"], 1e-3)


def test_a_seed_repeats_and_another_seed_does_not(small_data, tmp_path):
    records = [
        trained(small_run(seed=s), small_data, tmp_path / n)
        for s, n in ((0, "a"), (0, "b"), (1, "c"))
    ]
    first, again, other = (record["metrics"]["train/loss"] for record in records)
    assert first == again
    assert first != other


def test_steps_at_rate_zero_change_no_weight(small_data):
    run = small_run(optim__lr=0.0, **NORM)
    state, batches = training.start(run, small_data, CPU), Batches(small_data, run.data, 0)
    before = [p.clone() for p in state.model.parameters()]
    for _ in range(3):
        training.train_step(state, run, batches, 18, "float32")
    for old, new in zip(before, state.model.parameters(), strict=True):
        assert torch.equal(old, new)


def test_one_step_changes_every_parameter(small_data):
    run = small_run(**NORM)
    state, batches = training.start(run, small_data, CPU), Batches(small_data, run.data, 0)
    before = {name: p.clone() for name, p in state.model.named_parameters()}
    training.train_step(state, run, batches, 18, "float32")
    for name, parameter in state.model.named_parameters():
        assert not torch.equal(before[name], parameter), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_trains_and_is_evaluated_in_its_precision(precision, small_data):
    run, seen = small_run(**NORM), []
    state, batches = training.start(run, small_data, CPU), Batches(small_data, run.data, 0)
    state.model[0].register_forward_hook(lambda _, __, maps: seen.append(maps.dtype))
    training.train_step(state, run, batches, 18, precision)
    assert seen == [getattr(torch, precision)]
    evaluate(state.model, batches, precision, 1)
    assert len(seen) > 2, "population statistics, and the test images"
    assert set(seen) == {getattr(torch, precision)}


def test_a_run_is_evaluated_in_the_precision_it_trains_in(small_data, tmp_path, monkeypatch):
    seen, real = [], training.evaluate
    monkeypatch.setattr(training, "evaluate", lambda *given: seen.append(given[2]) or real(*given))
    trained(small_run(precision="bfloat16", **NORM), small_data, tmp_path)
    assert seen
    assert set(seen) == {"bfloat16"}


def test_members_of_an_ensemble_draw_weights_batches_and_dropout_of_their_own(
    small_data, tmp_path, monkeypatch
):
    one, other = small_run(seed=3), small_run(seed=3, own_draws=2)
    assert one.draws == 3
    assert other.draws not in {small_run(seed=seed).draws for seed in range(1000)}
    weights = [training.start(run, small_data, CPU).model[0].weight for run in (one, other)]
    assert not torch.equal(*weights)
    batches = Batches(small_data, one.data, 3)
    losses = [
        training.train_step(training.start(one, small_data, CPU), run, batches, 18, "float32")
        for run in (one, other)
    ]
    assert not torch.equal(*losses), "from equal weights, on equal images: Dropout's masks differ"
    asked = []

    def noting(data, config, seed, *rest):
        asked.append(seed)
        return Batches(data, config, seed, *rest)

    monkeypatch.setattr(training, "batches_of", noting)
    trained(other, small_data, tmp_path)
    assert asked == [other.draws]


def test_evaluating_does_not_change_the_training(small_data, tmp_path):
    """However often a run is evaluated, it ends in the same place."""
    few = trained(small_run(evaluations=1, **NORM), small_data, tmp_path / "few")
    many = trained(small_run(evaluations=9, **NORM), small_data, tmp_path / "many")
    assert few["summary"]["test/loss"] == many["summary"]["test/loss"]
    assert len(many["metrics"]["step"]) > len(few["metrics"]["step"]) == 1


def test_population_statistics_are_of_few_batches_along_the_curve_and_of_many_at_its_end(
    small_data, tmp_path, monkeypatch
):
    asked = []

    def noting(model, batches, precision, population_batches):
        asked.append(population_batches)
        return evaluate(model, batches, precision, 1)

    monkeypatch.setattr(training, "evaluate", noting)
    trained(small_run(), small_data, tmp_path)
    assert asked == [8, 8, 8, 100]


def test_the_training_metrics_are_means_since_the_last_evaluation(
    small_data, tmp_path, monkeypatch
):
    step, losses, shares = training.train_step, [], []

    def noting(state, *rest):
        before = float(state.correct)
        losses.append(float(step(state, *rest)))
        shares.append((float(state.correct) - before) / 16)
        return torch.tensor(losses[-1])

    monkeypatch.setattr(training, "train_step", noting)
    metrics = trained(small_run(), small_data, tmp_path)["metrics"]
    between = [slice(*ends) for ends in pairwise([0, *metrics["step"]])]
    assert len(losses) == metrics["step"][-1] == 18
    assert metrics["train/loss"] == pytest.approx([fmean(losses[part]) for part in between], 1e-5)
    assert metrics["train/accuracy"] == pytest.approx([fmean(shares[part]) for part in between])


def test_the_rate_that_is_recorded_is_that_of_the_step_to_come(small_data, tmp_path):
    run = small_run(optim__lr=0.02, optim__decay_speed=6, optim__final_lr=0.1)
    metrics = trained(run, small_data, tmp_path)["metrics"]
    assert metrics["lr"] == pytest.approx(
        [0.02 * 0.1 ** (6 * step / 18) for step in metrics["step"]]
    )


def test_what_is_watched_at_the_end_alone_is_none_before_it(small_data, tmp_path):
    metrics = trained(small_run(probes=["training_set"]), small_data, tmp_path)["metrics"]
    *before, last = metrics["training_set/accuracy"]
    assert before == [None] * 3
    assert 0 <= last <= 1


def test_overflow_ends_the_run_and_is_recorded_with_its_step(small_data, tmp_path):
    run = small_run(optim__lr=1e18, optim__epochs=20.0)
    record = trained(run, small_data, tmp_path)
    assert record["summary"]["diverged"]
    assert 1 < record["summary"]["diverged_at_step"] <= 25
    assert record["summary"]["test/accuracy"] is None
    steps = record["metrics"].get("step", [])
    assert all(step < record["summary"]["diverged_at_step"] for step in steps)


def test_no_checkpoint_is_of_a_loss_that_overflowed(small_data, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)  # a checkpoint at every step
    monkeypatch.setattr(checkpoint, "save", lambda *content: saved.append(float(content[2].loss)))
    run = small_run(optim__lr=1e18, optim__epochs=20.0, evaluations=1)
    assert trained(run, small_data, tmp_path)["summary"]["diverged"]
    assert saved
    assert all(map(isfinite, saved))


def test_checkpoints_that_take_long_are_rarer(small_data, tmp_path, monkeypatch):
    counts = {}
    monkeypatch.setattr(training, "SAVE_EVERY", 1e-6)  # less than a step
    for within in (float("inf"), 1e-15):
        saved = []
        monkeypatch.setattr(training, "SAVE_WITHIN", within)
        monkeypatch.setattr(checkpoint, "save", lambda *content, to=saved: to.append(content))
        trained(small_run(evaluations=1), small_data, tmp_path / str(within))
        counts[within] = len(saved)
    assert counts == {float("inf"): 18, 1e-15: 2}, "the first, and the one with an evaluation"


def test_the_first_loss_that_is_not_finite_is_found():
    losses = [torch.tensor(x) for x in (1.0, 2.0, float("nan"), 3.0)]
    assert training.first_not_finite(losses, step=40) == 39
    assert training.first_not_finite(losses[:2], step=40) is None


def test_evaluation_steps_end_at_the_last_and_are_denser_early():
    steps = sorted(training.evaluation_steps(1000, 5))
    assert steps == [40, 160, 360, 640, 1000]
    assert training.evaluation_steps(1, 6) == {1}


def test_the_rate_decays_exponentially_and_faster_where_told():
    config = small_run(optim__lr_multiplier=5, optim__final_lr=0.1).optim
    assert optim.rate(config, 0, 100) == pytest.approx(0.1)
    assert optim.rate(config, 100, 100) == pytest.approx(0.01)
    assert optim.rate(config, 50, 100) == pytest.approx(0.1 * 0.1**0.5)
    fast = small_run(optim__decay_speed=6, optim__final_lr=0.1).optim
    assert optim.rate(fast, 10, 60) == pytest.approx(0.02 * 0.1)
    assert optim.steps(small_run(optim__epochs=2.7).optim, 3) == 8  # 8.1
    assert optim.steps(small_run(optim__epochs=2.6).optim, 3) == 8  # 7.8


def test_the_l2_penalty_falls_on_weights_alone():
    run = small_run(optim__weight_decay_multiplier=0.2, **NORM)
    model = models.build(run.model, (32, 32, 3), 10, 0)
    groups = optim.optimizer(model, run.optim).param_groups
    assert [group["weight_decay"] for group in groups] == pytest.approx([1e-4, 0.0])
    assert all(p.dim() > 1 for p in groups[0]["params"])
    assert all(p.dim() == 1 for p in groups[1]["params"])
    together = sum(len(group["params"]) for group in groups)
    assert together == len(list(model.parameters()))


def test_one_step_is_the_step_of_the_definition(small_data):
    """v = momentum v + (g + wd w), w = w - lr v, from equal weights, in float32."""
    run = small_run(model__dropout=0.0)
    state, batches = training.start(run, small_data, CPU), Batches(small_data, run.data, 0)
    weight = state.model[-1].weight
    expected, velocity = weight.detach().clone(), 0
    for step in range(3):
        images, labels = batches.train(step)
        loss = torch.nn.functional.cross_entropy(state.model(images), labels)
        (gradient,) = torch.autograd.grad(loss, weight)
        velocity = 0.9 * velocity + gradient + 5e-4 * expected
        expected -= optim.rate(run.optim, step, 18) * velocity
        training.train_step(state, run, batches, 18, "float32")
        torch.testing.assert_close(weight.detach(), expected)


def test_a_checkpoint_that_does_not_fit_is_not_gone_on_from(small_data, tmp_path, capsys):
    path, old = tmp_path / "run.ckpt", small_run()

    def restored(run):
        return checkpoint.restore(path, run.config(), lambda: training.start(run, small_data, CPU))

    state = training.start(old, small_data, CPU)
    state.step = 5
    checkpoint.save(path, old.config(), state)
    assert restored(old).step == 5
    with pytest.raises(RecordError, match=r"another one \(optim.lr: 0.02 -> 0.03\); go on as it"):
        restored(small_run(optim__lr=0.03))
    content = torch.load(path, weights_only=True)
    content["config"]["device"] = "cuda"
    torch.save(content, path)
    with pytest.raises(RecordError, match="device: cuda -> cpu"):
        restored(old)
    content["config"]["device"] = "cpu"
    del content["model"]["0.bias"]  # of a network that was another
    torch.save(content, path)
    fresh = restored(old)
    assert fresh.step == 0
    assert torch.equal(fresh.model[0].weight, training.start(old, small_data, CPU).model[0].weight)
    path.write_bytes(b"not a checkpoint")
    assert restored(old).step == 0
    assert capsys.readouterr().out.count("starts over") == 2


def test_a_run_is_not_gone_on_with_on_other_images(small_data, tmp_path):
    run, path = small_run(), tmp_path / "run.ckpt"
    first = training.identity(run, training.batches_of(small_data, run.data, 0), "float32")
    checkpoint.save(path, first, training.start(run, small_data, CPU))
    other = dataclasses.replace(small_data, checksum="one file more")
    with pytest.raises(RecordError, match="data_checksum: test -> one file more"):
        training.train(run, other, CPU, path)


def test_streamed_images_make_another_run_than_those_in_memory(small_data):
    run = small_run()
    batches = training.batches_of(small_data, run.data, 0)
    whole = training.identity(run, batches, "float32")
    batches.loader = "stream"
    assert training.identity(run, batches, "float32") == {**whole, "loader": "stream"}


def test_a_run_that_other_code_goes_on_with_is_not_clean(small_data, tmp_path, monkeypatch):
    run, path = small_run(), tmp_path / "run.ckpt"
    state = training.start(run, small_data, CPU)
    state.code = {"commit": "before", "dirty": False}
    batches = training.batches_of(small_data, run.data, 0)
    checkpoint.save(path, training.identity(run, batches, "float32"), state)
    assert trained(run, small_data, tmp_path)["environment"]["dirty"] is True


def test_the_seconds_before_a_checkpoint_count(small_data, tmp_path):
    run, path = small_run(), tmp_path / "run.ckpt"
    state = training.start(run, small_data, CPU)
    state.seconds = 1000.0
    batches = training.batches_of(small_data, run.data, 0)
    checkpoint.save(path, training.identity(run, batches, "float32"), state)
    made = trained(run, small_data, tmp_path)
    assert 1000 < made["metrics"]["seconds"][0] < made["summary"]["seconds"] < 2000
    assert made["summary"]["images_per_second"] == 18 * 16 / made["summary"]["seconds"]


def test_an_overflow_in_the_last_update_is_an_overflow(small_data, tmp_path, monkeypatch):
    step = training.train_step

    def overflowing(state, *rest):
        loss = step(state, *rest)
        if state.step == 18:
            state.model[-1].bias.data.fill_(float("inf"))
        return loss

    monkeypatch.setattr(training, "train_step", overflowing)
    summary = trained(small_run(), small_data, tmp_path)["summary"]
    assert (summary["diverged"], summary["diverged_at_step"]) == (True, 18)
    assert summary["test/accuracy"] is None


def test_the_reference_layer_trains_the_same_network(small_data, tmp_path):
    """Five steps with the paper's explicit gradients equal five with torch's fused kernel."""
    losses = {}
    for norm in ("batch", "batch_reference"):
        run = small_run(model__norm=norm)
        state, batches = training.start(run, small_data, CPU), Batches(small_data, run.data, 0)
        losses[norm] = [
            float(training.train_step(state, run, batches, 18, "float32")) for _ in range(5)
        ]
        assert any(isinstance(m, BatchNorm) for m in state.model.modules()) == ("_" in norm)
    assert losses["batch"] == pytest.approx(losses["batch_reference"], rel=1e-3)


def test_the_reference_layer_computes_in_float32_under_autocast(small_data):
    run = small_run(model__norm="batch_reference", precision="bfloat16")
    state, batches = training.start(run, small_data, CPU), Batches(small_data, run.data, 0)
    assert torch.isfinite(training.train_step(state, run, batches, 18, "bfloat16"))
    layer = next(m for m in state.model.modules() if isinstance(m, BatchNorm))
    assert layer.running_mean.abs().sum() > 0
    seen = torch.randn(8, layer.weight.numel(), 3, 3).bfloat16()
    kept, torch_layer = layer(seen), NORMS["batch"](layer.weight.numel(), 9).train()
    assert kept.dtype == torch.bfloat16
    assert (kept - torch_layer(seen)).abs().max() < 0.05, "an eighth bit of 4"


def test_it_learns(tmp_path):
    """Ten classes of plain grey levels: easy, but not without learning."""
    labels = torch.arange(10).repeat(30)
    images = (25 * labels[:, None, None, None]).expand(300, 32, 32, 3).to(torch.uint8).contiguous()
    data = DataSet(Split(images, labels), Split(images[:100], labels[:100]), 10, "test")
    run = small_run(
        data__augment=False, model__dropout=0.0, optim__epochs=12, optim__lr=0.1, **NORM
    )
    assert trained(run, data, tmp_path)["summary"]["test/accuracy"] > 0.5


def test_a_step_of_rmsprop_is_that_of_the_definition_by_gradients_no_longer_than_told(small_data):
    """s = 0.9 s + 0.1 g^2, v = momentum v + g / (sqrt(s) + eps), w = w - lr v; of all gradients
    together the norm is at most `clip`."""
    run = small_run(**{**LSTM, "optim__weight_decay": 0.0, "model__dropout": 0.0})
    run.optim.clip = 0.01
    state, batches = training.start(run, small_data, CPU), Batches(small_data, run.data, 0)
    weights = list(state.model.parameters())
    expected = [weight.detach().clone() for weight in weights]
    squares, velocities = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for step in range(2):
        images, labels = batches.train(step)
        loss = torch.nn.functional.cross_entropy(state.model(images), labels)
        gradients = torch.autograd.grad(loss, weights)
        length = sum(float(gradient.square().sum()) for gradient in gradients) ** 0.5
        assert length > run.optim.clip
        for i, gradient in enumerate(gradients):
            short = gradient * run.optim.clip / length
            squares[i] = 0.9 * squares[i] + 0.1 * short**2
            velocities[i] = 0.9 * velocities[i] + short / (squares[i].sqrt() + 1e-8)
            expected[i] -= optim.rate(run.optim, step, 18) * velocities[i]
        training.train_step(state, run, batches, 18, "float32")
        for weight, wanted in zip(weights, expected, strict=True):
            torch.testing.assert_close(weight.detach(), wanted, rtol=1e-4, atol=1e-5)
