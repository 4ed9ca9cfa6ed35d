"""Projections onto sets: the functions of `optax.projections`, as they are."""

from optax.projections import *  # noqa: F403
