"""`lora`, `dora` and `merge`: a large model that is trained by small adapters."""

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jopt.compress._chosen import chosen_paths, matrices
from jopt.compress._low_rank import Adapter, adapted_kernel, new_adapter
from jopt.compress._paths import replaced, with_leaves
from jopt.core import (
    Count,
    Key,
    Number,
    PyTree,
    TreePath,
    by_path,
    check_arrays,
    checked,
    initial_key,
    is_integer,
    path_text,
)
from jopt.training import Nnx, form_of


class Adapted(NamedTuple):
    """A tree of parameters and its adapters; `merge` joins them to one tree.

    Args:
      base: the parameters, which are not trained.
      adapters: the trained adapters, by the paths of the adapted leaves.
      scale: float32[], the factor of A B.
    """

    base: PyTree
    adapters: dict[str, Adapter]
    scale: jax.Array


@checked
def lora(
    model: Any,
    rank: Count,
    *,
    where: PyTree = None,
    alpha: Number | None = None,
    key: Key = 0,
) -> Any:
    """Return a model whose kernels are trained by adapters of a low rank.

        W + (alpha / rank) A B        A: [inputs, rank], normal; B: [rank, outputs], 0

        model = jopt.lora(model, rank=8)                                   # nnx
        state = jopt.TrainState.create(model, tx, wrt=nnx.LoRAParam)
        model = jopt.merge(state.model)

    Until B is trained, the returned model has the outputs of the given one. The given
    one is unchanged, and shares its arrays.

    *An nnx module.* The product of a layer (`dot_general`, `conv_general_dilated`)
    becomes a module with the adapter's `nnx.LoRAParam`. The rest of the model is
    unchanged, including the paths of its parameters. The adapter's product is (x A) B:
    no array of a kernel's size is formed, so many trials of a sweep share one base.
    Layers that can be adapted are Linear, LinearGeneral and Conv, also inside other
    layers (attention, recurrent cells).

    *Linen's variables, or a tree of parameters.* The result has an `Adapted` in place
    of the parameters; the loss function merges it, which forms each kernel:

        variables = jopt.lora(variables, rank=8)
        state = jopt.TrainState.create(
            variables, tx, wrt=lambda path, leaf: "lora_" in path
        )
        logits = module.apply(jopt.merge(variables), x)

    Args:
      model: an nnx module or a tree of them, linen's variables, or a tree of
        parameters.
      rank: the rank of the adapters, static; see `limit_rank` for one that is data.
      where: which kernels are adapted, a mask as in `masked`, with paths like
        "layers/0/kernel". By default all that can be adapted; in a tree, the leaves
        with two axes or more, as matrices with the outputs on the last axis.
      alpha: A B is multiplied by alpha / rank; by default by 1.
      key: a seed or a key, for A.

    Raises:
      ValueError: if `where` chooses no kernel or one that cannot be adapted, if the
        rank is above the smaller side of a kernel, or if the model has adapters.
      TypeError: if a kernel is not of real floats.

    Hu et al. 2021, https://arxiv.org/abs/2106.09685.
    """
    return _with_adapters("lora", model, rank, where, alpha, key, magnitude=False)


@checked
def dora(
    model: Any,
    rank: Count,
    *,
    where: PyTree = None,
    alpha: Number | None = None,
    key: Key = 0,
) -> Any:
    """Return a model like `lora`'s, whose adapters also train the columns' norms m.

        V = W + (alpha / rank) A B        W' = m V / |V|, column by column

    m begins with the norms of W: adapt a trained model, not one that gets its weights
    later. For gradients |V| is a constant, as in the paper.

    Args:
      model, rank, where, alpha, key: as for `lora`.

    Raises:
      ValueError, TypeError: as `lora`.

    Liu et al. 2024, https://arxiv.org/abs/2402.09353, equation 5 and section 4.3.
    """
    return _with_adapters("dora", model, rank, where, alpha, key, magnitude=True)


def merge(model: Any) -> Any:
    """Return the plain model that a model with adapters is equivalent to.

    Args:
      model: the result of `lora` or `dora`, or `TrainState.model` of it.

    Returns:
      An nnx module without adapters, or the tree without an `Adapted`; kernels have
      their dtypes. The given model is unchanged.

    Raises:
      ValueError: if the model has no adapters.
    """
    if _has_modules(model):
        from jopt.compress._nnx_adapters import merged

        return merged(model)
    found = []

    def node(node: Any) -> Any:
        if not isinstance(node, Adapted):
            return node
        found.append(node)
        leaves = {path_text(path): (path, x) for path, x in by_path(node.base).items()}
        kernels = {
            path: adapted_kernel(kernel, node.adapters[name], node.scale)
            for name, (path, kernel) in leaves.items()
            if name in node.adapters
        }
        return replaced(node.base, kernels)

    made = with_leaves(node, model, Adapted)
    if not found:
        raise ValueError(
            "merge: the model must have adapters, got one without any; give what lora "
            "or dora has returned."
        )
    return made


def _with_adapters(
    title: str,
    model: Any,
    rank: int,
    where: PyTree,
    alpha: Number | None,
    key: Any,
    magnitude: bool,
) -> Any:
    key = initial_key(key, int(key) if is_integer(key) else None)
    scale = jnp.asarray(1 if alpha is None else alpha / rank, jnp.float32)

    def adapter(number: int, path: TreePath, kernel: jax.Array, inputs: int) -> Adapter:
        own = jax.random.fold_in(key, number)
        return new_adapter(title, path, kernel, inputs, rank, magnitude, own)

    if _has_modules(model):
        from jopt.compress._nnx_adapters import adapted

        return adapted(title, model, where, adapter, scale)
    form = form_of(model)
    params, rest = form.split(model)
    is_adapted = lambda node: isinstance(node, Adapted)  # noqa: E731
    if any(map(is_adapted, jax.tree.leaves(params, is_leaf=is_adapted))):
        raise ValueError(
            f"{title}: the model has adapters already; merge it first, or give it "
            "without."
        )
    check_arrays(title, "model", params)
    leaves = {path: jnp.asarray(leaf) for path, leaf in by_path(params).items()}
    where = matrices if where is None else where
    paths = chosen_paths(title, where, params, "model")
    if not paths:
        raise ValueError(f"{title}: the model must have parameters, got none.")
    made = {
        path_text(path): adapter(i, path, leaves[path], leaves[path].ndim - 1)
        for i, path in enumerate(paths)
    }
    return form.join(Adapted(params, made, scale), rest)


def _has_modules(model: Any) -> bool:
    # A program with a module has imported Flax.
    return "flax.nnx" in sys.modules and isinstance(form_of(model), Nnx)
