"""The paper's Inception for ImageNet: its Figure 5, as data and as a network."""

from dataclasses import replace
from typing import NamedTuple

from torch import nn

from batchnorm.config import Model
from batchnorm.models.unit import Branches, LocalResponseNorm, unit

WIDTH = 64  # at which the numbers of feature maps are the paper's: those of the first convolution
MULTIPLIER = 8  # of a separable first convolution: spatial filters for each colour
STEM = (64, 64, 192)  # maps of the 7x7 convolution; of the 1x1 and the 3x3 after the first pooling

Size = tuple[int, int]  # height and width of feature maps


class Module(NamedTuple):
    """A row of Figure 5: the feature maps of its convolutions, branch by branch."""

    one: int  # 1x1; 0: there is none, and the row halves height and width
    three: tuple[int, int]  # the 1x1 that reduces, the 3x3
    double: tuple[int, int]  # the 1x1 that reduces, each of the two 3x3
    pool: str  # the pooling, over 3x3
    projection: int  # the 1x1 after the pooling; 0: there is none

    def branches(self) -> tuple[int, ...]:
        """The maps that each branch makes, but for a pooling without projection."""
        return tuple(filter(None, (self.one, self.three[1], self.double[1], self.projection)))


MODULES = {
    "3a": Module(64, (64, 64), (64, 96), "avg", 32),
    "3b": Module(64, (64, 96), (64, 96), "avg", 64),
    "3c": Module(0, (128, 160), (64, 96), "max", 0),
    "4a": Module(224, (64, 96), (96, 128), "avg", 128),
    "4b": Module(192, (96, 128), (96, 128), "avg", 128),
    "4c": Module(160, (128, 160), (128, 160), "avg", 128),
    "4d": Module(96, (128, 192), (160, 192), "avg", 128),
    "4e": Module(0, (128, 192), (192, 256), "max", 0),
    "5a": Module(352, (192, 320), (160, 224), "avg", 128),
    "5b": Module(352, (192, 320), (192, 224), "max", 128),
}


def modules(config: Model) -> dict[str, Module]:
    """The rows for a config. The branches printed for 4c and 4d add up to 608 maps, where 576 are
    printed: `maps_4cd` 608 keeps the branches, 576 projects to 96 maps there (as TF-Slim does).
    `width` scales every number."""
    kept = 128 if config.maps_4cd == 608 else 96
    table = MODULES | {n: MODULES[n]._replace(projection=kept) for n in ("4c", "4d")}

    def pair(maps: tuple[int, int]) -> tuple[int, int]:
        return scaled(maps[0], config), scaled(maps[1], config)

    return {
        name: Module(
            scaled(row.one, config),
            pair(row.three),
            pair(row.double),
            row.pool,
            scaled(row.projection, config),
        )
        for name, row in table.items()
    }


def scaled(maps: int, config: Model) -> int:
    """A number of maps of the paper's at the width of a config; 0 stays 0."""
    return max(1, round(maps * config.width / WIDTH)) if maps else 0


def halved(size: Size) -> Size:
    """What a stride of 2 leaves."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def inception(config: Model, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Figure 5, a child for each row; then Dropout and one linear layer. Each convolution has norm
    and activation (see unit).

    Inputs (m, C, H, W) for `shape` (H, W, C), in the paper 224 x 224, outputs (m, classes).
    `width` scales every number of maps, 64 being the paper's. `lrn`: Local Response Normalization
    before and after the second row of convolutions, where GoogLeNet has it. `separable_stem`: the
    first convolution is separable, of depth multiplier 8. `maps_4cd`: see modules.
    `per_activation`: in so many of the last modules BN is per activation, not per map (section
    4.2.3). The last pooling averages over all that is left, in the paper 7 x 7.
    """
    rows, size = stem(config, shape)
    maps = scaled(STEM[2], config)
    table = modules(config)
    for place, (name, row) in enumerate(table.items(), start=1):
        late = place > len(table) - config.per_activation
        norm = "batch_per_activation" if late else config.norm
        rows[f"inception_{name}"] = module(row, replace(config, norm=norm), maps, size)
        maps = sum(row.branches()) + (0 if row.projection else maps)
        size = size if row.one else halved(size)
    rows["pool_3"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    rows["dropout"] = nn.Dropout(config.dropout)
    rows["linear"] = nn.Linear(maps, classes)
    return named(rows)


def named(rows: dict[str, nn.Module]) -> nn.Sequential:
    """The rows one after the other, each under its name."""
    network = nn.Sequential()
    for name, row in rows.items():
        network.add_module(name, row)
    return network


def stem(config: Model, shape: tuple[int, int, int]) -> tuple[dict[str, nn.Module], Size]:
    """The rows before the modules, and the size of what they make."""
    first, reduced, last = (scaled(maps, config) for maps in STEM)
    height, width, colours = shape
    large = halved((height, width))
    middle = halved(large)
    rows: dict[str, nn.Module] = {"convolution_1": first_convolution(config, colours, first, large)}
    rows["pool_1"] = nn.MaxPool2d(3, 2, padding=1)
    if config.lrn:
        rows["lrn_1"] = LocalResponseNorm()
    reduction = convolution(config, first, reduced, 1, middle)
    rows["convolution_2"] = nn.Sequential(
        *reduction, *convolution(config, reduced, last, 3, middle)
    )
    if config.lrn:
        rows["lrn_2"] = LocalResponseNorm()
    rows["pool_2"] = nn.MaxPool2d(3, 2, padding=1)
    return rows, halved(middle)


def first_convolution(config: Model, colours: int, maps: int, size: Size) -> nn.Sequential:
    """7x7 with stride 2; separable: each colour has filters of its own, which a 1x1 mixes."""
    if not config.separable_stem:
        layer = nn.Conv2d(colours, maps, 7, stride=2, padding=3)
        return nn.Sequential(*unit(layer, config, size))
    each = colours * MULTIPLIER
    spatial = nn.Conv2d(colours, each, 7, stride=2, padding=3, groups=colours, bias=False)
    return nn.Sequential(spatial, *convolution(config, each, maps, 1, size))


def module(row: Module, config: Model, maps: int, size: Size) -> Branches:
    """The branches of one row side by side, for inputs of `maps` feature maps of this size."""
    stride, after = (1, size) if row.one else (2, halved(size))
    (reduced, three), (thin, double) = row.three, row.double
    branches = [
        [
            *convolution(config, maps, reduced, 1, size),
            *convolution(config, reduced, three, 3, after, stride),
        ],
        [
            *convolution(config, maps, thin, 1, size),
            *convolution(config, thin, double, 3, size),
            *convolution(config, double, double, 3, after, stride),
        ],
        [
            POOLS[row.pool](stride),
            *(convolution(config, maps, row.projection, 1, after) if row.projection else ()),
        ],
    ]
    if row.one:
        branches.insert(0, convolution(config, maps, row.one, 1, size))
    return Branches(nn.Sequential(*branch) for branch in branches)


POOLS = {
    "avg": lambda stride: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
    "max": lambda stride: nn.MaxPool2d(3, stride, padding=1),
}


def convolution(
    config: Model, inputs: int, maps: int, kernel: int, size: Size, stride: int = 1
) -> list[nn.Module]:
    """A convolution with its norm and activation; `size`: of the maps that it makes."""
    layer = nn.Conv2d(inputs, maps, kernel, stride, padding=kernel // 2)
    return unit(layer, config, size)
