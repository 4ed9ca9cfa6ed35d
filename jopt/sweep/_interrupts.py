"""`Interrupts`: delay Ctrl-C until the current segment is done."""

import signal
import threading
from typing import Any, ClassVar

from jopt.sweep import _processes as processes


class Interrupts:
    """Delay Ctrl-C until the current segment is done, when no file is half written.

    A second Ctrl-C takes effect at once. If Ctrl-C is ignored, as under nohup or in a
    background job, it stays ignored. In a job of several processes SIGTERM is delayed
    too: the scheduler sends it, and jax.distributed would ignore it.
    """

    running: ClassVar[list["Interrupts"]] = []

    def __init__(self):
        self.asked = False

    def __enter__(self) -> "Interrupts":
        self.running.append(self)
        several = processes.number() > 1
        numbers = [signal.SIGINT, *([signal.SIGTERM] if several else [])]
        before = {int(number): signal.getsignal(number) for number in numbers}
        # Python delivers signals only to the main thread. A handler of None was set by
        # C code and could not be restored.
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
    """End all running sweeps as Ctrl-C does; return whether there is one."""
    for interrupts in Interrupts.running:
        interrupts.asked = True
    return bool(Interrupts.running)
