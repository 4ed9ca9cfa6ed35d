"""Promises about leaves of any size and dtype: a sweep keeps them as they are."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import jopt
from jopt import studies, sweep
from jopt.report._save import save_models
from jopt.sweep._result import winner


def params(key):
    return {
        "w": jax.random.normal(key, (4,), float),
        "scalar": jnp.zeros((), float),
        "rank 0": jnp.zeros((0, 4), float),
        "none": jnp.zeros((3, 0), jnp.bfloat16),
        "bfloat16": jnp.ones(2, jnp.bfloat16),
        "float16": jnp.ones((2, 3), jnp.float16),
        "float16 scalar": jnp.ones((), jnp.float16),
        "complex": jnp.ones(2, jnp.complex64),
    }


def model_state():
    return {
        "mean": jnp.zeros((), jnp.bfloat16),
        "var": jnp.ones(4, jnp.float16),
        "wide": jnp.zeros((), float),
        "count": jnp.zeros((), jnp.int32),
        "bytes": jnp.zeros(2, jnp.uint8),
        "flag": jnp.zeros((), bool),
        "empty": jnp.zeros((0,), jnp.int32),
        "key": jax.random.key(3),
    }


def answer(params, batch):
    terms = [jnp.sum(jnp.abs(leaf)).astype(batch.dtype) for leaf in params.values()]
    return batch @ params["w"] + sum(terms[1:])


def loss(params, state, batch, key):
    """Statistics that are kept in 16 bits are computed in 32, and come back in 32."""
    mean, var = (state[name].astype(jnp.float32) for name in ("mean", "var"))
    changed = {
        "mean": 0.9 * mean + jnp.float32(0.1) * batch.mean().astype(jnp.float32),
        "var": 0.9 * var,
        "wide": state["wide"] + batch.mean(),
        "count": state["count"] + 1,
        "key": jax.random.split(state["key"])[0],
        "flag": True,
    }
    return jnp.mean((answer(params, batch) - 1) ** 2), {**state, **changed}


def evaluate(params, state, batch):
    made = answer(params, batch)
    losses = {"loss": (made - 1) ** 2, "half": made.astype(jnp.bfloat16)}
    return {**losses, "third": jnp.full_like(made, 1 / 3)}


def kinds(tree):
    return jax.tree.map(lambda leaf: (leaf.dtype, leaf.shape), tree)


def bare(tree):
    is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


@pytest.mark.slow("the other width takes the same way", but=1)
@pytest.mark.parametrize("x64", [True, False])
def test_a_sweep_a_resume_and_a_save_keep_shapes_and_dtypes(x64, tmp_path):
    with jax.enable_x64(x64):
        data = (
            np.random.default_rng(0).normal(size=(32, 4)).astype(jnp.result_type(float))
        )
        init = lambda key: (params(key), model_state())  # noqa: E731
        task = sweep.Task.from_loss(
            "kinds",
            init,
            loss,
            evaluate,
            data,
            data[:8],
            batch_size=8,
            predict=lambda model, batch: answer(model.params, batch),
            score=lambda made, batch: {"third": jnp.full_like(made, 1 / 3)},
        )
        trials = sweep.grid(jopt.sgd, learning_rate=[1e-4, 1e-3])
        size: dict[str, Any] = {"steps": 4, "segments": 2, "block": 2}
        result = sweep.run(task, trials, **size, directory=tmp_path)
        again = sweep.resume(tmp_path, task, trials)
        save_models(result, [0, 1], tmp_path / "best")
        saved = ocp.StandardCheckpointer().restore(tmp_path / "best" / "1")
        soup = studies.combine(task, result, 2).soup

        start = params(jax.random.key(0))
        for trial in (0, 1):
            kept = result.params(trial), result.model_state(trial)
            assert kinds(kept) == kinds((start, model_state()))
            after = again.params(trial), again.model_state(trial)
            chex.assert_trees_all_equal(*map(bare, (kept, after)))
        made = {"params": result.params(0), "model_state": result.model_state(0)}
        assert kinds(saved) == kinds(made)
        chex.assert_trees_all_equal(*map(bare, (saved, made)))

        real = np.dtype("float64" if x64 else "float32")
        seen = [result.curves, *result.valid.values(), result.table["valid_loss"]]
        assert {array.dtype for array in seen} == {real}
        rtol = 1e-15 if x64 else 2e-7
        np.testing.assert_allclose(result.valid["third"], 1 / 3, rtol=rtol)
        assert soup["valid"]["third"] == pytest.approx(1 / 3, rel=rtol)


def test_a_sweep_trains_in_float64_what_plain_steps_do():
    with jax.enable_x64(True):
        data = np.random.default_rng(0).normal(size=(8, 4))
        mean_loss = lambda p, b: jnp.mean((b @ p["w"] - 1) ** 2)  # noqa: E731
        task = sweep.Task.from_loss(
            "line",
            lambda key: ({"w": jnp.zeros(4, float)}, {}),
            lambda p, s, b, key: (mean_loss(p, b), s),
            lambda p, s, b: {"loss": (b @ p["w"] - 1) ** 2},
            data,
            data,
            batch_size=8,
        )
        trials = sweep.grid(jopt.sgd, learning_rate=[0.1])
        result = sweep.run(task, trials, steps=3, segments=1, block=1)
        w = np.zeros(4)
        for _ in range(3):
            w -= 0.1 * 2 * data.T @ (data @ w - 1) / 8
        np.testing.assert_allclose(result.params(0)["w"], w, rtol=1e-13)
        value = np.mean((data @ w - 1) ** 2)
        assert result.table["valid_loss"][0] == pytest.approx(value, rel=1e-13)


def test_a_mean_over_seeds_is_formed_in_float64():
    """Two losses whose sum float32 cannot hold."""
    table = {
        "valid_loss": np.asarray([3e38, 3e38, 3.1e38, 3.1e38], np.float32),
        "status": np.asarray(["complete"] * 4),
    }
    pairs = [np.asarray([2, 3]), np.asarray([0, 1])]
    assert winner(pairs, table) == 0
