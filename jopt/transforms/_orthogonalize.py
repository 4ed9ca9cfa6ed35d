"""Orthogonalization of matrix-shaped updates, all matrices of one shape at once."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jopt.core import (
    DType,
    EmptyState,
    GradientTransformation,
    Number,
    PyTree,
    check,
    dtype_of,
    pytree,
    replicated,
    sharded_like,
    standard_promotion,
    static,
    wide,
)
from jopt.transforms._matrix_dimensions import (
    MuonDimensionNumbers,
    as_dimensions,
    matrices_of,
)
from jopt.transforms._newton_schulz import (
    QUINTIC,
    Preconditioning,
    as_coefficients,
    newton_schulz,
    rows_of,
)


@pytree
class Orthogonalize(GradientTransformation):
    """Bring the singular values of each matrix close to 1 by Newton-Schulz iteration.

        x = g / (|g| + eps),   |g| = root of the sum of all squares
        x <- a x + b (x x') x + c (x x')^2 x,   ns_steps times
        u = x

    The presets of `ns_coeffs`:

        "quintic"        (3.4445, -4.7750, 2.0315), Muon's own; optax's "standard". Fast
                         and rough: singular values end between 0.7 and 1.2
        "tuned5"         five rows, each for its step, or the last `ns_steps` of them;
                         optax's "dion"
        "polar_express"  the paper's best row for each step, with its safety factor; the
                         eighth converges to 1 and serves for all later steps

    The choices of `preconditioning`, the first divisor of x:

        "frobenius"      the norm above
        "spectral"       the greatest singular value, exact and slow
        "schatten"       the root of |g g'|
        "aol"            for each row of a wide matrix (column of a tall one), the
                         root of the sum of |g g'| over its row; it turns g a little

    Matrices of one shape, tall ones transposed, are stacked and iterated together.
    Those that are sharded over an explicit mesh are gathered, and their updates are
    sharded again. On a CPU, matrices with one side more than 1.5 times the other are
    iterated on their Gram matrix: the same mathematics in fewer products.

    The sign of the result is that of the updates; a matrix of zeros stays zero.

    Args:
      ns_coeffs: (a, b, c), or a row of the three for each step, or the name of a
        preset. Numbers are leaves and can be swept.
      ns_steps: number of steps, static, at least 1; the number of rows, if rows are
        given.
      eps: at least 0, in units of the updates. It is added to the divisor, or is the
        least value of the sums of "schatten" and "aol".
      preconditioning: the first divisor of x, static.
      weight_dimension_numbers: static; `MuonDimensionNumbers` for each leaf, as a tree
        like the updates (or a prefix of it) or a function of them that makes one, see
        `masked`; None is all leaves, each of two axes.
      ns_dtype: dtype that the factors of products are rounded to. By default they are
        not rounded: products are in at least float32 on a CPU and as
        `jax_default_matmul_precision` says elsewhere. bfloat16, as in PyTorch's Muon,
        is for hardware that multiplies it faster: its rounding error is below the error
        of the quintic. Complex products are not rounded.

    Raises:
      ValueError: if a leaf is not a matrix.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; Ahn et al. 2025,
    https://arxiv.org/abs/2504.05295; Amsel et al. 2025,
    https://arxiv.org/abs/2505.16932, Algorithm 1; for "aol" Boissin et al. 2025,
    https://arxiv.org/abs/2512.04632; for "schatten" Grishina et al. 2025,
    https://arxiv.org/abs/2506.10935.
    """

    ns_coeffs: PyTree = QUINTIC
    ns_steps: int = static(default=5)
    eps: Number = 1e-8
    preconditioning: Preconditioning = static(default="frobenius", kw_only=True)
    weight_dimension_numbers: PyTree | Callable[..., PyTree] | None = static(
        default=None, kw_only=True
    )
    ns_dtype: DType = static(default=None, kw_only=True)

    def __post_init__(self):
        check(self, "ns_steps", least=1)
        check(self, "eps", least=0)
        held = self.__dict__
        held["ns_coeffs"] = as_coefficients(self.ns_coeffs, self.ns_steps, self)
        held["weight_dimension_numbers"] = as_dimensions(self.weight_dimension_numbers)
        if self.ns_dtype is not None:
            held["ns_dtype"] = jnp.dtype(self.ns_dtype)

    def init(self, params):
        return EmptyState()

    def update(self, updates, state, params=None, **extra):
        leaves, structure = jax.tree.flatten(updates)
        numbers = matrices_of(self, updates)
        stacks: dict[tuple[tuple[int, ...], jnp.dtype], list[int]] = {}
        matrices = []
        for i, (leaf, axes) in enumerate(zip(leaves, numbers, strict=True)):
            matrices.append(_flat(replicated(wide(leaf)), axes))
            stacks.setdefault((matrices[i].shape[1:], matrices[i].dtype), []).append(i)

        made = list(leaves)
        for (shape, _), members in stacks.items():
            if 0 in shape or not sum(len(matrices[i]) for i in members):
                continue
            stack = jnp.concatenate([matrices[i] for i in members])
            # All arrays are wide here, but swept coefficients may be narrower than x.
            with standard_promotion():
                stack = self._iterated(stack)
            sizes = [len(matrices[i]) for i in members]
            starts = [sum(sizes[:k]) for k in range(1, len(sizes))]
            for i, part in zip(members, jnp.split(stack, starts), strict=True):
                whole = _unflat(part, leaves[i].shape, numbers[i])
                made[i] = sharded_like(whole.astype(dtype_of(leaves[i])), leaves[i])
        return structure.unflatten(made), state

    def _iterated(self, stack: jax.Array) -> jax.Array:
        rows = rows_of(self.ns_coeffs, self.ns_steps)
        kind = self.preconditioning
        made = newton_schulz(stack, rows, self.eps, kind, self.ns_dtype)
        return made.astype(stack.dtype)


orthogonalize = Orthogonalize


def _flat(x: jax.Array, numbers: MuonDimensionNumbers) -> jax.Array:
    """Return the matrices of a weight, [matrices, rows, columns], rows <= columns."""
    axes = numbers.axes(x.shape)
    sizes = [math.prod(x.shape[i] for i in part) for part in axes]
    flat = x.transpose([i for part in axes for i in part]).reshape(sizes)
    return flat if sizes[1] <= sizes[2] else flat.swapaxes(1, 2)


def _unflat(
    flat: jax.Array, shape: tuple[int, ...], numbers: MuonDimensionNumbers
) -> jax.Array:
    """Return the weight of this shape from its matrices: the inverse of `_flat`."""
    order = [i for part in numbers.axes(shape) for i in part]
    fan_in, fan_out = numbers.fans(shape)
    flat = flat if fan_in <= fan_out else flat.swapaxes(1, 2)
    whole = flat.reshape([shape[i] for i in order])
    return whole.transpose([order.index(i) for i in range(len(shape))])
