"""Image folders: what is read and refused, crops, colours, and both loaders."""

import errno
import math
import os
import shutil
import time
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from batchnorm import data
from batchnorm.config import ConfigError, Data
from batchnorm.data import DataError, Unavailable, Where, crops, photometric, tree
from batchnorm.data.decode import WHOLE, decode, decoded
from batchnorm.data.order import Order
from batchnorm.data.stream import StreamedBatches
from batchnorm.experiment import plan
from conftest import image_folder, real_data_root

CPU = torch.device("cpu")


def config(**changes) -> Data:
    kept = {"folder": "pictures", "train_images": 24, "test_images": 12, "image_size": 40}
    return Data("image_folder", **{**kept, "crop_size": 24, "batch_size": 8, **changes})


def loaded(root: Path, loader: str = "memory", **changes):
    where = Where(root, root / "cache", loader, 0)
    return data.load(config(**changes), where, CPU)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    image_folder(root / "pictures")
    return root


# --- trees ----------------------------------------------------------------------------------------


def test_a_tree_is_read_as_imagefolder_reads_it(pictures):
    from torchvision.datasets import ImageFolder

    found = tree.scan(pictures / "pictures")
    for part, files in (("train", found.train), ("val", found.val)):
        theirs = ImageFolder(str(pictures / "pictures" / part))
        assert found.classes == theirs.classes
        ours = zip(files.paths, files.labels.tolist(), strict=True)
        assert sorted((path.decode(), label) for path, label in ours) == sorted(theirs.samples)
    assert len(set(found.train.labels[:12].tolist())) > 1, "the front is of every class"


def test_the_checksum_is_of_names_and_sizes(tmp_path):
    """Wherever the tree is; another file of the same name and size is another stamp."""
    for name in ("a", "b"):
        image_folder(tmp_path / name)
    a, b = (tree.scan(tmp_path / name) for name in ("a", "b"))
    assert a.checksum == b.checksum
    file = Path(os.fsdecode(a.train.paths[0]))
    os.utime(file, (time.time() + 9, time.time() + 9))
    touched = tree.scan(tmp_path / "a")
    assert (touched.checksum, touched.stamp != a.stamp) == (a.checksum, True)
    file.write_bytes(file.read_bytes() + b"more")
    assert tree.scan(tmp_path / "a").checksum != a.checksum


def test_what_is_wrong_with_a_tree_is_listed(tmp_path):
    with pytest.raises(Unavailable, match="nowhere is not there"):
        tree.scan(tmp_path / "nowhere")
    folder = tmp_path / "pictures"
    image_folder(folder)
    (folder / "train" / "emu").mkdir()
    (folder / "train" / "yak").mkdir()
    (folder / "val" / "ape").mkdir()
    both = "only train has the classes emu, yak; only val has the classes ape; train has no images"
    with pytest.raises(DataError, match=both):
        tree.scan(folder)
    (folder / "val" / "ape").rmdir()
    for name in ("emu", "yak"):
        (folder / "val" / name).mkdir()
    with pytest.raises(DataError, match=r"train has no images in the classes emu, yak; val has no"):
        tree.scan(folder)
    (folder / "val").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="val: must be a folder"):
        tree.scan(folder)
    (folder / "val").mkdir()
    shutil.rmtree(folder / "train")
    (folder / "train").mkdir()
    with pytest.raises(DataError, match="train: must have a folder for each class, and has none"):
        tree.scan(folder)


def test_a_link_to_nowhere_is_named(tmp_path):
    image_folder(tmp_path / "pictures")
    (tmp_path / "pictures" / "val" / "owl" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(DataError, match=r"val/owl/gone.jpg: No such file or directory$"):
        tree.scan(tmp_path / "pictures")


def test_any_tree_is_planned_with_all_of_its_images(pictures):
    given = ["experiment=imagenette", "data=image_folder", "scale=quick", "output=/x"]
    given += [f"data_root={pictures}", "data.batch_size=8", "arm=bn_x5", "seed=0"]
    (run,) = plan([*given, "data.folder=pictures"]).runs
    assert (run.data.train_images, run.data.test_images) == (24, 12)
    (run,) = plan([*given, "data.folder=pictures", "data.holdout=4"]).runs
    assert (run.data.train_images, run.data.test_images) == (20, 4)
    with pytest.raises(ConfigError, match=r"^data.folder=nowhere: .* is not there"):
        plan([*given, "data.folder=nowhere"])
    with pytest.raises(DataError, match=r"nowhere is not there, .*; generated images need"):
        plan([*given, "data.folder=nowhere", "stand_in=always"])
    with pytest.raises(DataError, match=r"^data.holdout=24: must be from 0 and below 24"):
        plan([*given, "data.folder=pictures", "data.holdout=24"])
    with pytest.raises(DataError, match=r"^data.folder: must be the name of a folder"):
        plan([*given, "stand_in=never"])


def test_unreadable_images_are_all_named_before_anything_is_kept(tmp_path):
    folder = tmp_path / "pictures"
    image_folder(folder)
    bad = [folder / "train" / "cat" / "1.jpg", folder / "val" / "dog" / "0.jpg"]
    bad[0].write_bytes(b"no image")
    bad[1].write_bytes(bad[1].read_bytes()[:200])  # cut short
    for loader in ("memory", "stream"):
        with pytest.raises(DataError) as refused:
            loaded(tmp_path, loader)
        assert "2 unreadable images" in str(refused.value)
        assert all(str(path) in str(refused.value) for path in bad)
        assert "\n" not in str(refused.value)
        (listing,) = (tmp_path / "cache").glob("*.unreadable.txt")
        named = [line.split(" (")[0] for line in listing.read_text().splitlines()]
        assert named == [str(path) for path in bad]
        assert str(listing) in str(refused.value)
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".lock", ".txt"}


def test_images_are_decoded_once(pictures, tmp_path, monkeypatch):
    found = tree.scan(pictures / "pictures")
    made = decoded(found, 16, True, tmp_path)
    monkeypatch.setattr("batchnorm.data.decode._decode_all", None)
    again = decoded(found, 16, True, tmp_path)
    assert torch.equal(made.pixels, again.pixels)
    assert again.pixels.shape == (36, 3, 16, 16)
    mean = again.pixels.float().mean((2, 3))
    torch.testing.assert_close(again.means, mean, rtol=1e-4, atol=1e-3)
    flat = again.pixels.flatten(2).float()
    torch.testing.assert_close(again.products, flat @ flat.mT / 256, rtol=1e-4, atol=1e-2)


def test_a_cache_that_cannot_be_is_refused(pictures, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"^cache=.*/file/cache: Not a directory; cache=FOLDER"):
        decoded(tree.scan(pictures / "pictures"), 16, True, tmp_path / "file" / "cache")


def test_a_cache_that_is_broken_is_named(pictures, tmp_path):
    found = tree.scan(pictures / "pictures")
    decoded(found, 16, True, tmp_path)
    for suffix in ("npy", "npz"):  # the second is read first
        (file,) = tmp_path.glob(f"*.{suffix}")
        file.write_bytes(file.read_bytes()[:100])
        with pytest.raises(DataError, match=r"^.*-16\.\*: cannot be read \(.*\); remove them$"):
            decoded(found, 16, True, tmp_path)


def test_a_disk_that_is_too_small_is_refused(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: Full())
    with pytest.raises(DataError, match=r"GB are needed.*loader=stream"):
        decoded(tree.scan(pictures / "pictures"), 16, True, tmp_path)


class Full:
    free = 1000


def test_a_disk_that_fills_while_images_are_decoded_is_said(pictures, tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(
        os, "pwrite", mock.Mock(side_effect=chain([100], repeat(full)))
    )  # it takes a part first
    with pytest.raises(DataError, match=rf"^{tmp_path}: No space left on device; cache=FOLDER"):
        decoded(tree.scan(pictures / "pictures"), 16, True, tmp_path)
    assert not list(tmp_path.glob("*.np?")) and not list(tmp_path.glob("*.part"))


# --- crops ----------------------------------------------------------------------------------------


def test_random_boxes_are_of_the_area_and_the_aspect_that_were_asked_for():
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([[500.0, 375.0], [200.0, 300.0]]).repeat(2000, 1)
    left, top, width, height = crops.random_boxes(sizes, generator).unbind(1)
    assert min(left.min(), top.min()) >= 0
    assert max((left + width).max(), (top + height).max()) <= 1 + 1e-6
    area, aspect = width * height, width * sizes[:, 0] / (height * sizes[:, 1])
    assert 0.08 <= area.min() < 0.1
    assert 0.95 < area.max() <= 1
    assert aspect.min() >= 0.749
    assert aspect.max() <= 1.334
    assert 0.4 < area.mean() < 0.55
    assert abs(aspect.log().mean()) < 0.02


def test_a_box_that_never_fits_is_the_largest_there_is():
    sizes = torch.tensor([[1000.0, 10.0], [10.0, 1000.0]])
    wide, tall = crops.random_boxes(sizes, torch.Generator().manual_seed(0))
    torch.testing.assert_close(wide[2:], torch.tensor([4 / 3 * 0.01, 1.0]))
    torch.testing.assert_close(tall[2:], torch.tensor([1.0, 4 / 3 * 0.01]))
    torch.testing.assert_close(wide[0] + wide[2] / 2, torch.tensor(0.5))


def test_the_centre_box_is_a_square_of_its_share_of_the_shorter_side():
    boxes = crops.centre_boxes(torch.tensor([[400.0, 200.0]]), 0.875)
    left, top, width, height = boxes[0].tolist()
    assert (width * 400, height * 200) == pytest.approx((175, 175))
    assert (left * 400, top * 200) == pytest.approx((112.5, 12.5))


BOXES = [(0.0, 0.0, 1.0, 1.0), (0.1, 0.3, 0.5, 0.35), (0.55, 0.0, 0.2, 0.3), (0.8, 0.5, -0.7, 0.5)]


@pytest.mark.parametrize("box", BOXES)
def test_a_batch_is_resampled_as_pil_does(box, tmp_path):
    """Enlarged, at the border and within, and mirrored."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    theirs, size = decode(str(tmp_path / "noise.png"), box, 80)
    assert size == (64, 64)
    image = torch.from_numpy(noise).permute(2, 0, 1)[None]
    ours = crops.cut(image, torch.tensor([box]), 80)[0]
    assert (ours - torch.from_numpy(theirs).float()).abs().max() <= 1.01


def test_jpegs_that_are_decoded_small_look_the_same(tmp_path):
    ramp = np.add.outer(np.arange(320), np.arange(400)) % 512 // 2
    picture = np.stack([ramp, ramp[::-1], 255 - ramp], 2).astype(np.uint8)
    for suffix in ("png", "jpg"):
        Image.fromarray(picture).save(tmp_path / f"a.{suffix}")
    box = (0.2, 0.1, 0.7, 0.8)
    plain, small = (
        decode(str(tmp_path / f"a.{s}"), box, 32)[0].astype(int) for s in ("png", "jpg")
    )
    assert np.abs(plain - small).mean() < 4


# --- colours --------------------------------------------------------------------------------------


def mapped(drawn, strength, image):
    eye = torch.eye(3)
    matrix, offset = photometric.colour_maps(
        torch.tensor([drawn]), strength, image.mean((1, 2)), eye
    )
    return (image.flatten(1, 2) @ matrix.mT + offset[:, None]).view(image.shape)


def test_factors_are_drawn_uniformly_from_both_sides_of_zero_and_lighting_normally():
    drawn = photometric.draw(20_000, torch.Generator().manual_seed(0))
    factors, lighting = drawn[:, :3], drawn[:, 3:]
    assert drawn.shape == (20_000, 6)
    assert factors.abs().max() <= 1
    assert drawn.mean(0).abs().max() < 0.02
    assert factors.std(0).tolist() == pytest.approx([3**-0.5] * 3, abs=0.01)
    assert lighting.std(0).tolist() == pytest.approx([1] * 3, abs=0.02)
    assert (drawn.T.corrcoef() - torch.eye(6)).abs().max() < 0.03, "each by itself"


def test_colours_at_strength_zero_are_what_they_were():
    image = torch.rand(1, 4, 5, 3) * 255
    torch.testing.assert_close(mapped([1.0, -1, 1, 1, 1, 1], 0.0, image), image)


def test_each_factor_does_what_its_name_says():
    image = torch.rand(1, 4, 5, 3) * 255
    luma = torch.tensor(photometric.LUMA)
    grey = (image @ luma)[..., None]
    saturated = mapped([1.0, 0, 0, 0, 0, 0], 1.0, image)
    near = {"atol": 1e-3, "rtol": 0}
    torch.testing.assert_close(saturated, grey + 1.5 * (image - grey), **near)
    contrasted = mapped([0, -1.0, 0, 0, 0, 0], 0.5, image)
    torch.testing.assert_close(contrasted, grey.mean() + 0.75 * (image - grey.mean()), **near)
    torch.testing.assert_close(mapped([0, 0, 1.0, 0, 0, 0], 0.4, image), 1.2 * image, **near)
    lit = mapped([0, 0, 0, 2.0, 0, -1], 1.0, image)
    torch.testing.assert_close(
        lit - image, torch.tensor([0.2, 0, -0.1]).expand_as(image), atol=1e-4, rtol=0
    )


def test_lighting_moves_along_the_components_which_are_columns():
    components = torch.tensor([[3.0, 1.0, 0.0], [2.0, 0.0, 0.5], [1.0, -1.0, 0.0]])
    drawn = torch.tensor([[0.0, 0, 0, 2, 0, 0]])
    _, offset = photometric.colour_maps(drawn, 1.0, torch.zeros(1, 3), components)
    torch.testing.assert_close(offset, torch.tensor([[0.6, 0.4, 0.2]]))


def test_principal_components_are_those_of_the_covariance():
    colours = (
        torch.randn(5000, 3).double() @ torch.tensor([[9.0, 3, 1], [0, 4, 2], [0, 0, 1]]).double()
    )
    covariance = colours.T @ colours / 5000
    found = photometric.principal_components(covariance).double()
    torch.testing.assert_close(found @ found.T, covariance, rtol=1e-4, atol=1e-3)


# --- batches --------------------------------------------------------------------------------------


def made(root, loader="memory", seed=3, rank=0, replicas=1, **changes):
    whole = loaded(root, loader, **changes)
    return data.batches(whole, config(**changes), seed, rank, replicas)


def test_a_batch_is_a_function_of_seed_and_step(pictures):
    one, other = (made(pictures, augment=True, distortion=1.0) for _ in range(2))
    for step in (4, 0, 2):
        images, labels = one.train(step)
        again, same = other.train(step)
        assert torch.equal(images, again)
        assert torch.equal(labels, same)
    assert images.shape == (8, 3, 24, 24)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(made(pictures, seed=4, augment=True).train(0)[0], one.train(0)[0])


def test_both_loaders_give_the_same_batches_of_smooth_images(pictures):
    """Others would not survive the squashing of one of them."""
    for changes in ({}, {"augment": True, "distortion": 0.6}):
        memory, stream = (made(pictures, loader, **changes) for loader in ("memory", "stream"))
        pairs = [(memory.train(step), stream.train(step)) for step in (0, 1, 2, 7)]
        pairs += list(zip(memory.test(5), stream.test(5), strict=True))
        pairs += [
            ((a, None), (b, None))
            for a, b in zip(memory.population(2), stream.population(2), strict=True)
        ]
        for (images, labels), (same, equal) in pairs:
            assert labels is equal or torch.equal(labels, equal)
            assert (images - same).abs().mean() < 0.06


@pytest.mark.parametrize("sizes, low, high", [((160, 128), 0.95, 1.1), ((80, 64), 0.7, 0.85)])
def test_crops_from_memory_are_as_sharp_as_streamed_ones_where_files_are_no_larger(
    sizes, low, high, tmp_path
):
    """What results/imagenet.md says of real images of 160 pixels; and those of quick scale."""
    folder = real_data_root() / "imagenette-160"
    if not folder.is_dir():
        pytest.skip("no imagenette-160 under BATCHNORM_DATA")
    for part, count in (("train", 20), ("val", 2)):
        for one in sorted((folder / part).iterdir()):
            (tmp_path / "pictures" / part / one.name).mkdir(parents=True)
            for file in sorted(one.iterdir())[:count]:
                (tmp_path / "pictures" / part / one.name / file.name).symlink_to(file)
    of_files = {"train_images": 200, "test_images": 20, "batch_size": 40, "augment": True}
    changes = {**of_files, "image_size": sizes[0], "crop_size": sizes[1]}

    def sharpness(loader: str) -> float:
        batches = made(tmp_path, loader, **changes)
        images = torch.cat([batches.train(step)[0] for step in range(5)])
        return sum(float(images.diff(dim=over).square().mean()) for over in (2, 3))

    assert low < sharpness("memory") / sharpness("stream") < high


def test_workers_give_what_none_gives(pictures):
    whole = loaded(pictures, "stream", augment=True)
    alone = data.batches(whole, config(augment=True), 3)
    whole.workers = 2
    before = torch.random.get_rng_state()
    ahead = data.batches(whole, config(augment=True), 3)
    for step in (1, 2, 3, 0, *range(4, 16)):  # the fourth is out of order; more than are ahead
        assert torch.equal(ahead.train(step)[0], alone.train(step)[0])
    kept = list(ahead.test(5))  # of five, five and two images, in as many slots
    assert all(map(torch.equal, *([images for images, _ in one] for one in (kept, alone.test(5)))))
    assert not list(ahead._crops([])), "a process without a share"
    assert torch.equal(before, torch.random.get_rng_state())


def test_workers_are_as_many_as_cores_but_not_without_end(pictures, monkeypatch):
    """Each holds file descriptors, of which a process has a thousand, and shared memory."""
    for cores, processes, workers in ((16, 1, 16), (256, 1, 32), (256, 16, 16), (4, 8, 1)):
        monkeypatch.setattr("batchnorm.data.stream.cpu_count", lambda cores=cores: cores)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        whole = loaded(pictures, "stream")
        whole.workers = None
        assert data.batches(whole, config(), 3).workers == workers


def test_too_little_shared_memory_is_said(pictures, monkeypatch):
    whole = loaded(pictures, "stream")
    whole.workers = 2
    needed = 5 * (8 + 8) * 3 * whole.crop_size**2  # slots of what is trained, and of population
    for processes, free, enough in ((1, needed, True), (1, needed - 1, False), (2, needed, False)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr("batchnorm.data.stream.shutil.disk_usage", lambda path, u=usage: u)
        if enough:
            data.batches(whole, config(), 3)
            continue
        with pytest.raises(DataError, match=r"^workers=2: 0 MB of shared memory are needed"):
            data.batches(whole, config(), 3)  # before anything is trained
    whole.workers = 0
    data.batches(whole, config(), 3).train(0)


def test_no_more_is_held_than_was_asked_for_at_the_start(pictures, monkeypatch):
    """Training batches wait while whole batches are taken for population statistics."""
    whole, held, asked = loaded(pictures, "stream", test_images=4), [], []
    whole.workers = 1
    shared = StreamedBatches._shared
    monkeypatch.setattr(
        StreamedBatches, "_shared", lambda self, *size: held.append(size) or shared(self, *size)
    )
    monkeypatch.setattr(StreamedBatches, "_refuse_too_little", lambda *it: asked.append(it[-1]))
    batches = data.batches(whole, config(), 3, 1, 2)
    batches.train(0)
    for made in (batches.population(5), batches.test(), batches.training_set()):
        del held[1:]
        list(made)
        assert math.prod(held[0]) + math.prod(held[1]) <= asked[0]
    del held[:]
    assert len(batches.first(3)) == 3
    assert held == [(1, 3)], "of the first images no more are decoded"


def test_the_first_images_are_those_of_the_test_split(pictures):
    batches = data.batches(loaded(pictures), config(), 3)
    assert torch.equal(batches.first(5), next(batches.test(5))[0])


def test_shared_memory_that_others_have_taken_since_is_said(pictures, monkeypatch):
    def full(tensor: torch.Tensor) -> None:
        raise RuntimeError("unable to allocate shared memory(shm)")

    whole = loaded(pictures, "stream")
    whole.workers = 2
    batches = data.batches(whole, config(), 3)
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(DataError, match=r"^workers=2: unable to allocate .*: fewer workers"):
        batches.train(0)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_goes_bad_while_it_is_streamed_is_named(workers, tmp_path):
    image_folder(tmp_path / "pictures")
    whole = loaded(tmp_path, "stream")
    whole.workers = workers
    bad = Path(os.fsdecode(whole.train.paths[5]))
    bad.write_bytes(b"no image any more")
    batches = data.batches(whole, config(), 3)
    with pytest.raises(DataError, match=rf"^{bad}: cannot be read any more \(.*\)$"):
        for step in range(3):
            batches.train(step)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_images_of_16_bits_keep_their_upper_8(kind, tmp_path):
    upper = np.arange(256, dtype=np.uint16).reshape(16, 16)
    pixels = (upper * 256 + 77).astype(">u2" if kind == "tif" else "<u2")
    mode = "I;16B" if kind == "tif" else "I;16"
    Image.frombytes(mode, (16, 16), pixels.tobytes()).save(tmp_path / f"deep.{kind}")
    found, _ = decode(str(tmp_path / f"deep.{kind}"), WHOLE, 16)
    assert (found == upper).all()


@pytest.mark.parametrize("count", [2, 8])  # 8: an image each
@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_replicas_see_together_what_one_sees_alone(loader, count, pictures):
    changes = {"augment": True, "distortion": 0.5}
    alone = made(pictures, loader, **changes).train(5)
    each = [made(pictures, loader, rank=r, replicas=count, **changes) for r in range(count)]
    parts = [one.train(5) for one in each]
    for whole, both in zip(alone, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(both), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_population_batches_are_training_batches(loader, pictures):
    """Cropped and distorted as they are, since the statistics are of what the network learns on."""
    changes = {"augment": True, "distortion": 1.0}
    batches, plain = made(pictures, loader, **changes), made(pictures, loader)
    plans = [plan for plan in planned(batches, lambda: list(batches.population(3)))]
    boxes = torch.cat([plan.boxes for plan in plans])
    assert all(plan.colours is not None for plan in plans)
    assert len(boxes.unique(dim=0)) == 24, "a crop of its own for each image"
    assert (boxes[:, 2] < 0).any() and (boxes[:, 2] > 0).any(), "mirrored or not"
    for mine, centred in zip(batches.population(3), plain.population(3), strict=True):
        assert (mine - centred).abs().mean() > 0.1


def planned(batches, work) -> list:
    """The plans of the batches that are made meanwhile."""
    seen, make = [], batches._made

    def noting(plans):
        seen.extend(plans := list(plans))
        return make(plans)

    with mock.patch.object(batches, "_made", noting):
        work()
    return seen


def test_evaluation_sees_every_image_once_and_normalised(pictures):
    batches = made(pictures)
    labels = torch.cat([labels for _, labels in batches.test(5)])
    assert torch.equal(labels, batches.data.test.labels)
    images = torch.cat([images for images, _ in batches.training_set(12)])
    assert len(images) == 12
    train = made(pictures, image_size=24)  # the whole square
    everything = torch.cat([train.train(step)[0] for step in range(3)])
    assert everything.mean((0, 2, 3)).abs().max() < 0.2
    assert (everything.std((0, 2, 3)) - 1).abs().max() < 0.2


@pytest.mark.parametrize("loader", ["memory", "stream"])
def test_any_box_can_be_cut_out_of_what_is_evaluated(loader, pictures):
    batches = made(pictures, loader)
    centre = lambda sizes: crops.centre_boxes(sizes, batches.centre)  # noqa: E731
    for (images, labels), (same, equal) in zip(batches.boxed(centre), batches.test(), strict=True):
        assert torch.equal(images, same)
        assert torch.equal(labels, equal)
    corner = next(
        batches.boxed(lambda sizes: torch.tensor([[0, 0, 0.5, 0.5]]).expand(len(sizes), 4))
    )
    assert not torch.equal(corner[0], images)


def test_the_mirror_is_half_the_time_and_of_columns(pictures):
    for loader in ("memory", "stream"):
        batches = made(pictures, loader, augment=True)
        plan = batches._planned_step(0)
        boxes = crops.random_boxes(plan.split.sizes[plan.chosen], torch.Generator())
        plan.boxes, which = boxes, torch.arange(8) % 2 == 0
        (plain,) = batches._crops([plan])
        plan.boxes = crops.mirror(boxes, which)
        (half,) = batches._crops([plan])
        for i in range(8):
            expected = plain[i].flip(2) if which[i] else plain[i]
            off = (half[i].float() - expected.float()).abs()  # of 0 to 255, rounded
            assert off.max() <= 1 and (off > 0.01).float().mean() < 0.01, "but for ties"
    drawn = torch.cat([batches._planned_step(step).boxes[:, 2] for step in range(60)])
    assert 0.4 < (drawn < 0).float().mean() < 0.6


def test_the_stand_in_is_as_long_as_what_it_stands_for(tmp_path):
    wanted = config(stand_in=True, train_images=300, test_images=20, holdout=20, augment=True)
    data.refuse_sizes(wanted, tmp_path)
    whole = data.load(wanted, tmp_path, CPU)
    assert (len(whole.train), len(whole.test), whole.shape) == (300, 20, (24, 24, 3))
    images, labels = data.batches(whole, wanted, 0).train(0)
    assert images.shape == (8, 3, 24, 24)
    assert labels.max() < 10


def test_the_stand_in_is_evaluated_on_images_of_its_own(tmp_path):
    wanted = config(stand_in=True, train_images=300, test_images=400)
    whole = data.load(wanted, tmp_path, CPU)
    assert len(whole.test.pixels) == 400
    assert not torch.equal(whole.test.pixels[:300], whole.train.pixels)
    shared = config(stand_in=True, train_images=300, test_images=20, holdout=20)
    held_out = data.load(shared, tmp_path, CPU)
    assert held_out.test.pixels is held_out.train.pixels, "one copy for both"


def test_imagenette_is_downloaded_where_it_is_not_there(tmp_path, monkeypatch):
    from torchvision.datasets import Imagenette, imagenette

    def unpack(url: str, root: str, md5: str) -> None:
        image_folder(Path(root) / Path(url).stem)
        if cut_short:
            raise RuntimeError("the network went away")

    monkeypatch.setattr(imagenette, "download_and_extract_archive", unpack)
    monkeypatch.setattr(imagenette, "make_dataset", lambda *_, **__: [])
    monkeypatch.setattr(Imagenette, "_WNID_TO_CLASS", {c: (c,) for c in ("cat", "dog", "owl")})
    cut_short = True
    assert data.unavailable("image_folder", tmp_path, "imagenette-160")
    assert not list(tmp_path.glob("[!.]*")), "nothing half downloaded is left"
    cut_short = False
    assert not data.unavailable("image_folder", tmp_path, "imagenette-160")
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["imagenette-160"]
    assert data.unavailable("image_folder", tmp_path, "imagenet"), "no more than this one"


def test_an_image_folder_that_is_not_there(tmp_path):
    assert data.unavailable("image_folder", tmp_path, "pictures")
    with pytest.raises(DataError, match=r"pictures is not there.*stand_in=auto"):
        data.refuse_sizes(config(), tmp_path)


# --- order ----------------------------------------------------------------------------------------


def epochs(count: int, **changes) -> list[list[int]]:
    order = Order(40, Data("any", batch_size=5, **changes), 3, CPU)
    return [torch.cat([order.chosen(8 * e + i) for i in range(8)]).tolist() for e in range(count)]


@pytest.mark.parametrize("within, share", [(False, 0.65), (True, 0.10)])
def test_how_many_of_its_neighbours_an_image_of_imagenette_meets_again(within, share):
    """C20's deviation says so: two thirds, and a tenth."""
    cut = Data("any", batch_size=32, shards=32, shuffle_within=within)
    order = Order(9469, cut, 0, CPU)
    batch = torch.full((2, 9469), -1)
    for step in range(2 * order.per_epoch):
        batch[step // order.per_epoch, order.chosen(step)] = step
    met = again = 0
    for step in range(order.per_epoch):
        later = batch[1, order.chosen(step)]
        same = later[:, None] == later[later >= 0]
        met += same.numel() - len(later)
        again += int(same.sum()) - len(later)
    assert again / met == pytest.approx(share, abs=0.02)


def test_shards_stay_together_and_come_in_another_order():
    for within in (True, False):
        first, second = epochs(2, shards=4, shuffle_within=within)
        lots = [[tuple(sorted(e[i : i + 10])) for i in range(0, 40, 10)] for e in (first, second)]
        assert set(lots[0]) == set(lots[1])
        assert lots[0] != lots[1]
        assert sorted(first) == list(range(40))
        inside = [{tuple(e[i : i + 10]) for i in range(0, 40, 10)} for e in (first, second)]
        assert (inside[0] == inside[1]) is not within
    first, second = epochs(2)
    assert set(first[:10]) not in [set(second[i : i + 10]) for i in range(0, 40, 10)]


# --- batches, against their definition ------------------------------------------------------------


def coloured(root: Path) -> Path:
    """Images of noise whose channels have very different means and deviations."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 6)):
        for name in ("cat", "dog"):
            folder = root / "pictures" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = rng.normal((60, 120, 200), (5, 20, 40), (48, 40, 3)).clip(0, 255)
                Image.fromarray(noise.astype(np.uint8)).save(folder / f"{i}.png")
    return root


def test_training_images_are_distorted_and_normalised_as_defined(tmp_path):
    batches = data.batches(loaded(coloured(tmp_path), augment=True, distortion=0.3),
                           config(augment=True, distortion=0.3), seed=0)  # fmt: skip
    plan_of = batches._planned_step(3)
    (crops,) = batches._crops([plan_of])
    train = batches.data.train
    mean = train.means.double().mean(0)
    covariance = train.products.double().mean(0) - mean.outer(mean)
    components = photometric.principal_components(covariance)
    matrix, offset = photometric.colour_maps(plan_of.colours, 0.3, crops.mean((2, 3)), components)
    distorted = torch.einsum("mij,mjhw->mihw", matrix, crops) + offset[:, :, None, None]
    std = covariance.diagonal().sqrt().float()
    expected = (distorted - mean.float()[:, None, None]) / std[:, None, None]
    images, _ = batches.train(3)
    torch.testing.assert_close(images, expected.contiguous(), rtol=1e-3, atol=1e-3)


def test_the_single_crop_is_the_centre_of_crop_by_image_size(tmp_path):
    batches = data.batches(loaded(coloured(tmp_path)), config(), seed=0)
    split = batches.data.test
    boxes = crops.centre_boxes(split.sizes, 24 / 40)
    assert torch.allclose(boxes[:, 3], torch.tensor(24 / 40 * 40 / 48))  # 40 wide, 48 high
    expected = crops.cut(split.pixels[split.rows], boxes, 24)
    mean = batches.data.train.means.double().mean(0).float()
    found = torch.cat([images for images, _ in batches.test()])
    found = found / batches.scale[:, None, None] + mean[:, None, None]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0.05)


def test_places_of_crops_are_uniform_and_drawn_apart():
    generator = torch.Generator().manual_seed(0)
    boxes = crops.random_boxes(torch.full((20_000, 2), 100), generator)
    left, top, width, height = boxes[(boxes[:, 2] < 0.95) & (boxes[:, 3] < 0.95)].unbind(1)
    places = torch.stack([left / (1 - width), top / (1 - height)])
    assert places.mean(1).tolist() == pytest.approx([0.5, 0.5], abs=0.02)
    assert places.std(1).tolist() == pytest.approx([12**-0.5] * 2, abs=0.01)
    assert abs(float(torch.corrcoef(places)[0, 1])) < 0.03


def test_an_image_is_seen_otherwise_at_every_step_and_seed(pictures):
    changes = {"augment": True, "train_images": 8}
    plans = {
        (seed, step): data.batches(loaded(pictures, **changes), config(**changes), seed)
        ._planned_step(step)
        for seed in (0, 1)
        for step in (0, 1)
    }  # fmt: skip
    first = {
        key: torch.cat([one.boxes, one.colours], 1)[one.chosen.argsort()]
        for key, one in plans.items()
    }
    for a in first:
        for b in first:
            assert (a == b) == bool((first[a] == first[b]).all(1).any())


def test_lots_are_others_at_another_seed():
    lots = [
        {frozenset(order.chosen(step).tolist()) for step in range(4)}
        for order in (
            Order(32, config(shards=4, shuffle_within=False), seed, CPU) for seed in (3, 4)
        )
    ]
    assert lots[0].isdisjoint(lots[1])
