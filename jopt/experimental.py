"""The modules of `optax.experimental`, as they are."""

from optax.experimental import *  # noqa: F403
