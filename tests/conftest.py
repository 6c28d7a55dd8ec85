"""What tests share: a small generated data set, small runs, and where real data are."""

import importlib.util
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest
import torch

from batchnorm.config import ConfigError, Data, Model, Optim, Run
from batchnorm.data import DataSet, Split
from batchnorm.experiment import refuse_compiling

os.environ.setdefault("WANDB_MODE", "disabled")


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """No record of a test outlives it; thousands of them, synced, take minutes on a busy disk."""
    with mock.patch("os.fsync", lambda descriptor: None):
        yield


def real_data_root() -> Path:
    """Where CIFAR-10 is, from BATCHNORM_DATA; skips the test where it is not."""
    root = os.environ.get("BATCHNORM_DATA")
    if not root or not (Path(root) / "cifar-10-batches-py").is_dir():
        pytest.skip("no real data: set BATCHNORM_DATA to a folder that has cifar-10-batches-py")
    return Path(root)


def cannot_compile(device: str) -> str:
    """Why steps cannot be compiled on this machine; empty if they can."""
    try:
        refuse_compiling(torch.device(device))
    except ConfigError as error:
        return str(error)
    return ""


def small_run(**changes) -> Run:
    """A run of a few steps; keys such as model__norm="batch" change it."""
    parts = {
        "data": Data(name="cifar10", train_images=96, test_images=40, augment=True, batch_size=16),
        "model": Model(name="convnet", width=4, depth=5, dropout=0.2),
        "optim": Optim(lr=0.02, momentum=0.9, weight_decay=5e-4, epochs=3, final_lr=0.3),
    }
    flat = {"experiment": "test", "arm": "a", "seed": 0, "scale": "smoke", "precision": "float32"}
    flat |= {"evaluations": 4, "probes": []}
    for key, value in changes.items():
        group, _, name = key.partition("__")
        if name:
            setattr(parts[group], name, value)
        else:
            flat[key] = value
    return Run(**{**parts, **flat})


@pytest.fixture(scope="session")
def small_data() -> DataSet:
    generator = torch.Generator().manual_seed(7)
    splits = []
    for n in (96, 40):
        labels = torch.randint(10, (n,), generator=generator)
        noise = torch.randint(0, 120, (n, 32, 32, 3), generator=generator)
        splits.append(Split((noise + 13 * labels[:, None, None, None]).to(torch.uint8), labels))
    return DataSet(splits[0], splits[1], classes=10, checksum="test")


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for something that another thread or process does, but no longer than that."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)


def script(name: str) -> ModuleType:
    """A script of scripts/, imported."""
    path = Path(__file__).parents[1] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """The installed Chromium, without a window."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


def image_folder(folder: Path, classes: tuple[str, ...] = ("cat", "dog", "owl")) -> None:
    """An ImageFolder tree of smooth images of many sizes, 8 of each class to train and 4 to
    validate; one in a folder of its own, and a file that is no image."""
    from PIL import Image

    draw = np.random.default_rng(5)
    for part, count in (("train", 8), ("val", 4)):
        for label, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                width, height = (int(side) for side in draw.integers(40, 90, 2))
                coarse = draw.integers(0, 256, (2 + label, 3, 3), dtype=np.uint8)
                smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
                smooth.save(folder / part / name / f"{i}.jpg", quality=95)
            (folder / part / name / "notes.txt").write_text("no image")
    inner = folder / "train" / classes[0] / "inner"
    inner.mkdir()
    (folder / "train" / classes[0] / "7.jpg").rename(inner / "7.JPG")
