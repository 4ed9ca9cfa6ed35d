"""Assignment problems: the functions of `optax.assignment`, as they are."""

from optax.assignment import *  # noqa: F403
