"""What the C library does with memory that is freed."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt, in glibc's malloc.h
LARGE = 2**31 - 1  # bytes, the most that mallopt takes


def keep_what_is_freed() -> None:
    """Have glibc keep freed blocks of some megabytes for the next batch. It would hand them back to
    the system, which clears them anew for each one: 3,000 page faults for 32 images of 128 pixels,
    more than half the time that they take. Other C libraries are left as they are."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for threshold in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        mallopt(threshold, LARGE)
