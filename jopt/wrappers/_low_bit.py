"""`low_bit`: an optimizer whose moments take 8 or 4 bits a number."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    Buckets,
    GradientTransformation,
    PyTree,
    Transformation,
    as_transformation,
    common_groups,
    depends_on_values,
    field,
    pytree,
    register_with_flax,
    static,
)
from jopt.wrappers._coded_arrays import (
    Code,
    Coded,
    Companded as Companded,
    Dynamic as Dynamic,
    decoded,
    is_coded,
)


class LowBitState(NamedTuple):
    """The state of the inner transformation, with large moments in few bits."""

    inner_state: PyTree  # with `Coded` nodes in the place of arrays


@pytree
class LowBit(GradientTransformation):
    """Keep the large arrays of an optimizer's state in 8 bits a number, or in 4.

        s <- decode(q)        u, s <- inner(g, s)        q <- encode(s)

        tx = jopt.low_bit(jopt.adamw(1e-3))

    Each `block` numbers, in flat order, share a scale, their greatest modulus. A number
    is stored as the code of its quotient by the scale.

    The state takes 2.03 bytes a parameter where AdamW's takes 8; with bits=4 it takes
    1.03. On n devices (see `state_sharding`) it takes an nth of that. Codes of leaves
    that an explicit mesh shards are replicated. During a step XLA makes float32 arrays:
    of one leaf at a time on a GPU, of all leaves on a CPU.

    These arrays are not encoded: arrays below `min_size`, arrays that are not float,
    and arrays that `init` makes of the params' own numbers (a master copy, an average,
    the start of training). The last are not moments: they move by less than a step of
    these codes. Vectors of small leaves (see `pack`) are not encoded either, and leaves
    of at least min_size are not joined to them. The arrays of `accumulate` and similar
    wrappers are not moments either, but look like moments: such wrappers go outside,
    `accumulate(low_bit(tx), 4)`.

    A block with a NaN or an infinity becomes NaN as a whole, so that a check still
    finds it. If numbers of very different sizes share a block, the mean squares
    of the smallest are stored too large, and their parameters move less: exclude the
    embeddings of rare tokens with `partition`.

    Args:
      inner: transformation of jopt or optax; it computes in its usual dtypes.
      bits: 8 or 4, static.
      block: numbers that share a scale, static, even, at least 2.
      min_size: least number of elements of an array that is encoded, static, at least
        1.
      code: number format, static, `Dynamic` or `Companded`. A block without negative
        numbers, such as one of a mean square, needs no codes for them: its other codes
        are twice as fine.

    Raises:
      ValueError: if `bits`, `block` or `min_size` is out of range.

    Dettmers et al. 2021, https://arxiv.org/abs/2110.02861.
    """

    inner: Transformation = field(converter=as_transformation)
    bits: int = static(default=8)
    block: int = static(default=256)
    min_size: int = static(default=4096)
    code: Code = static(default=Dynamic(), kw_only=True)

    def __post_init__(self):
        if self.bits not in (8, 4):
            raise ValueError(f"LowBit: bits must be 8 or 4, got {self.bits}.")
        if self.block < 2 or self.block % 2:
            raise ValueError(
                f"LowBit: block must be even and at least 2, got {self.block}; 256 is "
                "usual, and 32 with Companded."
            )
        if self.min_size < 1:
            raise ValueError(
                f"LowBit: min_size must be at least 1, got {self.min_size}."
            )

    def groups(self, params):
        sizes = map(jnp.size, jax.tree.leaves(params))
        small: list[tuple[()] | None] = [
            () if size < self.min_size else None for size in sizes
        ]
        return common_groups(params, small, self.inner.groups(params))

    def init(self, params):
        state = self.inner.init(params)
        copies = depends_on_values(self.inner.init, params)
        register_with_flax(Coded)

        def leaf(x: PyTree, copy: bool, joined: bool) -> PyTree:
            if is_coded(x):
                return x
            large = x.size >= self.min_size and jnp.issubdtype(x.dtype, jnp.floating)
            if copy or joined or not large:
                return x
            return Coded.of(x, self.bits, self.block, self.code)

        joined = _in_vectors(state)
        return LowBitState(jax.tree.map(leaf, state, copies, joined, is_leaf=is_coded))

    def update(self, updates, state, params=None, **extra):
        old = state.inner_state
        updates, new = self.inner.update(updates, decoded(old), params, **extra)
        code = lambda o, n: o.like(n) if is_coded(o) else n  # noqa: E731
        return updates, LowBitState(jax.tree.map(code, old, new, is_leaf=is_coded))

    def eval_params(self, state, params):
        return self.inner.eval_params(decoded(state.inner_state), params)


low_bit = LowBit


def _in_vectors(state: PyTree) -> PyTree:
    """Return, for each array of the state, whether small leaves are joined in it."""

    def node(x: PyTree) -> PyTree:
        if not isinstance(x, Buckets):
            return False
        return Buckets(
            jax.tree.map(lambda _: True, x.vectors),
            jax.tree.map(lambda _: False, x.leaves),
            x.layout,
        )

    return jax.tree.map(node, state, is_leaf=lambda x: isinstance(x, Buckets))
