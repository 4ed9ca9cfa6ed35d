"""Errors that name the argument, the rule and the value given."""

import contextlib
import difflib
import reprlib
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Refused(NamedTuple):
    """The argument that an error is about, attached to the error as `refused`.

    `checked` reads it, so that a function adds the name of its argument to an error of
    an object that it builds.
    """

    field: str  # the argument's name, "" if unknown
    sentence: str
    value: object


def argument_error(
    title: str,
    name: str,
    value: object,
    rule: str,
    error: type[Exception],
    hint: str = "",
) -> Exception:
    """Return the error "TITLE: NAME must be RULE, got VALUE. HINT".

    Args:
      title: the class or function that got the argument.
      name: the argument's name.
      value: what was given.
      rule: what the argument must be.
      error: the class of the error.
      hint: a further sentence, or "; ..." to continue the same one.
    """
    end = hint if hint.startswith(";") else f". {hint}".rstrip()
    sentence = f"{title}: {name} must be {rule}, got {shown(value)}{end}"
    made = error(sentence)
    _attach(made, Refused(name, sentence, value))
    return made


@contextlib.contextmanager
def error_about(value: object) -> Iterator[None]:
    """Mark a TypeError or ValueError raised inside as an error about `value`.

    A `checked` function that was given `value` then adds the name of its argument.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        _attach(error, Refused("", str(error), value))
        raise


def refused(error: Exception) -> Refused | None:
    """Return the `Refused` that is attached to an error, if any."""
    found = getattr(error, "refused", None)
    return found if isinstance(found, Refused) else None


@contextlib.contextmanager
def noted(where: str) -> Iterator[None]:
    """Add a note to any error raised inside, and let the error propagate.

        with noted("train_step: raised by the loss function f."):
            value = f(model, batch, key)

    Args:
      where: a sentence that names the public function and the user's own function.
    """
    try:
        yield
    except Exception as error:
        error.add_note(where)
        raise


def raised_by_jopt(error: Exception) -> bool:
    """Return whether an error is a ValueError raised by jopt's code.

    A TypeError does not count: Python raises it inside jopt's code for a value of the
    wrong type.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised_in = Path(frames[-1].f_code.co_filename)
    return (
        isinstance(error, ValueError) and Path(__file__).parents[1] in raised_in.parents
    )


def close_match(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean X?)" for the most similar known name; "" without one."""
    found = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def shown(value: object) -> str:
    """Return a short text for a value of any type and length."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if callable(value) and (name := getattr(value, "__qualname__", None)) is not None:
        return f"the function {name}"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, int) and not -(2**31) <= value < 2**32:
        return f"{value}, of more than 32 bits"
    return str(value) if isinstance(value, np.generic) else reprlib.repr(value)


def function_name(function: object) -> str:
    """Return the qualified name of a function, or the repr if it has none."""
    return getattr(function, "__qualname__", None) or repr(function)


def _attach(error: Exception, refused: Refused) -> None:
    # Exceptions have a __dict__, but no such attribute that a type checker knows.
    vars(error)["refused"] = refused
