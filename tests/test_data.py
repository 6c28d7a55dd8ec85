"""Images, their statistics, their batches; and data that are missing, corrupt or generated."""

import hashlib
import shutil

import numpy as np
import pytest
import torch

from batchnorm import data
from batchnorm.config import Data
from batchnorm.data import Batches, DataError, DataSet, Split, cifar10, mnist, sets, standin
from conftest import real_data_root

CPU = torch.device("cpu")


def numbered(n: int = 40) -> DataSet:
    """Image i holds i + row + column in every channel, so that a pixel tells where it was."""
    rows, columns = torch.arange(32)[:, None], torch.arange(32)[None, :]
    images = (torch.arange(n)[:, None, None] + rows * 3 + columns).to(torch.uint8)
    split = Split(images[..., None].expand(n, 32, 32, 3).contiguous(), torch.arange(n))
    return DataSet(split, split[:10], classes=n, checksum="numbered")


def batches_of(whole: DataSet, batch_size: int, augment: bool, seed: int, **more) -> Batches:
    return Batches(whole, Data("any", augment=augment, batch_size=batch_size, **more), seed)


def pixels(batches: Batches, images: torch.Tensor) -> torch.Tensor:
    """Normalized images back in 0..255, (m, H, W, C)."""
    last = images.permute(0, 2, 3, 1)
    raw = (last.flatten(1) - batches.offset) / batches.scale
    assert (raw - raw.round()).abs().max() < 1e-2
    return raw.round().to(torch.uint8).view(last.shape)


def test_an_epoch_shows_every_image_once_and_another_order_each_time():
    batches = batches_of(numbered(), 8, augment=False, seed=3)
    epochs = [torch.cat([batches.train(e * 5 + i)[1] for i in range(5)]) for e in range(2)]
    for labels in epochs:
        assert sorted(labels.tolist()) == list(range(40))
    assert not torch.equal(*epochs)


def epochs_of(batches: Batches, count: int) -> list[list[tuple[int, ...]]]:
    """The batches of each epoch, each as the sorted numbers of its images."""
    steps = batches.per_epoch
    return [
        [tuple(sorted(batches.train(e * steps + i)[1].tolist())) for i in range(steps)]
        for e in range(count)
    ]


def test_fixed_batches_keep_their_images_together_in_an_order_that_changes():
    first, second, third = epochs_of(batches_of(numbered(), 4, True, seed=3, fixed_batches=True), 3)
    assert set(first) == set(second) == set(third)
    assert len(set(first)) == 10
    assert first != second != third
    for epoch in (first, second, third):
        assert sorted(sum(epoch, ())) == list(range(40))
    fresh = epochs_of(batches_of(numbered(), 4, True, seed=3), 2)
    assert fresh[0] == first, "the arms part from the second epoch on"
    assert not set(fresh[1]) & set(first)
    other = epochs_of(batches_of(numbered(), 4, True, seed=4, fixed_batches=True), 1)
    assert set(other[0]) != set(first)


def test_fixed_batches_that_do_not_come_out_even():
    first, second = epochs_of(batches_of(numbered(42), 4, False, seed=3, fixed_batches=True), 2)
    assert set(first) == set(second)
    assert len(set(sum(second, ()))) == 40


def test_fixed_batches_are_augmented_anew():
    batches = batches_of(numbered(), 40, augment=True, seed=0, fixed_batches=True)
    (images, labels), (again, same) = batches.train(0), batches.train(1)
    assert torch.equal(labels, same)
    assert not torch.equal(images, again)


def test_random_labels_are_drawn_once_and_for_the_training_set_alone(monkeypatch):
    labels = torch.arange(4000) % 10
    images = torch.zeros(4000, 2, 2, 3, dtype=torch.uint8)
    whole = DataSet(Split(images, labels), Split(images, labels), 10, "test")
    monkeypatch.setattr(data, "_whole", lambda *_: whole)

    def loaded(train_images: int = 4000, **more) -> DataSet:
        return data.load(Data("cifar10", False, train_images, 500, **more), None, CPU)

    made, again = loaded(random_labels=True), loaded(random_labels=True)
    assert torch.equal(made.train.labels, again.train.labels)
    assert torch.equal(made.test.labels, labels[:500])
    assert torch.equal(
        loaded(random_labels=True, train_images=50).train.labels, made.train.labels[:50]
    )
    assert torch.bincount(made.train.labels, minlength=10).min() > 300
    assert 0.05 < (made.train.labels == labels).float().mean() < 0.15
    held = loaded(1000, random_labels=True, holdout=500)
    assert torch.equal(held.test.labels, labels[3500:])
    assert torch.equal(loaded().train.labels, labels), "what was read is left as it was"


def test_a_batch_is_a_function_of_seed_and_step():
    first, second = (batches_of(numbered(), 8, augment=True, seed=3) for _ in range(2))
    for step in (7, 0, 3):
        assert torch.equal(first.train(step)[0], second.train(step)[0])
    other = batches_of(numbered(), 8, augment=True, seed=4)
    assert not torch.equal(first.train(0)[1], other.train(0)[1])


def test_without_augmentation_images_are_what_they_were():
    whole = numbered()
    batches = batches_of(whole, 8, augment=False, seed=0)
    images, labels = batches.train(2)
    assert torch.equal(pixels(batches, images), whole.train.images[labels])
    assert images.is_contiguous(memory_format=torch.channels_last)


def moves(image: torch.Tensor) -> dict[bytes, tuple[int, int, bool]]:
    """The 81 shifts of an image (H, W, C), plain and mirrored, and what each of them is."""
    padded = np.pad(image.numpy(), ((4, 4), (4, 4), (0, 0)))
    found = {}
    for down in range(9):
        for right in range(9):
            crop = padded[down : down + 32, right : right + 32]
            found[crop.tobytes()] = (down, right, False)
            found[crop[:, ::-1].tobytes()] = (down, right, True)
    return found


def test_augmentation_is_a_shift_and_a_mirror():
    """Each augmented image is one of the 81 shifts, mirrored or not, of its own image; over many,
    every shift comes, and half are mirrored."""
    whole = numbered()
    batches = batches_of(whole, 40, augment=True, seed=0)
    seen, mirrored, total = set(), 0, 0
    for step in range(20):
        images, labels = batches.train(step)
        for image, label in zip(pixels(batches, images), labels, strict=True):
            down, right, mirror = moves(whole.train.images[label])[image.numpy().tobytes()]
            seen.add((down, right))
            mirrored, total = mirrored + mirror, total + 1
    assert len(seen) == 81
    assert 0.4 < mirrored / total < 0.6


def test_population_batches_are_of_training_images():
    """Many of them, the same at every call, and others at another seed."""
    whole = numbered()
    whole.test = Split(255 - whole.test.images, whole.test.labels)
    batches = batches_of(whole, 8, augment=False, seed=3)
    images = pixels(batches, torch.cat(list(batches.population(10))))
    numbers = images[:, 0, 0, 0].long()
    assert torch.equal(images, whole.train.images[numbers])
    assert len(numbers) == 80
    assert len(numbers.unique()) > 30
    batches.train(3)
    assert torch.equal(pixels(batches, torch.cat(list(batches.population(10)))), images)
    other = batches_of(whole, 8, augment=False, seed=4)
    assert not torch.equal(pixels(other, torch.cat(list(other.population(10)))), images)


def test_population_batches_are_augmented_as_in_training():
    whole = numbered()
    plain, batches = (batches_of(whole, 8, augment=on, seed=3) for on in (False, True))
    made = []
    for unmoved, moved in zip(plain.population(10), batches.population(10), strict=True):
        images = zip(pixels(plain, unmoved), pixels(batches, moved), strict=True)
        made.append(tuple(moves(before)[after.numpy().tobytes()] for before, after in images))
    assert len(set(made)) == 10, "each batch by itself"
    down, right, mirror = (set(of) for of in zip(*sum(made, ()), strict=True))
    assert down == right == set(range(9))
    assert mirror == {False, True}
    batches.train(3)
    assert torch.equal(list(batches.population(10))[-1], moved)


def test_statistics_are_those_of_the_pixels():
    images = torch.randint(0, 256, (50, 32, 32, 3), dtype=torch.uint8)
    mean, std = sets.statistics(images)
    flat = images.double().reshape(-1, 3)
    torch.testing.assert_close(mean.double(), flat.mean(0), rtol=1e-6, atol=0)
    torch.testing.assert_close(std.double(), flat.std(0, correction=0), rtol=1e-6, atol=0)


def test_training_images_are_normalized_by_their_own_statistics():
    batches = batches_of(numbered(), 40, augment=False, seed=0)
    images, _ = batches.train(0)
    assert images.mean((0, 2, 3)).abs().max() < 1e-4
    torch.testing.assert_close(images.std((0, 2, 3), correction=0), torch.ones(3))


def test_the_holdout_is_cut_from_the_training_set(monkeypatch):
    monkeypatch.setattr(data, "_whole", lambda *_: numbered())
    from batchnorm.config import Data

    cut = data.load(Data("cifar10", train_images=20, test_images=8, holdout=8), None, CPU)
    assert cut.train.labels.tolist() == list(range(20))
    assert cut.test.labels.tolist() == list(range(32, 40))
    plain = data.load(Data("cifar10", train_images=40, test_images=10), None, CPU)
    assert plain.test.labels.tolist() == list(range(10))
    with pytest.raises(DataError, match=r"data.train_images=33.*at most 32.*holdout=8"):
        data.refuse_sizes(Data("cifar10", train_images=33, test_images=8, holdout=8), None)


def test_binary_pixels_are_cut_at_half_their_range(monkeypatch):
    grey = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).repeat(4, 1, 1, 1)
    split = Split(grey, torch.arange(4))
    monkeypatch.setattr(data, "_whole", lambda *_: DataSet(split, split, 4, "test"))
    config = Data("mnist", train_images=4, test_images=2, batch_size=2, binary=True)
    made = data.load(config, None, CPU)
    for part in (made.train, made.test):
        assert torch.equal(part.images, (grey[: len(part)] >= 128).to(torch.uint8))
    images, _ = Batches(made, config, 0).train(0)
    assert images.unique().tolist() == [0, 1], "and not scaled"
    config.binary = False
    assert torch.equal(data.load(config, None, CPU).test.images, grey[:2])


def test_pixels_of_all_images_are_permuted_where_that_is_said(monkeypatch):
    grey = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).repeat(4, 1, 1, 1)
    split = Split(grey, torch.arange(4))
    monkeypatch.setattr(data, "_whole", lambda *_: DataSet(split, split, 4, "test"))
    config = Data("mnist", train_images=4, test_images=2, batch_size=2, permuted=True)
    made = data.load(config, None, CPU)
    for part in (made.train, made.test):
        assert torch.equal(part.images, sets.permuted(split).images[: len(part)])
        assert not torch.equal(part.images, grey[: len(part)])


def test_the_stand_in_is_the_same_at_every_call_and_no_toy(monkeypatch):
    monkeypatch.setitem(standin.SIZES, "cifar10", (4000, 1000, 32, 3))
    made, again = standin.stand_in("cifar10"), standin.stand_in("cifar10")
    assert torch.equal(made.train.images, again.train.images)
    assert made.train.images.shape == (4000, 32, 32, 3)
    assert made.train.images.dtype == torch.uint8
    assert torch.bincount(made.test.labels, minlength=10).min() > 50
    x = made.train.images.reshape(4000, -1).float() / 255
    linear = torch.linalg.lstsq(x, torch.nn.functional.one_hot(made.train.labels).float()).solution
    guessed = (made.test.images.reshape(1000, -1).float() / 255 @ linear).argmax(1)
    assert (guessed == made.test.labels).float().mean() < 0.4


def test_real_cifar10_is_read_and_its_statistics_are_the_known_ones():
    whole = cifar10.load(real_data_root())
    assert whole.train.images.shape == (50_000, 32, 32, 3)
    assert torch.bincount(whole.train.labels).tolist() == [5000] * 10
    assert torch.bincount(whole.test.labels).tolist() == [1000] * 10
    mean, std = sets.statistics(whole.train.images)
    assert (mean / 255).tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)
    assert (std / 255).tolist() == pytest.approx([0.2470, 0.2435, 0.2616], abs=1e-4)


def test_real_mnist_is_read_and_its_statistics_are_the_known_ones():
    root = real_data_root()
    if not (root / "MNIST").is_dir():
        pytest.skip(f"no real MNIST: {root} has no folder MNIST")
    whole = mnist.load(root)
    assert whole.train.images.shape == (60_000, 28, 28, 1)
    assert whole.test.images.shape == (10_000, 28, 28, 1)
    assert torch.bincount(whole.test.labels).tolist()[:3] == [980, 1135, 1032]
    mean, std = sets.statistics(whole.train.images)
    assert (mean / 255).tolist() == pytest.approx([0.1307], abs=1e-4)
    assert (std / 255).tolist() == pytest.approx([0.3081], abs=1e-4)


def test_a_corrupt_file_is_named_and_never_trained_on(tmp_path):
    source = real_data_root() / "cifar-10-batches-py"
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for file in source.iterdir():
        if file.name != "data_batch_3":
            (folder / file.name).symlink_to(file)
    shutil.copy(source / "data_batch_3", folder / "data_batch_3")
    (folder / "data_batch_3").chmod(0o644)
    with (folder / "data_batch_3").open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    with pytest.raises(DataError, match=r"data_batch_3: is corrupt.*delete it"):
        cifar10.load(tmp_path)


def test_missing_files_that_cannot_be_downloaded(tmp_path, monkeypatch):
    """All missing: unavailable, so that a stand-in may serve. Some missing: an error that names
    them, because somebody meant real data to be there."""
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    with pytest.raises(data.Unavailable, match="cannot be downloaded"):
        cifar10.load(tmp_path)
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    content = b"whatever"
    (folder / "data_batch_1").write_bytes(content)
    parts = [["data_batch_1", hashlib.md5(content).hexdigest()], *CIFAR10.train_list[1:]]
    monkeypatch.setattr(CIFAR10, "train_list", parts)
    with pytest.raises(DataError, match=r"data_batch_2.* missing"):
        cifar10.load(tmp_path)
