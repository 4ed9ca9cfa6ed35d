"""`Interrupts`: Ctrl-C takes effect when a segment is done."""

import signal
import threading
from typing import Any, ClassVar


class Interrupts:
    """Hold Ctrl-C back until a segment is done, when nothing is half written.

    A second Ctrl-C takes effect at once. Where Ctrl-C is ignored, under nohup or in the
    background of a script, it stays ignored.
    """

    running: ClassVar[list["Interrupts"]] = []

    def __init__(self):
        self.asked = False

    def __enter__(self) -> "Interrupts":
        self.running.append(self)
        self._before = signal.getsignal(signal.SIGINT)
        # Python delivers signals to the main thread alone. None stands for a handler of
        # C code, which could not be restored.
        main = threading.current_thread() is threading.main_thread()
        self._held = main and self._before not in (signal.SIG_IGN, None)
        if self._held:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        self.running.remove(self)
        if self._held:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)


def end_sweeps() -> bool:
    """Ask all running sweeps to end as after Ctrl-C; return whether there is one."""
    for interrupts in Interrupts.running:
        interrupts.asked = True
    return bool(Interrupts.running)
