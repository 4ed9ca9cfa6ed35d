"""Many leaves as one vector."""

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import (
    GradientTransformation,
    PyTree,
    Transformation,
    as_transformation,
    dtype_of,
    field,
    leaves_like,
    pytree,
    replicated,
    sharded_like,
    wide,
    wide_dtype,
)


@pytree
class Flatten(GradientTransformation):
    """Apply a transformation to all leaves as one vector.

    The inner transformation sees a dict of vectors by dtype name, each in at least
    float32; its state has the same form. This saves work for each of very many small
    leaves, but copies all leaves and takes longer to compile. The vectors are
    replicated over an explicit mesh.

    Args:
      inner: a transformation that treats each coordinate by itself (Adam, a clip, a
        norm of all leaves). One that uses a leaf's shape or norm (LAMB, Adafactor, a
        mask) has another meaning here.
    """

    inner: Transformation = field(converter=as_transformation)

    def frozen(self, params):
        return [False] * len(jax.tree.leaves(params))  # inner sees joined leaves

    def init(self, params):
        return self.inner.init(_flat(params))

    def update(self, updates, state, params=None, **extra):
        if params is not None:
            leaves = leaves_like(updates, params)
            params = _flat(jax.tree.structure(updates).unflatten(leaves))
        made, state = self.inner.update(_flat(updates), state, params, **extra)
        return _unflat(made, updates), state

    def eval_params(self, state, params):
        return _unflat(self.inner.eval_params(state, _flat(params)), params)

    def parts(self, state):
        return {"inner": (self.inner, state)}


flatten = Flatten


def _groups(tree: PyTree) -> dict[str, list[int]]:
    """Return the positions of the leaves of each dtype."""
    groups: dict[str, list[int]] = {}
    for i, leaf in enumerate(jax.tree.leaves(tree)):
        groups.setdefault(str(wide_dtype(leaf)), []).append(i)
    return groups


def _flat(tree: PyTree) -> dict[str, jax.Array]:
    leaves = [jnp.ravel(replicated(wide(leaf))) for leaf in jax.tree.leaves(tree)]
    return {
        kind: jnp.concatenate([leaves[i] for i in group])
        for kind, group in _groups(tree).items()
    }


def _unflat(vectors: dict[str, jax.Array], like: PyTree) -> PyTree:
    leaves, structure = jax.tree.flatten(like)
    for kind, group in _groups(like).items():
        ends = np.cumsum([np.size(leaves[i]) for i in group])[:-1]
        for i, part in zip(group, jnp.split(vectors[kind], ends), strict=True):
            shaped = part.reshape(np.shape(leaves[i]))
            leaves[i] = sharded_like(shaped.astype(dtype_of(leaves[i])), leaves[i])
    return structure.unflatten(leaves)
