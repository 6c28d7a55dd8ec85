"""Imagenette at 160 pixels through torchvision: the one image folder that can be downloaded."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from batchnorm.data.files import fetched

FOLDER = "imagenette-160"  # data.folder, as configs/data/imagenette.yaml has it


def fetch(folder: Path) -> None:
    """Download and unpack it (100 MB) as this folder if that is not there; its checksum is verified
    on the way, and what is cut short leaves nothing. Raises Unavailable."""

    def download() -> None:
        from torchvision.datasets import Imagenette  # here: importing torchvision takes seconds

        with TemporaryDirectory(dir=folder.parent) as part:
            Imagenette(part, size="160px", download=True)
            os.replace(Path(part) / "imagenette2-160", folder)

    fetched("Imagenette", folder, download)
