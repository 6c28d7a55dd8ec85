"""What only a GPU can show: the same numbers as on the CPU, nothing waited for, compiled steps."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from batchnorm import data, record, replicas
from batchnorm import train as training
from batchnorm.config import Data
from batchnorm.data import DataSet, Where
from batchnorm.multicrop import probabilities
from batchnorm.probes import watch
from batchnorm.together import Member, train_together
from conftest import cannot_compile, image_folder, small_run
from test_together import digits, mlp_run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
CPU, GPU = torch.device("cpu"), torch.device("cuda")
SIZES = {"train_images": 24, "test_images": 12, "image_size": 40, "crop_size": 24, "batch_size": 8}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """float32 is float32, as in experiment.train_runs."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.set_float32_matmul_precision("highest")


def on(device: torch.device, small: DataSet) -> DataSet:
    parts = {part: getattr(small, part).to(device) for part in ("train", "test")}
    return dataclasses.replace(small, **parts)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    image_folder(root / "pictures")
    return Where(root, root / "cache", "memory")


def inception_run(**changes):
    folder = Data("image_folder", folder="pictures", augment=True, distortion=1.0, **SIZES)
    kept = {"data": folder, "model__name": "inception", "model__width": 8, "model__depth": 34}
    return small_run(**{**kept, "model__norm": "batch", **changes})


def losses(one: record.Record) -> list[float]:
    return one["metrics"]["train/loss"] + one["metrics"]["test/loss"]


@pytest.mark.parametrize("norm", ["none", "batch", "batch_per_activation", "batch_detached"])
def test_a_run_trains_as_on_the_cpu(norm, small_data, tmp_path):
    run = small_run(model__norm=norm, model__dropout=0.0, optim__epochs=1)
    cpu, gpu = (
        training.train(run, on(device, small_data), device, tmp_path / f"{device}.ckpt")
        for device in (CPU, GPU)
    )
    assert losses(gpu) == pytest.approx(losses(cpu), rel=1e-3)
    assert gpu["environment"]["device"] == torch.cuda.get_device_name()


@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_images_are_cropped_and_coloured_as_on_the_cpu(loader, pictures):
    run = inception_run()
    place = dataclasses.replace(pictures, loader=loader, workers=1)
    cpu, gpu = (
        data.batches(data.load(run.data, place, device), run.data, 0) for device in (CPU, GPU)
    )
    for step in (0, 4):
        (images, labels), (moved, their_labels) = cpu.train(step), gpu.train(step)
        assert moved.is_cuda and torch.equal(labels, their_labels.cpu())
        torch.testing.assert_close(moved.cpu(), images, rtol=1e-3, atol=1e-3)


def test_probes_see_what_they_see_on_the_cpu(small_data):
    run = small_run(model__norm="batch", model__dropout=0.0)
    names, seen = ["percentiles", "norms", "shift", "training_set", "inference"], []
    for device in (CPU, GPU):
        moved = on(device, small_data)
        state = training.start(run, moved, device)
        batches = data.batches(moved, run.data, 0)
        seen.append(watch(names, True, state.model, batches, "float32", state.optimizer))
    cpu, gpu = seen
    assert gpu.keys() == cpu.keys()
    for key in cpu:
        flat = [torch.tensor(one[key]).double().flatten() for one in (gpu, cpu)]
        torch.testing.assert_close(*flat, rtol=1e-2, atol=1e-3, msg=key)


def test_the_144_crops_come_to_the_same_probabilities(pictures):
    run, found = inception_run(model__dropout=0.0), []
    for device in (CPU, GPU):
        images = data.load(run.data, pictures, device)
        state = training.start(run, images, device)
        batches = data.batches(images, run.data, 0)
        found.append(probabilities(state.model, batches, "float32"))
    for name in found[0]:
        torch.testing.assert_close(found[1][name], found[0][name], rtol=1e-2, atol=1e-3)


def stacked(device: torch.device, folder: Path) -> list[float]:
    """The losses of two runs trained as one stack."""
    made: list[record.Record] = []
    runs = [mlp_run(seed=seed, norm="batch") for seed in (0, 1)]
    members = [
        Member(run, folder / f"{device}-{run.seed}.ckpt", on_record=made.append) for run in runs
    ]
    train_together(members, on(device, digits()), device)
    made.sort(key=lambda one: one["config"]["seed"])
    return [loss for one in made for loss in losses(one)]


def test_a_stack_trains_as_on_the_cpu(tmp_path):
    assert stacked(GPU, tmp_path) == pytest.approx(stacked(CPU, tmp_path), rel=1e-2)


@pytest.mark.parametrize("kind", ["whole images", "image folder"])
def test_a_training_step_never_waits_for_the_gpu(kind, small_data, pictures):
    """Else its kernels would run out while Python makes the next ones."""
    noisy = small_run(model__norm="batch", model__noise=True)
    run = noisy if kind == "whole images" else inception_run()
    images = on(GPU, small_data) if kind == "whole images" else data.load(run.data, pictures, GPU)
    state, batches = training.start(run, images, GPU), data.batches(images, run.data, 0)
    precision = training.resolve_precision("auto", GPU)
    training.train_step(state, run, batches, 18, precision)  # kernels are loaded
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.train_step(state, run, batches, 18, precision)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_run_goes_on_from_its_checkpoint(small_data, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    run, step, path = small_run(model__norm="batch"), training.train_step, tmp_path / "run.ckpt"
    moved = on(GPU, small_data)
    whole = training.train(run, moved, GPU, tmp_path / "whole.ckpt")

    def killed(state, *rest):
        if state.step == 11:
            raise Killed
        return step(state, *rest)

    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(training, "train_step", killed)
    with pytest.raises(Killed):
        training.train(run, moved, GPU, path)
    steps = []

    def counted(state, *rest):
        steps.append(state.step)
        return step(state, *rest)

    monkeypatch.setattr(training, "train_step", counted)
    assert losses(training.train(run, moved, GPU, path)) == pytest.approx(losses(whole), rel=1e-2)
    assert steps == list(range(11, 18)), "not from the start"


def test_bfloat16_is_the_default_and_trains(small_data, tmp_path):
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("a GPU without bfloat16")
    run = small_run(model__norm="batch", precision="auto")
    made = training.train(run, on(GPU, small_data), GPU, tmp_path / "run.ckpt")
    assert made["environment"]["precision"] == "bfloat16"
    assert made["metrics"]["train/loss"][-1] < made["metrics"]["train/loss"][0]


def test_compiled_it_is_the_same_run_to_rounding(small_data, tmp_path):
    """As CUDA graphs; two networks in one process, as an experiment trains them."""
    if why := cannot_compile("cuda"):
        pytest.skip(why)
    for norm in ("batch", "none"):
        run = small_run(model__norm=norm, model__dropout=0.0)
        plain, compiled = (
            training.train(
                run, on(GPU, small_data), GPU, tmp_path / f"{norm}-{fast}.ckpt", compiled=fast
            )
            for fast in (False, True)
        )
        torch.compiler.reset()
        assert compiled["environment"]["compiled"]
        assert losses(compiled) == pytest.approx(losses(plain), rel=1e-2)


def test_compiled_dropout_follows_from_seed_and_step(small_data, monkeypatch):
    """Though its masks are drawn within CUDA graphs."""
    if why := cannot_compile("cuda"):
        pytest.skip(why)
    run, moved, found = small_run(model__dropout=0.5), on(GPU, small_data), []
    batches = data.batches(moved, run.data, 0)
    same = batches.train(0)
    monkeypatch.setattr(batches, "train", lambda step: same)
    monkeypatch.setattr(training.optim, "rate", lambda *what: 0.0)
    for _ in range(2):
        state = training.start(run, moved, GPU, compiled=True)
        steps = [training.train_step(state, run, batches, 18, "float32") for _ in range(6)]
        found.append([float(loss) for loss in steps])
        torch.compiler.reset()
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert len(set(found[0])) == 6, "masks of their own for every step"


@pytest.mark.parametrize("compiled", [False, True])
def test_a_group_of_one_by_nccl_trains_as_none(compiled, small_data, tmp_path, monkeypatch):
    """What several processes call on a GPU, and in what types, NCCL takes; around compiled steps
    too. (A group of one cannot show that sums are sums.)"""
    if compiled and (why := cannot_compile("cuda")):
        pytest.skip(why)
    run, moved = small_run(model__norm="batch", model__dropout=0.0), on(GPU, small_data)
    batches = data.batches(moved, run.data, 0)

    def trained() -> list[float]:
        state = training.start(run, moved, GPU, compiled)
        wrapped = isinstance(state.network, torch.nn.parallel.DistributedDataParallel)
        assert wrapped == (replicas.count() > 1)
        return [
            float(training.train_step(state, run, batches, 18, "float32")) * replicas.count()
            for _ in range(8)
        ]

    alone = trained()
    torch.compiler.reset()
    monkeypatch.setattr(replicas, "count", lambda: 2)  # so that it talks, to itself
    at = {"init_method": f"file://{tmp_path}/group", "rank": 0, "world_size": 1}
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl", **at)
    try:
        assert trained() == pytest.approx(alone, rel=1e-2)
        model = replicas.synchronise(training.start(run, moved, GPU).model)
        model(batches.train(0)[0]).square().sum().backward()
        assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())
        assert replicas.of_first(lambda: "said") == "said", "by gloo, as the barrier"
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()
        torch.compiler.reset()


def test_several_gpus_train_as_one(tmp_path):
    """By NCCL: synchronised, as one GPU; by statistics of their own, compiled as not."""
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    asked = ["experiment=cifar10_learning_rate", "arm=bn_x5", "seed=0", "scale=smoke"]
    asked += ["stand_in=always", "device=cuda", "precision=float32", "optim.lr_multiplier=1"]
    ways = {
        "one": ([], []),
        "two": (launch, ["model.sync_statistics=true"]),
        "apart": (launch, []),
        "compiled": (launch, ["compile=true"]),
    }
    if cannot_compile("cuda"):
        del ways["compiled"]
    found = {}
    for name, (how, more) in ways.items():
        command = [*how, "-m", "batchnorm", *asked, *more, f"output={name}"]
        subprocess.run([sys.executable, *command], cwd=tmp_path, check=True, timeout=300)
        found[name] = record.load(next(tmp_path.glob(f"{name}/**/bn_x5-0.json")))
        assert found[name]["environment"]["replicas"] == (2 if how else 1)
    assert losses(found["two"]) == pytest.approx(losses(found["one"]), rel=1e-2)
    if "compiled" in found:
        assert losses(found["compiled"]) == pytest.approx(losses(found["apart"]), rel=1e-2)
