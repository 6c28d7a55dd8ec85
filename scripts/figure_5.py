"""Print Figure 5, the table of the paper's Inception, with our network's sizes and counts."""

import argparse
import sys
from typing import Any

import torch
from torch import nn

from batchnorm.config import Model
from batchnorm.models.inception import STEM, Module, inception, modules
from batchnorm.report import paper
from batchnorm.report.comparison import aligned

SIZE, CLASSES = 224, 1000
NAMES = ("type", "patch/stride", "output, printed", "ours", "depth", "1x1", "3x3 reduce", "3x3",
         "double reduce", "double 3x3", "pool + proj", "parameters")  # fmt: skip


READINGS = {  # of the table, and what each changes of the first
    "576 maps in 4c and 4d, BN": {},
    "the same, the stem separable": {"separable_stem": True},
    "the same, without BN": {"norm": "none"},
    # batch_detached is a BN that keeps the convolutions' biases, as that network does
    "608 maps in 4c and 4d, BN, biases (as the public bninception)": {
        "maps_4cd": 608,
        "norm": "batch_detached",
    },
}


def parse(arguments: list[str] | None) -> Model:
    """The network that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    words = "576 as printed, or 608 as the branches of 4c and 4d add up"
    parser.add_argument("--maps-4cd", type=int, choices=(576, 608), default=576, help=words)
    parser.add_argument("--separable-stem", action="store_true")
    parser.add_argument("--norm", choices=("none", "batch"), default="batch")
    return model(**vars(parser.parse_args(arguments)))


def model(**changes: Any) -> Model:
    """The paper's network with BN, but for the changes."""
    return Model(**{"name": "inception", "width": 64, "depth": 34, "norm": "batch"} | changes)


def empty(config: Model) -> nn.Sequential:
    """The network without weights."""
    with torch.device("meta"):
        return inception(config, (SIZE, SIZE, 3), CLASSES)


def parameters(network: nn.Module) -> int:
    """How many there are."""
    return sum(p.numel() for p in network.parameters())


def lines(config: Model, network: nn.Sequential) -> list[tuple[str, ...]]:
    """A line per row of the network that the table has too, and one for the classifier."""
    printed, table = paper.values()["figure_5"], modules(config)
    x, found = torch.empty(1, 3, SIZE, SIZE, device="meta"), []
    for name, row in network.named_children():
        x = row(x)
        count = parameters(row)
        maps, *sides = *x.shape[1:], *(1,) * (4 - x.dim())
        made = "x".join(str(side) for side in (*sides, maps))
        one = printed.get(name, {"type": name, "output": "-", "depth": "-", "patch": None})
        if name in printed or count:
            first = (one["type"], one["patch"] or "", one["output"], made, str(one["depth"]))
            maps_of = branches(table.get(name.removeprefix("inception_")))
            if name == "convolution_2":  # a 1x1 that reduces, before the 3x3
                maps_of = ("", *map(str, STEM[1:]), "", "", "")
            found.append((*first, *maps_of, f"{count:,}" if count else ""))
    return found


def branches(row: Module | None) -> tuple[str, ...]:
    """The six columns of a module's maps; empty for the other rows."""
    if row is None:
        return ("",) * 6
    after = str(row.projection) if row.projection else "pass through"
    maps = (row.one, *row.three, *row.double)
    return (*map(str, maps), f"{row.pool} + {after}")


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    config = parse(arguments)
    network = empty(config)
    print(aligned([NAMES, *lines(config, network)]))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    said = paper.values()["parameters"] / 1e6
    print(
        f"{len(convolutions)} convolutions, {parameters(network):,} parameters; the paper says"
        f" {said:g} million, which its\ntable does not give. 3c and 4e are printed with their size"
        " before the stride of 2. 4c and 4d are\nprinted with 576 maps and with branches that add"
        " up to 608: a pool projection of 96 gives 576, the\nprinted 128 gives 608"
        " (--maps-4cd 608). By reading:"
    )
    for words, changes in READINGS.items():
        print(f"{parameters(empty(model(**changes))):>12,}  {words}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
