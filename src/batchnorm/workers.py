"""Processes that a launcher starts, for runs side by side."""

import os
import time
from functools import lru_cache
from multiprocessing import current_process
from threading import Thread, main_thread

import torch
from joblib import cpu_count

ON_A_GPU = 6  # runs: one alone mostly waits for Python; measured in results/imagenet.md
MEMORY = 4 * 2**30  # bytes of a GPU's for each; not counted: images of a large tree, if kept there
LOOK_EVERY = 1.0  # seconds
TO_END = 10.0  # seconds that a process gets to end: W&B would wait for a server that is silent


def side_by_side(device: torch.device) -> int:
    """How many runs to train at a time, if nobody says: one on each core; on a GPU as many as fill
    it, where there are two cores and some memory for each."""
    cores = cpu_count()
    if device.type == "cpu":
        return cores
    _, memory = torch.cuda.mem_get_info(device)
    return max(1, min(ON_A_GPU, cores // 2, memory // MEMORY))


@lru_cache  # once in a process
def end_with_parent() -> None:
    """In a process that a launcher has started beside others: end when the one that started it
    does, be it killed, and soon after its own work has. Nothing is lost: checkpoints and records
    are whole at every moment."""
    if current_process().name == "MainProcess":
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent and main_thread().is_alive():
            time.sleep(LOOK_EVERY)
        if os.getppid() == parent:
            time.sleep(TO_END)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
