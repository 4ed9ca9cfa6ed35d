"""`Precision`: the dtypes of parameters, computation, loss and optimizer state."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey, KeyPath, tree_leaves_with_path, tree_map_with_path
from jax.typing import ArrayLike, DTypeLike

from jopt.core import GradientTransformation, PyTree, dtype_of, pytree, static
from jopt.wrappers import kahan, master_weights, stochastic_rounding

Rounding = Literal["nearest", "master", "stochastic", "kahan"]

FIELDS = ("params", "compute", "output", "mu", "nu")

ROUNDINGS: dict[
    Rounding, Callable[[GradientTransformation], GradientTransformation]
] = {
    "nearest": lambda tx: tx,
    "master": master_weights,
    "stochastic": stochastic_rounding,
    "kahan": kahan,
}


def _dtype_name(field: str, dtype: DTypeLike | None) -> str | None:
    """Return the dtype's name, so that "bfloat16" and jnp.bfloat16 are one program."""
    if dtype is None:
        return None
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating):
        raise TypeError(
            f"Precision: {field} must be a floating dtype such as 'bfloat16', got "
            f"{dtype!r}."
        )
    return found.name


@pytree
class Precision:
    """The dtypes of a training run.

        jopt.Precision(compute="bfloat16")                         mixed precision
        jopt.Precision("bfloat16", rounding="stochastic")          all in 16 bits
        jopt.Precision(compute="float16"), loss_scale=jopt.LossScale()

    Every dtype is a name or a dtype object; None changes nothing. Norms are at least
    float32 and counters int32, whatever the dtypes here are.

    Args:
      params: dtype of the parameters that the state holds.
      compute: dtype to which the parameters and the floats of the batch are cast before
        the loss function is called. Gradients come back in the parameters' dtype.
      output: dtype of the loss, float32 by default.
      mu: dtype in which the optimizer state's fields `mu` are stored. A step computes
        in at least float32.
      nu: dtype of the fields `nu`, likewise. In bfloat16 nu rises but does not fall.
      rounding: how parameters in less than float32 take steps that are smaller than
        their spacing. "nearest" rounds each step, and small ones are lost. "master"
        keeps a copy of the parameters in float32 (`master_weights`, 4 bytes a
        parameter). "kahan" keeps what rounding left over (`kahan`, 2 bytes a
        parameter). "stochastic" rounds up or down at random (`stochastic_rounding`, no
        memory).

    Raises:
      TypeError: if a dtype is not a floating one.
      ValueError: raised by `TrainState.create` if the device cannot compute in a dtype,
        or the optimizer's state has no field `mu` or `nu` that a dtype is given for.

    Micikevicius et al. 2017, https://arxiv.org/abs/1710.03740.
    """

    params: Any = static(
        converter=functools.partial(_dtype_name, "params"), default=None
    )
    compute: Any = static(
        converter=functools.partial(_dtype_name, "compute"), default=None
    )
    output: Any = static(
        converter=functools.partial(_dtype_name, "output"), default="float32"
    )
    mu: Any = static(converter=functools.partial(_dtype_name, "mu"), default=None)
    nu: Any = static(converter=functools.partial(_dtype_name, "nu"), default=None)
    rounding: Rounding = static(default="nearest")

    def held(self, params: PyTree) -> PyTree:
        """Return the parameters in the dtype in which the state holds them.

        Raises:
          ValueError: if the device cannot compute in one of the dtypes.
        """
        # Not in the constructor: JAX may not know its devices yet.
        for field in FIELDS:
            _check_device(field, getattr(self, field))
        return _cast(params, self.params)

    def rounded(self, tx: GradientTransformation) -> GradientTransformation:
        """Return `tx` so that its updates survive the rounding of the parameters."""
        return ROUNDINGS[self.rounding](tx)

    def stored(self, opt_state: PyTree) -> PyTree:
        """Return an optimizer's state with its fields `mu` and `nu` in their dtypes.

        Raises:
          ValueError: if a dtype is given for a field that the state does not have.
        """
        wanted: dict[str | None, str | None] = {"mu": self.mu, "nu": self.nu}
        names = {_moment(path) for path, _ in tree_leaves_with_path(opt_state)}
        for name, dtype in wanted.items():
            if dtype is not None and name not in names:
                raise ValueError(
                    f"Precision: {name} is {dtype}, but the optimizer's state has no "
                    f"field {name}; leave it out."
                )
        return tree_map_with_path(
            lambda path, x: _cast(x, wanted.get(_moment(path))), opt_state
        )

    def computed(self, tree: PyTree) -> PyTree:
        """Return parameters or a batch in the dtype of computation."""
        return _cast(tree, self.compute)

    def answered(self, loss: jax.Array) -> jax.Array:
        """Return the loss in the dtype of the output."""
        return _cast(loss, self.output)


def _cast(tree: PyTree, dtype: str | None) -> PyTree:
    def leaf(x: ArrayLike) -> ArrayLike:
        given = dtype_of(x)
        same = dtype is None or not jnp.issubdtype(given, jnp.floating)
        return x if same or given == dtype else jnp.asarray(x).astype(dtype)

    return jax.tree.map(leaf, tree)


def _moment(path: KeyPath) -> str | None:
    """Return the outermost of mu and nu on the path: inner ones may be the user's."""
    names = [key.name for key in path if isinstance(key, GetAttrKey)]
    return next((name for name in names if name in ("mu", "nu")), None)


def _check_device(field: str, name: str | None) -> None:
    if name is None:
        return
    if jax.dtypes.canonicalize_dtype(name) != name:
        raise ValueError(
            f"Precision: {field} is {name}, which JAX computes only with 64 bits "
            'switched on; call jax.config.update("jax_enable_x64", True) first.'
        )
    if name != "float32" and (why := _refusal(name)):
        raise ValueError(
            f"Precision: {field} is {name}, which {jax.devices()[0].device_kind} "
            f"cannot compute ({why}); choose another dtype."
        )


@functools.cache
def _refusal(name: str) -> str | None:
    """Return why the device's compiler refuses a matrix product in the dtype."""
    square = jax.ShapeDtypeStruct((8, 8), name)
    try:
        jax.jit(lambda x: x @ x + 1).lower(square).compile()
    except jax.errors.JaxRuntimeError as error:
        return str(error).splitlines()[0]
    return None
