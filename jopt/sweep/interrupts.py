"""Ctrl-C at a moment when nothing is half written."""

import signal
import threading
from typing import Any


class Interrupts:
    """Holds Ctrl-C back until a block is done: nothing on the device is half written.

    A second one is not held back.
    """

    def __init__(self):
        self.asked = False

    def __enter__(self) -> "Interrupts":
        # Python gives signals to the main thread alone.
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)
