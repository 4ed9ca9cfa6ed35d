"""Pruners and populations as they are typed: what selects trials during training."""

import dataclasses
from typing import Any

from jopt import sweep
from jopt.cli.lookup import look_up
from jopt.cli.values import assignments, distribution, values
from jopt.core import close_match

PRUNERS = {
    "halving": sweep.SuccessiveHalving,
    "hyperband": sweep.Hyperband,
    "median": sweep.MedianPruner,
    "patient": sweep.PatientPruner,
    "threshold": sweep.ThresholdPruner,
    "spike": sweep.LossSpike,
}


def pruner(text: str | None) -> sweep.Pruner | None:
    """Return the pruner that NAME or NAME:FIELD=NUMBER,... stands for.

    Raises:
      ValueError: if there is no such pruner, if it has no such field, or if it needs a
        field that is not given.
    """
    if text is None:
        return None
    name, _, given = text.partition(":")
    kind: Any = look_up(name, PRUNERS, "pruner")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    fields.pop("wrapped_pruner", None)
    found: dict[str, Any] = {"wrapped_pruner": None} if name == "patient" else {}
    for part in filter(None, given.split(",")):
        field, equals, value = part.partition("=")
        if not equals or field not in fields:
            raise ValueError(
                f"--pruner got {part!r}{close_match(field, fields)}; {name} has "
                f"{', '.join(fields)}: write {name}:{next(iter(fields))}=2."
            )
        (found[field],) = values(value, f"--pruner {field}")
    missing = [
        field.name
        for field in fields.values()
        if field.default is dataclasses.MISSING and field.name not in found
    ]
    if missing:
        raise ValueError(f"--pruner {name} needs {missing[0]}: {name}:{missing[0]}=2.")
    return kind(**found)


def population(texts: list[str]) -> sweep.PopulationBasedTraining | None:
    """Return population-based training of the given NAME=RANGE; None if there is none.

    Raises:
      ValueError: if a text is malformed.
    """
    form = "NAME=LOW:HIGH, as in learning_rate=1e-4:1e-1"
    mutations = {
        name: distribution(given, f"--evolve {name}")
        for name, given in assignments(texts, "--evolve", form)
    }
    return sweep.PopulationBasedTraining(mutations) if mutations else None
