"""Muon, with AdamW for the leaves that are not matrices."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    DType,
    EmptyState,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    bias,
    chain,
    check,
    checked,
    debiased,
    dtype_of,
    full_like,
    increment,
    map_leaves,
    mix,
    pytree,
    static,
    wide,
)
from jopt.optimizers._adam import adamw
from jopt.transforms import (
    QUINTIC,
    Dimensions,
    Preconditioning,
    add_decayed_weights,
    as_coefficients,
    as_dimensions,
    matrices_of,
    orthogonalize,
    scale_by_learning_rate,
    scale_by_shape,
)
from jopt.wrappers import Partition, partition


class MuonState(NamedTuple):
    """Running mean of the gradients."""

    count: jax.Array  # int32[], updates made
    mu: PyTree  # like params


@pytree
class ScaleByMuon(GradientTransformation):
    """Orthogonalize the mean gradient of each matrix.

        m <- beta m + (1 - beta) g
        u = orthogonalize(m'),   m' = m / (1 - beta^t)

    and with Nesterov's momentum

        m' = beta m / (1 - beta^(t+1)) + (1 - beta) g / (1 - beta^t)

    Unlike optax's, the state has no `ns_coeffs`: they are numbers of the
    transformation, so new ones take effect at once.

    Args:
      ns_coeffs, ns_steps, eps, preconditioning: see `orthogonalize`.
      weight_dimension_numbers, ns_dtype: see `orthogonalize`.
      beta: share of m that a step keeps, in [0, 1).
      mu_dtype: dtype of m. None is the params' dtype, but at least float32.
      nesterov: whether m' has Nesterov's momentum, as above.
      adaptive: whether to multiply the update of a leaf by the sum of m' u. That is
        about the sum of the singular values of m', its dual norm.

    Raises:
      ValueError: a leaf is not a matrix, see `muon`.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; for `adaptive`
    Bernstein & Newhouse 2024, https://arxiv.org/abs/2409.20325.
    """

    ns_coeffs: Any = QUINTIC
    ns_steps: int = static(default=5)
    beta: Number = 0.95
    eps: Number = 1e-8
    mu_dtype: DType = static(default=None)
    nesterov: bool = static(default=True, kw_only=True)
    adaptive: bool = static(default=False, kw_only=True)
    preconditioning: Preconditioning = static(default="frobenius", kw_only=True)
    weight_dimension_numbers: PyTree | Callable[..., PyTree] | None = static(
        default=None, kw_only=True
    )
    ns_dtype: DType = static(default=None, kw_only=True)

    def __post_init__(self):
        check(self, "beta", least=0, below=1)
        check(self, "eps", least=0)
        check(self, "ns_steps", least=1)
        held = self.__dict__
        held["ns_coeffs"] = as_coefficients(self.ns_coeffs, self.ns_steps, self)
        held["weight_dimension_numbers"] = as_dimensions(self.weight_dimension_numbers)
        self._orthogonalize()  # checks the other arguments

    def init(self, params):
        matrices_of(self, params)
        mu = full_like(params, dtype=self.mu_dtype)
        return MuonState(count=jnp.zeros((), jnp.int32), mu=mu)

    def update(self, updates, state, params=None, **extra):
        count = increment(state.count)
        weight = bias(self.beta, count)
        ahead = bias(self.beta, increment(count)) if self.nesterov else None

        def rule(g, m):
            m = mix(m, g, self.beta)
            return debiased(m, g, self.beta, weight, ahead), m

        # Only the result is rounded to the updates' dtype, not its input as well.
        mean, mu = map_leaves(rule, jax.tree.map(wide, updates), state.mu)
        made, _ = self._orthogonalize().update(mean, EmptyState())
        if self.adaptive:
            made = map_leaves(_by_dual_norm, made, mean)
        made = jax.tree.map(lambda new, old: new.astype(dtype_of(old)), made, updates)
        return made, MuonState(count=count, mu=mu)

    def _orthogonalize(self) -> GradientTransformation:
        return orthogonalize(
            self.ns_coeffs,
            self.ns_steps,
            self.eps,
            preconditioning=self.preconditioning,
            weight_dimension_numbers=self.weight_dimension_numbers,
            ns_dtype=self.ns_dtype,
        )


def _by_dual_norm(u: jax.Array, mean: jax.Array) -> jax.Array:
    # The sum is real: u and the mean have the same singular vectors.
    return jnp.sum((mean.conj() * u).real) * u


scale_by_muon = ScaleByMuon


@dataclass(frozen=True)
class _Groups:
    """Labels of the leaves of params, "muon" or "adam"; hashable, so a static field."""

    dimensions: Dimensions

    def __call__(self, params: PyTree) -> PyTree:
        return self.dimensions.groups(params)


def matrices_and_rest(
    *direction: GradientTransformation,
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule,
    weight_decay_mask: PyTree | Callable[..., PyTree] | None,
    adam_learning_rate: ScalarOrSchedule | None,
    adam: tuple[Any, ...],
    nesterov: bool,
    weight_dimension_numbers: PyTree | Callable[..., PyTree] | None,
) -> Partition:
    """Step along `direction` in the matrices, and by AdamW in the other leaves.

    Args:
      *direction: transformations of the matrices, before decay and learning rate.
      learning_rate: of the matrices.
      weight_decay: of the matrices.
      weight_decay_mask: which matrices decay.
      adam_learning_rate: AdamW's; None is `learning_rate`.
      adam: b1, b2, eps, eps_root, mu_dtype and weight_decay of `adamw`.
      nesterov: of `adamw`.
      weight_dimension_numbers: which leaves are matrices, see `orthogonalize`.
    """
    matrices = chain(
        *direction,
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )
    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    rest = adamw(rate, *adam, nesterov=nesterov)
    groups = _Groups(Dimensions(weight_dimension_numbers))
    return partition({"muon": matrices, "adam": rest}, groups)


@checked
def muon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: Any = QUINTIC,
    ns_steps: int = 5,
    beta: Number = 0.95,
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: PyTree | Callable[..., PyTree] | None = None,
    mu_dtype: DType = None,
    *,
    nesterov: bool = True,
    adaptive: bool = False,
    preconditioning: Preconditioning = "frobenius",
    adam_b1: Number = 0.9,
    adam_b2: Number = 0.999,
    adam_eps_root: Number = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    muon_weight_dimension_numbers: PyTree | Callable[..., PyTree] | None = None,
    consistent_rms: Number | None = None,
    ns_dtype: DType = None,
) -> Partition:
    """Step along the orthogonalized mean gradient of each matrix; AdamW for the rest.

        p <- p - learning_rate (s u + weight_decay p)

    where u is of `ScaleByMuon` and s of `scale_by_shape`.

        tx = jopt.muon(3e-4, weight_decay=0.1, consistent_rms=0.2)

    Embeddings and the last layer are matrices by their shape, but AdamW suits them
    better: give their dimension numbers as None. PyTorch's Muon has no bias correction,
    decays by 0.1 and leaves other leaves out; its weights are transposed.

    Args:
      learning_rate: at least 0; a number or a schedule. About 0.02 when scaled by
        shape; AdamW's own with consistent_rms.
      ns_coeffs, ns_steps, preconditioning, ns_dtype: see `orthogonalize`.
      beta, adaptive: see `ScaleByMuon`.
      eps, mu_dtype, nesterov: for both, see `ScaleByMuon` and `adamw`.
      weight_decay: at least 0, multiplied by the learning rate; a number or a schedule.
      weight_decay_mask: which matrices decay, see `add_decayed_weights`.
      adam_b1, adam_b2, adam_eps_root, adam_weight_decay: see `adamw`.
      adam_learning_rate: AdamW's; None is `learning_rate`.
      muon_weight_dimension_numbers: which leaves are matrices, and how, see
        `orthogonalize`. None is all leaves of two axes; a leaf whose numbers are None
        is trained by AdamW.
      consistent_rms: see `scale_by_shape`. Moonlight's is 0.2.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; Liu et al. 2025,
    https://arxiv.org/abs/2502.16982.
    """
    direction = scale_by_muon(
        ns_coeffs,
        ns_steps,
        beta,
        eps,
        mu_dtype,
        nesterov=nesterov,
        adaptive=adaptive,
        preconditioning=preconditioning,
        weight_dimension_numbers=muon_weight_dimension_numbers,
        ns_dtype=ns_dtype,
    )
    adam = (adam_b1, adam_b2, eps, adam_eps_root, mu_dtype, adam_weight_decay)
    return matrices_and_rest(
        direction,
        scale_by_shape(muon_weight_dimension_numbers, consistent_rms),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        weight_decay_mask=weight_decay_mask,
        adam_learning_rate=adam_learning_rate,
        adam=adam,
        nesterov=nesterov,
        weight_dimension_numbers=muon_weight_dimension_numbers,
    )
