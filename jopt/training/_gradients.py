"""The gradients of a batch, all at once or by microbatches."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from jopt.core import (
    GradientTransformation,
    PyTree,
    abs_sq,
    full_like,
    function_name,
    global_norm,
    is_array,
    map_leaves,
    noted,
    shown,
    wide,
)
from jopt.training._choice import chosen, model_state_after
from jopt.training._division import Division, Undivided
from jopt.training._forms import Loss
from jopt.training._state import TrainState

Weight = Callable[[PyTree], Any]


class Gradients(NamedTuple):
    """What the loss function says of a batch."""

    grads: PyTree  # like the params
    factor: tuple[jax.Array, ...]  # scalars they are still to be multiplied by
    loss: jax.Array  # the mean
    model_state: PyTree
    nonfinite: jax.Array  # int32[], microbatches that were left out
    counted: jax.Array  # int32[], microbatches that are more than padding


class Total(NamedTuple):
    """The sums over the microbatches so far."""

    grads: PyTree  # like the params, at least float32
    loss: jax.Array
    weight: jax.Array
    model_state: PyTree
    nonfinite: jax.Array
    counted: jax.Array


def key_of(state: TrainState, microbatch: Any = 0) -> jax.Array:
    """Return the key of a microbatch of the step that comes next.

        k_0 = key, k_n = fold_in(key, 2^32 - n)        fold_in(k_n, step)

    So the first has the key of a whole batch, and no two microbatches of a run have the
    same key, however many there are in a step: steps are below 2^31.
    """
    later = jax.random.fold_in(state.key, -jnp.asarray(microbatch, jnp.int32))
    base = jax.lax.select(jnp.equal(microbatch, 0), state.key, later)
    return jax.random.fold_in(base, state.step)


def whole(
    loss: Loss,
    tx: GradientTransformation,
    params: PyTree,
    model_state: PyTree,
    batch: PyTree,
    key: Any,
) -> Gradients:
    """Return the gradients of one batch, for `tx`.

    A gradient that is not finite counts as zero where `tx` freezes its leaf: it would
    spoil what is read of all gradients, a norm, and nothing else is read of it.

    Raises a ValueError if the model state that the loss function returns is another.
    """
    differentiate = jax.value_and_grad(loss, has_aux=True)
    (value, changed), grads = differentiate(params, model_state, batch, key)
    # JAX returns dL/dx - i dL/dy, and the way down is against dL/dx + i dL/dy.
    grads = jax.tree.map(lambda g: g.conj() if jnp.iscomplexobj(g) else g, grads)
    leaves, structure = jax.tree.flatten(grads)
    frozen = zip(leaves, tx.frozen(params), strict=True)
    grads = structure.unflatten(_harmless(g) if still else g for g, still in frozen)
    changed = _like(model_state, changed)
    none, one = jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32)
    return Gradients(grads, (), value, changed, none, one)


def _harmless(grad: jax.Array) -> jax.Array:
    """Return a gradient without the numbers whose squares are not finite."""
    return jnp.where(jnp.isfinite(abs_sq(wide(grad))), grad, 0)


def accumulated(
    loss: Loss,
    state: TrainState,
    params: PyTree,
    parts: list[PyTree],
    weight: Weight | None,
    division: Division | Undivided,
) -> Gradients:
    """Return the mean gradients of microbatches, at the price of one addition each.

        G <- G + w g,  W <- W + w for each that is finite;  the mean is G / W

    parts: stacks of microbatches, each with a leading axis, of equal sizes within one.
    weight: w of a microbatch, a scalar; by default how many examples it has. The model
    state goes from one to the next.

    A microbatch whose loss, gradients or weight are not finite adds nothing, and leaves
    the model's state as `model_state_after` says. One of weight 0 is padding: it adds
    nothing, leaves all of the model's state as it was, and uses no key of another
    microbatch. It never counts as not finite, though its mean may be 0 / 0.
    """
    microbatches = sum(map(examples, parts))

    def add(total: Total, at: tuple[Any, PyTree]) -> tuple[Total, None]:
        position, batch = at
        batch = division.batch(batch)
        w = _weight_of(batch, weight)
        counts = w != 0
        # The keys of padding are behind those that microbatches can have.
        number = jnp.where(counts, total.counted, microbatches + position)
        key = key_of(state, number)
        found = whole(loss, state.tx, params, total.model_state, batch, key)
        grads = division.by_leaf(state.packed, found.grads)
        sound = jnp.isfinite(global_norm(grads)) & jnp.isfinite(found.loss)
        sound &= jnp.isfinite(w)
        changed = model_state_after(sound, found.model_state, total.model_state)

        def sums(old: jax.Array, new: jax.Array) -> jax.Array:
            return jnp.where(sound & counts, old + w * new, old)

        return Total(
            grads=map_leaves(sums, total.grads, grads),
            loss=map_leaves(sums, total.loss, found.loss),
            weight=sums(total.weight, jnp.ones_like(w)),
            model_state=chosen(counts, changed, total.model_state),
            nonfinite=total.nonfinite + (~sound & counts).astype(jnp.int32),
            counted=total.counted + counts.astype(jnp.int32),
        ), None

    total = Total(
        grads=full_like(params),
        loss=jnp.zeros((), float),
        weight=jnp.zeros((), float),
        model_state=state.model_state,
        nonfinite=jnp.zeros((), jnp.int32),
        counted=jnp.zeros((), jnp.int32),
    )
    done = 0
    for part in parts:
        positions = jnp.arange(done, done + examples(part), dtype=jnp.int32)
        total, _ = jax.lax.scan(add, total, (positions, part))
        done += len(positions)
    # Without a finite one the mean is NaN, and the step is none.
    return Gradients(
        total.grads,
        (1 / total.weight,),
        map_leaves(lambda loss: loss / total.weight, total.loss),
        total.model_state,
        total.nonfinite,
        total.counted,
    )


def _weight_of(batch: PyTree, weight: Weight | None) -> jax.Array:
    if weight is None:
        return jnp.asarray(examples(batch), float)
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
            "train_step: the loss function must leave the model's state as it found it "
            f"but for its numbers, and {path} {wrong}; make the TrainState of a model "
            "that has what a step makes, or do not return it."
        )
    leaves = {keystr(path): leaf for path, leaf in tree_leaves_with_path(new)}
    return jax.tree.structure(old).unflatten(leaves[path] for path in ours)


def split(
    batch: PyTree, accumulate: int, microbatch: int | None, dealt: bool
) -> list[PyTree]:
    """Return the microbatches of a batch, stacked: one stack, or one more for the rest.

    dealt: whether the stacked examples are dealt out to them in turn, instead of in
    their order: then a batch that is divided among devices need not be sent about.

    Raises a ValueError if the arrays of the batch differ in their leading axis, if that
    is 0, or if `accumulate` does not divide it.
    """
    total = examples(batch)
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


def examples(batch: PyTree) -> int:
    """Return the length of the leading axis of a batch's arrays."""
    return leading(
        batch,
        "to accumulate, the arrays of a batch must have one leading axis, its examples",
    )


def leading(tree: PyTree, rule: str) -> int:
    """Return the length of the leading axis that all arrays share.

    Raises a ValueError that says the rule if they do not.
    """
    lengths = {jnp.shape(x)[:1] for x in jax.tree.leaves(tree)}
    if len(lengths) != 1 or () in lengths:
        shapes = ", ".join(str(list(jnp.shape(x))) for x in jax.tree.leaves(tree))
        raise ValueError(
            f"train_step: {rule}, but their shapes are {shapes or 'none'}."
        )
    return lengths.pop()[0]
