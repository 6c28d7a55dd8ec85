"""Files of data sets that torchvision knows: checksums verified, downloaded where absent."""

import hashlib
import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from filelock import FileLock

from batchnorm.data.sets import DataError, Unavailable

SECONDS_TO_ANSWER = 20  # a download server that says nothing for so long counts as unreachable


def verified(
    name: str, root: Path, folder: Path, parts: dict[str, str], download: Callable[[], object]
) -> str:
    """See to it that the files `parts` (name -> MD5) are in the folder under the root, as they
    should be; returns a checksum of them all.

    Raises DataError, naming the file, for one that is there and is not what it should be;
    Unavailable when the files are not there and cannot be downloaded.
    """
    with _alone(name, root):
        _refuse_corrupt(folder, parts)
        missing = [part for part in parts if not (folder / part).exists()]
        if missing:
            _download(name, download, root, folder, missing, complete=len(missing) == len(parts))
            _refuse_corrupt(folder, parts)
    return hashlib.md5("".join(sorted(parts.values())).encode()).hexdigest()


def fetched(name: str, folder: Path, download: Callable[[], object]) -> None:
    """Download a folder that is not there. Raises Unavailable."""
    if not folder.is_dir():
        with _alone(name, folder.parent):
            if not folder.is_dir():  # another process may have been first
                _download(name, download, folder.parent, folder, [], complete=True)


def _alone(name: str, root: Path) -> AbstractContextManager[object]:
    """Keeps other processes from downloading, or from reading what is half downloaded."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"{name} is not in {root}, which cannot be made: {error}") from error
    return FileLock(root / f".{name.lower()}.lock") if os.access(root, os.W_OK) else nullcontext()


def _refuse_corrupt(folder: Path, parts: dict[str, str]) -> None:
    for name, md5 in parts.items():
        file = folder / name
        try:
            found = hashlib.md5(file.read_bytes()).hexdigest() if file.exists() else md5
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from error
        if found != md5:
            raise DataError(
                f"{file}: is corrupt (its MD5 is not {md5});"
                " delete it and run again to download it anew"
            )


def _download(
    name: str,
    download: Callable[[], object],
    root: Path,
    folder: Path,
    missing: list[str],
    complete: bool,
) -> None:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_TO_ANSWER)
    try:
        download()
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError after URLError
        why = " ".join(str(error).split())  # on one line
        if not complete:
            names = ", ".join(missing)
            raise DataError(
                f"{folder}: {names} missing, and not to be downloaded ({why});"
                " put the files there, or delete the folder"
            ) from error
        raise Unavailable(f"{name} is not in {root} and cannot be downloaded: {why}") from error
    finally:
        socket.setdefaulttimeout(timeout)
