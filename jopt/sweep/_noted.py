"""The user's own errors come out as they are, with a note that says where."""

import contextlib
from collections.abc import Iterator, Sequence

SHOWN = 5  # trials that a note names


@contextlib.contextmanager
def noted(where: str) -> Iterator[None]:
    """Add `where`, a sentence, to the notes of an error that is raised within."""
    try:
        yield
    except Exception as error:
        error.add_note(where)
        raise


def trials_named(trials: Sequence[int]) -> str:
    """Return trials by their numbers, the first few of many."""
    numbers = ", ".join(map(str, trials[:SHOWN]))
    more = len(trials) - SHOWN
    title = "trial" if len(trials) == 1 else "trials"
    return f"{title} {numbers}{f' and {more} more' if more > 0 else ''}"
