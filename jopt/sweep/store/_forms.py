"""Check that a record's files have the form in which they were written."""

from pathlib import Path
from typing import Any


class DamagedRecord(ValueError):
    """A file of a record that was changed or damaged."""


def damaged(path: Path, why: object) -> DamagedRecord:
    """Return the error for a file that was changed or damaged."""
    return DamagedRecord(
        f"{path} is damaged or of something else than a sweep ("
        f"{' '.join(str(why).split()) or 'it is not whole'}); restore it, or run the "
        "sweep again."
    )


def misfit(value: Any, form: Any, place: str = "") -> str | None:
    """Return where and how a value differs from a form; None if it fits.

    Args:
      value: a value that was read from JSON.
      form: a type, where `float` also takes integers, no type but `bool` takes bools,
        and `object` takes anything; a range of integers; None; a tuple of forms, of
        which one must fit; a list of one form, for a list of such values; a dict of
        forms by name, for an object with at least these names, where those that end in
        "?" may be missing; or a dict with the one key `str`, for an object with any
        names.
      place: the name of the value, for the message.
    """
    if form is object:
        return None
    if isinstance(form, tuple):
        said = [misfit(value, each, place) for each in form]
        return None if None in said else said[0]
    if isinstance(form, list):
        if not isinstance(value, list):
            return _said(place, "a list", value)
        found = (misfit(x, form[0], f"{place}[{i}]") for i, x in enumerate(value))
    elif isinstance(form, dict):
        if not isinstance(value, dict):
            return _said(place, "an object", value)
        if str in form:
            found = (misfit(x, form[str], f"{place}.{k}") for k, x in value.items())
        else:
            missing = [n for n in form if n not in value and not n.endswith("?")]
            if missing:
                return f"{place.lstrip('.') or 'it'} lacks {missing[0]}"
            parts = ((name.removesuffix("?"), f) for name, f in form.items())
            found = (
                misfit(value[k], f, f"{place}.{k}") for k, f in parts if k in value
            )
    elif isinstance(form, range):
        if type(value) is int and value in form:
            return None
        words = f"an integer from {form.start} to {form.stop - 1}"
        return _said(place, words, value)
    else:
        kinds = (int, float) if form is float else () if form is None else (form,)
        fits = value is None if form is None else type(value) in kinds
        return None if fits else _said(place, getattr(form, "__name__", "null"), value)
    return next((said for said in found if said is not None), None)


def _said(place: str, wanted: str, value: Any) -> str:
    shown = repr(value)
    shown = shown if len(shown) < 40 else f"{shown[:40]}..."
    return f"{place.lstrip('.')[:80] or 'it'} must be {wanted}, got {shown}"
