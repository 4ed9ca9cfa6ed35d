"""Parse options that select trials: pruners, populations, objectives, bounds."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jopt import sweep
from jopt.cli.lookup import look_up
from jopt.cli.trials import SAMPLERS
from jopt.cli.values import assignments, distribution, interval, values
from jopt.core import close_match
from jopt.sweep import Bound, Mode

PRUNERS = {
    "halving": sweep.SuccessiveHalving,
    "hyperband": sweep.Hyperband,
    "median": sweep.MedianPruner,
    "patient": sweep.PatientPruner,
    "threshold": sweep.ThresholdPruner,
    "spike": sweep.LossSpike,
}
LEARNING = {
    "tpe": sweep.TPE,
    "gp": sweep.GP,
    "cmaes": sweep.CMAES,
    "nsga2": sweep.NSGA2,
}


def pruner(text: str | None) -> sweep.Pruner | None:
    """Return the pruner of a text, NAME or NAME:FIELD=NUMBER,...

    Raises:
      ValueError: if there is no such pruner, if it has no such field, or if a required
        field is missing.
    """
    return None if text is None else _made(text, PRUNERS, "pruner")


def sampler(text: str) -> Any:
    """Return the sampler of a text, NAME or NAME:FIELD=NUMBER,...

    Raises:
      ValueError: if there is no such sampler, or it has no such field.
    """
    return _made(text, {**LEARNING, **SAMPLERS}, "sampler")


def _made(text: str, known: Mapping[str, Any], what: str) -> Any:
    """Return an object of the class with a known name, with the given fields."""
    name, _, given = text.partition(":")
    kind: Any = look_up(name, known, what)
    ordered = sorted(dataclasses.fields(kind), key=lambda field: bool(field.kw_only))
    fields = {field.name: field for field in ordered}
    fields.pop("wrapped_pruner", None)
    found: dict[str, Any] = {"wrapped_pruner": None} if name == "patient" else {}
    for part in filter(None, given.split(",")):
        field, equals, value = part.partition("=")
        if not equals or field not in fields:
            has = f"{name} has {', '.join(fields) or 'no fields'}"
            hint = f": write {name}:{next(iter(fields))}=2" if fields else ""
            raise ValueError(
                f"--{what} got {part!r}{close_match(field, fields)}; {has}{hint}."
            )
        (found[field],) = values(value, f"--{what} {field}")
    missing = [
        field.name
        for field in fields.values()
        if field.default is dataclasses.MISSING and field.name not in found
    ]
    if missing:
        raise ValueError(f"--{what} {name} needs {missing[0]}: {name}:{missing[0]}=2.")
    return kind(**found)


def objectives(texts: list[str]) -> dict[str, Mode] | None:
    """Return the modes of all NAME:MODE, in their order; None if there are none.

    Raises:
      ValueError: if a text is malformed, or a name is given twice.
    """
    found: dict[str, Mode] = {}
    for text in texts:
        name, _, mode = text.rpartition(":")
        if not name or mode not in ("min", "max"):
            raise ValueError(
                f"--objective got {text!r}; write NAME:min or NAME:max, as in "
                "accuracy:max."
            )
        if name in found:
            raise ValueError(f"--objective gives {name} a second time; give it once.")
        found[name] = "min" if mode == "min" else "max"
    return found or None


def bounds(texts: list[str]) -> dict[str, Bound] | None:
    """Return the ends of all NAME=LOW..HIGH; None if there are none.

    Raises:
      ValueError: if a text is malformed.
    """
    form = "NAME=LOW..HIGH, as in bytes=..3000 or accuracy=0.9.."
    given = assignments(texts, "--bound", form)
    return {name: interval(text, f"--bound {name}") for name, text in given} or None


def population(texts: list[str]) -> sweep.PopulationBasedTraining | None:
    """Return population-based training of all NAME=RANGE; None if there is none.

    Raises:
      ValueError: if a text is malformed.
    """
    form = "NAME=LOW:HIGH, as in learning_rate=1e-4:1e-1"
    mutations = {
        name: distribution(given, f"--evolve {name}")
        for name, given in assignments(texts, "--evolve", form)
    }
    return sweep.PopulationBasedTraining(mutations) if mutations else None
