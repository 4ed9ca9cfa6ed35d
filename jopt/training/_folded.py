"""A clip by norm as one more factor of the gradients: their norm is read once."""

import dataclasses

import jax

from jopt._chain import Chain
from jopt._core import GradientTransformation
from jopt._numbers import shrink
from jopt.transforms import ClipByGlobalNorm, identity


def without_clip(
    tx: GradientTransformation, norm: jax.Array
) -> tuple[GradientTransformation, jax.Array | None]:
    """Return `tx` without the clipping by norm that it begins with, and its factor.

    norm: of the gradients; a step knows it already, and the clip would sum it again.
    None for a factor where `tx` does not begin with a clip. The state stays valid.
    """
    if type(tx) is ClipByGlobalNorm:
        return identity(), shrink(norm, tx.max_norm)
    if type(tx) is Chain and tx.transforms:
        first, factor = without_clip(tx.transforms[0], norm)
        rest = (first, *tx.transforms[1:])
        return dataclasses.replace(tx, transforms=rest), factor
    return tx, None
