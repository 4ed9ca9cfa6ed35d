"""What the commands print to."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO)  # a pipe that was closed, a terminal that was


class Stream:
    """A text stream that falls silent when it cannot be written any more.

    failed: why it could not be written, if not because nobody reads on, as in
    `jopt sweep | head`.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.failed: str | None = None

    def write(self, text: str) -> int:
        """Write as far as that is possible."""
        try:
            return self.stream.write(text)
        except OSError as error:
            self._fall_silent(error)
            return len(text)

    def flush(self) -> None:
        """Flush as far as that is possible."""
        try:
            self.stream.flush()
        except OSError as error:
            self._fall_silent(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _fall_silent(self, error: OSError) -> None:
        if error.errno not in GONE:
            self.failed = error.strerror or str(error)
        # What is left in the buffer goes there too, at the latest when Python ends.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), self.stream.fileno())


@contextlib.contextmanager
def unfailing() -> Iterator[Stream]:
    """Let what is printed fall silent rather than end what is computed.

    Returns standard output.
    """
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        # None where the process was started without one.
        streams = [Stream(stream or nowhere) for stream in before]
        sys.stdout, sys.stderr = streams  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield streams[0]
        finally:
            for stream in streams:
                stream.flush()
            sys.stdout, sys.stderr = before


def console() -> Any:
    """Return the console of the commands."""
    from rich.console import Console  # slow to load

    return Console(highlight=False, soft_wrap=True)
