"""What is padded changes nothing, wherever it is; keys are never given twice."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import key_data
from flax import nnx

import jopt
from jopt.training import TrainState, train_step

CLOSE = {"rtol": 1e-6, "atol": 1e-7}
TX = jopt.chain(jopt.clip_by_global_norm(0.5), jopt.adam(0.1))
X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
REAL = {"x": X, "mask": np.ones(4, np.float32)}


class Net(nnx.Module):
    def __init__(self, rngs):
        self.norm = nnx.BatchNorm(3, momentum=0.5, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.line = nnx.Linear(3, 1, rngs=rngs)

    def __call__(self, x):
        return self.line(self.drop(self.norm(x)))[:, 0]


def loss_fn(model, batch, key):
    noisy = batch["x"] + jax.random.normal(key, (3,))[None]
    return (model(noisy) ** 2 * batch["mask"]).sum() / batch["mask"].sum()


def number(batch):
    return batch["mask"].sum()


def create(**settings):
    return TrainState.create(Net(nnx.Rngs(0)), TX, **settings)


def padded(order, fill=9.0):
    """The two real microbatches of two examples, and padding, in this order."""
    parts = {"a": slice(0, 2), "b": slice(2, 4)}
    xs = [X[parts[c]] if c in parts else np.full((2, 3), fill, "f4") for c in order]
    masks = [np.full(2, float(c in parts), np.float32) for c in order]
    return {"x": np.concatenate(xs), "mask": np.concatenate(masks)}


def after(batches, **settings):
    """The state after these batches, keys as bits, and the metrics of each."""
    step, state, seen = train_step(loss_fn, **settings), create(), []
    for batch in batches:
        state, metrics = step(state, batch)
        seen.append((metrics.loss, metrics.grad_norm, metrics.nonfinite))
    return key_data(jax.tree.leaves(state)), seen


@pytest.fixture(scope="module")
def alone():
    """After two steps of the real microbatches alone."""
    return after([REAL] * 2, microbatch=2, weight=number)


@pytest.mark.slow("another place of the padding is masked alike", but=1)
@pytest.mark.parametrize("fill", [9.0, np.nan])
@pytest.mark.parametrize("orders", [("ab.", ".ab"), ("a.b", "a..b"), ("..ab", "ab..")])
def test_a_microbatch_of_weight_zero_changes_nothing(alone, orders, fill):
    batches = [padded(order, fill) for order in orders]
    chex.assert_trees_all_close(
        after(batches, microbatch=2, weight=number), alone, **CLOSE
    )


@pytest.mark.slow("padding in several microbatches is in the quick run")
def test_a_batch_that_fits_one_microbatch_is_a_batch_like_any_other():
    first = jax.tree.map(lambda x: x[:2], REAL)
    plain = after([first] * 2)
    for batch, settings in (
        (first, {"microbatch": 8}),
        (first, {"weight": number}),
        (padded("a."), {"accumulate": 2, "weight": number}),
    ):
        chex.assert_trees_all_close(after([batch] * 2, **settings), plain, **CLOSE)


@pytest.mark.slow("microbatches of padding are in the quick run", but=1)
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}])
def test_a_batch_of_padding_alone_changes_the_step_and_is_no_overflow(settings):
    scale = jopt.LossScale(8.0, interval=2, good_steps=1)
    state = create(loss_scale=scale)
    before = jax.tree.map(np.array, key_data(state.apart()[0].by_leaf()))

    state, metrics = train_step(loss_fn, weight=number, **settings)(state, padded(".."))

    changed = key_data(state.apart()[0].by_leaf())
    assert (int(state.step), int(state.skipped), int(metrics.nonfinite)) == (1, 0, 0)
    assert np.isnan(metrics.loss)
    for name in ("packed", "model_state", "opt_state", "loss_scale"):
        chex.assert_trees_all_equal(getattr(changed, name), getattr(before, name))


def test_no_two_microbatches_of_a_run_have_the_same_key():
    seen = []

    def note(words, mask):
        seen.append((tuple(words.tolist()), bool(mask.any())))

    def loss_fn(params, batch, key):
        jax.debug.callback(note, jax.random.key_data(key), batch["mask"])
        return jnp.mean(batch["x"] * params["w"][None])

    state = TrainState.create({"w": jnp.ones(3)}, jopt.sgd(0.1), 5)
    by_two = train_step(loss_fn, microbatch=2, weight=number)
    whole = train_step(loss_fn)
    for batch in (REAL, padded("a"), padded(".a.b"), padded("b."), REAL):
        for step in (by_two, whole):
            state, _ = step(state, batch)
            jax.effects_barrier()

    assert len(seen) == 2 + 1 + 4 + 2 + 2 + 5
    assert len({key for key, _ in seen}) == len(seen)
    firsts = [jax.random.fold_in(jax.random.key(5), t) for t in range(10)]
    assert {tuple(jax.random.key_data(k).tolist()) for k in firsts} <= {
        key for key, real in seen if real
    }


def test_keys_may_be_of_the_old_kind():
    def noisy(params, batch, key):
        return jnp.sum(params["w"] * jax.random.normal(key, (3,))) + batch.mean()

    def stepped(key):
        state = TrainState.create({"w": jnp.ones(3)}, jopt.sgd(0.1), key)
        return train_step(noisy, accumulate=2)(state, X)

    state, metrics = stepped(jax.random.PRNGKey(3))
    again, other = stepped(3)
    np.testing.assert_array_equal(metrics.loss, other.loss)
    chex.assert_trees_all_equal(state.params, again.params)


def test_padding_within_a_batch_is_left_out_by_the_masks_of_loss_and_layer():
    def masked_loss(model, batch, key):
        h = model.norm(batch["x"], mask=batch["mask"][:, None] > 0)
        return (model.line(h)[:, 0] ** 2 * batch["mask"]).sum() / batch["mask"].sum()

    ended = []
    for batch in (REAL, padded("ab."), padded("a.b", fill=0.0)):
        state, metrics = train_step(masked_loss)(create(), batch)
        ended.append((state.params, state.model.norm.mean[...], metrics.loss))
    for other in ended[1:]:
        chex.assert_trees_all_close(other, ended[0], rtol=1e-5, atol=1e-6)
