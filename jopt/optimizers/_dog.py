"""DoG and layer-wise DoG: step sizes from distances and gradients alone."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    Chain,
    DType,
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
    norm,
    over_root,
    pytree,
    static,
    wide,
)
from jopt.transforms import add_decayed_weights, identity, scale_by_learning_rate


class DoGState(NamedTuple):
    """Distance covered by the parameters, and the gradients that they had."""

    is_init_step: jax.Array  # bool[], no update made yet
    init_params: PyTree  # like params
    max_dist: jax.Array  # float32[] at least
    sum_sq_norm_grads: jax.Array  # float32[] at least


class ScaleByDistanceOverGradientsState(NamedTuple):
    """Fields of `DoGState`, for each leaf."""

    max_dist: PyTree  # a float32[] for each leaf
    grad_sum_of_squares: PyTree  # a float32[] for each leaf
    init_params: PyTree  # like params


NEEDS_DISTANCE = "the parameters, whose distance from their start is the step"


def distance_from_start(params: PyTree, start: PyTree) -> jax.Array:
    """Return the norm of `params - start` over all leaves."""
    return global_norm(map_leaves(lambda s, p: p - s, start, params))


_KINDS = ("distance", "learning_rate", "heuristic")


@pytree
class ScaleByDog(GradientTransformation):
    """Step as far as the parameters have come, over the root of all gradients' squares.

        u = r g / sqrt(G + eps)
        r = greatest |p - p0| so far        G <- G + |g|^2

    with norms over all leaves, and p0 the parameters that `init` was given.

    The state holds a copy of the parameters, so `init` needs their values.

    Args:
      init_step: at least 0, replaces the distance of 0 at the start, as `kind` says.
        Take it small enough for the first step to do no harm: r grows by itself.
      eps: added to the sum of squares, at least 0, in units of the gradients squared.
      kind: for "heuristic", r is at least init_step (1 + |p0|); for "distance", r is at
        least init_step, in units of params; for "learning_rate", the first update is
        init_step g.

    Raises:
      ValueError: `update` is called without `params`.

    Ivgi et al. 2023, https://arxiv.org/abs/2302.12022, its step size (DoG).
    """

    init_step: Number = 1e-6
    eps: Number = 1e-8
    kind: Literal["distance", "learning_rate", "heuristic"] = static(
        default="heuristic"
    )

    shapeless = True

    def __post_init__(self):
        check(self, "init_step", "eps", least=0)

    def init(self, params):
        size = global_norm(params)
        unit = {"distance": 1, "heuristic": 1 + size, "learning_rate": 0}
        distance = wide(self.init_step) * unit[self.kind]
        return DoGState(
            is_init_step=jnp.asarray(True),
            init_params=copied(params),
            max_dist=jnp.asarray(distance, size.dtype),
            sum_sq_norm_grads=jnp.zeros_like(size),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, NEEDS_DISTANCE)
        distance = jnp.maximum(
            state.max_dist, distance_from_start(params, state.init_params)
        )
        squares = state.sum_sq_norm_grads + inner_product(updates, updates)
        rate = over_root(distance, squares, self.eps)
        if self.kind == "learning_rate":
            rate = jnp.where(state.is_init_step, self.init_step, rate)
        return map_leaves(lambda g: rate * g, updates), DoGState(
            is_init_step=jnp.asarray(False),
            init_params=state.init_params,
            max_dist=distance,
            sum_sq_norm_grads=squares,
        )


@pytree
class ScaleByDistanceOverGradients(GradientTransformation):
    """Step as `ScaleByDog` does, but each leaf by its own distance and gradients.

        u = global_scale r g / sqrt(G + eps)
        r = greatest |p - p0| so far, or reps_rel (1 + |p0|)        G <- G + |g|^2

    The state holds a copy of the parameters, so `init` needs their values. optax gives
    the updates of scalar parameters an axis of length 1; here they stay scalars.

    Args:
      reps_rel: least distance relative to 1 + |p0|, at least 0; 1e-4 for models with
        batch normalization.
      eps: added to the sum of squares, at least 0, in units of the gradients squared.
      param_dtype: dtype of the copy of the parameters. Complex leaves stay complex.
      global_scale: factor on the updates, any number; negative to descend.

    Raises:
      ValueError: `update` is called without `params`.

    Ivgi et al. 2023, https://arxiv.org/abs/2302.12022, its step size (LDoG).
    """

    reps_rel: Number = 1e-6
    eps: Number = 1e-8
    param_dtype: DType = static(default=jnp.float32)
    global_scale: Number = 1.0

    def __post_init__(self):
        check(self, "reps_rel", "eps", least=0)

    def init(self, params):
        def least(p):
            size = norm(wide(p))
            return jnp.asarray(wide(self.reps_rel) * (1 + size), size.dtype)

        return ScaleByDistanceOverGradientsState(
            max_dist=jax.tree.map(least, params),
            grad_sum_of_squares=jax.tree.map(
                lambda p: jnp.zeros_like(norm(wide(p))), params
            ),
            init_params=copied(params, dtype=self.param_dtype),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, NEEDS_DISTANCE)

        def rule(g, r, squares, start, p):
            r = jnp.maximum(r, norm(p - start))
            squares = squares + jnp.square(norm(g))
            return (
                self.global_scale * over_root(r, squares, self.eps) * g,
                r,
                squares,
            )

        trees = (state.max_dist, state.grad_sum_of_squares, state.init_params, params)
        updates, distances, squares = map_leaves(rule, updates, *trees)
        return updates, ScaleByDistanceOverGradientsState(
            max_dist=distances,
            grad_sum_of_squares=squares,
            init_params=state.init_params,
        )


scale_by_dog = ScaleByDog
scale_by_distance_over_gradients = ScaleByDistanceOverGradients


@checked
def dog(
    learning_rate: ScalarOrSchedule = 1.0,
    init_step: tuple[Literal["distance", "learning_rate", "heuristic"], Number] = (
        "heuristic",
        1e-6,
    ),
    eps: Number = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
    mask: PyTree | Callable[[PyTree], PyTree] | None = None,
) -> Chain:
    """Descend without a learning rate, by the distance from the start.

        p <- p - learning_rate u,  u of `ScaleByDog`

    The paper evaluates an average of the iterates, not the last of them.

        tx = jopt.dog()

    Args:
      learning_rate: factor on the step, at least 0, without unit; a number or a
        schedule. 1 is the paper's.
      init_step: pair of `kind` and `init_step` of `ScaleByDog`. For models with batch
        normalization take 1e-4 in place of 1e-6.
      eps: see `ScaleByDog`.
      weight_decay: at least 0, added to the gradients as L2 regularization; a number or
        a schedule. None is off.
      mask: which parameters decay, see `add_decayed_weights`.

    Raises:
      ValueError: `init_step` is not a pair.

    Ivgi et al. 2023, https://arxiv.org/abs/2302.12022, its step size (DoG).
    """
    if not isinstance(init_step, tuple) or len(init_step) != 2:
        raise ValueError(
            f"dog: init_step must be a pair of one of {', '.join(_KINDS)} and a "
            f"number, as in ('heuristic', 1e-6), got {init_step!r}."
        )
    kind, size = init_step
    return chain(
        identity() if weight_decay is None else add_decayed_weights(weight_decay, mask),
        scale_by_dog(size, eps, kind),
        scale_by_learning_rate(learning_rate),
    )
