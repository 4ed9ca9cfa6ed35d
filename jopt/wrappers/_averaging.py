"""A running mean of the parameters, for evaluation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import KeyPath, keystr, tree_flatten_with_path

from jopt.core import (
    Arrays,
    Buckets,
    DType,
    GradientTransformation,
    PyTree,
    ScalarOrSchedule,
    State,
    as_schedule,
    check,
    checked,
    copied,
    dtype_of,
    field,
    full_like,
    increment,
    map_leaves,
    mix,
    needed,
    pytree,
    static,
    unpack,
    value_at,
)


class ParameterEmaState(NamedTuple):
    """The running mean of the parameters, before debiasing."""

    count: jax.Array  # int32[], updates made
    weight: jax.Array  # float[], total weight of the parameters so far
    ema: PyTree  # like params


@pytree
class ParameterEma(GradientTransformation):
    """Keep an exponential moving average of the parameters; change no update.

        e <- decay(t) e + (1 - decay(t)) (p + u),  t = updates made before this one
        w <- decay(t) w + (1 - decay(t))           the average is e / w

        tx = jopt.chain(jopt.adamw(3e-4), jopt.parameter_ema(0.999))
        jopt.ema_params(state, params)

    Place it last in a chain: it averages `params + updates`. `update` needs `params`.

    Args:
      decay: share of the mean that is kept, in [0, 1); a number or a schedule.
      debias: whether to start at e = w = 0, so that the first parameters weigh no more
        than the decay says. False starts at the parameters that `init` is given, with w
        = 1.
      accumulator_dtype: dtype of e; by default the params', but at least float32, so
        that small steps of bfloat16 params reach the mean.

    Raises:
      ValueError: if `update` is given no `params`.

    Polyak & Juditsky 1992, https://doi.org/10.1137/0330046; the debiasing is Kingma &
    Ba 2014, https://arxiv.org/abs/1412.6980, section 3.
    """

    decay: ScalarOrSchedule = field(converter=as_schedule)
    debias: bool = static(default=True)
    accumulator_dtype: DType = static(default=None)

    shapeless = True

    def __post_init__(self):
        check(self, "decay", least=0, below=1)

    def init(self, params):
        start = full_like if self.debias else copied
        return ParameterEmaState(
            count=jnp.zeros((), jnp.int32),
            weight=jnp.asarray(not self.debias, float),
            ema=start(params, dtype=self.accumulator_dtype),
        )

    def update(self, updates, state, params=None, **extra):
        params = needed(params, self, "the parameters that are averaged")
        decay = value_at(self.decay, state.count)
        ema = map_leaves(
            lambda e, p, u: mix(e, p + u, decay), state.ema, params, updates
        )
        weight = mix(state.weight, jnp.ones_like(state.weight), decay)
        weight = weight.astype(state.weight.dtype)
        return updates, ParameterEmaState(increment(state.count), weight, ema)

    def eval_params(self, state, params):
        some = state.weight > 0  # none before the first update

        def mean(p, ema):
            return jnp.where(some, ema / jnp.where(some, state.weight, 1), p)

        return map_leaves(mean, params, state.ema)


parameter_ema = ParameterEma


@checked
def ema_params(state: State, like: Arrays) -> PyTree:
    """Return the averaged parameters from a state that holds a `parameter_ema`.

        jopt.ema_params(state, params)

    Args:
      state: state of the whole optimizer, however deep the averages are nested.
      like: the parameters.

    Returns:
      A tree with the structure and dtypes of `like`. Its values are those of `like`
      where there is no average: before the first update, and at leaves that a mask
      leaves out.

    Raises:
      ValueError: if the state holds no average, two of one leaf, or one of a leaf that
        `like` does not have.
    """
    leaves, structure = tree_flatten_with_path(like)
    means = _means(state if isinstance(like, Buckets) else unpack(state))
    if unknown := [path for path in means if path not in dict(_named(leaves))]:
        raise ValueError(
            f"ema_params: the state holds the average of a leaf {unknown[0] or 'alone'}"
            " that `like` does not have; give the params that init was given."
        )

    def mean(path: str, p: jax.Array) -> jax.Array:
        if path not in means:
            return p
        ema, weight = means[path]
        some = weight > 0
        made = ema / jnp.where(some, weight, 1).astype(ema.dtype)
        return jnp.where(some, made.astype(dtype_of(p)), p)

    return structure.unflatten(mean(path, p) for path, p in _named(leaves))


def _means(state: PyTree) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Return the averages before debiasing and their weights, by path."""
    is_mean = lambda node: isinstance(node, ParameterEmaState)  # noqa: E731
    found = [s for s in jax.tree.leaves(state, is_leaf=is_mean) if is_mean(s)]
    if not found:
        raise ValueError(
            "ema_params: the state holds no average of parameters; put "
            "jopt.parameter_ema(0.999) last in the chain, and give the state that its "
            "init and update made."
        )
    means: dict[str, tuple[jax.Array, jax.Array]] = {}
    for part in found:
        (weight,) = jax.tree.leaves(part.weight)  # nnx.Optimizer wraps it in a node
        for path, ema in _named(tree_flatten_with_path(part.ema)[0]):
            if path in means:
                raise ValueError(
                    f"ema_params: the state holds two averages of {path or 'a leaf'}; "
                    "give the part of the state with the one you mean."
                )
            means[path] = ema, weight
    return means


def _named(leaves: list[tuple[KeyPath, jax.Array]]) -> list[tuple[str, jax.Array]]:
    return [(keystr(path), leaf) for path, leaf in leaves]
