"""Factories of trials: checks of their argument names, and nested factories."""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jopt.core import close_match, shown


@dataclasses.dataclass(frozen=True)
class NestedFactory:
    """Call a space's factory with a flat setting.

    Args:
      factory: takes the results of the inner factories, and the other hyperparameters.
      inner: by argument, the factory that makes it; or factories by name, of which the
        hyperparameter of that name chooses one.
    """

    factory: Callable[..., Any]
    inner: Mapping[str, Any]

    def __call__(self, **setting: Any) -> Any:
        given, parts = dict(setting), dict[str, Any]()
        for argument, make in self.inner.items():
            inside = f"{argument}."
            if isinstance(make, Mapping):
                chosen = given.pop(argument, None)
                if chosen not in make:
                    raise ValueError(
                        f"The hyperparameter {argument} must be one of "
                        f"{', '.join(make)}, got {shown(chosen)}."
                    )
                make, inside = make[chosen], f"{argument}.{chosen}."
            own = [name for name in setting if name.startswith(inside)]
            parts[argument] = make, {n.removeprefix(inside): given.pop(n) for n in own}
        if strange := [name for name in given if "." in name]:
            raise ValueError(
                f"The hyperparameter {strange[0]} is of a branch that is not chosen; "
                "give a setting the hyperparameters of its own branches alone."
            )
        made = {name: make(**own) for name, (make, own) in parts.items()}
        return self.factory(**given, **made)


def check_names(factory: Callable[..., Any], names: Iterable[str]) -> None:
    """Raise an error unless `factory` takes all of these names and needs no other."""
    if not callable(factory):
        raise TypeError(
            f"The factory of trials must be callable, such as jopt.adamw, got "
            f"{factory!r}."
        )
    if factory is dict:  # takes any name, and has no signature
        return
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # a builtin may have no signature
        raise TypeError(
            f"The factory of trials must tell its arguments, got {shown(factory)}, "
            "which does not; give a function of your own that calls it."
        ) from None
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    title = getattr(factory, "__name__", repr(factory))
    for name in names:
        if name not in parameters:
            raise ValueError(
                f"{title} has no hyperparameter {name}{close_match(name, parameters)}; "
                f"it has {', '.join(parameters)}."
            )
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in names:
            raise ValueError(f"{title} needs a value for {name}, got none.")
