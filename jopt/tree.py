"""Arithmetic on trees: the functions of `optax.tree`, as they are."""

from optax.tree import *  # noqa: F403
