"""Processes that a launcher starts, for runs side by side."""

import os
import time
from functools import lru_cache
from multiprocessing import current_process
from threading import Thread

LOOK_EVERY = 1.0  # seconds


@lru_cache  # once in a process
def end_with_parent() -> None:
    """In a process that a launcher has started beside others: end when the one that started it
    does, be it killed. Nothing is lost: checkpoints and records are whole at every moment."""
    if current_process().name == "MainProcess":
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_EVERY)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
