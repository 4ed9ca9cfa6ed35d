"""Adapters in nnx modules, as the products of their layers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jopt.compress._chosen import chosen_paths
from jopt.compress._low_rank import Adapter, adapted_kernel, adapted_norms
from jopt.core import PyTree, TreePath, by_path, listed_paths, path_text, quotient


class AdaptedProduct(nnx.Module):
    """A layer's product with its kernel, plus that with the adapter.

    It replaces `lax.dot_general` or `lax.conv_general_dilated` as an attribute of the
    layer.

    Args:
      product: the attribute that it replaces, a function or None.
      adapter: the adapter.
      scale: the factor of A B.
    """

    def __init__(self, product: Any, adapter: Adapter, scale: jax.Array):
        self.product = nnx.static(product)
        self.lora_a = nnx.LoRAParam(adapter.lora_a)
        self.lora_b = nnx.LoRAParam(adapter.lora_b)
        norms = adapter.lora_magnitude
        self.lora_magnitude = nnx.data(None if norms is None else nnx.LoRAParam(norms))
        self.scale = nnx.Variable(scale)

    def __call__(
        self, x: jax.Array, kernel: jax.Array, *args: Any, **options: Any
    ) -> jax.Array:
        product = jax.lax.dot_general if self.product is None else self.product
        adapter, scale = self.adapter(), self.scale[...]
        y = product(x, kernel, *args, **options)
        # Only the last product has the outputs to which the sharding applies.
        sharding = options.pop("out_sharding", None)
        low = product(x, adapter.lora_a.astype(kernel.dtype), *args, **options)
        change = jnp.tensordot(
            low,
            adapter.lora_b.astype(low.dtype),
            1,
            precision=options.get("precision"),
            out_sharding=sharding,
        )
        y = y + scale.astype(y.dtype) * change.astype(y.dtype)
        if adapter.lora_magnitude is None:
            return y
        norms = jax.lax.stop_gradient(adapted_norms(kernel, adapter, scale))
        shares = quotient(adapter.lora_magnitude.astype(norms.dtype), norms)
        return y * jnp.expand_dims(shares, range(y.ndim - shares.ndim)).astype(y.dtype)

    def adapter(self) -> Adapter:
        """Return the adapter's arrays."""
        norms = self.lora_magnitude
        return Adapter(
            self.lora_a[...], self.lora_b[...], None if norms is None else norms[...]
        )


class _Layer(NamedTuple):
    """A layer whose product can be adapted.

    Args:
      module: the layer.
      product: the name of the attribute.
      inputs: the number of axes of the kernel that are inputs.
    """

    module: Any
    product: str
    inputs: int

    @classmethod
    def of(cls, module: Any) -> "_Layer | None":
        """Return the layer of a module, or None if it has no such product."""
        match module:
            case nnx.Linear():
                return cls(module, "dot_general", 1)
            case nnx.LinearGeneral(batch_axis=axes, dot_general_cls=None) if not axes:
                return cls(module, "dot_general", len(module.in_features))
            case nnx.Conv(feature_group_count=1, mask=None):
                return cls(module, "conv_general_dilated", module.kernel.ndim - 1)
        return None


def adapted(
    title: str,
    model: Any,
    where: PyTree,
    adapter: Callable[[int, TreePath, jax.Array, int], Adapter],
    scale: jax.Array,
) -> Any:
    """Return a copy of a model with adapters.

    Args:
      title: the function named in errors.
      model: an nnx module, or a tree of them.
      where: which kernels, as for `Mask`; None for all that can be adapted.
      adapter: (number, path, kernel, number of axes that are inputs) -> adapter.
      scale: the factor of A B.
    """
    model = nnx.clone(model)
    layers: dict[TreePath, _Layer] = {
        (*map(str, path), "kernel"): layer
        for path, module in nnx.iter_modules(model)
        if (layer := _Layer.of(module)) is not None
    }
    params = nnx.state(model, nnx.Param)
    kinds = (
        "kernels of nnx.Linear, LinearGeneral (without batch_axis) and Conv (of one "
    )
    kinds += "group, without a mask)"
    if where is None and not layers:
        raise ValueError(
            f"{title}: the model must have {kinds}, and has none; it has "
            f"{listed_paths(by_path(params))}."
        )
    paths = [*layers] if where is None else chosen_paths(title, where, params, "model")
    for number, path in enumerate(sorted(paths)):
        if path not in layers:
            raise ValueError(
                f"{title}: where must choose {kinds}, but chooses {path_text(path)}; "
                f"there are {listed_paths(layers)}."
            )
        module, name, inputs = layers[path]
        held = getattr(module, name)
        if isinstance(held, AdaptedProduct):
            raise ValueError(
                f"{title}: {path_text(path)} has an adapter already; merge the model "
                "first."
            )
        made = adapter(number, path, module.kernel[...], inputs)
        setattr(module, name, nnx.data(AdaptedProduct(held, made, scale)))
    return model


def merged(model: Any) -> Any:
    """Return a copy of a model without adapters, with their sums in the kernels."""
    model = nnx.clone(model)
    found: list[tuple[Any, str, AdaptedProduct]] = [
        (module, name, product)
        for _, module in [*nnx.iter_modules(model)]
        for name in ("dot_general", "conv_general_dilated")
        if isinstance(product := getattr(module, name, None), AdaptedProduct)
    ]
    if not found:
        raise ValueError(
            "merge: the model must have adapters of lora or dora, and has none; it has "
            f"{listed_paths(by_path(nnx.state(model, nnx.Param)))}."
        )
    for module, name, product in found:
        kernel = module.kernel[...]
        scale = product.scale[...]
        module.kernel[...] = adapted_kernel(kernel, product.adapter(), scale)
        setattr(module, name, nnx.static(product.product))
    return model
