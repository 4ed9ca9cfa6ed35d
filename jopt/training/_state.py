"""`TrainState`: all that changes in a training run."""

import dataclasses
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jopt.core import (
    LARGEST_JOINED,
    GradientTransformation,
    PyTree,
    as_transformation,
    depends_on_values,
    dtype_of,
    field,
    matching_leaves,
    pack,
    pack_leaves,
    pytree,
    register_with_flax,
    static,
    unpack,
)
from jopt.training._forms import Form, Plain, form_of
from jopt.training._given import check_options, check_params
from jopt.training._loss_scale import LossScale
from jopt.training._precision import Precision

Constant: TypeAlias = tuple[Any, Any]


@pytree
class TrainState:
    """All that changes in a training run, as data: jit, vmap and checkpoint it whole.

    Make it by `TrainState.create`. To change a hyperparameter on the way, put another
    transformation of the same structure in its place:

        dataclasses.replace(state, tx=jopt.replace(state.tx, learning_rate=1e-4))
    """

    step: jax.Array  # int32[], steps made
    packed: PyTree  # the params; small leaves in buckets
    model_state: PyTree  # what else the model holds: batch statistics, counters
    opt_state: PyTree  # of `packed`
    key: jax.Array  # the run's; step t uses fold_in(key, t), see train_step
    skipped: jax.Array  # int32[], (micro)batches so far that were not finite
    loss_scale: LossScale | None
    tx: GradientTransformation = field(converter=as_transformation)
    form: Form = static(default=Plain())
    precision: Precision = static(default=Precision())

    def __post_init__(self):
        # Numbers and arrays are two entries of jit's cache: arrays from the start, and
        # its own, for a step donates those of the loss scale.
        for name in ("tx", "loss_scale"):
            self.__dict__[name] = jax.tree.map(_own, self.__dict__[name])
        register_with_flax(TrainState)

    @classmethod
    def create(
        cls,
        model: Any,
        tx: Any,
        key: Any = 0,
        *,
        buckets: bool | int = True,
        precision: Precision | None = None,
        loss_scale: LossScale | None = None,
        shards: int = 1,
    ) -> "TrainState":
        """Return the state before the first step.

        model: an nnx module, linen's variables (`module.init(...)`), or any pytree of
        parameters. Arrays are copied: steps donate the state's own. tx: a gradient
        transformation, jopt's or optax's. key: a seed or a key, for the loss function's
        randomness.

        buckets: whether small leaves of the parameters and of the optimizer's state are
        joined to vectors (see `pack`), as far as `tx` treats coordinates alike; a
        number is the elements of the largest leaf that is. What a step computes is the
        same, but for the rounding of sums over all. shards: a vector's length is a
        multiple of it, so that it can be divided among so many devices.

        precision: the dtypes, see `Precision`. loss_scale: for float16, see
        `LossScale`.

        Raises a ValueError if there are no parameters, if `buckets` is below 0 or
        `shards` below 1, and a TypeError if a parameter is neither float nor complex,
        or `precision` or `loss_scale` something else.
        """
        check_options(tx, key, buckets, shards, precision, loss_scale)
        form = form_of(model)
        params, model_state = form.split(model)
        check_params(params, model)
        precision = precision or Precision()
        tx = precision.rounded(as_transformation(tx))
        params, model_state = jax.tree.map(
            _copied, (precision.held(params), model_state)
        )
        most = LARGEST_JOINED if isinstance(buckets, (bool, np.bool_)) else int(buckets)
        packed = pack(params, tx, most, shards) if buckets else params
        seeded = isinstance(key, (int, np.integer))
        return cls(
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
        )

    @property
    def params(self) -> PyTree:
        """The parameters as they stand: the user's tree."""
        return unpack(self.packed)

    @property
    def model(self) -> Any:
        """The model as it stands: an nnx module, linen's variables or the params."""
        return self.form.join(self.params, self.model_state)

    def with_params(self, params: PyTree) -> "TrainState":
        """Return this state with other parameters of the same tree, shapes and dtypes.

        Arrays are copied. What the optimizer keeps of the parameters' own numbers, a
        master copy, an average, where training began, it makes anew; moments stay.

        Raises a ValueError that names the first leaf that differs.
        """
        where = "TrainState.with_params: params"
        leaves = matching_leaves(self.packed, params, dtypes=True, where=where)
        packed = jax.tree.map(
            _placed_like, pack_leaves(self.packed, leaves), self.packed
        )
        opt_state = jax.tree.map(
            lambda kept, new, anew: _placed_like(new, kept) if anew else kept,
            self.opt_state,
            self.precision.stored(self.tx.init(packed)),
            depends_on_values(self.tx.init, packed),
        )
        return dataclasses.replace(self, packed=packed, opt_state=opt_state)

    def apart(self) -> tuple["TrainState", Constant]:
        """Return the state without what no step changes, and that."""
        return self.with_constant((None, None)), (self.tx, self.key)

    def with_constant(self, constant: Constant) -> "TrainState":
        """Return the state with these for `tx` and key, as they are."""
        # Not dataclasses.replace: a step does it twice, and copies no number.
        state = object.__new__(TrainState)
        state.__dict__.update(self.__dict__)
        state.__dict__["tx"], state.__dict__["key"] = constant
        return state

    def by_leaf(self) -> "TrainState":
        """Return this state with every bucket taken apart: what a checkpoint holds.

        It is as `create(..., buckets=False)` makes it, whatever the buckets were.
        """
        register_with_flax(TrainState)
        return unpack(self)

    def filled(self, by_leaf: "TrainState") -> "TrainState":
        """Return what `by_leaf` holds, copied and laid out as this state is.

        So a checkpoint is restored, whatever the buckets were when it was made:

            checkpointer.save(path, state.by_leaf())
            state = state.filled(checkpointer.restore(path, state.by_leaf()))

        `flax.serialization` does it as well, and so does pickle, if the functions in
        `tx` have names that can be imported:

            data = flax.serialization.to_bytes(state.by_leaf())
            state = state.filled(flax.serialization.from_bytes(state.by_leaf(), data))

        Raises a ValueError that names the first leaf where the models differ.
        """
        where = "TrainState.filled: by_leaf"
        leaves = matching_leaves(self, by_leaf, dtypes=True, where=where)
        return jax.tree.map(_placed_like, pack_leaves(self, leaves), self)


def _copied(x: Any) -> jax.Array:
    x = jnp.copy(x)
    # A Python number's dtype is weak, and that of what a step returns is not.
    return x.astype(x.dtype) if getattr(x, "weak_type", False) else x


def _placed_like(x: Any, old: Any) -> Any:
    """Return a copy of `x` that lies where `old` does.

    Bound to a device only if `old` is: a step takes the two for two programs.
    """
    if isinstance(x, Tracer) or isinstance(old, Tracer):
        return x
    x = _copied(x)
    if old.committed:
        return jax.device_put(x, old.sharding)
    if not x.committed:
        return x
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = np.asarray(jax.random.key_data(x))
        return jax.random.wrap_key_data(jnp.array(data), impl=jax.random.key_impl(x))
    return jnp.array(np.asarray(x))


def _own(number: Any) -> jax.Array:
    # Of a dtype that does not depend on what meets it, as what a checkpoint gives back.
    return number if isinstance(number, Tracer) else jnp.array(number, dtype_of(number))
