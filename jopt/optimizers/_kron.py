"""Kron: preconditioned gradient descent whose factors are fitted during training."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jopt.core import (
    Blocking,
    Chain,
    DType,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    as_schedule,
    bias,
    chain,
    check,
    checked,
    full_like,
    increment,
    init_stacks,
    map_stacks,
    mix,
    pytree,
    rms,
    round_if_close,
    shrink,
    static,
    stored,
    value_at,
    wide,
)
from jopt.optimizers._kron_factors import (
    SAVINGS,
    Saving,
    as_square,
    balanced,
    fitted,
    multiplied,
)
from jopt.schedules import exponential_decay
from jopt.transforms import add_decayed_weights, scale_by_learning_rate

_ANNEALED = exponential_decay(1.0, 1000, math.exp(-1), 500, end_value=0.03)


class ScaleByKronState(NamedTuple):
    """Running mean of the gradients, and factors for each shape.

    A factor of an axis of d coordinates is float32[n, d, d], upper triangular, or
    float32[n, d], a diagonal. n counts the leaves of that shape; the dict's key is the
    shape's name.
    """

    count: jax.Array  # int32[], updates made
    since: jax.Array  # int32[], updates since the factors were fitted
    mu: PyTree  # like params
    factors: dict[str, tuple[jax.Array, ...]]  # by the name of a shape


@pytree
class ScaleByKron(GradientTransformation):
    """Whiten the mean gradient by triangular factors, one for each axis.

    For a matrix, with a factor for rows (Q) and one for columns (R),

        m <- b1 m + (1 - b1) g,  m' = m / (1 - b1^t)
        u = Q^T Q m' R^T R, at most max_rms in root mean square

    and, in some of the steps, before u is made,

        A = Q (m' + s V) R^T                B = Q^-T V R^-1,  V Gaussian, of variance 1
        Q <- Q - precond_lr triu(A A^T - B B^T) Q / |A A^T + B B^T|
        R <- R - precond_lr triu(A^T A - B^T B) R / |A^T A + B^T B|
        s = damping mean|m'| + 1e-12

    where |.| is a lower bound of the spectral norm. The fit is stationary where A has
    the moments of B, which is where u is white. Arrays of other ranks have a factor for
    each axis.

    V is drawn from the seed and the step: leaves of one shape share it, and so do
    trials. Each fit first scales the factors to the same greatest coordinate; their
    product, and so the updates, stay the same.

    Memory: for m by n, m n + m^2 + n^2 numbers. Work: a step of a square matrix takes 4
    products of matrices; a fit takes 2 more, 2 triangular solves, and 3 products for
    each axis. Gradients with respect to the numbers pass through the fits.

    Defaults are those of kron-torch 0.3, which puts the damping into u as well; PSGD's
    own code does not merge axes.

    Args:
      b1: share of m that a step keeps, in [0, 1).
      preconditioner_update_probability: fraction of the steps with a fit, in [0, 1]; a
        number, a schedule or a function of the int32 step. A fit is made when 1 over it
        steps have passed since the last one. None is 1 in the first 500 steps, and
        then falls to 0.03 at step 4000. It decides on a branch, so it is static.
      max_size_triangular: longest axis that has a triangular factor; a longer one has a
        diagonal factor.
      min_ndim_triangular: least number of axes for triangular factors. Leaves of fewer
        axes, and complex leaves, have diagonal factors only.
      memory_save_mode: "one_diag" makes the factor of the longest axis diagonal,
        "smart_one_diag" does so only if no other axis is as long, "all_diag" makes all
        factors diagonal.
      momentum_into_precond_update: whether the factors are fitted to m', else to g.
      precond_lr: step size of the fit, in (0, 1).
      precond_init_scale: product of the factors at first, above 0.
      damping: at least 0. It bounds the factors where gradients vanish.
      max_rms: limit of the root mean square of u, above 0. Infinity is off.
      merge_dims: whether leaves of more than two axes are reshaped to the matrix that
        is closest to square.
      mu_dtype: dtype of m. None is the params' dtype, but at least float32.
      seed: seed of V.

    Raises:
      ValueError: `memory_save_mode` is unknown.

    Li 2015, https://arxiv.org/abs/1512.04202; Pooladzandi & Li 2024,
    https://arxiv.org/abs/2402.04553.
    """

    b1: Number = 0.9
    preconditioner_update_probability: ScalarOrSchedule | None = static(
        converter=as_schedule, default=None
    )
    max_size_triangular: int = static(default=8192)
    min_ndim_triangular: int = static(default=2)
    memory_save_mode: Saving | None = static(default=None)
    momentum_into_precond_update: bool = static(default=True)
    precond_lr: Number = 0.1
    precond_init_scale: Number = 1.0
    damping: Number = 2**-11.5
    max_rms: Number = 1.1
    merge_dims: bool = static(default=True)
    mu_dtype: DType = static(default=None)
    seed: int = static(default=0)

    def __post_init__(self):
        check(self, "b1", least=0, below=1)
        check(self, "preconditioner_update_probability", least=0, most=1)
        check(self, "precond_lr", above=0, below=1)
        check(self, "precond_init_scale", above=0)
        check(self, "damping", least=0)
        check(self, "max_rms", above=0)
        if self.memory_save_mode not in SAVINGS:
            known = ", ".join(map(str, SAVINGS))
            raise ValueError(
                f"ScaleByKron: memory_save_mode must be one of {known}, "
                f"got {self.memory_save_mode!r}."
            )

    def init(self, params):
        def factors(n, cut, dtype):
            scale = wide(self.precond_init_scale) ** (1 / len(cut.block))
            return tuple(
                scale.astype(dtype)
                * jnp.tile(
                    jnp.eye(d, dtype=dtype) if axis in cut.axes else jnp.ones(d, dtype),
                    (n, 1, 1) if axis in cut.axes else (n, 1),
                )
                for axis, d in enumerate(cut.block)
            )

        return ScaleByKronState(
            count=jnp.zeros((), jnp.int32),
            since=jnp.zeros((), jnp.int32),
            mu=full_like(params, dtype=self.mu_dtype),
            factors=init_stacks(factors, self._cut, params),
        )

    def update(self, updates, state, params=None, **extra):
        count, since = increment(state.count), increment(state.since)
        weight = bias(self.b1, count)
        given = self.preconditioner_update_probability
        chance = value_at(_ANNEALED if given is None else given, state.count)
        # In float32 1 / (1 / 61) is above 61; `round_if_close` returns 61.
        due = wide(since) >= round_if_close(1 / chance)
        key = jax.random.fold_in(jax.random.key(self.seed), state.count)

        def rule(axes, g, m, factors):
            if not g.size:
                return g, m, factors
            m = mix(m, g, self.b1)
            mean = m / weight
            seen = mean if self.momentum_into_precond_update else g

            def fit():
                probe = jax.random.normal(key, g.shape, jnp.finfo(g.dtype).dtype)
                noise = (self.damping * jnp.mean(jnp.abs(seen)) + 1e-12) * probe
                made = fitted(balanced(factors), seen + noise, probe, self.precond_lr)
                return stored(made, factors)

            factors = lax.cond(due, fit, lambda: factors)
            u = multiplied(multiplied(mean, factors), factors, turned=True)
            return u * shrink(rms(u), self.max_rms), m, factors

        updates, mu, factors = map_stacks(
            rule, self._cut, (updates, state.mu), (state.factors,)
        )
        since = jnp.where(due, 0, since)
        return updates, ScaleByKronState(count, since, mu, factors)

    def _cut(self, leaf: jax.Array) -> Blocking:
        shape = np.shape(leaf) or (1,)
        if self.merge_dims and len(shape) > 2:
            shape = as_square(shape)
        diagonal = jnp.iscomplexobj(leaf) or len(shape) < self.min_ndim_triangular
        saved = SAVINGS[self.memory_save_mode](shape)
        fits = (1 < d <= self.max_size_triangular and not diagonal for d in shape)
        axes = (i for i, fit in enumerate(fits) if fit and i not in saved)
        return Blocking(shape, shape, tuple(axes))


scale_by_kron = ScaleByKron


@checked
def kron(
    learning_rate: ScalarOrSchedule,
    b1: Number = 0.9,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
    preconditioner_update_probability: ScalarOrSchedule | None = None,
    max_size_triangular: int = 8192,
    min_ndim_triangular: int = 2,
    memory_save_mode: Saving | None = None,
    momentum_into_precond_update: bool = True,
    precond_lr: Number = 0.1,
    precond_init_scale: Number = 1.0,
    merge_dims: bool = True,
    mu_dtype: DType = None,
    *,
    damping: Number = 2**-11.5,
    max_rms: Number = 1.1,
    seed: int = 0,
) -> Chain:
    """Step along the mean gradient, whitened by triangular factors for each axis.

        p <- p - learning_rate (u + weight_decay p),  u of `ScaleByKron`

        tx = jopt.kron(3e-4)

    On a CPU set OPENBLAS_NUM_THREADS=1, as the command `jopt` does: OpenBLAS's threads
    compete with XLA's, and make triangular systems many times slower.

    Args:
      learning_rate: step size, at least 0, in units of params, about a third of Adam's;
        a number or a schedule.
      b1: see `ScaleByKron`.
      weight_decay: at least 0, multiplied by the learning rate; a number or a schedule.
      mask: which parameters decay, see `add_decayed_weights`. kron-torch decays those
        of two axes or more.
      preconditioner_update_probability, precond_lr, precond_init_scale, damping: see
        `ScaleByKron`.
      max_size_triangular, min_ndim_triangular, memory_save_mode, merge_dims: see
        `ScaleByKron`.
      momentum_into_precond_update, max_rms, mu_dtype, seed: see `ScaleByKron`.

    Li 2015, https://arxiv.org/abs/1512.04202; Pooladzandi & Li 2024,
    https://arxiv.org/abs/2402.04553.
    """
    direction = scale_by_kron(
        b1,
        preconditioner_update_probability,
        max_size_triangular,
        min_ndim_triangular,
        memory_save_mode,
        momentum_into_precond_update,
        precond_lr,
        precond_init_scale,
        damping,
        max_rms,
        merge_dims,
        mu_dtype,
        seed,
    )
    return chain(
        direction,
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )
