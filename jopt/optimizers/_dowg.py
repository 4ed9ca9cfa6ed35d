"""DoWG."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    Chain,
    GradientTransformation,
    Number,
    PyTree,
    ScalarOrSchedule,
    chain,
    check,
    checked,
    copied,
    global_norm,
    inner_product,
    map_leaves,
    needed,
    pytree,
    quotient,
    root,
)
from jopt.optimizers._dog import NEEDS_DISTANCE, distance_from_start
from jopt.transforms import add_decayed_weights, identity, scale_by_learning_rate


class DoWGState(NamedTuple):
    """Squared distance covered by the parameters, and the gradients weighted by it."""

    init_params: PyTree  # like params
    weighted_sq_norm_grads: jax.Array  # float32[] at least
    estim_sq_dist: jax.Array  # float32[] at least


@pytree
class ScaleByDowg(GradientTransformation):
    """Step by the squared distance, over the root of gradients weighted by distance.

        u = r^2 g / (sqrt(V) + eps)
        r = greatest |p - p0| so far        V <- V + r^2 |g|^2

    with norms over all leaves, and p0 the parameters that `init` was given.

    The state holds a copy of the parameters, so `init` needs their values.

    Args:
      init_estim_sq_dist: start of r^2, at least 0, in units of params squared. None is
        eps.
      eps: added to the root, at least 0.

    Raises:
      ValueError: `update` is called without `params`.

    Khaled et al. 2023, https://arxiv.org/abs/2305.16284, Algorithm 1.
    """

    init_estim_sq_dist: Number | None = None
    eps: Number = 1e-4

    shapeless = True

    def __post_init__(self):
        check(self, "init_estim_sq_dist", "eps", least=0)

    def init(self, params):
        given = self.init_estim_sq_dist
        zero = jnp.zeros_like(global_norm(params))
        return DoWGState(
            init_params=copied(params),
            weighted_sq_norm_grads=zero,
            estim_sq_dist=jnp.array(self.eps if given is None else given, zero.dtype),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, NEEDS_DISTANCE)
        now = jnp.square(distance_from_start(params, state.init_params))
        distance = jnp.maximum(state.estim_sq_dist, now)
        squares = inner_product(updates, updates)
        weighted = distance * squares + state.weighted_sq_norm_grads
        rate = quotient(distance, root(weighted) + self.eps)
        return map_leaves(lambda g: rate * g, updates), DoWGState(
            init_params=state.init_params,
            weighted_sq_norm_grads=weighted,
            estim_sq_dist=distance,
        )


scale_by_dowg = ScaleByDowg


@checked
def dowg(
    learning_rate: ScalarOrSchedule = 1.0,
    init_estim_sq_dist: Number | None = None,
    eps: Number = 1e-4,
    weight_decay: ScalarOrSchedule | None = None,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> Chain:
    """Descend without a learning rate, by the distance and gradients weighted by it.

        p <- p - learning_rate u,  u of `ScaleByDowg`

    Args:
      learning_rate: factor on the step, at least 0, without unit; a number or a
        schedule. 1 is the paper's.
      init_estim_sq_dist, eps: see `ScaleByDowg`.
      weight_decay, mask: see `dog`.

    Khaled et al. 2023, https://arxiv.org/abs/2305.16284, Algorithm 1.
    """
    return chain(
        identity() if weight_decay is None else add_decayed_weights(weight_decay, mask),
        scale_by_dowg(init_estim_sq_dist, eps),
        scale_by_learning_rate(learning_rate),
    )
