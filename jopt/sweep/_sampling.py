"""Sampling: trials whose hyperparameters are drawn from a space."""

from collections.abc import Callable
from typing import Any

from jopt.core import is_integer
from jopt.sweep import _arguments as arguments
from jopt.sweep._equality import Identities
from jopt.sweep._trial import Trial, check_names, check_number
from jopt.sweep.space import Distribution, Random, Sampler, is_several


def sample(
    factory: Callable[..., Any],
    n: int,
    *,
    sampler: Sampler = Random(),  # noqa: B008, it is immutable
    seed: int = 0,
    **space: Any,
) -> list[Trial]:
    """Return n trials, whose hyperparameters are drawn from `space`.

        sample(
            jopt.adamw,
            64,
            sampler=sweep.Sobol(),
            learning_rate=sweep.log_uniform(1e-5, 1),
            weight_decay=sweep.log_uniform(1e-6, 1e-1),
            nesterov=sweep.choice([False, True]),
            b1=0.9,
        )

    factory: as in `grid`: any callable that builds a transformation, or a `Setup`, of
    what it is given by name. n: settings, at least 1. sampler: Random, Sobol, Halton
    or LatinHypercube. seed: of the sampler, an integer of at least 0: the same
    arguments give the same trials. space: a distribution by name, or one fixed value.

    A setting that is drawn again is left out: it would be the same training twice. So
    a space of few settings gives fewer than n trials.

    Structure may be drawn too: of `choice([jopt.adamw, jopt.lion])`, of bools, of a
    width or a batch size that the factory puts into a `Setup`, the trials of each
    structure are compiled once.

    Raises a ValueError or a TypeError in a sentence for a name that `factory` does not
    take, a sequence, a space in which nothing is drawn, and what `factory` raises, with
    the setting that it was given; an ImportError where the sampler needs SciPy.
    """
    _check_integer("n", n, least=1)
    _check_integer("seed", seed, least=0)
    check_number("sample: n", n)
    arguments.check("sample", factory=factory, sampler=sampler)
    check_names(factory, space)
    for name, value in space.items():
        _check_fixed(name, value)
    drawn = {k: d for k, d in space.items() if isinstance(d, Distribution)}
    if not drawn:
        raise ValueError(
            "sample: nothing is drawn, as no value is a distribution; give one, as in "
            "learning_rate=sweep.log_uniform(1e-5, 1), or use sweep.grid."
        )
    settings: list[dict[str, Any]] = []
    for point in sampler.points(int(n), len(drawn), int(seed)).tolist():
        values = {k: d.at(u) for (k, d), u in zip(drawn.items(), point, strict=True)}
        settings.append({**space, **values})
    settings = Identities().first_of_each(settings)
    return [Trial.of(factory, setting) for setting in settings]


def _check_integer(name: str, value: Any, least: int) -> None:
    if not is_integer(value) or value < least:
        rule = f"an integer of at least {least}"
        raise ValueError(f"sample: {name} must be {rule}, got {value!r}.")


def _check_fixed(name: str, value: Any) -> None:
    """Raise a sentence for a value that was meant as several."""
    if is_several(value):
        raise TypeError(
            f"sample: {name} got {value!r}, a sequence; draw from it with "
            f"{name}=sweep.choice([...]), or train all its values with sweep.grid."
        )
    if isinstance(value, type) and issubclass(value, Distribution):
        raise TypeError(f"sample: {name} got the class {value.__name__}; give it ends.")
