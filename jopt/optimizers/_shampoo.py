"""Shampoo, in blocks and with the norm of another method's update."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jopt.core import (
    Blocking,
    Chain,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    abs_sq,
    bias,
    chain,
    check,
    checked,
    even_blocks,
    full_like,
    gram,
    increment,
    init_stacks,
    inverse_power,
    map_stacks,
    merge_axes,
    mix,
    multiply_along_axes,
    norm,
    pytree,
    root,
    stacked_identities,
    stacked_zeros,
    static,
    stored,
)
from jopt.transforms import add_decayed_weights, scale_by_learning_rate

Graft = Literal["adam", "rmsprop", "sgd", "none"]


class ScaleByShampooState(NamedTuple):
    """Running means, and for each shape of a block the factors and their roots.

    A factor or root of an axis of d coordinates is float32[n, d, d]. n counts the
    blocks of that shape, of all leaves; the dict's key is the shape's name.
    """

    count: jax.Array  # int32[], updates made
    mu: PyTree  # like params
    nu: PyTree  # like params, real
    factors: dict[str, tuple[jax.Array, ...]]  # by the name of a shape
    roots: dict[str, tuple[jax.Array, ...]]  # by the name of a shape


@pytree
class ScaleByShampoo(GradientTransformation):
    """Divide the mean gradient by roots of its second moments along each axis.

    For a matrix, with a factor for rows (L) and one for columns (R),

        m <- b1 m + (1 - b1) g              v <- b2 v + (1 - b2) g^2
        L <- b2 L + (1 - b2) g g^T          R <- b2 R + (1 - b2) g^T g
        s = (L' + l I)^-e m' (R' + r I)^-e
        u = s |d| / |s|,  d = m' / (sqrt(v') + eps)

    where ' divides by 1 - b^t, and l is `matrix_eps` times the greatest eigenvalue of
    L', r the same of R'. Arrays of other ranks have a factor for each axis. The roots
    are computed every `precondition_frequency` steps; before the first time u = d.

    Axes of length one have no factor. Leaves with fewer than two other axes, and
    complex leaves, take u = d. b1=0, b2=1, graft="none", precondition_frequency=1 is
    Shampoo as first published, but for the relative `matrix_eps`.

    Memory: for m by n in one block, 2 m n + 2 m^2 + 2 n^2 numbers. Work: a step of a
    square matrix takes 4 products of matrices; a refresh takes an eigendecomposition
    for each axis. Gradients with respect to the numbers pass through the roots, also
    where eigenvalues are equal. Frequency and sizes are static: the refresh is a
    branch on the step, also under `vmap` over numbers.

    Args:
      b1: share of m that a step keeps, in [0, 1).
      b2: share of v, L and R that a step keeps, in [0, 1]. 1 is the sum in place of the
        mean, as in the first paper.
      eps: added outside the root, at least 0, in units of the gradients.
      matrix_eps: above 0, relative to the greatest eigenvalue.
      exponent: e, above 0. None is 1 / (2 k) for k axes.
      precondition_frequency: steps between two refreshes of the roots, an integer, at
        least 1.
      block_size: longest axis of a block. A leaf with a longer axis is cut to the
        fewest equal blocks that are not longer. Each block counts as a leaf, for |s|
        and |d| too.
      merge_dims: whether neighbouring axes are merged first, while their product is at
        most `block_size`.
      graft: whose norm u has. "adam": that of d above; "rmsprop": m' / (sqrt(v) + eps);
        "sgd": m'; "none": u = s, and d is that of "adam".

    Gupta et al. 2018, https://arxiv.org/abs/1802.09568, Algorithm 2; Anil et al. 2020,
    https://arxiv.org/abs/2002.09018; Shi et al. 2023, https://arxiv.org/abs/2309.06497.
    """

    b1: Number = 0.9
    b2: Number = 0.999
    eps: Number = 1e-8
    matrix_eps: Number = 1e-6
    exponent: Number | None = None
    precondition_frequency: int = static(default=10)
    block_size: int = static(default=1024)
    merge_dims: bool = static(default=False)
    graft: Graft = static(default="adam")

    def __post_init__(self):
        check(self, "b1", least=0, below=1)
        check(self, "b2", least=0, most=1)
        check(self, "eps", least=0)
        check(self, "matrix_eps", "exponent", above=0)
        check(self, "precondition_frequency", "block_size", least=1)

    def init(self, params):
        return ScaleByShampooState(
            count=jnp.zeros((), jnp.int32),
            mu=full_like(params),
            nu=full_like(params, real=True),
            factors=init_stacks(stacked_zeros, self._cut, params),
            roots=init_stacks(stacked_identities, self._cut, params),
        )

    def update(self, updates, state, params=None, **extra):
        count = increment(state.count)
        summed = self.b2 == 1
        share = jnp.where(summed, 1, 1 - self.b2)
        weight1 = bias(self.b1, count)
        weight2 = jnp.where(summed, 1, bias(self.b2, count))
        due = count % self.precondition_frequency == 0
        early = count < self.precondition_frequency

        def rule(axes, g, m, v, factors, roots):
            m = mix(m, g, self.b1)
            v = self.b2 * v + share * abs_sq(g)
            pairs = zip(factors, axes, strict=True)
            factors = tuple(self.b2 * f + share * gram(g, axis) for f, axis in pairs)
            power = 1 / (2 * len(axes) or 1) if self.exponent is None else self.exponent

            def fresh():
                debiased = (f / weight2 for f in factors)
                made = (inverse_power(f, power, self.matrix_eps) for f in debiased)
                return stored(tuple(made), roots)

            roots = lax.cond(due, fresh, lambda: roots)
            mean = m / weight1
            model = _GRAFTS[self.graft](mean, v, v / weight2, self.eps)
            if not axes:
                return model, m, v, factors, roots
            shaped = multiply_along_axes(mean, roots, axes)
            if self.graft != "none":
                size = norm(shaped)
                shaped = shaped * (norm(model) / jnp.where(size > 0, size, 1))
            return jnp.where(early, model, shaped), m, v, factors, roots

        updates, mu, nu, factors, roots = map_stacks(
            rule,
            self._cut,
            (updates, state.mu, state.nu),
            (state.factors, state.roots),
        )
        return updates, ScaleByShampooState(count, mu, nu, factors, roots)

    def _cut(self, leaf: jax.Array) -> Blocking:
        shape = np.shape(leaf)
        laid = tuple(d for d in shape if d != 1)
        if jnp.iscomplexobj(leaf) or 0 in shape or len(laid) < 2:
            return Blocking(shape, shape, ())
        if self.merge_dims:
            laid = merge_axes(laid, self.block_size)
        return Blocking(
            laid, even_blocks(laid, self.block_size), tuple(range(len(laid)))
        )


_GRAFTS = {
    "adam": lambda mean, v, square, eps: mean / (root(square) + eps),
    "rmsprop": lambda mean, v, square, eps: mean / (root(v) + eps),
    "sgd": lambda mean, v, square, eps: mean,
    "none": lambda mean, v, square, eps: mean / (root(square) + eps),
}

scale_by_shampoo = ScaleByShampoo


@checked
def shampoo(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    matrix_eps: Number = 1e-6,
    exponent: Number | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
    precondition_frequency: int = 10,
    block_size: int = 1024,
    merge_dims: bool = False,
    graft: Graft = "adam",
) -> Chain:
    """Step along the mean gradient divided by roots of its second moments.

        p <- p - learning_rate (u + weight_decay p),  u of `ScaleByShampoo`

        tx = jopt.shampoo(1e-3)

    On a CPU set OPENBLAS_NUM_THREADS=1, as the command `jopt` does: OpenBLAS's threads
    compete with XLA's, and make decompositions many times slower.

    Args:
      learning_rate: step size of the grafted method, Adam's by default, at least 0, in
        units of params; a number or a schedule.
      b1, b2, eps, matrix_eps, exponent: see `ScaleByShampoo`.
      weight_decay: at least 0, multiplied by the learning rate; a number or a schedule.
      mask: which parameters decay, see `add_decayed_weights`.
      precondition_frequency, block_size, merge_dims, graft: see `ScaleByShampoo`.

    Anil et al. 2020, https://arxiv.org/abs/2002.09018; Shi et al. 2023,
    https://arxiv.org/abs/2309.06497.
    """
    direction = scale_by_shampoo(
        b1,
        b2,
        eps,
        matrix_eps,
        exponent,
        precondition_frequency,
        block_size,
        merge_dims,
        graft,
    )
    return chain(
        direction,
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
