"""Rules as they are typed: pruners, samplers, populations, sizes of memory."""

import dataclasses
from typing import Any

from jopt import sweep
from jopt.cli.values import distribution, values
from jopt.core import close_match

PRUNERS = {
    "halving": sweep.SuccessiveHalving,
    "hyperband": sweep.Hyperband,
    "median": sweep.MedianPruner,
    "patient": sweep.PatientPruner,
    "threshold": sweep.ThresholdPruner,
    "spike": sweep.LossSpike,
}
SAMPLERS = {
    "random": sweep.Random,
    "sobol": sweep.Sobol,
    "halton": sweep.Halton,
    "latin": sweep.LatinHypercube,
}


def pruner(text: str | None) -> sweep.Pruner | None:
    """Return the pruner that NAME or NAME:FIELD=NUMBER,... stands for.

    Raises a ValueError in a sentence for a name or a field that there is not.
    """
    if text is None:
        return None
    name, _, given = text.partition(":")
    kind: Any = _named(name, PRUNERS, "pruner")
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


def sampler(name: str) -> Any:
    """Return the sampler of this name, or raise a ValueError in a sentence."""
    return _named(name, SAMPLERS, "sampler")()


def population(texts: list[str]) -> sweep.PopulationBasedTraining | None:
    """Return what NAME=RANGE, once or more, says of a population; None for none.

    Raises a ValueError in a sentence if one is malformed.
    """
    mutations: dict[str, Any] = {}
    for text in texts:
        name, equals, given = text.partition("=")
        if not equals or not name:
            raise ValueError(
                f"--evolve got {text!r}; write NAME=LOW:HIGH, as in "
                "learning_rate=1e-4:1e-1."
            )
        if name in mutations:
            raise ValueError(f"--evolve gives {name} a second time; give it once.")
        mutations[name] = distribution(given, f"--evolve {name}")
    return sweep.PopulationBasedTraining(mutations) if mutations else None


def size(text: str | None) -> int | None:
    """Return the bytes that 512M or 2G stand for; None for None."""
    if text is None:
        return None
    powers = {"k": 1, "m": 2, "g": 3, "t": 4}
    number, power = text.removesuffix("B"), 0
    if number[-1:].lower() in powers:
        number, power = number[:-1], powers[number[-1].lower()]
    try:
        return int(float(number) * 1000**power)
    except (ValueError, OverflowError):
        raise ValueError(f"--memory got {text!r}; write bytes, 512M or 2G.") from None


def _named(name: str, known: dict[str, Any], what: str) -> Any:
    if name not in known:
        raise ValueError(
            f"There is no {what} {name}{close_match(name, known)}; there is "
            f"{', '.join(known)}."
        )
    return known[name]
