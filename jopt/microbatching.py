"""Microbatching: the names of `optax.microbatching`, as they are."""

from optax.microbatching import *  # noqa: F403
