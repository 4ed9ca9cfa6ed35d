"""`command.json`: the options of a sweep, saved in its directory for `--resume`."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMAND, HEADER = "command.json", Path("record", "header.json")
SEARCH = "search.json"  # of a search, in place of the header
# Not set by the user, or asked of one command alone.
NOT_SAVED = ("run", "defaults", "with_resume", "folder", "revive")
# Options that ask for trials; with --extend they ask for more.
SPACE = ("learning_rate", "set", "sample")
DAMAGED = "go on with jopt.sweep.resume(directory), which does without it."


@contextlib.contextmanager
def saved(options: argparse.Namespace, directory: Path) -> Iterator[None]:
    """Save the options; restore the old file if the sweep ends before it has begun."""
    from jopt.sweep import encode  # slow to load

    path, before = directory / COMMAND, _bytes(directory / COMMAND)
    headers = _headers(directory)
    _write(path, encode(plain(options), indent=2))
    try:
        yield
    except BaseException as error:
        if _headers(directory) != headers:
            error.add_note(how_to_resume(directory, options.command))
        elif before:
            _write(path, before)
        else:
            path.unlink()
        raise


def plain(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options for JSON, with a task's file by its absolute path."""
    given = {n: value for n, value in vars(options).items() if n not in NOT_SAVED}
    found = {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}
    file, colon, name = options.task.rpartition(":")
    if colon:
        found["task"] = f"{Path(file).resolve()}:{name}"
    return found


def _write(path: Path, content: bytes) -> None:
    from jopt.sweep import replacing  # slow to load

    with replacing(path) as partial:
        partial.write_bytes(content)


def how_to_resume(directory: Path, command: str = "sweep") -> str:
    """Return a sentence with the command that resumes the sweep or the search."""
    return f"Go on with: jopt {command} --resume {directory}"


def _headers(directory: Path) -> list[bytes]:
    """Return the headers of a sweep's parts, or of a search and its batches."""
    parts = sorted(directory.glob(f"batches/*/{HEADER}"))
    return [_bytes(path) for path in (begun(directory), *parts)]


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def resumed(options: argparse.Namespace, directory: Path) -> argparse.Namespace:
    """Return the options with which the sweep in a directory was started.

    Options that the file lacks, because they are newer, get their defaults. The options
    in `options.with_resume` are taken from `options` instead, as are the steps and the
    trials that `--extend` asks for; `earlier` then has the options that asked for the
    earlier trials.

    Raises:
      FileNotFoundError: if the directory has no `command.json`.
      ValueError: if any other option was given beside `--resume` or `--extend`, or if
        the file is damaged.
    """
    saved = read(directory, "sweep.resume(directory)")
    if saved.get("command", "sweep") != options.command:
        raise ValueError(
            f"{directory} is of another command; "
            f"{how_to_resume(directory, saved['command'])}"
        )
    option, names = "--resume", [*options.with_resume]
    if getattr(options, "extend", None) is not None:
        option, names = "--extend", [*names, "steps", *SPACE]
        if options.resume is not None:
            raise ValueError("--extend must be given without --resume; leave one out.")
    for name, default in options.defaults.items():
        if name not in names and getattr(options, name) != default:
            raise ValueError(
                f"{option} continues the sweep with its own options and takes no other "
                f"{name.replace('_', ' ')}; leave it out, or start a new sweep."
            )
    given = {name: getattr(options, name) for name in names}
    if options.keep == options.defaults["keep"]:
        del given["keep"]
    was = {**options.defaults, **saved}
    if option == "--extend":
        defaults = options.defaults
        same = [n for n in ("steps", *SPACE) if given[n] == defaults[n]]
        more = [n for n in ("steps", *SPACE) if n not in same]
        if options.revive and more:
            raise ValueError(
                "--revive trains pruned trials alone; leave out "
                f"--{more[0].replace('_', '-')}, or give it to another --extend."
            )
        given = {n: value for n, value in given.items() if n not in same}
        if not (more or options.revive):
            raise ValueError(
                "--extend needs the steps of each trial in all, or more trials; give "
                "--steps N, --sample N, --learning-rate VALUES, --set NAME=VALUES or "
                "--revive N,..."
            )
        if set(SPACE) & given.keys():
            before = {name: was[name] for name in SPACE}
            given["earlier"] = [*was.get("earlier", []), before]
    return argparse.Namespace(**{**was, **given})


def read(directory: Path, call: str) -> dict[str, Any]:
    """Return the options with which the sweep in a directory was started.

    Args:
      directory: the directory of the sweep.
      call: the Python function that an error message names in place of the command.

    Raises:
      FileNotFoundError: if the directory has no `command.json`.
      ValueError: if the file is damaged.
    """
    from jopt.sweep import decode, read_file  # slow to load

    path = directory / COMMAND
    if not path.exists():
        raise FileNotFoundError(
            f"There is no {COMMAND} in {directory}: the command line started no sweep "
            f"there. For a sweep that Python started, call {call}."
        )
    try:
        options = decode(read_file(path))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {DAMAGED}") from None
    # Every version has written the task.
    if not isinstance(options.get("task"), str):
        raise ValueError(f"{path} is damaged (no task); {DAMAGED}")
    return options


def begun(directory: Path) -> Path:
    """Return the first file that a search or a sweep writes in a directory."""
    search = directory / SEARCH
    return search if search.exists() else directory / HEADER


def has_begun(directory: Path) -> bool:
    """Return whether the directory has a sweep or a search that can be resumed."""
    return begun(directory).exists()
