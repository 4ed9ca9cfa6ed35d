"""Perturbed optimizers: the names of `optax.perturbations`, as they are."""

from optax.perturbations import *  # noqa: F403
