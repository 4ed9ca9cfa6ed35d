"""Losses: the functions of `optax.losses`, as they are."""

from optax.losses import *  # noqa: F403
