"""Attributions of outputs: integrated gradients, Shapley values, permutations."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import argument_error, checked, dtype_of, is_number, wide

MOST_FEATURES = 12  # 4,096 subsets


@checked
def integrated_gradients(
    function: Callable[[jax.Array], jax.Array],
    inputs: Any,
    baseline: Any = 0.0,
    *,
    steps: int = 32,
) -> jax.Array:
    """Attribute each output to the numbers of its input, along a straight path.

        a_i = (x_i - b_i) integral from 0 to 1 of df/dx_i (b + t (x - b)) dt

    The attributions of an example sum to f(x) - f(b), up to the error of the integral,
    which is computed by Gauss's rule.

        images, labels = batch
        chosen = lambda x: jnp.take_along_axis(model(x), labels[:, None], 1)[:, 0]
        studies.integrated_gradients(chosen, images)

    Args:
      function: inputs -> one number an example, which does not depend on the others.
      inputs: x, floats whose first axis is the example.
      baseline: b, an input without information; it broadcasts with an example.
      steps: points of the path at which a gradient is taken, at least 1.

    Returns:
      Attributions of the inputs' shape, at least float32.

    Raises:
      ValueError: if the inputs are not floats, `steps` is below 1, the baseline does
        not broadcast, or the function does not return one number an example.

    Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365, equation 1.
    """
    title = "integrated_gradients"
    x = _floats(title, "inputs", inputs)
    if steps < 1:
        raise argument_error(title, "steps", steps, "at least 1", ValueError)
    start = _baseline(title, baseline, x)
    _check_answers(title, function, x)
    places, weights = np.polynomial.legendre.leggauss(steps)
    points = jnp.asarray([(places + 1) / 2, weights / 2], x.dtype).T
    gradient = jax.grad(lambda x: jnp.sum(wide(function(x))))

    @jax.jit
    def integral(x: jax.Array, start: jax.Array) -> jax.Array:
        def add(total: jax.Array, point: jax.Array) -> tuple[jax.Array, None]:
            return total + point[1] * gradient(start + point[0] * (x - start)), None

        total, _ = jax.lax.scan(add, jnp.zeros_like(x), points)
        return (x - start) * total

    return integral(x, start)


@checked
def shapley_values(
    function: Callable[[jax.Array], jax.Array], inputs: Any, background: Any
) -> jax.Array:
    """Divide each output among the features of its input, exactly.

        a_i = sum over sets S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))
        v(S) = mean over background b of f(x_S, b_rest)

    The values of an example sum to f(x) - mean f(b). All 2^n sets are evaluated, in one
    program.

    Args:
      function: [examples, features] -> one number an example, which does not depend on
        the others.
      inputs: x, floats [examples, features], of at most 12 features.
      background: b, floats [others, features], values of features that are not in the
        set; about 100 training examples.

    Returns:
      Values [examples, features], at least float32.

    Raises:
      ValueError: if the inputs or the background are not floats, they differ in their
        features or have more than 12, or the function does not return one number an
        example.

    Shapley 1953; Lundberg and Lee 2017, https://arxiv.org/abs/1705.07874, for features
    that are taken as independent.
    """
    title = "shapley_values"
    x = _table(title, "inputs", inputs)
    others = _table(title, "background", background).astype(x.dtype)
    features = x.shape[1]
    if others.shape[1] != features:
        rule = f"examples of {features} features, as the inputs are"
        raise argument_error(title, "background", others.shape, rule, ValueError)
    if features > MOST_FEATURES:
        raise argument_error(
            title,
            "inputs",
            x.shape,
            f"of at most {MOST_FEATURES} features, as all their sets are evaluated",
            ValueError,
            "Join features, or ask permutation_importance.",
        )
    _check_answers(title, function, x)
    sets = (np.arange(2**features)[:, None] >> np.arange(features)) & 1 > 0

    @jax.jit
    def values(x: jax.Array, others: jax.Array) -> jax.Array:
        def worth(chosen: jax.Array) -> jax.Array:
            mixed = jnp.where(chosen[None, None], x[:, None], others[None])
            answers = wide(function(mixed.reshape(-1, features)))
            return jnp.mean(answers.reshape(len(x), len(others)), axis=1)

        worths = jax.lax.map(worth, jnp.asarray(sets))  # [sets, examples]
        weights = jnp.asarray(_shapley_weights(sets), worths.dtype)
        return jnp.matmul(worths.T, weights, precision="highest")

    return values(x, others)


def _shapley_weights(sets: np.ndarray) -> np.ndarray:
    """Return the weight of v(S) in the value of each feature, [sets, features]."""
    features = sets.shape[1]
    sizes = sets.sum(axis=1)[:, None]

    def weight(size: int) -> float:
        return 1 / (features * math.comb(features - 1, size)) if size < features else 0

    by_size = np.asarray([weight(size) for size in range(features + 1)])
    return np.where(sets, by_size[sizes - 1], -by_size[sizes])


class Importance(NamedTuple):
    """The change of a score when a feature is shuffled among the examples."""

    mean: np.ndarray  # [features]
    std: np.ndarray  # [features], the sample's over the repeats
    each: np.ndarray  # [features, repeats]


@checked
def permutation_importance(
    score: Callable[[jax.Array], jax.Array],
    inputs: Any,
    *,
    repeats: int = 10,
    seed: int = 0,
) -> Importance:
    """Return the change of a score when a feature is shuffled among the examples.

        I_j = score(x with column j shuffled) - score(x)

    The importance is positive for a loss and negative for an accuracy. Two redundant
    features share their importance, and each alone may seem useless.

        studies.permutation_importance(lambda x: loss(model(x), labels).mean(), inputs)

    Args:
      score: [examples, features] -> a scalar, for examples that were not trained on.
      inputs: floats [examples, features].
      repeats: shuffles of each feature, at least 2.
      seed: seed of the shuffles.

    Raises:
      ValueError: if the inputs are not floats, `repeats` is below 2, or the score is
        not a scalar.

    Breiman 2001, "Random forests", section 10.
    """
    title = "permutation_importance"
    x = _table(title, "inputs", inputs)
    if repeats < 2:
        raise argument_error(title, "repeats", repeats, "at least 2", ValueError)
    found = jax.eval_shape(score, x)
    if getattr(found, "shape", None) != ():
        got = list(getattr(found, "shape", ()))
        rule = "a function whose result is a scalar"
        raise argument_error(title, "score", got, rule, ValueError)
    examples, features = x.shape

    @jax.jit
    def changes(x: jax.Array) -> jax.Array:
        before = score(x)

        def change(place: jax.Array) -> jax.Array:
            key = jax.random.fold_in(jax.random.key(seed), place)
            order = jax.random.permutation(key, examples)
            column = place % features
            return score(x.at[:, column].set(x[order, column])) - before

        return jax.lax.map(change, jnp.arange(repeats * features, dtype=jnp.int32))

    each = np.asarray(changes(x)).reshape(repeats, features).T
    return Importance(each.mean(axis=1), each.std(axis=1, ddof=1), each)


def _floats(title: str, name: str, given: Any) -> jax.Array:
    shape = getattr(given, "shape", ())
    if not shape or 0 in shape or not jnp.issubdtype(dtype_of(given), jnp.floating):
        rule = "an array of floats whose first axis is the example"
        raise argument_error(title, name, given, rule, ValueError)
    return wide(given)


def _baseline(title: str, given: Any, x: jax.Array) -> jax.Array:
    shape = np.shape(given) if is_number(given) else None
    if shape is None or not _broadcasts(shape, x.shape):
        rule = f"numbers that broadcast with the inputs, of the shape {list(x.shape)}"
        raise argument_error(title, "baseline", given, rule, ValueError)
    return jnp.broadcast_to(jnp.asarray(given, x.dtype), x.shape)


def _broadcasts(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, whole) == whole
    except ValueError:
        return False


def _table(title: str, name: str, given: Any) -> jax.Array:
    table = _floats(title, name, given)
    if table.ndim != 2:
        rule = "of the shape [examples, features]"
        raise argument_error(title, name, table.shape, rule, ValueError)
    return table


def _check_answers(title: str, function: Callable[..., Any], x: jax.Array) -> None:
    found = jax.eval_shape(function, x)
    shape = getattr(found, "shape", None)
    if shape != (len(x),):
        given = "a tree" if shape is None else f"the shape {list(shape)}"
        raise ValueError(
            f"{title}: function must return one number an example, of the shape "
            f"[{len(x)}], got {given}; choose a class, say."
        )
