"""The signals that end a process: what is computed is saved first."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

INTERRUPTED = 130  # the exit status after Ctrl-C: 128 and the signal's number


@contextlib.contextmanager
def as_interrupts() -> Iterator[list[int]]:
    """Take SIGTERM and SIGHUP as Ctrl-C is taken, and return those that came.

    A sweep that is under way ends after its segment; elsewhere a KeyboardInterrupt is
    raised. A second signal ends the process at once. What is ignored stays ignored.
    """
    came: list[int] = []

    def end(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        came.append(number)
        # Not imported here: whoever runs a sweep has done so.
        sweeps = sys.modules.get("jopt.sweep._interrupts")
        if sweeps is None or not sweeps.end_sweeps():
            raise KeyboardInterrupt

    names = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        known = []
    held = [number for number in known if signal.getsignal(number) is signal.SIG_DFL]
    for number in held:
        signal.signal(number, end)
    try:
        yield came
    finally:
        for number in held:
            signal.signal(number, signal.SIG_DFL)
