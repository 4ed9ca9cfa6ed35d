"""`Interrupts`: Ctrl-C takes effect when a segment is done."""

import signal
import threading
from typing import Any, ClassVar

from jopt.sweep import _processes as processes


class Interrupts:
    """Hold Ctrl-C back until a segment is done, when nothing is half written.

    A second Ctrl-C takes effect at once. Where Ctrl-C is ignored, under nohup or in the
    background of a script, it stays ignored. In a job of several processes SIGTERM is
    held back too: the job's scheduler sends it, and jax.distributed would ignore it.
    """

    running: ClassVar[list["Interrupts"]] = []

    def __init__(self):
        self.asked = False

    def __enter__(self) -> "Interrupts":
        self.running.append(self)
        several = processes.number() > 1
        numbers = [signal.SIGINT, *([signal.SIGTERM] if several else [])]
        before = {int(number): signal.getsignal(number) for number in numbers}
        # Python delivers signals to the main thread alone. None stands for a handler of
        # C code, which could not be restored.
        main = threading.current_thread() is threading.main_thread()
        self._before = {
            number: handler
            for number, handler in before.items()
            if main and handler not in (signal.SIG_IGN, None)
        }
        for number in self._before:
            signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        self.running.remove(self)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True
        signal.signal(number, self._before[number])


def end_sweeps() -> bool:
    """Ask all running sweeps to end as after Ctrl-C; return whether there is one."""
    for interrupts in Interrupts.running:
        interrupts.asked = True
    return bool(Interrupts.running)
