"""Promises that every loss keeps, whatever it computes."""

import pickle
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from comparison import assert_close, call_unoptimized, stack
from compile_counts import counted

from jopt import losses

RNG = np.random.default_rng(0)
BATCH, CLASSES = 6, 4
LOGITS = jnp.asarray(RNG.normal(size=(BATCH, CLASSES)), jnp.float32)
TEACHER = jnp.asarray(2 * RNG.normal(size=(BATCH, CLASSES)), jnp.float32)
LABELS = jnp.asarray([0, 1, 2, 3, 0, 0], jnp.int32)
KERNEL = jnp.asarray(RNG.normal(size=(CLASSES, CLASSES)), jnp.float32)
COUNTS = [[9.0, 3.0, 2.0, 1.0], [40.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
LOG_VARIANCES = {"a": jnp.float32(0.5), "b": jnp.float32(-1.0)}


def apply(inputs):
    return jnp.tanh(inputs) @ KERNEL


def tasks(inputs):
    return {"a": apply(inputs), "b": apply(inputs)[:, 0]}


def labels_of(loss: Any) -> jax.Array:
    return (LABELS > 0).astype(jnp.int32) if isinstance(loss, losses.Binary) else LABELS


def values_of(loss: Any, logits: Any = LOGITS) -> jax.Array:
    """The losses of the examples."""
    if isinstance(loss, losses.Attention | losses.Hints):
        return loss(logits.reshape(2, 3, -1), TEACHER.reshape(2, 3, -1))
    logits = logits[:, 0] if isinstance(loss, losses.Binary) else logits
    extra = {"teacher_logits": TEACHER} if "Distilled" in repr(loss) else {}
    return loss(logits, labels_of(loss), **extra)


def mean(loss: Any) -> jax.Array:
    return values_of(loss).mean()


def objective(loss: Any) -> jax.Array:
    return loss(apply, (LOGITS, LABELS), jax.random.key(1))[0]


def of_tasks(loss: Any, **extra: Any) -> jax.Array:
    batch = LOGITS, {"a": LABELS, "b": LOGITS[:, 1]}
    return loss(tasks, batch, jax.random.key(1), **extra)[0]


def of_learned_variances(loss: Any) -> jax.Array:
    return of_tasks(loss, log_variances=LOG_VARIANCES)


def two(gamma: Any) -> Any:
    return {"a": losses.Focal(gamma), "b": optax.l2_loss}


class Row(NamedTuple):
    """A loss, three values of each of its numbers, and how it is called."""

    make: Callable[..., Any]
    numbers: dict[str, Any]
    call: Callable[[Any], jax.Array] = mean


TABLE = {
    "CrossEntropy": Row(losses.CrossEntropy, {}),
    "Focal": Row(losses.Focal, {"gamma": (2.0, 0.5, 0.0)}),
    "LabelSmoothed": Row(losses.LabelSmoothed, {"alpha": (0.1, 1.0, 0.0)}),
    "Binary": Row(
        lambda gamma: losses.Binary(losses.Focal(gamma)), {"gamma": (2.0, 0.5, 0.0)}
    ),
    "ClassWeighted": Row(
        losses.ClassWeighted, {"weights": [*COUNTS[:2], [0, 0, 0, 1]]}
    ),
    "ClassBalanced": Row(
        losses.ClassBalanced, {"counts": COUNTS, "beta": (0.9, 0.5, 0.0)}
    ),
    "LogitAdjusted": Row(
        losses.LogitAdjusted, {"counts": COUNTS, "tau": (1.0, 1.5, 0.0)}
    ),
    "Distilled": Row(
        losses.Distilled,
        {"temperature": (4.0, 1.0, 0.1), "weight": (0.9, 1.0, 0.0)},
    ),
    "all in one": Row(
        lambda counts, beta, tau, alpha, gamma: losses.ClassBalanced(
            counts,
            beta,
            losses.LogitAdjusted(
                counts, tau, losses.LabelSmoothed(alpha, losses.Focal(gamma))
            ),
        ),
        {
            "counts": COUNTS,
            "beta": (0.9, 0.5, 0.0),
            "tau": (1.0, 1.5, 0.0),
            "alpha": (0.1, 1.0, 0.0),
            "gamma": (2.0, 0.5, 0.0),
        },
    ),
    "Hints": Row(losses.Hints, {}),
    "Attention": Row(losses.Attention, {"power": (2.0, 1.0, 3.0)}),
    "Mixup": Row(
        lambda alpha, gamma: losses.Mixup(losses.Focal(gamma), alpha),
        {"alpha": (0.2, 2.0, 0.0), "gamma": (2.0, 0.5, 0.0)},
        objective,
    ),
    "Adversarial": Row(
        lambda epsilon, step, start, low, high: losses.Adversarial(
            losses.CrossEntropy(), epsilon, step, 2, start, low, high
        ),
        {
            "epsilon": (0.1, 0.3, 0.0),
            "step": (0.06, 0.03, 0.0),
            "start": (0.5, 1.0, 0.0),
            "low": (-1.0, -2.0, 0.0),
            "high": (1.0, 2.0, 0.0),
        },
        objective,
    ),
    "Weighted": Row(
        lambda a, b, gamma: losses.Weighted(two(gamma), {"a": a, "b": b}),
        {"a": (1.0, 0.5, 0.0), "b": (1.0, 0.5, 0.0), "gamma": (2.0, 0.5, 0.0)},
        of_tasks,
    ),
    "UncertaintyWeighted": Row(
        lambda gamma: losses.UncertaintyWeighted(two(gamma)),
        {"gamma": (2.0, 0.5, 0.0)},
        of_learned_variances,
    ),
}
every_loss = pytest.mark.parametrize("name", TABLE)
pointwise = pytest.mark.parametrize(
    "name", [name for name, row in TABLE.items() if row.call is mean]
)


def made(name: str, **changes: Any) -> Any:
    row = TABLE[name]
    return row.make(**{n: three[0] for n, three in row.numbers.items()} | changes)


def variations(name: str) -> list[Any]:
    """Three losses for each number, with only it changed."""
    rows = [
        made(name, **{number: value})
        for number, three in TABLE[name].numbers.items()
        for value in three
    ]
    return [jax.tree.map(jnp.float32, row) for row in rows]


@pytest.mark.slow("the other losses are made of the same arithmetic", but=6)
@pytest.mark.parametrize("name", [n for n, row in TABLE.items() if row.numbers])
def test_every_number_is_mapped_and_differentiated_in_one_program(name):
    graded = jax.value_and_grad(TABLE[name].call)
    program, traces = counted(graded)
    rows = variations(name)

    loop = stack([program(row) for row in rows])
    mapped = call_unoptimized(jax.vmap(graded), stack(rows))

    assert len(traces) == 1
    assert_close(mapped, loop, rtol=3e-5, scale=3e-6)
    chex.assert_tree_all_finite(loop)
    values = loop[0].reshape(-1, 3)
    idle = [
        n for n, v in zip(TABLE[name].numbers, values, strict=True) if np.ptp(v) == 0
    ]
    assert idle == []


@pytest.mark.slow("the other losses are made of the same arithmetic", but=6)
@pointwise
def test_a_value_of_each_example_is_at_least_float32(name):
    wanted = values_of(made(name))
    assert wanted.shape == ((2,) if name in ("Hints", "Attention") else (BATCH,))
    for kind in (float, jnp.float32, jnp.bfloat16):
        loss = jax.tree.map(
            lambda x, kind=kind: x if np.ndim(x) else kind(x), made(name)
        )
        for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
            got = jax.eval_shape(values_of, loss, LOGITS.astype(dtype))
            assert (got.shape, got.dtype) == (wanted.shape, jnp.float32)
    got = values_of(made(name), LOGITS.astype(jnp.bfloat16))
    np.testing.assert_allclose(got, wanted, rtol=0.1, atol=0.02)


@pytest.mark.slow("the other losses take labels by the same function", but=6)
@pointwise
def test_labels_are_classes_or_their_probabilities_with_any_axes_before(name):
    loss = made(name)
    if name in ("Hints", "Attention", "Binary"):
        return
    extra = {"teacher_logits": TEACHER} if name == "Distilled" else {}
    wanted = loss(LOGITS, LABELS, **extra)
    for dtype in (jnp.int32, jnp.bfloat16, bool):
        hot = jax.nn.one_hot(LABELS, CLASSES, dtype=dtype)
        np.testing.assert_allclose(loss(LOGITS, hot, **extra), wanted, rtol=1e-6)

    def cut(x):
        return x.reshape(2, 3, *x.shape[1:])

    got = loss(cut(LOGITS), cut(LABELS), **{n: cut(x) for n, x in extra.items()})
    np.testing.assert_allclose(got, cut(wanted), rtol=1e-6)


@every_loss
def test_it_pickles_and_compares_by_value(name):
    loss, again = made(name), made(name)
    back = pickle.loads(pickle.dumps(loss))
    assert jax.tree.structure(loss) == jax.tree.structure(back)
    if not any(np.ndim(x) for x in jax.tree.leaves(loss)):  # arrays are themselves
        assert loss == again == back
        assert hash(loss) == hash(again) == hash(back)
    for number, (_, other, _) in TABLE[name].numbers.items():
        assert made(name, **{number: other}) != loss
        assert f"{number}=" in repr(loss) or f"'{number}'" in repr(loss)
    assert all(isinstance(x, float | np.ndarray) for x in jax.tree.leaves(loss))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: losses.Focal(-1), "Focal: gamma must be at least 0, got -1"),
        (lambda: losses.LabelSmoothed(1.5), "LabelSmoothed: alpha must be at most 1, "),
        (
            lambda: losses.ClassBalanced([2, 1], 1.0),
            "ClassBalanced: beta must be below",
        ),
        (
            lambda: losses.ClassBalanced([2, 0]),
            "ClassBalanced: counts must be above 0 for every class, got 0.0.",
        ),
        (
            lambda: losses.ClassWeighted([1, -2]),
            "ClassWeighted: weights must be at least 0 for every class, got -2.0.",
        ),
        (
            lambda: losses.LogitAdjusted(3),
            "LogitAdjusted: counts must be a list of numbers, one for each class, "
            "got 3.",
        ),
        (
            lambda: losses.LogitAdjusted([1, 2], -1),
            "LogitAdjusted: tau must be at least",
        ),
        (
            lambda: losses.Distilled(0),
            "Distilled: temperature must be above 0, got 0",
        ),
        (
            lambda: losses.Distilled(1, 2),
            "Distilled: weight must be at most 1, got 2",
        ),
        (
            lambda: losses.Attention(0.5),
            "Attention: power must be at least 1, got 0.5.",
        ),
        (
            lambda: losses.Mixup(losses.Focal),
            "Mixup: loss must be a loss of logits and labels, got the class Focal.",
        ),
        (
            lambda: losses.Mixup(optax.l2_loss, -1),
            "Mixup: alpha must be at least 0, got",
        ),
        (
            lambda: losses.Adversarial(optax.l2_loss, -0.1),
            "Adversarial: epsilon must be at least 0, got -0.1.",
        ),
        (
            lambda: losses.Adversarial(optax.l2_loss, 0.1, steps=0),
            "Adversarial: steps must be an integer, at least 1, got 0.",
        ),
        (
            lambda: losses.Weighted({"a": optax.l2_loss}, {"b": 1}),
            "Weighted: weights must be a dict with a, got b.",
        ),
        (
            lambda: losses.UncertaintyWeighted(cast(Any, [optax.l2_loss])),
            "UncertaintyWeighted: losses must be a dict of losses by task, got [",
        ),
    ],
)
def test_bad_numbers_are_refused_in_a_sentence(make, sentence):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: losses.Focal()(LOGITS, LABELS[:2]),
            "Focal: labels must be classes of shape [6] or probabilities of shape "
            "[6, 4], as the logits are, got (2,).",
        ),
        (
            lambda: losses.CrossEntropy()(LOGITS, LOGITS[:, 0]),
            "CrossEntropy: labels must be integers, the classes, got ",
        ),
        (
            lambda: losses.Binary()(LOGITS, LABELS),
            "Binary: labels must be of the logits' shape [6, 4], got (6,).",
        ),
        (
            lambda: losses.LogitAdjusted([1, 2])(LOGITS, LABELS),
            "LogitAdjusted: counts must be one for each of the classes of logits [6, ",
        ),
        (
            lambda: losses.Distilled()(LOGITS, LABELS),
            "Distilled: teacher_logits must be an array, got None. Call the loss with",
        ),
        (
            lambda: losses.Distilled()(LOGITS, LABELS, teacher_logits=TEACHER[:, :2]),
            "Distilled: teacher_logits must be of the shape [6, 4], as the student's, ",
        ),
        (
            lambda: losses.Mixup(losses.Focal())(apply, LOGITS, jax.random.key(0)),
            "Mixup: batch must be (inputs, labels), got ",
        ),
        (
            lambda: losses.Mixup(losses.Focal())(
                apply, (LABELS, LABELS), jax.random.key(0)
            ),
            "Mixup: inputs must be floats, which can be changed a little, got ",
        ),
        (
            lambda: losses.Weighted({"a": optax.l2_loss}, {"a": 1})(
                tasks, (LOGITS, {"a": LABELS}), None
            ),
            "Weighted: outputs must be a dict with a, got a, b.",
        ),
    ],
)
def test_bad_batches_are_refused_in_a_sentence(call, sentence):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert str(caught.value).startswith(sentence)
