"""Write files atomically, and read only regular files."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

try:
    import fcntl  # POSIX; elsewhere a second process is not noticed
except ImportError:
    fcntl = None

# Errors of file systems without locks, as some over a network are.
UNLOCKABLE = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; at the end it replaces `path`.

        with replacing(directory / "report.html") as partial:
            partial.write_text(text)

    A reader sees the old file or the new one. A symbolic link at `path` is replaced,
    without a change to its target. If the block raises, `path` stays.
    """
    # A name that `remove_partial` recognizes.
    partial = path.with_name(f".{secrets.token_hex(4)}{path.suffix[:8]}")
    try:
        yield partial
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    to_disk(path.parent)


def lock(file: int, taken: str) -> None:
    """Lock an open file for this process, until the file is closed.

    Args:
      file: its descriptor.
      taken: the message of the error if another process has the lock.

    Raises:
      BlockingIOError: another process has the lock.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(taken) from error
    except OSError as error:
        if error.errno not in UNLOCKABLE:
            raise


def remove_partial(directory: Path) -> None:
    """Remove the temporary files that a killed process left in `replacing`.

    No other process may be writing to the directory. Links are not followed.
    """
    for path in () if directory.is_symlink() else directory.glob(".*"):
        if re.fullmatch(r"\.[0-9a-f]{8}(\..{0,7})?", path.name) and path.is_file():
            path.unlink()


def read_file(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
      FileNotFoundError: there is nothing at the path.
      ValueError: a directory, a pipe or a device is there.
    """
    # Opening a pipe that nobody writes to would block.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ValueError(f"{path} is no file; remove it, or restore the file.")
        with open(file, "rb", closefd=False) as opened:
            return opened.read()
    finally:
        os.close(file)


def own_directory(path: Path) -> Path:
    """Return a directory, made if it is missing.

    Raises:
      OSError: it cannot be made, or is a symbolic link, which may lead anywhere.
    """
    if path.is_symlink():
        raise NotADirectoryError(
            f"{path} is a symbolic link, and files would be written to where it leads; "
            "remove it."
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


def remove(path: Path) -> None:
    """Remove a file, a directory, or a link (not its target)."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def file_name(text: str, taken: Collection[str] = ()) -> str:
    """Return a file name for any text, without a suffix.

    It is the text itself if that is a plain word of at most 60 letters and not in
    `taken`. Otherwise it is the text's plain letters and a digest that keeps names
    distinct.
    """
    word = re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII)[:60].strip(".")
    if word and word == text and word not in taken:
        return word
    return f"{word}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"


def user_caches() -> Path:
    """Return the platform's folder for a user's caches."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the XDG specification says to ignore relative paths
        return Path(given)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    return home / ".cache"


def to_disk(directory: Path) -> None:
    """Wait until the names in a directory are written to the disk."""
    if os.name == "nt":  # Windows cannot open a directory
        return
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
