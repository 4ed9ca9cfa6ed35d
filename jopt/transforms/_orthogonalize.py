"""Orthogonal matrices in place of the updates', all of one shape at once."""

import math
from collections.abc import Callable
from typing import Any

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
    static,
    wide,
)
from jopt.transforms._dimension_trees import as_dimensions, matrices_of
from jopt.transforms._dimensions import MuonDimensionNumbers
from jopt.transforms._newton_schulz import (
    QUINTIC,
    Preconditioning,
    as_coefficients,
    newton_schulz,
    rows_of,
)


@pytree
class Orthogonalize(GradientTransformation):
    """Bring the singular values of each matrix close to 1, by Newton and Schulz.

        x = g / (|g| + eps),   |g| = root of the sum of all squares
        x <- a x + b (x x') x + c (x x')^2 x,   ns_steps times
        u = x

    ns_coeffs: (a, b, c), or rows of them, one for each step; numbers, or a name:

        "quintic"        (3.4445, -4.7750, 2.0315), Muon's own; optax's "standard". Fast
                         and rough: singular values end between 0.7 and 1.2
        "tuned5"         five rows, each for its step, or the last `ns_steps` of them;
                         optax's "dion"
        "polar_express"  the best row for each step by the paper, with its safety; the
                         eighth converges to 1 and stands for all later ones

    ns_steps: static, at least 1; as many as there are rows, if rows are given. eps: at
    least 0, in units of the updates.

    preconditioning: what x is divided by at first: "frobenius", as above; "spectral",
    the greatest singular value, exact and slow; "schatten", the root of |g g'|; "aol",
    each row of a wide matrix (column of a tall one) by the root of the sum of |g g'|
    over its row, which turns g a little. eps is the least value of the sums in the last
    two.

    weight_dimension_numbers: static; `MuonDimensionNumbers` for each leaf, as a tree
    like the updates (or a prefix) or a function of them that makes one, see `masked`;
    None is leaves of two axes. ns_dtype: what the factors of products are rounded to;
    by default none is, and they are in at least float32 on a CPU and as
    `jax_default_matmul_precision` says elsewhere. bfloat16, as in PyTorch's Muon, is
    for hardware that multiplies it faster: its rounding is below the roughness of the
    quintic. Complex products are not rounded.

    Matrices of one shape, tall ones turned over, are stacked and iterated together;
    those that an explicit mesh divides are gathered, and their updates divided. On
    a CPU those half as wide again as high go through the Gram matrix, which is the same
    mathematics in fewer products.

    Raises a ValueError for a leaf that is no matrix. The sign of what comes back is
    that of the updates; a matrix of zeros stays so.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; Ahn et al. 2025,
    https://arxiv.org/abs/2504.05295; Amsel et al. 2025,
    https://arxiv.org/abs/2505.16932, Algorithm 1; for "aol" Boissin et al. 2025,
    https://arxiv.org/abs/2512.04632; for "schatten" Grishina et al. 2025,
    https://arxiv.org/abs/2506.10935.
    """

    ns_coeffs: Any = QUINTIC
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
        stacks: dict[Any, list[int]] = {}
        matrices = []
        for i, (leaf, axes) in enumerate(zip(leaves, numbers, strict=True)):
            matrices.append(_flat(replicated(wide(leaf)), axes))
            stacks.setdefault((matrices[i].shape[1:], matrices[i].dtype), []).append(i)

        made = list(leaves)
        for (shape, _), members in stacks.items():
            if 0 in shape or not sum(len(matrices[i]) for i in members):
                continue
            stack = jnp.concatenate([matrices[i] for i in members])
            # All is of one width by now; the numbers may be narrower than a leaf.
            with jax.numpy_dtype_promotion("standard"):
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
    """Return the weight of these matrices."""
    order = [i for part in numbers.axes(shape) for i in part]
    fan_in, fan_out = numbers.fans(shape)
    flat = flat if fan_in <= fan_out else flat.swapaxes(1, 2)
    whole = flat.reshape([shape[i] for i in order])
    return whole.transpose([order.index(i) for i in range(len(shape))])
