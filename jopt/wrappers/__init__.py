"""What holds an inner transformation, or another library's."""

from jopt.wrappers.lift import (
    Lifted as Lifted,
    lift as lift,
    to_optax as to_optax,
)
