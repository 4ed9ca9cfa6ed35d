"""`noted`: a user's own error, told where it was raised."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def noted(where: str) -> Iterator[None]:
    """Add a note to what is raised inside, which goes on as it is.

        with noted("train_step: raised by the loss function f."):
            value = f(model, batch, key)

    where: a sentence that names the public function and the user's own.
    """
    try:
        yield
    except Exception as error:
        error.add_note(where)
        raise


def name_of(function: object) -> str:
    """Return what a user calls a function: its qualified name, or how it prints."""
    return getattr(function, "__qualname__", None) or repr(function)
