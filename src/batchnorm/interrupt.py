"""A Ctrl-C that does not get lost: libraries catch a KeyboardInterrupt where they catch everything,
and Python forgets one that falls into a destructor."""

import signal
from threading import current_thread, main_thread
from types import FrameType

_pressed = False


def remember() -> None:
    """From now on remember a Ctrl-C, beside raising it as ever; forget those before. Where it is
    ignored, or somebody else's business, that stays so."""
    global _pressed
    _pressed = False
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours and current_thread() is main_thread():
        signal.signal(signal.SIGINT, _press)


def pressed() -> bool:
    """Whether there was a Ctrl-C."""
    return _pressed


def stop_if_pressed() -> None:
    """Raise the KeyboardInterrupt of a Ctrl-C again."""
    if _pressed:
        raise KeyboardInterrupt


def _press(number: int, frame: FrameType | None) -> None:
    global _pressed
    _pressed = True
    raise KeyboardInterrupt
