"""The gradients of a batch, all at once or by microbatches."""

import sys
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path
from jax.typing import ArrayLike

from jopt.core import (
    GradientTransformation,
    PyTree,
    abs_sq,
    full_like,
    function_name,
    global_norm,
    is_array,
    is_typed_key,
    map_leaves,
    noted,
    shown,
    stored,
    wide,
    wide_dtype,
)
from jopt.training._devices import Placement
from jopt.training._forms import PureLoss
from jopt.training._state import TrainState

Weight: TypeAlias = Callable[[PyTree], ArrayLike]


class Gradients(NamedTuple):
    """The gradients, the loss and the metrics of a batch."""

    grads: PyTree  # like the params
    factor: tuple[jax.Array, ...]  # scalars, still to be multiplied into `grads`
    loss: jax.Array  # scalar, the mean
    metrics: dict[str, jax.Array]  # scalars, means like the loss
    model_state: PyTree
    nonfinite: jax.Array  # int32[], microbatches that were left out
    counted: jax.Array  # int32[], microbatches that are not padding


class _Sums(NamedTuple):
    """The sums over the microbatches so far."""

    grads: PyTree  # like the params, at least float32
    loss: jax.Array
    metrics: dict[str, jax.Array]
    weight: jax.Array
    model_state: PyTree
    nonfinite: jax.Array
    counted: jax.Array


def microbatch_key(key: jax.Array, number: ArrayLike) -> jax.Array:
    """Return the key of a microbatch of a step.

        k_0 = key, k_n = fold_in(key, 2^32 - n)

    The first microbatch has the key of the step, as a whole batch has.
    """
    later = jax.random.fold_in(key, -jnp.asarray(number, jnp.int32))
    return jax.lax.select(jnp.equal(number, 0), key, later)


def batch_gradients(
    loss: PureLoss,
    tx: GradientTransformation,
    params: PyTree,
    model_state: PyTree,
    batch: PyTree,
    key: jax.Array,
) -> Gradients:
    """Return the gradients of one batch, for `tx`.

    If `tx` freezes a leaf, numbers of its gradient that are not finite count as zero.
    Only the norm of all gradients reads them, and they would spoil it.

    Raises:
      ValueError: if the loss function returns a model state of another structure.
    """
    differentiate = jax.value_and_grad(loss, has_aux=True)
    held, grads = differentiate(params, model_state, batch, key)
    value, (changed, metrics) = held
    # JAX returns dL/dx - i dL/dy, but descent is against dL/dx + i dL/dy.
    grads = jax.tree.map(lambda g: g.conj() if jnp.iscomplexobj(g) else g, grads)
    leaves, structure = jax.tree.flatten(grads)
    frozen = zip(leaves, tx.frozen(params), strict=True)
    grads = structure.unflatten(
        _finite_or_zero(g) if still else g for g, still in frozen
    )
    changed = _like(model_state, changed)
    none, one = jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32)
    return Gradients(grads, (), value, metrics, changed, none, one)


def _finite_or_zero(grad: jax.Array) -> jax.Array:
    """Return a gradient with zeros for the numbers whose squares are not finite."""
    return jnp.where(jnp.isfinite(abs_sq(wide(grad))), grad, 0)


def accumulated_gradients(
    loss: PureLoss,
    state: TrainState,
    params: PyTree,
    parts: list[PyTree],
    key: jax.Array,
    weight: Weight | None,
    placement: Placement | None,
    has_aux: bool = False,
) -> Gradients:
    """Return the mean gradients of microbatches, at the price of one addition each.

        G <- G + w g,  W <- W + w for each that is finite;  the mean is G / W

    A microbatch whose loss, gradients or weight are not finite adds nothing, and leaves
    the model's state as `model_state_after` says. One of weight 0 is padding: it adds
    nothing, leaves all of the model's state as it was, and uses no key of another
    microbatch. It never counts as not finite, though its mean may be 0 / 0.

    Args:
      loss: the pure loss function.
      state: the state before the step; the model's state is handed from one microbatch
        to the next.
      params: the params of the state, as the loss function takes them.
      parts: stacks of microbatches, each with a leading axis, of equal sizes within one
        stack.
      key: the key of the step.
      weight: function of a microbatch that returns w, a scalar; None for its number of
        examples.
      placement: where the arrays of the step lie; None on one device.
      has_aux: whether the loss function returns metrics.

    Returns:
      The sums G, with the factor 1 / W that is still to be applied.
    """
    number = sum(map(_examples, parts))

    def add(total: _Sums, at: tuple[jax.Array, PyTree]) -> tuple[_Sums, None]:
        position, batch = at
        batch = batch if placement is None else placement.batch(batch)
        w = _weight_of(batch, weight)
        counts = w != 0
        # The keys of padding follow those that microbatches can have.
        own = microbatch_key(key, jnp.where(counts, total.counted, number + position))
        found = batch_gradients(loss, state.tx, params, total.model_state, batch, own)
        grads = found.grads
        if placement is not None:
            grads = placement.leaf_gradients(state.packed, grads)
        finite = jnp.isfinite(global_norm(grads)) & jnp.isfinite(found.loss)
        finite &= jnp.isfinite(w)
        changed = model_state_after(finite, found.model_state, total.model_state)

        def sums(old: jax.Array, new: jax.Array) -> jax.Array:
            return jnp.where(finite & counts, old + w * wide(new), old)

        return _Sums(
            grads=map_leaves(sums, total.grads, grads),
            loss=map_leaves(sums, total.loss, found.loss),
            metrics=jax.tree.map(sums, total.metrics, found.metrics),
            weight=sums(total.weight, jnp.ones_like(w)),
            model_state=where(counts, changed, total.model_state),
            nonfinite=total.nonfinite + (~finite & counts).astype(jnp.int32),
            counted=total.counted + counts.astype(jnp.int32),
        ), None

    metrics = {}
    if has_aux:
        first = jax.tree.map(lambda x: x[0], parts[0])
        _, (_, metrics) = jax.eval_shape(loss, params, state.model_state, first, key)
    total = _Sums(
        grads=full_like(params),
        loss=jnp.zeros((), float),
        metrics=jax.tree.map(lambda x: jnp.zeros((), wide_dtype(x)), metrics),
        weight=jnp.zeros((), float),
        model_state=state.model_state,
        nonfinite=jnp.zeros((), jnp.int32),
        counted=jnp.zeros((), jnp.int32),
    )
    done = 0
    for part in parts:
        positions = jnp.arange(done, done + _examples(part), dtype=jnp.int32)
        total, _ = jax.lax.scan(add, total, (positions, part))
        done += len(positions)
    # Without a finite microbatch the mean is NaN, and the step is skipped.
    return Gradients(
        total.grads,
        (1 / total.weight,),
        map_leaves(lambda loss: loss / total.weight, total.loss),
        jax.tree.map(lambda value: value / total.weight, total.metrics),
        total.model_state,
        total.nonfinite,
        total.counted,
    )


def _weight_of(batch: PyTree, weight: Weight | None) -> jax.Array:
    if weight is None:
        return jnp.asarray(_examples(batch), float)
    with noted(f"train_step: raised by weight, {function_name(weight)}."):
        w = weight(batch)
    if not is_array(w):
        raise TypeError(
            "train_step: weight must return one number for a microbatch, got "
            f"{shown(w)}."
        )
    if np.shape(w) not in ((), (1,)):
        raise ValueError(
            "train_step: weight must return one number for a microbatch, got an "
            f"array of shape {list(np.shape(w))}; sum it."
        )
    return jnp.asarray(w, float).reshape(())


def where(flag: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """Return `new` where the flag is true, else `old`, in the dtypes of `old`."""
    new = stored(new, old)
    return jax.tree.map(lambda n, o: jnp.where(flag, n, o), new, old)


def model_state_after(flag: jax.Array, new: PyTree, old: PyTree) -> PyTree:
    """Return the model's state after a step, or after one that is skipped.

        new,                                  where the flag is true
        old, and the random numbers of new,   where it is false

    The random numbers are Flax's `RngKey` and `RngCount`, and every typed key. If a
    skipped step restored them, the next step would draw the same dropout masks, and
    could be skipped for the same reason for ever.
    """

    def leaf(random: bool, n: jax.Array, o: jax.Array) -> jax.Array:
        return n if random else jnp.where(flag, n, o)

    return jax.tree.map(leaf, is_random(old), stored(new, old), old)


def is_random(model_state: PyTree) -> PyTree:
    """Return for each array whether random numbers are drawn from it."""
    # Flax need not be imported here: a program with a Variable has imported it.
    of_flax = getattr(sys.modules.get("flax.nnx"), "RngState", ())

    def node(node: PyTree) -> PyTree:
        return jax.tree.map(
            lambda x: isinstance(node, of_flax) or is_typed_key(x),
            node,
        )

    return jax.tree.map(node, model_state, is_leaf=lambda x: isinstance(x, of_flax))


def _like(old: PyTree, new: PyTree) -> PyTree:
    """Return the new model state as the same tree as the old one."""
    ours, theirs = (
        {keystr(path): jnp.shape(leaf) for path, leaf in tree_leaves_with_path(tree)}
        for tree in (old, new)
    )
    for path in ours | theirs:
        if ours.get(path) == theirs.get(path):
            continue
        wrong = (
            "is gone"
            if path not in theirs
            else "is new"
            if path not in ours
            else f"has the shape {list(theirs[path])}, not {list(ours[path])}"
        )
        raise ValueError(
            "train_step: the loss function may change only the numbers of the model's "
            f"state, but {path} {wrong}; make the TrainState of a model that has what "
            "a step makes, or do not return it."
        )
    leaves = {keystr(path): leaf for path, leaf in tree_leaves_with_path(new)}
    return jax.tree.structure(old).unflatten(leaves[path] for path in ours)


def microbatches(
    batch: PyTree, accumulate: int, microbatch: int | None, dealt: bool
) -> list[PyTree]:
    """Return the microbatches of a batch, stacked: one stack, or one more for the rest.

    Args:
      batch: tree of arrays that share their leading axis, the examples.
      accumulate: number of microbatches, where `microbatch` is None.
      microbatch: number of examples in a microbatch.
      dealt: deal the examples of the first stack out to its microbatches in turn,
        rather than in their order. A batch that is divided among devices then need not
        be sent between them.

    Raises:
      ValueError: if the arrays differ in their leading axis, if that is 0, or if
        `accumulate` does not divide it.
    """
    total = _examples(batch)
    if not total:
        raise ValueError("train_step: a batch must have at least one example, got 0.")
    if microbatch is None and total % accumulate:
        fitting = [str(k) for k in range(1, total + 1) if total % k == 0]
        raise ValueError(
            f"train_step: accumulate must divide the batch of {total}, got "
            f"{accumulate}; {', '.join(fitting)} would, or give the size of a "
            "microbatch, microbatch=, whose last one may be smaller."
        )
    size = min(microbatch or total // accumulate, total)
    number, rest = divmod(total, size)
    rows = _dealt if dealt else _rows
    stacks = [jax.tree.map(lambda x: rows(x, 0, number, size), batch)]
    if rest:
        stacks += [jax.tree.map(lambda x: _rows(x, number * size, 1, rest), batch)]
    return stacks


def _rows(x: jax.Array, start: int, number: int, size: int) -> jax.Array:
    return x[start : start + number * size].reshape(number, size, *x.shape[1:])


def _dealt(x: jax.Array, start: int, number: int, size: int) -> jax.Array:
    return _rows(x, start, size, number).swapaxes(0, 1)


def _examples(batch: PyTree) -> int:
    """Return the number of examples: the length of the arrays' leading axis."""
    return common_length(
        batch,
        "to accumulate, the arrays of a batch must have one leading axis, its examples",
    )


def common_length(tree: PyTree, rule: str) -> int:
    """Return the length of the leading axis that all arrays share.

    Raises:
      ValueError: with the rule, if they do not share one.
    """
    lengths = {jnp.shape(x)[:1] for x in jax.tree.leaves(tree)}
    if len(lengths) != 1 or () in lengths:
        shapes = ", ".join(str(list(jnp.shape(x))) for x in jax.tree.leaves(tree))
        raise ValueError(
            f"train_step: {rule}, but their shapes are {shapes or 'none'}."
        )
    return lengths.pop()[0]
