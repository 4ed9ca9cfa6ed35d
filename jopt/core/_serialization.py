"""State dicts of jopt's trees, as `flax.serialization` saves them."""

import sys

import jax
import jax.numpy as jnp
from jax.tree_util import all_leaves, keystr, tree_flatten_with_path

from jopt.core._pytree import PyTree, TreeDef
from jopt.core._seeds import is_typed_key


def register_with_flax(kind: type) -> None:
    """Register a pytree class with `flax.serialization`, if Flax is loaded.

    Flax saves registered classes, dicts, lists and tuples only. `import jopt` does not
    load Flax; a program that saves with it has loaded it.
    """
    flax = sys.modules.get("flax.serialization")
    if flax is not None and not flax.is_serializable(kind):
        flax.register_serialization_state(kind, state_dict, restored)


def state_dict(tree: PyTree) -> PyTree:
    """Return a tree as nested dicts of arrays; keys become their key data."""
    if all_leaves([tree]):
        return jax.random.key_data(tree) if _is_key(tree) else tree
    return {name: state_dict(child) for name, child in _children(tree)[0].items()}


def restored(tree: PyTree, saved: PyTree) -> PyTree:
    """Return a tree like `tree` with the arrays of a state dict.

    Args:
      tree: a tree of the structure that was saved.
      saved: what `state_dict` returned for it.

    Raises:
      ValueError: if the names of `saved` are not those of `tree`.
    """
    if all_leaves([tree]):
        if _is_key(tree):
            impl = jax.random.key_impl(tree)
            return jax.random.wrap_key_data(jnp.asarray(saved), impl=impl)
        return jnp.asarray(saved) if isinstance(tree, jax.Array) else saved
    children, structure = _children(tree)
    if children.keys() != saved.keys():
        own, others = (", ".join(names) or "nothing" for names in (children, saved))
        raise ValueError(
            f"flax.serialization: {type(tree).__name__} has {own}, but the saved one "
            f"has {others}; restore into a state that was made in the same way."
        )
    return structure.unflatten(
        restored(child, saved[name]) for name, child in children.items()
    )


def _children(tree: PyTree) -> tuple[dict[str, PyTree], TreeDef]:
    """Return the children of a node by name, and the structure of that level."""
    below, structure = tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)
    return {keystr(path, simple=True): child for path, child in below}, structure


def _is_key(leaf: object) -> bool:
    return isinstance(leaf, jax.Array) and is_typed_key(leaf)
