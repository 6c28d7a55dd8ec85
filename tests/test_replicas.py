"""Several processes: the gradients of one, the same images, rates and steps, one record."""

import copy
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch import multiprocessing

from batchnorm import record, replicas
from batchnorm import train as training
from batchnorm.config import ConfigError
from batchnorm.data import DataError, DataSet, batches, tree
from batchnorm.evaluate import score
from batchnorm.experiment import plan
from batchnorm.layers import folded
from conftest import cannot_compile, image_folder, small_run

CPU = torch.device("cpu")
WHY_NOT = cannot_compile("cpu")
KINDS = {"replica": False, "synchronised": True}


def bn_run(sync: bool):
    return small_run(model__norm="batch", model__dropout=0.0, model__sync_statistics=sync)


def one_of_two(rank: int, port: int, data: DataSet, folder: Path) -> None:
    """What each of two processes does: the gradients of its first step, for both kinds."""
    torch.set_num_threads(1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), **address)
    found = {}
    with replicas.joined(CPU):
        for kind, sync in KINDS.items():
            run = bn_run(sync)
            state = training.start(run, data, CPU)
            images, labels = batches(data, run.data, 0, rank, 2).train(0)
            torch.nn.functional.cross_entropy(state.network(images), labels).backward()
            found[kind] = {name: p.grad for name, p in state.model.named_parameters()}
            found[f"{kind} running"] = {
                name: buffer.clone() for name, buffer in state.model.named_buffers()
            }
            found[f"{kind} loss"] = training.train_step(
                state, run, batches(data, run.data, 0, rank, 2), 18, "float32"
            )
        found["masks"] = dropout_masks(data)
        found["compiled"] = compiled_gradients(data, rank) if not WHY_NOT else {}
        one = {"same": 1, "other": rank} | ({} if rank else {"alone": 1})
        found["differing"] = replicas.differing(one)
        found["in turn"] = replicas.in_turn([f"{rank}{i}" for i in range(2 - rank)])
        model = training.start(bn_run(False), data, CPU).model.eval()
        shared = batches(data, bn_run(False).data, 0, rank, 2).test(16, shared=True)
        with torch.no_grad():
            found["score"] = score(model, shared)
    torch.save(found, folder / f"{rank}.pt")


def dropout_masks(data: DataSet) -> torch.Tensor:
    """What Dropout leaves out in a first step, on the same images in all processes."""
    run, masks = small_run(model__dropout=0.5), []
    state = training.start(run, data, CPU)
    (layer,) = (m for m in state.model.modules() if isinstance(m, torch.nn.Dropout))
    layer.register_forward_hook(lambda _, __, left: masks.append(left == 0))
    training.train_step(state, run, batches(data, run.data, 0, 0, 2), 18, "float32")
    return masks[0]


def compiled_gradients(data: DataSet, rank: int) -> dict[str, torch.Tensor]:
    """Those of a compiled network, and how many graphs it came to."""
    run = bn_run(False)
    state = training.start(run, data, CPU, compiled=True)
    images, labels = batches(data, run.data, 0, rank, 2).train(0)
    torch.nn.functional.cross_entropy(state.network(images), labels).backward()
    graphs = torch.tensor(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    return {"graphs": graphs} | {name: p.grad for name, p in state.model.named_parameters()}


@pytest.fixture(scope="module")
def of_two(small_data, tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(one_of_two, (port, small_data, folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def of_one(data: DataSet, halves: bool) -> tuple[torch.nn.Module, torch.Tensor]:
    """One process with the two halves of the batch, or with the whole of it."""
    run = bn_run(False)
    model = training.start(run, data, CPU).model
    images, labels = batches(data, run.data, 0).train(0)
    parts = zip(images.chunk(2), labels.chunk(2), strict=True) if halves else [(images, labels)]
    losses = [torch.nn.functional.cross_entropy(model(x), y) for x, y in parts]
    loss = torch.stack(losses).mean()
    loss.backward()
    return model, loss


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradients_of_two_processes_are_those_of_one_with_both_batches(
    kind, of_two, small_data
):
    model, loss = of_one(small_data, halves=kind == "replica")
    for found in of_two:
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(
                found[kind][name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name
            )
        torch.testing.assert_close(found[f"{kind} loss"], loss.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
def test_compiled_the_gradients_of_two_processes_are_the_same(of_two):
    """And compiled they are: wrapped the other way round, the network would come to no graph."""
    for one in of_two:
        compiled, plain = one["compiled"], one["replica"]
        assert compiled.pop("graphs") == 1
        assert compiled.keys() == plain.keys()
        for name, gradient in compiled.items():
            torch.testing.assert_close(gradient, plain[name], rtol=1e-3, atol=1e-5, msg=name)


def test_what_is_evaluated_is_shared_out_and_put_together(of_two, small_data):
    """Three batches of 40 images: two of them the first process's."""
    run = bn_run(False)
    model = training.start(run, small_data, CPU).model.eval()
    with torch.no_grad():
        alone = score(model, batches(small_data, run.data, 0).test(16))
    for found in of_two:
        assert found["in turn"] == ["00", "10", "01"]
        assert found["differing"] == ["alone", "other"]
        assert found["score"] == pytest.approx(alone, rel=1e-6)


def test_processes_that_see_other_data_are_refused(small_data, tmp_path, monkeypatch):
    monkeypatch.setattr(replicas, "differing", lambda what: [key for key in what if "data_" in key])
    with pytest.raises(DataError, match=r"^data_checksum: must be the same in all processes$"):
        training.train(bn_run(False), small_data, CPU, tmp_path / "run.ckpt")


def test_each_process_draws_dropout_masks_of_its_own(of_two):
    first, second = (found["masks"] for found in of_two)
    assert not torch.equal(first, second)
    assert 0.3 < first.float().mean() < 0.8


def test_both_kinds_of_statistics_are_not_the_same(of_two):
    """Else the test before could not tell them apart."""
    first, second = (found["replica running"] for found in of_two)
    means = [name for name in first if name.endswith("running_mean")]
    assert all(not torch.allclose(first[name], second[name]) for name in means)
    gradients = of_two[0]
    assert not torch.allclose(
        gradients["replica"]["0.weight"], gradients["synchronised"]["0.weight"], rtol=1e-3
    )


def test_synchronised_running_statistics_are_those_of_the_whole_batch(of_two, small_data):
    model, _ = of_one(small_data, halves=False)
    for found in of_two:
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(found["synchronised running"][name], buffer)


def test_alone_nothing_is_wrapped_or_waited_for(small_data):
    state = training.start(bn_run(True), small_data, CPU)
    assert state.network is state.model
    assert not any(isinstance(m, replicas.SynchronisedBatchNorm) for m in state.model.modules())
    with replicas.joined(CPU):
        assert replicas.of_first(lambda: 7) == 7
    assert (replicas.count(), replicas.rank(), replicas.first()) == (1, 0, True)


def test_synchronised_layers_take_their_own_batch_for_the_whole_without_gradients(small_data):
    model = training.start(bn_run(False), small_data, CPU).model
    same = replicas.synchronise(copy.deepcopy(model))
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(same(images), model(images))


def test_synchronised_layers_infer_folded_as_the_others(small_data):
    """Else probes of folded weights would see others in several processes."""
    model = training.start(bn_run(False), small_data, CPU).model.eval()
    same = folded(replicas.synchronise(copy.deepcopy(model)))
    assert not any(isinstance(module, replicas.SynchronisedBatchNorm) for module in same.modules())
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(same(images), folded(model)(images))


SMOKE = ["experiment=cifar10_learning_rate", "scale=smoke", "wandb=disabled", "device=cpu"]


def test_batches_that_cannot_be_parted_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    stand_in = [*SMOKE, "stand_in=always", "output=/nonexistent", "arm=bn_x5"]
    with pytest.raises(ConfigError, match=r"data.batch_size=64: must be a multiple of the 3 pro"):
        plan(stand_in)
    with pytest.raises(ConfigError, match=r"data.batch_size=3: must be 2 or more for each"):
        plan([*stand_in, "data.batch_size=3"])
    plan([*stand_in, "data.batch_size=3", "model.sync_statistics=true"])
    plan([*stand_in, "arm=baseline", "data.batch_size=3", "model.sync_statistics=true"])


FOLDER = [
    "data=imagenette", "data.folder=pictures", "data.train_images=24", "data.test_images=12",
    "data.image_size=32", "data.crop_size=24", "data.batch_size=8", "data.distortion=0.5",
    "model.depth=5", "model.norm=batch", "model.dropout=0", "arm=baseline", "seed=0",
    "precision=float32", "threads=1",
]  # fmt: skip


def launched(folder: Path, output: str, processes: int, *more: str) -> subprocess.Popen:
    """The command line on a small image folder; several processes under torchrun."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(launch if processes > 1 else []), "-m", "batchnorm"]
    command += [*SMOKE, *FOLDER, f"data_root={folder}", f"output={output}", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **both)


def trained(folder: Path, output: str, processes: int, *more: str) -> subprocess.CompletedProcess:
    """The same, until it has ended."""
    process = launched(folder, output, processes, *more)
    out, err = process.communicate(timeout=500)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def the_record(folder: Path, output: str) -> record.Record:
    (path,) = (folder / output).glob("**/records/**/*.json")
    return record.load(path)


def test_the_same_command_under_torchrun_trains_the_same_run(tmp_path):
    """Streamed, by two processes with statistics in common, and by one."""
    image_folder(tmp_path / "pictures")
    for processes, output in ((1, "alone"), (2, "two")):
        sync = [f"model.sync_statistics={processes > 1}", "loader=stream", "workers=0"]
        done = trained(tmp_path, output, processes, *sync)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("[1/1]") == 1, "one process speaks"
        assert "BN's statistics are of" not in done.stdout
    alone, two = the_record(tmp_path, "alone"), the_record(tmp_path, "two")
    for key in ("step", "lr"):
        assert two["metrics"][key] == alone["metrics"][key]
    for key in ("train/loss", "test/loss"):
        assert two["metrics"][key] == pytest.approx(alone["metrics"][key], rel=1e-3)
    assert two["environment"]["data_checksum"] == alone["environment"]["data_checksum"]
    for found, replicas_, batch in ((alone, 1, 8), (two, 2, 8)):
        assert found["environment"]["loader"] == "stream"
        assert found["environment"]["replicas"] == replicas_
        assert found["environment"]["statistics_batch"] == batch
        assert found["environment"]["classes"] == 3
    assert not list(tmp_path.glob("two/**/*.ckpt"))


def test_killed_under_torchrun_and_gone_on_with_ends_as_one_that_was_not(tmp_path):
    """Statistics per replica, dropout of its own in each; the whole tree of processes is killed."""
    image_folder(tmp_path / "pictures")
    more = ["optim.epochs=40", "evaluations=40", "model.dropout=0.1"]
    process = launched(tmp_path, "killed", 2, *more)
    deadline = time.time() + 240
    while not list(tmp_path.glob("killed/**/*.ckpt")):
        assert process.poll() is None and time.time() < deadline, process.communicate()
        time.sleep(0.02)
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        one.kill()
    process.communicate(timeout=60)
    assert not list(tmp_path.glob("killed/**/records/**/*.json")), "it has ended before the kill"
    for output in ("killed", "whole"):
        done = trained(tmp_path, output, 2, *more)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("BN's statistics are of 4 images, the part of each") == 1
    killed, whole = the_record(tmp_path, "killed"), the_record(tmp_path, "whole")
    metrics = [
        {key: of for key, of in one["metrics"].items() if key != "seconds"}
        for one in (killed, whole)
    ]
    assert metrics[0] == metrics[1]


def test_an_ensembles_member_streamed_by_workers_under_torchrun(tmp_path):
    """The paper's network, BN per activation in its last modules, and 144 crops."""
    image_folder(tmp_path / "pictures")
    sizes = ["data.train_images=24", "data.test_images=12", "data.batch_size=8", "data.shards=3"]
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    command += ["batchnorm", "experiment=imagenette_ensemble", "arm=member_5", "seed=0", *sizes]
    command += ["scale=smoke", "data.folder=pictures", f"data_root={tmp_path}", "loader=stream"]
    command += ["workers=1", "threads=1", "device=cpu", "stand_in=never", "optim.epochs=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, timeout=500
    )
    assert done.returncode == 0, done.stderr.decode()
    found = the_record(tmp_path, "outputs")
    assert found["environment"]["replicas"] == 2
    assert found["environment"]["statistics_batch"] == 4
    (arrays,) = tmp_path.glob("outputs/**/member_5-0.npz")
    left = record.load_arrays(arrays.with_suffix(".json"))
    assert left["labels"].tolist() == tree.scan(tmp_path / "pictures").val.labels.tolist()
    assert left["crops"].shape == left["single"].shape == (12, 3)


def test_what_is_refused_under_torchrun_is_said_in_one_line(tmp_path):
    image_folder(tmp_path / "pictures")
    bad = tmp_path / "pictures" / "val" / "owl" / "0.jpg"
    bad.write_bytes(b"no image")
    done = trained(tmp_path, "two", 2)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert said
    assert all("1 unreadable images" in line and str(bad) in line for line in said)
    assert not list(tmp_path.glob("two/**/*.json"))
