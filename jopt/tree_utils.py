"""Arithmetic on trees by its older names: `optax.tree_utils`, as it is."""

from optax.tree_utils import *  # noqa: F403
