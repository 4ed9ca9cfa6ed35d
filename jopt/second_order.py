"""Second derivatives: the functions of `optax.second_order`, as they are."""

from optax.second_order import *  # noqa: F403
