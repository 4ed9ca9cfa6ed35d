"""`shrink`: the small dense model that is left of a pruned one."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jopt.compress._paths import replaced
from jopt.core import (
    Arrays,
    PyTree,
    by_path,
    checked,
    close_match,
    is_integer,
    listed_paths,
    path_text,
    shown,
)


@checked
def shrink(params: Arrays, kept: Any, couplings: Mapping[str, int]) -> PyTree:
    """Return params without the units of a layer that are not kept.

        kept = jnp.any(params["first"]["kernel"] != 0, axis=0)
        small = jopt.shrink(
            params,
            kept,
            {"first/kernel": -1, "first/bias": 0, "second/kernel": 0},
        )

    The small model has as many units as are kept. It has the outputs of the masked one
    if each unit that is not kept outputs 0 there: its kernel and its bias are 0, and so
    is the activation of 0. For several layers call it once for each.

    An axis may be a multiple of the units in length: a dense kernel after a flattened
    convolution has a row for each position and channel. Its units are those of the
    last of the flattened axes, the channels in Flax.

    Args:
      params: a tree of arrays.
      kept: bool[units], which units of the layer are kept; not traced, because shapes
        depend on it.
      couplings: the axis of the units in each leaf that has one, by path.

    Returns:
      A tree like the params, in which these leaves are shorter.

    Raises:
      ValueError: if a path is not in the params, a leaf has no such axis, its length is
        not a multiple of the units, or no unit is kept.
      TypeError: if `kept` is not an array of bools, or is traced.
    """
    kept = _units(kept)
    leaves = by_path(params)
    paths = {path_text(path): path for path in leaves}
    made = {}
    for name, axis in couplings.items():
        if name not in paths:
            raise ValueError(
                f"shrink: couplings must name leaves of params, got {name}"
                f"{close_match(name, paths)}; there are {listed_paths(leaves)}."
            )
        leaf = leaves[paths[name]]
        shape = list(jnp.shape(leaf))
        if not is_integer(axis) or not -len(shape) <= axis < len(shape):
            raise ValueError(
                f"shrink: couplings must give an axis of each leaf, got {shown(axis)} "
                f"for {name} of shape {shape}."
            )
        repeats, rest = divmod(shape[axis], kept.size)
        if rest or not repeats:
            raise ValueError(
                f"shrink: the axis of a leaf must be a multiple of the {kept.size} "
                f"units of kept in length, got {axis} of {name} of shape {shape}; "
                "choose another axis."
            )
        left = np.flatnonzero(np.tile(kept, repeats))
        made[paths[name]] = jnp.take(leaf, left, axis=axis)
    return replaced(params, made)


def _units(kept: Any) -> np.ndarray:
    if isinstance(kept, Tracer):
        raise TypeError(
            "shrink: kept must be an array of bools, got a traced one; call shrink "
            "outside jit, since shapes depend on it."
        )
    units = np.asarray(kept)
    if units.dtype != bool or units.ndim != 1:
        raise TypeError(
            "shrink: kept must be an array of bools with one axis, got "
            f"{units.dtype}{list(units.shape)}; for weights: jnp.any(kernel != 0, 0)."
        )
    if not units.any():
        raise ValueError(
            f"shrink: kept must keep at least one unit, got none of {units.size}."
        )
    return units
