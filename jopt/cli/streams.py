"""The text streams that the commands print to."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO)  # the pipe or the terminal has been closed


class Stream:
    """A text stream that drops its text once it can no longer be written.

    Attributes:
      failed: the reason, such as a full disk; None if there was no failure, or if the
        reader closed the stream, as in `jopt sweep | head`.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.failed: str | None = None

    def write(self, text: str) -> int:
        """Write, or drop the text if the stream cannot be written."""
        try:
            return self.stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or drop the text if the stream cannot be written."""
        try:
            self.stream.flush()
        except OSError as error:
            self._drop(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _drop(self, error: OSError) -> None:
        if error.errno not in GONE:
            self.failed = error.strerror or str(error)
        # The rest of the buffer goes there too, at the latest when Python exits.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), self.stream.fileno())


@contextlib.contextmanager
def unfailing() -> Iterator[Stream]:
    """Replace stdout and stderr, so that a failed print does not end a computation.

    Yields:
      The stream in the place of stdout.
    """
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        # A process that was started without a stream has None instead.
        streams = [Stream(stream or nowhere) for stream in before]
        sys.stdout, sys.stderr = streams  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield streams[0]
        finally:
            for stream in streams:
                stream.flush()
            sys.stdout, sys.stderr = before


@contextlib.contextmanager
def aside(asked: bool) -> Iterator[TextIO]:
    """Print to stderr in place of stdout, if `asked` is True.

    Yields:
      The former stdout, for output that a program reads.
    """
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr if asked else stdout):
        yield stdout


def console() -> Any:
    """Return the rich console that the commands print to."""
    from rich.console import Console  # slow to load

    return Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
