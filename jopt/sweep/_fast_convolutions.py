"""`with_fast_convolutions`: a Flax model whose layers convolve fast in a sweep."""

import functools
from typing import Any, TypeVar

import jax

from jopt.sweep._convolution import conv_general_dilated

M = TypeVar("M")


def with_fast_convolutions(model: M) -> M:
    """Return a Flax model whose convolutions are `sweep.conv_general_dilated`.

        make = lambda key: sweep.with_fast_convolutions(ResNet(rngs=nnx.Rngs(key)))
        task = sweep.Task.from_model("resnet", make, loss_fn, evaluate, ...)

        resnet = sweep.with_fast_convolutions(linen_resnet)  # then init, apply

    All `Conv` layers at any depth are changed, except those that were given their own
    convolution. Parameters and their names stay as they are.

    Args:
      model: an nnx module, which is changed in place, or a linen module.

    Returns:
      The nnx module itself; for linen a copy, whose `init` and `apply` use it.

    Raises:
      TypeError: `model` is not a Flax module, such as linen's variables.
    """
    from flax import linen, nnx  # slow to load

    if isinstance(model, nnx.Module):
        for _, layer in nnx.iter_modules(model):
            known = isinstance(layer, nnx.Conv)
            if known and layer.conv_general_dilated is jax.lax.conv_general_dilated:
                layer.conv_general_dilated = conv_general_dilated
        return model
    if isinstance(model, linen.Module):
        own = [f for f in type(model).__dataclass_fields__.values() if f.init]
        names = [f.name for f in own if f.name not in ("parent", "name")]
        given = {name: getattr(model, name) for name in names}
        return _fast(type(model))(**given, name=model.name, parent=None)
    raise TypeError(
        "with_fast_convolutions: model must be an nnx or a linen module, got "
        f"{type(model).__name__}; linen's variables come from its init."
    )


@functools.cache
def _fast(kind: Any) -> Any:
    """Return a linen module class whose `Conv` layers convolve fast.

    Linen makes its layers while the module is called, so each call is intercepted.
    """
    from flax import linen

    def convolving(call: Any, args: Any, options: Any, context: Any) -> Any:
        layer = context.module
        if isinstance(layer, linen.Conv) and context.method_name == "__call__":
            own = layer.conv_general_dilated, layer.conv_general_dilated_cls
            if own == (None, None):  # it is frozen, and lives for this call alone
                object.__setattr__(layer, "conv_general_dilated", conv_general_dilated)
        return call(*args, **options)

    class Fast(kind):
        @linen.nowrap
        def apply(self, *args: Any, **options: Any) -> Any:
            with linen.intercept_methods(convolving):
                return super().apply(*args, **options)

        @linen.nowrap
        def init_with_output(self, *args: Any, **options: Any) -> Any:
            with linen.intercept_methods(convolving):
                return super().init_with_output(*args, **options)

    Fast.__name__, Fast.__qualname__ = kind.__name__, kind.__qualname__
    Fast.__module__, Fast.__doc__ = kind.__module__, kind.__doc__
    return Fast
