"""Promises of `train_step`: buckets, accumulation, many steps, what is not finite."""

import re
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from classifiers import (
    BATCH,
    KEY,
    KINDS,
    LinenModel,
    cross_entropy,
    linen_loss,
    linen_model,
    plain_loss,
    plain_model,
)
from flax.core import freeze

import jopt
from jopt._buckets import Buckets
from jopt.training import TrainState, train_step, train_steps
from jopt.training._donation import Donating

INPUTS, LABELS = BATCH
BAD = (INPUTS.at[3].set(jnp.nan), LABELS)


def assert_close(ours, theirs, rtol=1e-5, atol=1e-6):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol),
        ours,
        theirs,
    )


def assert_equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def kept(tree):
    """The numbers of a tree that a step will donate."""
    return jax.tree.map(np.asarray, tree)


def run(step, state, batches):
    """The state after a step for each batch, and the metrics of each."""
    seen = []
    for batch in batches:
        state, metrics = step(state, batch)
        seen.append(metrics)
    return state, seen


@pytest.mark.parametrize("kind", KINDS)
def test_buckets_are_one_argument_and_change_no_number(kind):
    make, loss_fn = KINDS[kind]
    step, ended = train_step(loss_fn), {}
    for buckets in (True, False):
        state = TrainState.create(make(), jopt.adamw(0.03), buckets=buckets)
        assert isinstance(state.packed, Buckets) == buckets
        ended[buckets], seen = run(step, state, [BATCH] * 5)
    assert_close(ended[True].params, ended[False].params)
    assert_close(ended[True].by_leaf().opt_state, ended[False].opt_state)
    fresh = TrainState.create(make(), jopt.adamw(0.03)).params
    assert jax.tree.structure(ended[True].params) == jax.tree.structure(fresh)
    assert step._cache_size() == 2
    assert seen[0].nonfinite == 0
    assert ended[True].skipped == 0


def test_buckets_may_be_given_as_the_size_of_the_largest_joined_leaf():
    joined = TrainState.create(plain_model(), jopt.sgd(0.1), buckets=8).packed
    apart = TrainState.create(plain_model(), jopt.sgd(0.1), buckets=7).packed
    assert isinstance(joined, Buckets)
    assert not isinstance(apart, Buckets)


def weighted_loss(params, batch, key):
    logits = batch["x"] @ params["w"] + params["b"][None]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["y"][:, None], 1)
    return -jnp.sum(batch["mask"] * chosen[:, 0]) / jnp.sum(batch["mask"])


WEIGHTED = {"x": INPUTS, "y": LABELS, "mask": jnp.arange(16.0) % 5}
CLIPPED = jopt.chain(jopt.clip_by_global_norm(0.2), jopt.adamw(0.03))


@pytest.mark.parametrize(
    ("loss_fn", "batch", "cut"),
    [
        (plain_loss, BATCH, {"accumulate": 4}),
        (plain_loss, BATCH, {"microbatch": 5}),  # 5, 5, 5 and 1
        (plain_loss, BATCH, {"microbatch": 99}),
        (
            weighted_loss,
            WEIGHTED,
            {"microbatch": 6, "weight": lambda batch: batch["mask"].sum()},
        ),
    ],
    ids=["accumulate", "microbatch", "one microbatch", "weight"],
)
def test_microbatches_add_up_to_the_batch(loss_fn, batch, cut):
    ended = []
    for settings in ({}, cut):
        state = TrainState.create(plain_model(), CLIPPED)
        state, seen = run(train_step(loss_fn, **settings), state, [batch] * 3)
        ended.append((state.params, [(m.loss, m.grad_norm) for m in seen]))
    assert_close(*ended)


def test_microbatches_change_model_state_and_keys_as_that_many_steps():
    def loss_fn(variables, batch, key):
        loss, changed = linen_loss(variables, batch, key)
        return loss + jax.random.uniform(key), changed

    still = jopt.sgd(0.0)
    parts = [jax.tree.map(lambda x, i=i: x[4 * i : 4 * i + 4], BATCH) for i in range(4)]
    state, alone = run(
        train_step(loss_fn), TrainState.create(linen_model(), still), parts * 2
    )
    together, seen = run(
        train_step(loss_fn, accumulate=4),
        TrainState.create(linen_model(), still),
        [BATCH] * 2,
    )

    assert_close(together.model_state, state.model_state, atol=0)
    losses = np.reshape([m.loss for m in alone], (2, 4)).mean(1)
    np.testing.assert_allclose([m.loss for m in seen], losses, rtol=1e-5)


def test_a_microbatch_that_is_not_finite_is_left_out():
    clean = jax.tree.map(lambda x: x[:8], BATCH)
    spoiled = (jnp.concatenate([jnp.full((1, 4), jnp.nan), clean[0]]), LABELS[:9])
    ended = []
    for batch in (clean, spoiled):
        state = TrainState.create(plain_model(), CLIPPED)
        state, (metrics, _) = run(
            train_step(plain_loss, microbatch=1), state, [batch] * 2
        )
        ended.append((state.params, state.opt_state, metrics.loss, metrics.grad_norm))
    assert_equal(*ended)
    assert metrics.nonfinite == 1
    assert state.skipped == 2
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


@pytest.mark.parametrize(
    ("cut", "bad", "count"),
    [({}, BAD, 1), ({"accumulate": 4}, (jnp.full_like(INPUTS, jnp.inf), LABELS), 4)],
    ids=["whole", "accumulate"],
)
def test_a_batch_that_is_not_finite_changes_nothing_but_the_counts(cut, bad, count):
    step = train_step(linen_loss, **cut)
    state, _ = step(TrainState.create(linen_model(), jopt.adamw(0.03)), BATCH)
    before = kept((state.packed, state.opt_state, state.model_state))

    state, metrics = step(state, bad)

    assert_equal((state.packed, state.opt_state, state.model_state), before)
    assert (int(state.step), int(state.skipped)) == (2, count)
    assert metrics.nonfinite == count
    assert not np.isfinite(metrics.grad_norm)
    state, metrics = step(state, BATCH)
    assert metrics.nonfinite == 0
    assert state.skipped == count
    with pytest.raises(AssertionError):
        assert_equal(state.packed, before[0])


def test_random_keys_of_the_optimizer_stay_with_the_rest():
    step = train_step(plain_loss)
    state = TrainState.create(plain_model(), jopt.noisy_sgd(0.1))
    before = jax.random.key_data(state.opt_state[0].rng_key)

    state, _ = step(state, BAD)
    np.testing.assert_array_equal(
        jax.random.key_data(state.opt_state[0].rng_key), before
    )
    state, _ = step(state, BATCH)
    assert state.opt_state[0].count == 1


def test_many_steps_a_call_are_as_many_calls():
    batches = [(INPUTS + i, LABELS) for i in range(4)]
    batches[2] = BAD
    state, seen = run(
        train_step(linen_loss), TrainState.create(linen_model(), CLIPPED), batches
    )
    steps = train_steps(linen_loss)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batches)

    other, metrics = steps(TrainState.create(linen_model(), CLIPPED), stacked)

    assert_close(other.params, state.params)
    assert_close(other.model_state, state.model_state)
    assert (int(other.step), int(other.skipped)) == (4, 1)
    assert_close(metrics, jax.tree.map(lambda *x: jnp.stack(x), *seen))
    assert metrics.loss.shape == (4,)
    assert metrics.hyperparameters["learning_rate"].shape == (4,)


def test_float16_overflows_at_first_backs_off_and_trains_on():
    scale = jopt.LossScale(2.0**18, interval=5)
    state = TrainState.create(
        plain_model(),
        jopt.adam(0.03),
        precision=jopt.Precision(compute="float16"),
        loss_scale=scale,
    )
    before = kept(state.params)
    step = train_step(plain_loss)

    state, first = step(state, BATCH)
    assert_equal(state.params, before)
    state, seen = run(step, state, [BATCH] * 19)

    scales = [float(m.loss_scale) for m in (first, *seen)]
    # The greatest power of two in float16 is 2^15; every fifth finite step tries 2^16.
    assert scales[:9] == [2.0**k for k in (18, 17, 16, 15, 15, 15, 15, 15, 16)]
    assert state.skipped == sum(int(m.nonfinite) for m in (first, *seen)) >= 4
    exact, expected = run(
        train_step(plain_loss),
        TrainState.create(plain_model(), jopt.adam(0.03)),
        [BATCH] * (20 - int(state.skipped)),
    )
    np.testing.assert_allclose(seen[-1].loss, expected[-1].loss, rtol=0.01)
    assert_close(state.params, exact.params, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(seen[-1].grad_norm, expected[-1].grad_norm, rtol=0.02)


def test_a_loss_scale_counts_a_microbatch_that_is_not_finite():
    state = TrainState.create(
        plain_model(), jopt.sgd(0.1), loss_scale=jopt.LossScale(2.0**10)
    )
    state, metrics = train_step(plain_loss, accumulate=4)(state, BAD)
    assert metrics.nonfinite == 1
    assert metrics.loss_scale == 2.0**10
    assert state.loss_scale is not None
    assert state.loss_scale.scale == 2.0**9


def wide_model(size=160, layers=4):
    return {
        f"w{i}": jax.random.normal(jax.random.key(i), (size, size)) / size**0.5
        for i in range(layers)
    } | {f"b{i}": jnp.zeros(size) for i in range(layers)}


def wide_loss(params, batch, key):
    for i in range(len(params) // 2):
        batch = jnp.tanh(batch @ params[f"w{i}"] + params[f"b{i}"][None])
    return jnp.mean(batch**2)


@pytest.fixture(scope="module")
def programs():
    """The compiled steps of a wide model, by optimizer, and their analyses."""
    batch, params = jnp.ones((4, 160)), wide_model()
    forward = jax.jit(lambda p: jax.value_and_grad(wide_loss)(p, batch, None))
    made = {"forward": forward.lower(params).compile()}
    clipped = jopt.chain(jopt.clip_by_global_norm(1.0), jopt.adamw(0.1))
    for name, tx in {"adamw": jopt.adamw(0.1), "clipped": clipped}.items():
        state = TrainState.create(params, tx)
        made[name] = train_step(wide_loss).lower(state, batch).compile()
    return made


def test_no_second_copy_of_the_gradients_is_made(programs):
    gradients = 4 * sum(x.size for x in jax.tree.leaves(wide_model()))
    temp = {k: p.memory_analysis().temp_size_in_bytes for k, p in programs.items()}
    for name in ("adamw", "clipped"):
        assert temp[name] - temp["forward"] < 1.2 * gradients
        assert not re.search(r"f32\[160,160\]\S* copy\(", programs[name].as_text())


def test_clipping_reads_the_gradients_and_writes_nothing(programs):
    size = sum(x.size for x in jax.tree.leaves(wide_model()))
    clipped, alone = (
        programs[name].cost_analysis()["bytes accessed"]
        for name in ("clipped", "adamw")
    )
    assert clipped - alone < 1.1 * 4 * size


@pytest.mark.parametrize(
    "tx",
    [
        CLIPPED,
        jopt.muon(0.1),
        jopt.accumulate(jopt.adam(0.1), 2),
        jopt.apply_if_finite(jopt.sgd(0.1, momentum=0.9), 3),
        jopt.schedule_free_adamw(0.1),
    ],
    ids=lambda tx: type(tx).__name__,
)
def test_every_byte_of_the_state_is_written_in_place(tx):
    state = TrainState.create(plain_model(), tx)
    step = train_step(plain_loss)
    analysis = step.lower(state, BATCH).compile().memory_analysis()
    held = sum(x.nbytes for x in jax.tree.leaves(state) if x is not state.key) + 8

    assert analysis.alias_size_in_bytes == held
    step(state, BATCH)  # and no warning


def test_a_state_that_is_copied_is_said_with_the_reason():
    def step(state, batch):
        return {"kept": state["kept"] + 1, "n": state["n"].astype(jnp.bfloat16)}, batch

    state = {"kept": jnp.ones(3), "n": jnp.ones(2)}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        Donating(step)(state, 0.0)
    said = [str(warning.message) for warning in seen]
    assert any(
        "train_step: 8 of the state's 20 bytes are copied" in message
        and "['n'] becomes bfloat16[2] from float32[2]: a step must" in message
        for message in said
    )


def test_a_step_keeps_its_functions_name_and_can_be_lowered_for_shapes():
    step = train_step(plain_loss)
    shapes = jax.eval_shape(lambda: TrainState.create(plain_model(), jopt.sgd(0.1)))
    assert "stablehlo" in step.lower(shapes, BATCH).as_text()


def test_a_model_state_of_another_structure_is_refused():
    def loss_fn(variables, batch, key):
        loss, changed = linen_loss(variables, batch, key)
        return loss, {**changed, "seen": jnp.zeros(())}

    state = TrainState.create(linen_model(), jopt.sgd(0.1))
    with pytest.raises(ValueError, match=r"\['seen'\] is new; make the TrainState"):
        train_step(loss_fn)(state, BATCH)


def test_frozen_variables_stay_frozen():
    state = TrainState.create(freeze(linen_model()), jopt.sgd(0.1))
    structure = jax.tree.structure(state.model_state)
    state, _ = train_step(linen_loss, accumulate=2)(state, BATCH)
    assert jax.tree.structure(state.model_state) == structure


def test_float64_is_accumulated_in_float64():
    with jax.enable_x64(True):
        params = jax.tree.map(lambda x: x.astype(jnp.float64), plain_model())
        batch = (INPUTS.astype(jnp.float64), LABELS)
        ended = []
        for cut in ({}, {"microbatch": 5}):
            state = TrainState.create(params, jopt.sgd(0.1), precision=F64)
            state, metrics = train_step(plain_loss, **cut)(state, batch)
            ended.append((state.params, metrics.loss))
        assert ended[0][0]["w"].dtype == jnp.float64
        assert_close(*ended, rtol=1e-12, atol=1e-14)


F64 = jopt.Precision(output=None)


@pytest.mark.parametrize(
    ("settings", "batch", "message"),
    [
        ({"accumulate": 0}, BATCH, "accumulate must be at least 1, got 0"),
        ({"microbatch": 0}, BATCH, "microbatch must be at least 1, got 0"),
        (
            {"accumulate": 2, "microbatch": 2},
            BATCH,
            "not both; got 2 and 2",
        ),
        (
            {"accumulate": 3},
            BATCH,
            "accumulate must divide the batch of 16, got 3; 1, 2, 4, 8, 16 would, or",
        ),
        (
            {"accumulate": 2},
            (INPUTS, LABELS[:8]),
            r"one leading axis, its examples, but their shapes are \[16, 4\], \[8\]",
        ),
        ({"accumulate": 2}, (INPUTS, jnp.ones(())), r"\[16, 4\], \[\]"),
        ({"accumulate": 2}, (), "shapes are none"),
        ({"accumulate": 2}, (INPUTS[:0], LABELS[:0]), "at least one example"),
    ],
)
def test_batches_that_cannot_be_cut_are_refused(settings, batch, message):
    with pytest.raises(ValueError, match=message):
        step = train_step(plain_loss, **settings)
        step(TrainState.create(plain_model(), jopt.sgd(0.1)), batch)
