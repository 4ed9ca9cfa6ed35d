"""The signals that end a process; a sweep saves its results first."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

INTERRUPTED = 130  # the exit status after Ctrl-C: 128 and the signal's number


@contextlib.contextmanager
def as_interrupts() -> Iterator[list[int]]:
    """Handle SIGTERM and SIGHUP like Ctrl-C.

    A running sweep ends after its segment. If none is running, KeyboardInterrupt is
    raised. A second signal ends the process at once. Signals that are ignored or have a
    handler already are left unchanged, as are all signals outside the main thread.

    Yields:
      The list of the received signals, which grows.
    """
    came: list[int] = []

    def end(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        came.append(number)
        # Do not import it here: a process that runs a sweep already has.
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
