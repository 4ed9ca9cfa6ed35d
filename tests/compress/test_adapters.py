"""Promises about adapters: the papers' formulas, one model merged or not."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import jopt
from jopt.compress._low_rank import adapted_kernel, adapted_norms

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 4)).astype(np.float32)
BOTH = pytest.mark.parametrize("adapt", [jopt.lora, jopt.dora])


class Net(nnx.Module):
    """All layers that can be adapted, in a list and in attention too, and a norm."""

    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(4, 6, rngs=rngs)])
        self.norm = nnx.LayerNorm(6, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 6, decode=False, rngs=rngs)
        self.convolution = nnx.Conv(6, 3, (3,), strides=2, rngs=rngs)

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return self.convolution(self.attention(self.norm(x)))


outputs = nnx.jit(lambda model, x: model(x))


def moved(tree, wrt=""):
    """Return a tree whose leaves have other numbers, or those at paths with `wrt`."""

    def leaf(path, x):
        change = RNG.normal(size=x.shape) * 0.2
        here = wrt in jax.tree_util.keystr(path)
        return x + jnp.asarray(change, x.dtype) if here else x

    return jax.tree_util.tree_map_with_path(leaf, tree)


def trained(model):
    """Return an nnx model with adapters that have other numbers."""
    nnx.update(model, moved(nnx.state(model, nnx.LoRAParam)))
    return model


@pytest.mark.slow("the outputs of dora are compared in the quick run", but=1)
@BOTH
def test_a_new_adapter_changes_nothing_and_the_given_model_stays(adapt):
    model = Net(nnx.Rngs(0))
    before = outputs(model, X), nnx.graphdef(model)
    adapted = adapt(model, 2, alpha=3.0)
    assert adapted.layers[0].kernel[...] is model.layers[0].kernel[...]
    np.testing.assert_allclose(outputs(adapted, X), before[0], rtol=1e-6, atol=1e-6)
    assert nnx.graphdef(model) == before[1]
    paths = {path for path, _ in nnx.to_flat_state(nnx.state(adapted, nnx.LoRAParam))}
    kernels = {path[:-2] for path in paths}
    own = {("layers", 0), ("convolution",)}
    heads = {("attention", name) for name in ("query", "key", "value", "out")}
    assert kernels == own | heads


@pytest.mark.slow("the other kinds are merged by the same lines", but=1)
@BOTH
def test_the_merged_model_is_plain_and_has_the_same_outputs(adapt):
    model = Net(nnx.Rngs(0))
    adapted = trained(adapt(model, 2, alpha=3.0, key=1))
    merged = jopt.merge(adapted)
    assert nnx.graphdef(merged) == nnx.graphdef(model)
    before, unmerged, after = (outputs(m, X) for m in (model, adapted, merged))
    assert np.abs(unmerged - before).max() > 0.01
    np.testing.assert_allclose(after, unmerged, rtol=1e-5, atol=1e-6)


@BOTH
@pytest.mark.parametrize("form", ["nnx", "tree"])
def test_outputs_and_gradients_are_those_of_the_paper(adapt, form):
    torch = pytest.importorskip("torch", reason="the oracle")
    linear: Any = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    linear.bias = nnx.Param(jnp.arange(3.0))
    x, weight = X.reshape(-1, 4), RNG.normal(size=(10, 3)).astype(np.float32)
    loss = lambda y: jnp.sum(weight * y**2)  # noqa: E731
    if form == "nnx":
        model = trained(adapt(linear, 2, alpha=3.0))
        parts = nnx.state(model, nnx.LoRAParam)["dot_general"]
        y = model(x)
        over = nnx.DiffState(0, nnx.LoRAParam)
        grads = nnx.grad(lambda model: loss(model(x)), argnums=over)(model)
        grads = grads["dot_general"]
    else:
        params = {"kernel": linear.kernel[...], "bias": linear.bias[...]}
        model = moved(adapt(params, 2, alpha=3.0), "adapters")

        def predictions(adapters):
            merged = jopt.merge(model._replace(adapters=adapters))
            return x @ merged["kernel"] + merged["bias"][None]

        y = predictions(model.adapters)
        grads = jax.grad(lambda adapters: loss(predictions(adapters)))(model.adapters)
        parts, grads = (t["kernel"]._asdict() for t in (model.adapters, grads))

    ours = {name: parts[name] for name in parts if parts[name] is not None}
    tensor = lambda x: torch.tensor(np.asarray(x), dtype=torch.float64)  # noqa: E731
    theirs = {name: tensor(x[...]).requires_grad_() for name, x in ours.items()}
    whole = tensor(linear.kernel[...])
    whole = whole + 3 / 2 * theirs["lora_a"] @ theirs["lora_b"]
    if adapt is jopt.dora:
        norms = torch.linalg.vector_norm(whole, dim=0).detach()
        whole = whole * theirs["lora_magnitude"] / norms
    expected = tensor(x) @ whole + tensor(linear.bias[...])
    torch.sum(tensor(weight) * expected**2).backward()
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-5, atol=1e-6)
    assert set(ours) == ({*theirs} if adapt is jopt.dora else {"lora_a", "lora_b"})
    for name, tensor in theirs.items():
        np.testing.assert_allclose(grads[name][...], tensor.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.slow("the outputs of dora are compared in the quick run")
def test_the_norms_of_a_sum_are_found_without_it():
    kernel = jnp.asarray(RNG.normal(size=(3, 4, 2, 5)), jnp.float32)
    model = jopt.dora({"kernel": kernel.reshape(12, 10)}, 3, alpha=2.0)
    adapter = moved(model.adapters)["kernel"]
    shapes = (3, 4, 3), (3, 2, 5), (2, 5)
    adapter = type(adapter)(
        *(x.reshape(s) for x, s in zip(adapter, shapes, strict=True))
    )
    plain = adapter._replace(lora_magnitude=None)
    whole = adapted_kernel(kernel, plain, model.scale)
    norms = adapted_norms(kernel, adapter, model.scale)
    expected = np.linalg.norm(np.asarray(whole).reshape(12, 2, 5), axis=0)
    np.testing.assert_allclose(norms, expected, rtol=1e-6)


@BOTH
def test_linen_s_variables_and_trees_are_adapted(adapt):
    module = linen.Sequential([linen.Dense(6), linen.tanh, linen.Dense(3)])
    variables = module.init(jax.random.key(0), X)
    adapted = adapt(variables, 2, where=lambda path, leaf: path == "layers_2/kernel")
    adapters = adapted["params"].adapters
    assert list(adapters) == ["layers_2/kernel"]
    merged = jopt.merge(adapted)
    chex.assert_trees_all_equal_structs(merged, variables)
    chex.assert_trees_all_close(merged, variables, rtol=1e-6)
    merged = jopt.merge(moved(adapted, "lora_"))
    differs = jax.tree.map(lambda a, b: bool((a != b).any()), merged, variables)
    assert differs["params"] == {
        "layers_0": {"kernel": False, "bias": False},
        "layers_2": {"kernel": True, "bias": False},
    }


@pytest.mark.parametrize("form", ["nnx", "linen"])
def test_a_train_state_trains_the_adapters_alone(form):
    target = RNG.normal(size=(2, 5, 3)).astype(np.float32)
    if form == "nnx":
        base = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
        model, wrt = jopt.lora(base, 2), nnx.LoRAParam
        apply = lambda model, x: model(x)  # noqa: E731
        weights = lambda model: model.kernel[...]  # noqa: E731
    else:
        module = linen.Dense(3)
        base = module.init(jax.random.key(0), X)
        model, wrt = jopt.lora(base, 2), lambda path, leaf: "lora_" in path
        apply: Any = lambda model, x: module.apply(jopt.merge(model), x)  # noqa: E731
        weights = lambda model: model["params"]["kernel"]  # noqa: E731

    def loss_fn(model, batch, key):
        return jnp.mean((apply(model, batch) - target) ** 2)

    state = jopt.TrainState.create(model, jopt.adam(0.05), wrt=wrt)
    step, losses = jopt.train_step(loss_fn), []
    for _ in range(20):
        state, metrics = step(state, X)
        losses.append(metrics.loss)
    assert sum(x.size for x in jax.tree.leaves(state.packed)) >= 2 * (4 + 3)
    assert sum(x.size for x in jax.tree.leaves(state.opt_state)) < 2 * 128 + 4
    kept = state.params["kernel"] if form == "nnx" else state.params.base["kernel"]
    np.testing.assert_array_equal(jax.tree.leaves(kept)[0], weights(base))
    merged = jopt.merge(state.model)
    assert np.abs(weights(merged) - weights(base)).max() > 0.01
    assert loss_fn(state.model, X, None) < 0.95 * losses[0]


def test_adapters_of_low_precision_kernels_are_float32():
    model = nnx.Linear(
        4, 3, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0)
    )
    adapted = trained(jopt.dora(model, 2))
    assert adapted.dot_general.lora_a.dtype == jnp.float32
    assert adapted(X).dtype == jnp.bfloat16
    merged = jopt.merge(adapted)
    assert merged.kernel.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        merged(X).astype(jnp.float32), adapted(X).astype(jnp.float32), atol=0.1
    )


def test_a_product_of_the_user_s_own_is_kept():
    called = []

    def product(*args, **options):
        called.append(args[1].shape)
        return jax.lax.dot_general(*args, **options)

    model = nnx.Linear(4, 3, dot_general=product, rngs=nnx.Rngs(0))
    adapted = jopt.lora(model, 2)
    adapted(X)
    assert called == [(4, 3), (4, 2)]
    assert jopt.merge(adapted).dot_general is product


class Foreign(nnx.Module):
    def __init__(self):
        self.table = nnx.Param(jnp.ones((3, 4)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda model: jopt.lora(
                model, 5, where=lambda p, x: p == "layers/0/kernel"
            ),
            "rank must be at most the smaller side of each kernel, got 5 for "
            "layers/0/kernel of 4 inputs and 6 outputs",
        ),
        (
            lambda model: jopt.lora(model, 2, where=lambda path, leaf: "lst" in path),
            "none of attention/key/bias, attention/key/kernel,",
        ),
        (
            lambda model: jopt.dora(model, 2, where=lambda path, leaf: "norm" in path),
            "chooses norm/bias; there are attention/key/kernel",
        ),
        (
            lambda model: jopt.lora(jopt.dora(model, 1), 1),
            "attention/key/kernel has an adapter already; merge the model first",
        ),
        (lambda model: jopt.merge(model), "the model must have adapters"),
        (lambda model: jopt.lora(Foreign(), 1), "has none; it has table"),
        (lambda model: jopt.merge({"w": X}), "the model must have adapters"),
        (
            lambda model: jopt.lora({"w": X[0]}, 5),
            "got 5 for w of 5 inputs and 4 outputs",
        ),
        (
            lambda model: jopt.lora(jopt.lora({"w": X[0]}, 1), 1),
            "has adapters already",
        ),
        (
            lambda model: jopt.lora({"w": np.ones((2, 2), np.int32)}, 1),
            "kernels of real floats, but w is int32",
        ),
        (lambda model: jopt.lora({"b": X[0, 0]}, 1), "none of b"),
        (
            lambda model: jopt.lora({"b": X[0, 0]}, 1, where=True),
            r"kernels of two axes or more, but b has the shape \[4\]",
        ),
        (lambda model: jopt.lora({}, 1), "the model must have parameters"),
        (lambda model: jopt.lora(model, 0), "rank must be an integer of at least 1"),
    ],
)
def test_what_cannot_be_adapted_is_a_sentence(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call(Net(nnx.Rngs(0)))
