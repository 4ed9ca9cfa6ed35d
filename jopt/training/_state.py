"""`TrainState`: everything that changes in a training run."""

import dataclasses
from typing import Annotated, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import keystr, tree_leaves_with_path
from jax.typing import ArrayLike

from jopt.core import (
    LARGEST_JOINED,
    GradientTransformation,
    Key,
    Kind,
    Mask,
    PyTree,
    Transformation,
    as_transformation,
    checked,
    depends_on_values,
    dtype_of,
    field,
    is_typed_key,
    matching_leaves,
    pack,
    pack_leaves,
    pytree,
    register_with_flax,
    static,
    unpack,
)
from jopt.training._forms import Form, Model, Plain, form_of
from jopt.training._frozen import divided, joined, trained_mask
from jopt.training._loss_scale import LossScale
from jopt.training._precision import Precision

Constant: TypeAlias = tuple[GradientTransformation | None, jax.Array | None, PyTree]
"""The part that no step changes: `tx`, the key and the frozen parameters."""


def _whole(least: int) -> Kind:
    numbers = (bool, int, np.bool_, np.integer)
    return Kind(
        f"a whole number of at least {least}",
        lambda value: isinstance(value, numbers) and bool(least <= value < 2**31),
        ValueError,
    )


def _with_own_arrays(tree: PyTree) -> PyTree:
    """Return `tree` with arrays for its numbers, copied and without weak dtypes.

    Numbers and arrays are two entries of jit's cache, and a restored checkpoint has
    arrays without weak dtypes. They are copies, since a step donates those of the loss
    scale.
    """

    def leaf(number: ArrayLike) -> jax.Array:
        if isinstance(number, Tracer):
            return number
        return jnp.array(number, dtype_of(number))

    return jax.tree.map(leaf, tree)


@pytree
class TrainState:
    """Everything that changes in a training run: a pytree to jit, vmap and checkpoint.

        state = jopt.TrainState.create(model, jopt.adamw(1e-3))
        state, metrics = jopt.train_step(loss_fn)(state, batch)
        state.params, state.model

    Make it by `TrainState.create`. To change a hyperparameter during training, replace
    the transformation by another one of the same structure:

        dataclasses.replace(state, tx=jopt.replace(state.tx, learning_rate=1e-4))

    Attributes:
      step: int32[], number of steps taken.
      packed: the trained params, small leaves joined to vectors (see `pack`).
      model_state: the rest of the model: batch statistics, counters.
      opt_state: the optimizer's state, made of `packed`.
      key: the key of the run; step t uses `fold_in(key, t)`, see `train_step`.
      skipped: int32[], number of (micro)batches so far that were not finite.
      loss_scale: the `LossScale`, or None.
      tx: the gradient transformation; its numbers are leaves.
      form: how the model is split and joined; static.
      precision: the dtypes of the run, a `Precision`; static.
      frozen: the params that are not trained, None where the others are.
      wrt: which params are trained, a `Mask`; None for all; static.
    """

    step: jax.Array
    packed: PyTree
    model_state: PyTree
    opt_state: PyTree
    key: jax.Array
    skipped: jax.Array
    loss_scale: LossScale | None = field(converter=_with_own_arrays)
    tx: GradientTransformation = field(
        converter=lambda tx: _with_own_arrays(as_transformation(tx))
    )
    form: Form = static(default=Plain())
    precision: Precision = static(default=Precision())
    frozen: PyTree = None
    wrt: Mask | None = static(default=None)

    def __post_init__(self):
        register_with_flax(TrainState)

    @classmethod
    @checked
    def create(
        cls,
        model: Model,
        tx: Transformation,
        key: Key = 0,
        *,
        buckets: Annotated[bool | int, _whole(0)] = True,
        precision: Precision | None = None,
        loss_scale: LossScale | None = None,
        shards: Annotated[int, _whole(1)] = 1,
        wrt: PyTree = None,
    ) -> "TrainState":
        """Return the state before the first step.

            TrainState.create(model, tx, wrt=nnx.LoRAParam)
            TrainState.create(params, tx, wrt=lambda path, leaf: "head" in path)

        Args:
          model: an nnx module, linen's variables (`module.init(...)`), or any pytree of
            parameters. Its arrays are copied, since steps donate the state's own.
          tx: a gradient transformation, jopt's or optax's.
          key: a seed or a key, for the randomness of the loss function.
          buckets: whether small leaves of the parameters and of the optimizer's state
            are joined to vectors (see `pack`), as far as `tx` treats coordinates alike.
            An integer is the number of elements of the largest leaf that is joined, at
            least 0. The results of a step are the same, up to the rounding of sums over
            all coordinates.
          precision: the dtypes of the run, see `Precision`; None for its defaults.
          loss_scale: the scale of the loss for float16, see `LossScale`.
          shards: the length of a vector is a multiple of it, at least 1, so that as
            many devices can divide it.
          wrt: which parameters are trained: an nnx filter; or a mask, such as a
            function of (path, leaf), with paths like "layers/0/kernel". The others have
            no gradients and no optimizer's state, and steps neither donate nor return
            them. By default all are trained.

        Raises:
          ValueError: if the model has no parameters, if `wrt` chooses none of them, if
            `buckets` is below 0 or `shards` below 1, or if the device cannot compute in
            a dtype of `precision`.
          TypeError: if a parameter is neither float nor complex, or an argument is of
            another type.
        """
        options = (buckets, precision, loss_scale, shards, wrt)
        return state_of(form_of(model), model, tx, key, *options)

    @property
    def params(self) -> PyTree:
        """The current parameters, frozen ones too, in the user's own tree."""
        return joined(self.wrt, unpack(self.packed), self.frozen)

    @property
    def model(self) -> Model:
        """The current model: an nnx module, linen's variables or the params."""
        return self.form.join(self.params, self.model_state)

    @property
    def eval_params(self) -> PyTree:
        """The parameters to evaluate and to keep, in the user's own tree.

        They are those of the transformation's `eval_params`: the average of
        Schedule-Free and of `parameter_ema`, the slow weights of `lookahead`, and else
        the current parameters.
        """
        trained = unpack(self.tx.eval_params(self.opt_state, self.packed))
        return joined(self.wrt, trained, self.frozen)

    @property
    def eval_model(self) -> Model:
        """The model of `eval_params`; nnx modules in `eval()` mode."""
        model = self.form.join(self.eval_params, self.model_state)
        return self.form.evaluated(model)

    def with_params(self, params: PyTree) -> "TrainState":
        """Return this state with other parameters of the same tree, shapes and dtypes.

        Arrays are copied. State that the optimizer derives from the values of the
        parameters is recomputed: a master copy, an average, the point where training
        began. Moments stay.

        Raises:
          ValueError: names the first leaf that differs.
        """
        where = "TrainState.with_params: params"
        leaves = matching_leaves(self.params, params, dtypes=True, where=where)
        given = divided(self.wrt, jax.tree.structure(self.params).unflatten(leaves))
        leaves = pack_leaves(self.packed, jax.tree.leaves(given[0]))
        packed = jax.tree.map(_placed_like, leaves, self.packed)
        frozen = jax.tree.map(_placed_like, given[1], self.frozen)
        opt_state = jax.tree.map(
            lambda kept, new, anew: _placed_like(new, kept) if anew else kept,
            self.opt_state,
            self.precision.stored(self.tx.init(packed)),
            depends_on_values(self.tx.init, packed),
        )
        changed = {"packed": packed, "frozen": frozen, "opt_state": opt_state}
        return dataclasses.replace(self, **changed)

    def apart(self) -> tuple["TrainState", Constant]:
        """Return the part of the state that steps change, and the constant part."""
        constant = (self.tx, self.key, self.frozen)
        return self.with_constant((None, None, None)), constant

    def with_constant(self, constant: Constant) -> "TrainState":
        """Return the state with this `tx`, key and frozen params, as they are."""
        # Not dataclasses.replace: a step does it twice, and copies no number.
        state = object.__new__(TrainState)
        state.__dict__.update(self.__dict__)
        state.__dict__.update(zip(("tx", "key", "frozen"), constant, strict=True))
        return state

    def by_leaf(self) -> "TrainState":
        """Return this state without buckets, every leaf by itself, for a checkpoint.

        Its structure is that of `create(..., buckets=False)`, whatever the buckets are.
        """
        register_with_flax(TrainState)
        return unpack(self)

    def filled(self, by_leaf: "TrainState") -> "TrainState":
        """Return a state with the values of `by_leaf` and the layout of this one.

        This restores a checkpoint, whatever the buckets were when it was saved:

            checkpointer.save(path, state.by_leaf())
            state = state.filled(checkpointer.restore(path, state.by_leaf()))

        `flax.serialization` works too, and so does pickle if the functions in `tx` have
        names that can be imported:

            data = flax.serialization.to_bytes(state.by_leaf())
            state = state.filled(flax.serialization.from_bytes(state.by_leaf(), data))

        Args:
          by_leaf: the result of `by_leaf` of a state of the same model and `tx`. Its
            arrays are copied.

        Raises:
          ValueError: names the first leaf where the models differ.
        """
        where = "TrainState.filled: by_leaf"
        leaves = matching_leaves(self, by_leaf, dtypes=True, where=where)
        return jax.tree.map(_placed_like, pack_leaves(self, leaves), self)


def state_of(
    form: Form,
    model: Model,
    tx: Transformation,
    key: Key = 0,
    buckets: bool | int = True,
    precision: Precision | None = None,
    loss_scale: LossScale | None = None,
    shards: int = 1,
    wrt: PyTree = None,
) -> TrainState:
    """Return the state of a model of this form; arguments as of `TrainState.create`."""
    params, model_state = form.split(model)
    mask = trained_mask(wrt, params)
    params, frozen = divided(mask, params)
    _check_params(params, model)
    precision = precision or Precision()
    tx = precision.rounded(as_transformation(tx))
    held = precision.held(params), model_state, frozen
    params, model_state, frozen = jax.tree.map(_strong_copy, held)
    most = LARGEST_JOINED if isinstance(buckets, (bool, np.bool_)) else int(buckets)
    packed = pack(params, tx, most, shards) if buckets else params
    seeded = isinstance(key, (int, np.integer))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        packed=packed,
        model_state=model_state,
        opt_state=precision.stored(tx.init(packed)),
        key=jax.random.key(key) if seeded else jnp.copy(key),
        skipped=jnp.zeros((), jnp.int32),
        loss_scale=loss_scale,
        tx=tx,
        form=form,
        precision=precision,
        frozen=frozen,
        wrt=mask,
    )


def _check_params(params: PyTree, model: Model) -> None:
    """Raise ValueError if there are no params, TypeError if one has no gradient."""
    found = tree_leaves_with_path(params)
    if not found:
        raise ValueError(
            f"TrainState: the model has no parameters, got {type(model).__name__} "
            "without a leaf; give an nnx module with nnx.Param, linen's variables with "
            "'params', or a tree of arrays."
        )
    for path, x in found:
        if isinstance(x, jax.ShapeDtypeStruct):
            raise TypeError(
                f"TrainState: params{keystr(path)} is a shape, {x}, and no array; for "
                "the state's shapes: jax.eval_shape(lambda: TrainState.create(...))."
            )
        known = isinstance(x, (float, complex)) or hasattr(x, "dtype")
        kind = dtype_of(x) if known else type(x).__name__
        if not known or not jnp.issubdtype(kind, jnp.inexact):
            raise TypeError(
                f"TrainState: params{keystr(path)} is {kind}, and only float and "
                "complex parameters have gradients; keep it out of the parameters: in "
                "the loss function, in another collection of linen's variables, or as "
                "an nnx.Variable that is not an nnx.Param."
            )


def _strong_copy(x: ArrayLike) -> jax.Array:
    """Return an array without a weak dtype, as a step returns it, in new memory."""
    x = jnp.copy(x)
    return x.astype(x.dtype) if getattr(x, "weak_type", False) else x


def _placed_like(x: ArrayLike, old: jax.Array) -> ArrayLike:
    """Return a copy of `x` that lies where `old` does.

    It is committed to a device only if `old` is: a step compiles a program for each.
    """
    if isinstance(x, Tracer) or isinstance(old, Tracer):
        return x
    x = _strong_copy(x)
    if old.committed:
        return jax.device_put(x, old.sharding)
    if not x.committed:
        return x
    if is_typed_key(x):
        data = np.asarray(jax.random.key_data(x))
        return jax.random.wrap_key_data(jnp.array(data), impl=jax.random.key_impl(x))
    return jnp.array(np.asarray(x))
