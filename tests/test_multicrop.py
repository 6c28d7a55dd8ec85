"""144 crops: which they are, and that their probabilities are averaged."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from batchnorm import record
from batchnorm.multicrop import BOXES, CROPS, boxes, probabilities
from batchnorm.train import apart

CPU = torch.device("cpu")


def in_pixels(width: int, height: int, side: int) -> set[tuple[int, ...]]:
    """The crops of one of the four sizes, left, top, width and height, resized to `side`."""
    found = boxes(torch.tensor([[float(width), float(height)]]))[0]
    place = (256, 288, 320, 352).index(side)
    scale = side / min(width, height) * torch.tensor([width, height] * 2)
    rows = (found[18 * place : 18 * (place + 1)] * scale).round().int().tolist()
    return {tuple(row) for row in rows}


def test_there_are_144():
    found = boxes(torch.tensor([[500.0, 375.0], [300.0, 400.0]]))
    assert found.shape == (2, BOXES, 4)
    assert (BOXES, CROPS) == (4 * 3 * 6, 144)
    assert len({tuple(one) for one in found[0].tolist()}) == 4 * 3 * 5 + 3
    ends = found[..., :2] + found[..., 2:]
    assert found.min() >= 0
    assert ends.max() <= 1 + 1e-6


def test_of_a_square_image_42_differ():
    """Its three squares are one; each size is resized to its own, and its whole square is one."""
    (found,) = boxes(torch.tensor([[160.0, 160.0]]))
    assert 2 * len({tuple(one) for one in found.tolist()}) == 42


def test_a_wide_image_has_squares_at_left_centre_and_right():
    """512 x 256, shorter side 256: squares at 0, 128, 256; corners 32 pixels apart."""
    expected = set()
    for left in (0, 128, 256):
        corners = [(left + x, y, 224, 224) for x in (0, 32) for y in (0, 32)]
        expected |= {*corners, (left + 16, 16, 224, 224), (left, 0, 256, 256)}
    assert in_pixels(512, 256, 256) == expected


def test_a_tall_image_has_them_at_top_centre_and_bottom():
    wide, tall = in_pixels(600, 300, 320), in_pixels(300, 600, 320)
    assert {(y, x, h, w) for x, y, w, h in wide} == tall
    assert len(wide) == 18


def test_a_crop_is_224_of_the_shorter_side():
    for side in (256, 288, 320, 352):
        sizes = {row[2:] for row in in_pixels(400, 300, side)}
        assert sizes == {(224, 224), (side, side)}


class Known:
    """Batches whose crops are their boxes: pixel (0, 0) is the box's left edge, (0, 1) its top."""

    def __init__(self) -> None:
        self.sizes = torch.tensor([[4.0, 2.0], [2.0, 3.0], [1.0, 1.0]])
        self.labels = torch.tensor([0, 1, 1])

    def image(self, boxes: Tensor) -> Tensor:
        return boxes[:, None, None, :].expand(-1, 3, 2, -1).contiguous()

    def boxed(self, boxes, *, shared):
        yield self.image(boxes(self.sizes[:2])), self.labels[:2]
        yield self.image(boxes(self.sizes[2:])), self.labels[2:]

    def test(self, *, shared):
        for labels in self.labels.split(2):
            yield self.image(torch.full((len(labels), 4), 0.5)), labels

    def population(self, count):
        yield from ()


class Edge(nn.Module):
    """Logits from the leftmost and the rightmost column of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -3.0]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0, 0, 0], x[:, 0, 0, -1]], 1) * self.weight


@pytest.fixture
def found() -> dict[str, Tensor]:
    batches = Known()
    batches.batch_size = 32
    return probabilities(Edge(), batches, "float32")


def test_probabilities_are_means_over_crops_and_mirror_images(found):
    every = boxes(Known().sizes)  # (3, 72, 4): left, ..., height
    ends = torch.stack([every[..., 0], every[..., 3]], -1)
    both = torch.cat([ends, ends.flip(-1)], 1) * torch.tensor([1.0, -3.0])  # (3, 144, 2)
    expected = both.softmax(-1).mean(1)
    torch.testing.assert_close(found["probabilities/crops"].float(), expected, atol=1e-3, rtol=0)
    single = torch.tensor([[0.5, -1.5]] * 3).softmax(1)
    torch.testing.assert_close(found["probabilities/single"].float(), single, atol=1e-3, rtol=0)
    assert found["probabilities/labels"].tolist() == [0, 1, 1]


def test_arrays_are_written_beside_the_record_and_come_back(found, tmp_path):
    metrics = {"step": [1, 2], **{name: [None, one] for name, one in found.items()}}
    kept, arrays = apart(metrics)
    assert kept == {"step": [1, 2]}
    path = tmp_path / "a-0.json"
    record.write(path, record.make({}, {}, {}, kept, arrays))
    assert "arrays" not in record.load(path)
    back = record.load_arrays(path)
    assert back.keys() == {"single", "crops", "labels"}
    assert np.array_equal(back["crops"], found["probabilities/crops"].numpy())
    record.beside(path).write_bytes(b"broken")
    with pytest.raises(record.RecordError, match=r"a-0\.npz"):
        record.load_arrays(path)
