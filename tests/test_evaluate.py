"""Evaluation: what it measures, by which statistics, and that it leaves the model alone."""

import copy

import pytest
import torch
from torch import nn

from batchnorm import evaluate as evaluation
from batchnorm import train as training
from batchnorm.checkpoint import State
from batchnorm.data import Batches
from batchnorm.evaluate import evaluate, inference, training_set
from batchnorm.layers import BATCH_NORMS, gather_population_statistics
from conftest import small_run

CPU = torch.device("cpu")
NORM = {"model__norm": "batch"}


def after_steps(small_data, steps=6, **changes) -> tuple[nn.Module, Batches]:
    """A network trained for some steps, its running statistics as training leaves them."""
    run = small_run(**changes)
    state, batches = training.start(run, small_data, CPU), Batches(small_data, run.data, run.seed)
    for _ in range(steps):
        training.train_step(state, run, batches, 18, "float32")
    return state.model, batches


def norms(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, BATCH_NORMS)]


def accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    return int((network(images).argmax(1) == labels).sum()) / len(labels)


@pytest.mark.parametrize("measure", [lambda *a: evaluate(*a, 3), training_set, inference])
@pytest.mark.parametrize("norm", ["batch", "batch_per_activation", "batch_detached"])
def test_measuring_changes_nothing(measure, norm, small_data):
    model, batches = after_steps(small_data, model__norm=norm)
    before = copy.deepcopy(model.state_dict())
    measure(model, batches, "float32")
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(module.training for module in model.modules())


def test_the_moving_average_survives_the_evaluations_of_a_run(small_data, tmp_path):
    ends = []
    for evaluations in (1, 9):
        seen: list[State] = []
        run = small_run(evaluations=evaluations, **NORM)
        path = tmp_path / str(evaluations)
        training.train(
            run, small_data, CPU, path, on_progress=lambda s, _, seen=seen: seen.append(s)
        )
        ends.append(norms(seen[-1].model)[0])
    assert ends[0].num_batches_tracked == 18
    assert torch.equal(ends[0].running_mean, ends[1].running_mean)
    assert torch.equal(ends[0].running_var, ends[1].running_var)


def test_what_evaluate_reads_is_the_population_and_not_the_running_statistics(small_data):
    model, batches = after_steps(small_data, **NORM)
    network = copy.deepcopy(model)
    gather_population_statistics(network, batches.population(6))  # 3 x 2: batches of 16
    with torch.no_grad():
        logits = network.eval()(next(batches.test(40))[0])
    loss = float(nn.functional.cross_entropy(logits, small_data.test.labels))
    found = evaluate(model, batches, "float32", 3)
    assert found["loss"] == pytest.approx(loss, rel=1e-4)
    assert found["accuracy"] == accuracy(network, *next(batches.test(40)))
    for layer in norms(model):
        layer.running_mean.fill_(50)
    assert evaluate(model, batches, "float32", 3) == found


@pytest.mark.parametrize(("size", "expected"), [(60, 8), (32, 8), (20, 16), (8, 32), (2, 128)])
def test_small_batches_are_as_many_more(size, expected, small_data, monkeypatch):
    model, batches = after_steps(small_data, 0, data__batch_size=size, **NORM)
    asked = []
    monkeypatch.setattr(batches, "population", lambda count: asked.append(count) or [])
    evaluation.by_population(model, batches, 8)
    assert asked == [expected]


def test_the_training_set_is_scored_as_the_network_infers(small_data):
    """On as many images as are evaluated on, the first ones, not augmented, without Dropout."""
    model, batches = after_steps(small_data, model__dropout=0.5, **NORM)
    network = evaluation.by_population(model, batches, 100)
    images = batches._normalize(small_data.train.images[:40])
    labels = small_data.train.labels[:40]
    found = training_set(model, batches, "float32")
    loss = float(nn.functional.cross_entropy(network(images), labels).detach())
    assert found["training_set/accuracy"] == accuracy(network, images, labels)
    assert found["training_set/loss"] == pytest.approx(loss, rel=1e-4)
    assert found.keys() == {"training_set/accuracy", "training_set/loss"}


@pytest.mark.parametrize(
    ("norm", "m"), [("batch", 16 * 32 * 32), ("batch_per_activation", 16), ("batch_detached", None)]
)
def test_biased_variances_are_divided_by_m(norm, m, small_data):
    model, batches = after_steps(small_data, model__norm=norm)
    network = evaluation.by_population(model, batches, 4)  # of 8, as above
    unbiased = norms(network)[0].running_var.clone()
    evaluation.undo_correction(network, next(batches.population(1)))
    biased = norms(network)[0].running_var
    if m is not None:
        torch.testing.assert_close(biased, unbiased * (m - 1) / m)
        return
    with torch.no_grad():
        maps = torch.stack([network[0](images) for images in batches.population(8)])
    torch.testing.assert_close(biased, maps.var((1, 3, 4), correction=0).mean(0))


def test_inference_by_each_kind_of_statistics(small_data):
    model, batches = after_steps(small_data, 12, model__dropout=0.5, **NORM)
    images, labels = next(batches.test(40))
    by_batch = copy.deepcopy(model)
    next(m for m in by_batch.modules() if isinstance(m, nn.Dropout)).eval()
    parts = [accuracy(by_batch, images[i : i + 16], labels[i : i + 16]) for i in (0, 16)]
    moving = copy.deepcopy(model).eval()
    found = inference(model, batches, "float32")
    assert found["inference/moving_average"] == accuracy(moving, images, labels)
    assert found["inference/batch"] == pytest.approx(sum(parts) / 2)
    assert found.keys() == {f"inference/{k}" for k in ("biased", "moving_average", "batch")}
    biased = evaluation.by_population(model, batches, 100)
    evaluation.undo_correction(biased, next(batches.population(1)))
    assert found["inference/biased"] == accuracy(biased, images, labels)
    for layer in norms(model):
        layer.running_mean.add_(5 * torch.randn(layer.running_mean.shape))
    spoilt = inference(model, batches, "float32")
    assert spoilt["inference/moving_average"] != found["inference/moving_average"]
    assert spoilt["inference/batch"] == found["inference/batch"]


def test_biased_inference_is_by_corrected_statistics(small_data, monkeypatch):
    """An accuracy hardly sees the correction of one; it sees one that spoils everything."""
    model, batches = after_steps(small_data, 12, **NORM)
    before, seen = inference(model, batches, "float32"), []

    def spoil(network: nn.Module, batch: torch.Tensor) -> None:
        seen.append(len(batch))
        for layer in norms(network):
            layer.running_mean.add_(5 * torch.randn(layer.running_mean.shape))

    monkeypatch.setattr(evaluation, "undo_correction", spoil)
    after = inference(model, batches, "float32")
    assert seen == [16], "m is that of the run's batches"
    assert {key for key in before if before[key] != after[key]} == {"inference/biased"}


def test_without_bn_every_kind_of_statistics_is_the_same(small_data):
    model, batches = after_steps(small_data, 12, data__batch_size=8)
    expected = evaluate(model, batches, "float32", 8)["accuracy"]
    assert set(inference(model, batches, "float32").values()) == {expected}


def test_top_5_is_counted_where_there_are_many_classes():
    logits = torch.eye(20).flip(0) + torch.linspace(
        0, 0.5, 20
    )  # of row i: 19 - i, then 19, 18, ...
    labels = torch.tensor([19 - i for i in range(10)] + [19, 18, 17, 16, 15] + 5 * [5])
    found = evaluation.score(lambda x: x, [(logits[:10], labels[:10]), (logits[10:], labels[10:])])
    assert found["accuracy"] == 0.5
    assert found["top_5"] == (10 + 4) / 20, "15 is the sixth, where another label comes first"
    assert "top_5" not in evaluation.score(lambda x: x[:, :19], [(logits, labels.clamp(max=18))])
