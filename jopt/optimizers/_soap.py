"""SOAP: Adam in the eigenbases of Shampoo's factors."""

from collections.abc import Callable
from typing import NamedTuple

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
    eigenbasis,
    full_like,
    gram,
    increment,
    init_stacks,
    map_stacks,
    merge_axes,
    mix,
    multiply_along_axes,
    pytree,
    refined_basis,
    rms,
    root,
    stacked_identities,
    stacked_zeros,
    static,
    stored,
)
from jopt.transforms import add_decayed_weights, scale_by_learning_rate


class ScaleBySoapState(NamedTuple):
    """Running means, and for each shape the factors and their eigenbases.

    A factor or basis of an axis of d coordinates is float32[n, d, d]. n counts the
    leaves of that shape; the dict's key is the shape's name: `bases["float32[64, 32]
    axes 0, 1"]` is a pair of [n, 64, 64] and [n, 32, 32].
    """

    count: jax.Array  # int32[], updates made
    mu: PyTree  # like params
    nu: PyTree  # like params, real; in the eigenbases
    factors: dict[str, tuple[jax.Array, ...]]  # by the name of a shape
    bases: dict[str, tuple[jax.Array, ...]]  # by the name of a shape

    rotated = ("nu",)  # like params in shape, but not in their basis


@pytree
class ScaleBySoap(GradientTransformation):
    """Run Adam in the eigenbases of the gradients' second moments along each axis.

    For a matrix, with a factor and a basis for rows (L, P) and for columns (R, Q),

        m <- b1 m + (1 - b1) g              v <- b2 v + (1 - b2) (P^T g Q)^2
        u = P [P^T m' Q / (sqrt(v') + eps)] Q^T
        L <- c L + (1 - c) g g^T            R <- c R + (1 - c) g^T g
        m' = m / (1 - b1^s)                 v' = v / (1 - b2^s),  s = t - 1

    and after every `precondition_frequency` of these, one step of orthogonal iteration
    refreshes the bases, their vectors (and v) sorted by eigenvalue:

        P <- qr(L P),  Q <- qr(R Q)

    The first update is zero, as in the authors' code: it only computes L and R of the
    first gradient, and P and Q as their eigenvectors, so that no gradient is seen in a
    basis made of itself. Arrays of other ranks have a factor for each axis.

    Memory: for m by n, 2 m n + 2 m^2 + 2 n^2 numbers. Work: a step of a square matrix
    takes 8 products of matrices; a refresh takes a product and a QR for each axis. The
    bases are constants to differentiation (where eigenvalues are equal they have no
    derivative), so the gradient of `shampoo_beta` is zero. Frequency and sizes are
    static: the refresh is a branch on the step, also under `vmap` over numbers.

    Args:
      b1: share of m that a step keeps, in [0, 1).
      b2: share of v that a step keeps, in [0, 1).
      shampoo_beta: c, share of L and R that a step keeps, in [0, 1). None is b2.
      eps: added outside the root, at least 0, in units of the gradients.
      precondition_frequency: steps between two refreshes of the bases, an integer, at
        least 1.
      max_precond_dim: longest axis with a factor. A longer axis has none and keeps its
        coordinates.
      merge_dims: whether neighbouring axes are merged while their product is at most
        `max_precond_dim`. Lower that, too: with its default a small matrix becomes a
        vector.
      precondition_1d: whether vectors have a factor too. Otherwise they take Adam's
        update, as scalars and complex leaves do.
      normalize_grads: whether to divide each leaf's update by its root mean square.

    Vyas et al. 2024, https://arxiv.org/abs/2409.11321, Algorithm 3.
    """

    b1: Number = 0.95
    b2: Number = 0.95
    shampoo_beta: Number | None = None
    eps: Number = 1e-8
    precondition_frequency: int = static(default=10)
    max_precond_dim: int = static(default=10000)
    merge_dims: bool = static(default=False)
    precondition_1d: bool = static(default=False)
    normalize_grads: bool = static(default=False)

    def __post_init__(self):
        check(self, "b1", "b2", "shampoo_beta", least=0, below=1)
        check(self, "eps", least=0)
        check(self, "precondition_frequency", "max_precond_dim", least=1)

    def init(self, params):
        return ScaleBySoapState(
            count=jnp.zeros((), jnp.int32),
            mu=full_like(params),
            nu=full_like(params, real=True),
            factors=init_stacks(stacked_zeros, self._cut, params),
            bases=init_stacks(stacked_identities, self._cut, params),
        )

    def update(self, updates, state, params=None, **extra):
        made = state.count  # Adam's updates: all but the first
        weight1, weight2 = (bias(b, jnp.maximum(made, 1)) for b in (self.b1, self.b2))
        decay = self.b2 if self.shampoo_beta is None else self.shampoo_beta
        due = made % self.precondition_frequency == 0

        def refreshed(v, factors, bases, axes):
            new = []
            for factor, basis, axis in zip(factors, bases, axes, strict=True):
                order, basis = refined_basis(factor, basis)
                v = jnp.take(v, order, axis)
                new.append(basis)
            return v, tuple(new)

        def rule(axes, g, m, v, factors, bases):
            pairs = zip(factors, axes, strict=True)
            mixed = tuple(mix(f, gram(g, axis), decay) for f, axis in pairs)
            factors, held = stored(mixed, factors), (g, m, v, bases)

            def first():
                made = jnp.zeros_like(g), m, v, tuple(map(eigenbasis, factors))
                return stored(made, held)

            def later():
                mean = mix(m, g, self.b1)
                turned = multiply_along_axes(g, bases, axes, turned=True)
                square = mix(v, abs_sq(turned), self.b2)
                turned = multiply_along_axes(mean / weight1, bases, axes, turned=True)
                scaled = turned / (root(square / weight2) + self.eps)
                u = multiply_along_axes(scaled, bases, axes)
                kept = square, bases
                kept = lax.cond(
                    due,
                    lambda: stored(refreshed(square, factors, bases, axes), kept),
                    lambda: kept,
                )
                return stored((u, mean, *kept), held)

            u, m, v, bases = lax.cond(made == 0, first, later)
            if self.normalize_grads:
                size = rms(u)
                u = u / jnp.where(size > 0, size, 1)
            return u, m, v, factors, bases

        updates, mu, nu, factors, bases = map_stacks(
            rule,
            self._cut,
            (updates, state.mu, state.nu),
            (state.factors, state.bases),
        )
        count = increment(state.count)
        return updates, ScaleBySoapState(count, mu, nu, factors, bases)

    def _cut(self, leaf: jax.Array) -> Blocking:
        shape = np.shape(leaf)
        plain = jnp.iscomplexobj(leaf) or 0 in shape
        if plain or len(shape) < (1 if self.precondition_1d else 2):
            return Blocking(shape, shape, ())
        if self.merge_dims:
            shape = merge_axes(shape, self.max_precond_dim)
        axes = (i for i, d in enumerate(shape) if 1 < d <= self.max_precond_dim)
        return Blocking(shape, shape, tuple(axes))


scale_by_soap = ScaleBySoap


@checked
def soap(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.95,
    b2: Number = 0.95,
    shampoo_beta: Number | None = None,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
    precondition_frequency: int = 10,
    max_precond_dim: int = 10000,
    merge_dims: bool = False,
    precondition_1d: bool = False,
    normalize_grads: bool = False,
) -> Chain:
    """Step by Adam in the eigenbases of Shampoo's factors, with decoupled decay.

        p <- p - learning_rate (u + weight_decay p),  u of `ScaleBySoap`

    The first step is the decay alone.

        tx = jopt.soap(3e-3)

    On a CPU set OPENBLAS_NUM_THREADS=1, as the command `jopt` does: OpenBLAS's threads
    compete with XLA's, and make decompositions many times slower.

    Args:
      learning_rate: step size, at least 0, in units of params; a number or a schedule.
        3e-3 is the authors'.
      b1, b2, shampoo_beta, eps: see `ScaleBySoap`.
      weight_decay: at least 0, multiplied by the learning rate; a number or a schedule.
      mask: which parameters decay, see `add_decayed_weights`.
      precondition_frequency, max_precond_dim, merge_dims: see `ScaleBySoap`.
      precondition_1d, normalize_grads: see `ScaleBySoap`.

    Vyas et al. 2024, https://arxiv.org/abs/2409.11321, Algorithm 3.
    """
    direction = scale_by_soap(
        b1,
        b2,
        shampoo_beta,
        eps,
        precondition_frequency,
        max_precond_dim,
        merge_dims,
        precondition_1d,
        normalize_grads,
    )
    return chain(
        direction,
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
