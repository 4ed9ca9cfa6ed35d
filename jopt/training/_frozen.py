"""The split of parameters into trained and frozen ones."""

import sys
from typing import Any

from jopt.core import Mask, PyTree, by_path, error_about, listed_paths, shown


def trained_mask(wrt: Any, params: PyTree) -> Mask | None:
    """Return which parameters are trained, as a mask that fits `params`.

    Args:
      wrt: an nnx filter, such as `nnx.LoRAParam`; or what `Mask` takes, such as a
        function of (path, leaf); None for all parameters.
      params: the parameters; of an nnx module, an `nnx.State`.

    Raises:
      ValueError: no parameter is chosen, or a tree of bools does not fit.
      TypeError: `wrt` is neither a filter nor a mask.
    """
    if wrt is None:
        return None
    if _is_filter(wrt):
        mask = _filtered(wrt, params)
    else:
        with error_about(wrt):
            mask = Mask(wrt).on(params)
    if not any(mask.leaves(params)):
        raise ValueError(
            f"TrainState: wrt must choose parameters to train, and {shown(wrt)} "
            f"chooses none; there are {listed_paths(by_path(params))}."
        )
    return mask


def divided(mask: Mask | None, params: PyTree) -> tuple[PyTree, PyTree]:
    """Return the trained and the other parameters: each tree has None for the rest."""
    if mask is None:
        return params, None
    others = mask.mapped(lambda trained: not trained, Mask)
    return mask.hide(params, None), others.hide(params, None)


def joined(mask: Mask | None, trained: PyTree, frozen: PyTree) -> PyTree:
    """Return all parameters as one tree."""
    if mask is None:
        return trained
    ours, structure = mask.nodes(trained)
    theirs, _ = mask.nodes(frozen)
    return structure.unflatten(
        own if yes else other
        for (yes, own), (_, other) in zip(ours, theirs, strict=True)
    )


def _is_filter(wrt: Any) -> bool:
    nnx = sys.modules.get("flax.nnx")
    if nnx is None:
        return False
    if isinstance(wrt, (tuple, list)):
        return bool(wrt) and all(map(_is_filter, wrt))
    if isinstance(wrt, type):
        return issubclass(wrt, nnx.Variable)
    return type(wrt).__module__ == nnx.filterlib.__name__


def _filtered(wrt: Any, params: PyTree) -> Mask:
    from flax import nnx

    if not isinstance(params, nnx.State):
        raise TypeError(
            f"TrainState: wrt is an nnx filter, {shown(wrt)}, and the model is not an "
            "nnx module; give a function of (path, leaf)."
        )
    chosen = nnx.filterlib.to_predicate(wrt)
    flat = nnx.to_flat_state(params)
    return Mask.at(
        {tuple(map(str, path)): bool(chosen(path, leaf)) for path, leaf in flat}
    )
