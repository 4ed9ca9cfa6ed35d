"""Promises of `train_step`: one program, buckets, accumulation, what is not finite."""

import dataclasses
import re
import warnings
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from classifiers import BATCH, KINDS, linen_loss, linen_model, plain_loss, plain_model
from flax.core import freeze

import jopt
from jopt.core import Buckets
from jopt.training import TrainState, train_step, train_steps
from jopt.training._donation import CompiledStep

INPUTS, LABELS = BATCH
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
BAD = (INPUTS.at[3].set(jnp.nan), LABELS)


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
def test_steps_reduce_the_loss_in_one_program(kind):
    make, loss_fn = KINDS[kind]
    state = TrainState.create(make(), jopt.adam(0.03))
    step: Any = train_step(loss_fn)
    losses = []
    for _ in range(20):
        state, metrics = step(state, BATCH)
        losses.append(float(metrics.loss))
    assert losses[-1] < 0.8 * losses[0]
    assert step._cache_size() == 1
    assert int(state.step) == 20


def test_a_step_is_what_optax_does_by_hand():
    params: Any = plain_model()
    metrics, grads = None, None
    tx = optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(0.01))
    opt_state = tx.init(params)
    state = TrainState.create(
        params, jopt.chain(jopt.clip_by_global_norm(0.1), jopt.adamw(0.01))
    )
    step = train_step(plain_loss)
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(5):
            grads = jax.grad(plain_loss)(params, BATCH, None)
            updates, opt_state = tx.update(grads, opt_state, params)
            params = optax.apply_updates(params, updates)
    for _ in range(5):
        state, metrics = step(state, BATCH)
    chex.assert_trees_all_close(state.params, params, rtol=2e-5)
    assert metrics is not None
    np.testing.assert_allclose(metrics.grad_norm, jopt.global_norm(grads), rtol=1e-3)


def test_the_state_is_donated():
    state = TrainState.create(plain_model(), jopt.adam(0.1))
    train_step(plain_loss)(state, BATCH)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.apart()[0]))


def test_metrics_show_the_numbers_that_the_update_used():
    schedule = jopt.linear_schedule(1.0, 0.0, 10)
    state = TrainState.create(plain_model(), jopt.sgd(schedule, momentum=0.5))
    step = train_step(plain_loss)
    rates = []
    for _ in range(3):
        state, metrics = step(state, BATCH)
        rates.append(float(metrics.hyperparameters["learning_rate"]))
        assert float(metrics.hyperparameters["decay"]) == 0.5
    np.testing.assert_allclose(rates, [1.0, 0.9, 0.8], rtol=1e-6)


def test_a_new_number_is_no_new_program():
    state = TrainState.create(plain_model(), jopt.sgd(1.0))
    step: Any = train_step(plain_loss)
    state, _ = step(state, BATCH)
    before = jax.tree.map(np.asarray, state.params)
    new = jopt.replace(state.tx, learning_rate=0.0)
    state, _ = step(dataclasses.replace(state, tx=new), BATCH)
    assert step._cache_size() == 1
    chex.assert_trees_all_equal(state.params, before)


def test_states_are_trained_side_by_side_by_vmap():
    rates = jnp.asarray([0.01, 0.1, 1.0])
    step = train_step(plain_loss)

    def create(rate):
        return TrainState.create(plain_model(), jopt.sgd(rate))

    states = jax.vmap(create)(rates)
    alone = [create(rate) for rate in rates]
    for _ in range(3):
        states, metrics = jax.vmap(step, in_axes=(0, None))(states, BATCH)
        alone = [step(state, BATCH)[0] for state in alone]
    losses = [step(state, BATCH)[1].loss for state in alone]
    states, metrics = jax.vmap(step, in_axes=(0, None))(states, BATCH)
    np.testing.assert_allclose(metrics.loss, jnp.stack(losses), rtol=1e-5)


def test_a_key_is_new_at_every_step():
    def loss_fn(params, batch, key):
        return jax.random.uniform(key) + 0 * params["w"].sum()

    state, step = (
        TrainState.create(plain_model(), jopt.sgd(0.1), 7),
        train_step(loss_fn),
    )
    state, first = step(state, BATCH)
    _, second = step(state, BATCH)
    key = jax.random.key(7)
    for number, metrics in enumerate((first, second)):
        expected = jax.random.uniform(jax.random.fold_in(key, number))
        np.testing.assert_array_equal(metrics.loss, expected)


def test_extra_arguments_reach_the_transformation():
    polyak = jopt.lift(optax.polyak_sgd)(max_learning_rate=1.0)
    state = TrainState.create(plain_model(), polyak)
    with jax.numpy_dtype_promotion("standard"):
        state, _ = train_step(plain_loss)(state, BATCH)
    assert not np.array_equal(state.params["w"], plain_model()["w"])


MOMENTUM = jopt.sgd(0.1, momentum=0.9)


@pytest.mark.slow("other parameters are joined alike", but=1)
@pytest.mark.parametrize("kind", KINDS)
def test_buckets_are_one_argument_and_change_no_number(kind):
    make, loss_fn = KINDS[kind]
    step, ended = train_step(loss_fn), {}
    for buckets in (True, False):
        state = TrainState.create(make(), MOMENTUM, buckets=buckets)
        assert isinstance(state.packed, Buckets) == buckets
        ended[buckets], seen = run(step, state, [BATCH] * 5)
    chex.assert_trees_all_close(ended[True].params, ended[False].params, **CLOSE)
    chex.assert_trees_all_close(
        ended[True].by_leaf().opt_state, ended[False].opt_state, **CLOSE
    )
    fresh = TrainState.create(make(), MOMENTUM).params
    chex.assert_trees_all_equal_structs(ended[True].params, fresh)
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


@pytest.fixture(scope="module")
def whole():
    """The params and metrics after steps on whole batches, by loss function."""
    return {
        loss_fn: trained(train_step(loss_fn), batch)
        for loss_fn, batch in ((plain_loss, BATCH), (weighted_loss, WEIGHTED))
    }


def trained(step, batch):
    state, seen = run(step, TrainState.create(plain_model(), CLIPPED), [batch] * 3)
    return state.params, [(m.loss, m.grad_norm) for m in seen]


@pytest.mark.slow("other numbers of microbatches add up alike", but=1)
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
def test_microbatches_add_up_to_the_batch(whole, loss_fn, batch, cut):
    chex.assert_trees_all_close(
        trained(train_step(loss_fn, **cut), batch), whole[loss_fn], **CLOSE
    )


def test_microbatches_change_the_model_state_as_that_many_steps():
    still = jopt.sgd(0.0)
    parts = [jax.tree.map(lambda x, i=i: x[4 * i : 4 * i + 4], BATCH) for i in range(4)]
    state, alone = run(
        train_step(linen_loss), TrainState.create(linen_model(), still), parts * 2
    )
    together, seen = run(
        train_step(linen_loss, accumulate=4),
        TrainState.create(linen_model(), still),
        [BATCH] * 2,
    )

    chex.assert_trees_all_close(together.model_state, state.model_state, rtol=1e-5)
    losses = np.reshape([m.loss for m in alone], (2, 4)).mean(1)
    np.testing.assert_allclose([m.loss for m in seen], losses, rtol=1e-5)


def test_a_microbatch_that_is_not_finite_is_left_out():
    bad = (jnp.full((2, 4), jnp.nan), LABELS[:2])
    spoiled = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), bad, BATCH)
    ended, step = [], train_step(linen_loss, microbatch=2)
    for batch in (BATCH, spoiled):  # eight microbatches, and one before them
        state = TrainState.create(linen_model(), CLIPPED)
        state, (metrics, _) = run(step, state, [batch] * 2)
        held = (state.params, state.opt_state, state.model_state)
        ended.append((held, metrics.loss, metrics.grad_norm))
    chex.assert_trees_all_equal(*ended)
    assert metrics.nonfinite == 1
    assert state.skipped == 2
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(ended))


@pytest.mark.parametrize("bad", [jnp.nan, 0.0])
def test_a_microbatch_of_weight_zero_is_left_out_and_not_counted(bad):
    # A mean over no tokens is 0 / 0, and a padded batch is no overflow.
    def loss_fn(params, batch, key):
        x, mask = batch
        return ((x @ params["w"])[:, 0] * mask).sum() / mask.sum()

    mask = jnp.repeat(jnp.array([1.0, 0.0]), 8)
    scale = jopt.LossScale(2.0**10)
    state = TrainState.create(plain_model(), jopt.sgd(0.1), loss_scale=scale)
    alone, _ = train_step(loss_fn)(
        jax.tree.map(jnp.copy, state), (INPUTS[:8], mask[:8])
    )
    step = train_step(loss_fn, accumulate=2, weight=lambda batch: batch[1].sum())

    state, metrics = step(state, (INPUTS.at[8:].set(bad), mask))

    chex.assert_trees_all_close(state.params, alone.params, rtol=1e-6, atol=1e-6)
    assert metrics.nonfinite == state.skipped == 0
    assert state.loss_scale is not None
    assert state.loss_scale.scale == 2.0**10


def test_a_weight_that_is_not_finite_leaves_its_microbatch_out():
    state = TrainState.create(plain_model(), jopt.sgd(0.1))
    alone, _ = train_step(plain_loss)(
        jax.tree.map(jnp.copy, state), (INPUTS[:8], LABELS[:8])
    )
    number = jnp.repeat(jnp.array([1.0, jnp.nan]), 8)
    step = train_step(
        lambda params, batch, key: plain_loss(params, batch[0], key),
        accumulate=2,
        weight=lambda batch: batch[1].sum(),
    )
    state, metrics = step(state, (BATCH, number))
    chex.assert_trees_all_close(state.params, alone.params, rtol=1e-6, atol=1e-6)
    assert metrics.nonfinite == 1


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

    chex.assert_trees_all_equal(
        (state.packed, state.opt_state, state.model_state), before
    )
    assert (int(state.step), int(state.skipped)) == (2, count)
    assert metrics.nonfinite == count
    assert not np.isfinite(metrics.grad_norm)
    state, metrics = step(state, BATCH)
    assert metrics.nonfinite == 0
    assert state.skipped == count
    with pytest.raises(AssertionError, match="Values not exactly equal"):
        chex.assert_trees_all_equal(state.packed, before[0])


def test_a_loss_that_is_not_finite_changes_nothing_whatever_its_gradients():
    def loss_fn(params, batch, key):
        return plain_loss(params, BATCH, key) + batch

    step = train_step(loss_fn)
    state = TrainState.create(plain_model(), jopt.momo(0.1))
    before = kept((state.packed, state.opt_state))

    state, metrics = step(state, jnp.float32(jnp.inf))

    chex.assert_trees_all_equal((state.packed, state.opt_state), before)
    assert metrics.nonfinite == 1
    assert np.isfinite(metrics.grad_norm)


def test_random_keys_of_the_optimizer_stay_with_the_rest():
    step = train_step(plain_loss)
    state = TrainState.create(plain_model(), jopt.stochastic_rounding(jopt.sgd(0.1)))
    before = np.array(jax.random.key_data(state.opt_state.rng_key))

    state, _ = step(state, BAD)
    np.testing.assert_array_equal(jax.random.key_data(state.opt_state.rng_key), before)
    assert state.opt_state.count == 0
    state, _ = step(state, BATCH)
    assert state.opt_state.count == 1


def test_many_steps_a_call_are_as_many_calls():
    batches = [(INPUTS + i, LABELS) for i in range(4)]
    batches[2] = BAD
    state, seen = run(
        train_step(linen_loss), TrainState.create(linen_model(), CLIPPED), batches
    )
    steps = train_steps(linen_loss)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batches)

    other, metrics = steps(TrainState.create(linen_model(), CLIPPED), stacked)

    chex.assert_trees_all_close(other.params, state.params, **CLOSE)
    chex.assert_trees_all_close(other.model_state, state.model_state, **CLOSE)
    assert (int(other.step), int(other.skipped)) == (4, 1)
    chex.assert_trees_all_close(
        metrics, jax.tree.map(lambda *x: jnp.stack(x), *seen), **CLOSE
    )
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
    chex.assert_trees_all_equal(state.params, before)
    state, seen = run(step, state, [BATCH] * 19)

    scales = [m.loss_scale for m in (first, *seen)]
    # The greatest power of two in float16 is 2^15; every fifth finite step tries 2^16.
    assert scales[:9] == [2.0**k for k in (18, 17, 16, 15, 15, 15, 15, 15, 16)]
    assert state.skipped == sum(int(m.nonfinite) for m in (first, *seen)) >= 4
    exact, expected = run(
        train_step(plain_loss),
        TrainState.create(plain_model(), jopt.adam(0.03)),
        [BATCH] * (20 - int(state.skipped)),
    )
    np.testing.assert_allclose(seen[-1].loss, expected[-1].loss, rtol=0.01)
    chex.assert_trees_all_close(state.params, exact.params, rtol=0.02, atol=0.02)
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
    """The compiled steps of a wide model, by what they do, and its backward pass."""
    batch, params = jnp.ones((4, 160)), wide_model()
    backward = jax.jit(lambda p: jax.value_and_grad(wide_loss)(p, batch, None))
    made = {"backward": backward.lower(params).compile()}
    adamw = jopt.adamw(0.1)
    clipped = jopt.chain(jopt.clip_by_global_norm(1.0), adamw)
    for name, tx, scale in [
        ("adamw", adamw, None),
        ("lion", jopt.lion(0.1), None),
        ("clipped", clipped, None),
        ("clipped and scaled", clipped, jopt.LossScale()),
    ]:
        state = TrainState.create(params, tx, loss_scale=scale)
        made[name] = train_step(wide_loss).lower(state, batch).compile()
    return made


def test_no_second_copy_of_the_gradients_or_of_a_moment_is_made(programs):
    gradients = 4 * sum(x.size for x in jax.tree.leaves(wide_model()))
    temp = {k: p.memory_analysis().temp_size_in_bytes for k, p in programs.items()}
    for name in programs.keys() - {"backward"}:
        assert temp[name] - temp["backward"] < 1.1 * gradients
        text = programs[name].as_text()
        assert not re.search(r"f32\[160,160\]\S* copy\(", text)
        assert "small_call" not in text  # which XLA gives one core


@pytest.mark.slow("a rare use; its program is the step's")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_can_be_differentiated(accumulate):
    batches, state = [BATCH] * 3, TrainState.create(plain_model(), CLIPPED)
    step = train_step(plain_loss, accumulate=accumulate)

    def by_step(rate):
        tx = jopt.replace(CLIPPED, learning_rate=rate)
        held = jax.tree.map(jnp.copy, dataclasses.replace(state, tx=tx))
        held, _ = run(step, held, batches)
        return plain_loss(held.params, BATCH, None)

    def by_hand(rate):
        tx = jopt.replace(CLIPPED, learning_rate=rate)
        params = plain_model()
        opt_state = tx.init(params)
        for batch in batches:
            grads = jax.grad(plain_loss)(params, batch, None)
            updates, opt_state = tx.update(grads, opt_state, params)
            params = jopt.apply_updates(params, updates)
        return plain_loss(params, BATCH, None)

    found, expected = (jax.grad(train)(0.1) for train in (by_step, by_hand))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow("donation of the step itself is in the quick run")
@pytest.mark.filterwarnings("error")
def test_inside_another_program_nothing_is_donated():
    step = train_step(plain_loss)

    def loss_after(rate, state):
        tx = jopt.replace(state.tx, learning_rate=rate)
        state, _ = step(dataclasses.replace(state, tx=tx), BATCH)
        return step(state, BATCH)[1].loss

    state = TrainState.create(plain_model(), jopt.adam(0.1))
    slope = jax.grad(loss_after)
    found = slope(0.1, state)
    for other in (jax.grad(jax.checkpoint(loss_after)), jax.jit(slope)):
        np.testing.assert_allclose(other(0.1, state), found, rtol=1e-5)
    assert state.params["w"].sum() == 8  # still there


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}])
def test_complex_parameters_go_down(settings):
    def loss_fn(params, batch, key):
        return jnp.square(jnp.abs(params["z"] - (1 + 2j)))

    params = {"z": jnp.zeros((), jnp.complex64)}
    state = TrainState.create(params, jopt.sgd(0.1))
    step = train_step(loss_fn, **settings)
    for _ in range(50):
        state, _ = step(state, jnp.zeros(2))
    assert abs(state.params["z"] - (1 + 2j)) < 1e-3


def test_the_norm_is_read_once_and_factors_are_folded(programs):
    read = {k: p.cost_analysis()["bytes accessed"] for k, p in programs.items()}
    sums = {k: p.as_text().count(" reduce(") for k, p in programs.items()}
    for name in ("clipped", "clipped and scaled"):
        assert read[name] < 1.01 * read["adamw"]
        assert sums[name] == sums["adamw"]


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
    analysis: Any = step.lower(state, BATCH).compile().memory_analysis()
    held = sum(x.nbytes for x in jax.tree.leaves(state.apart()[0]))

    assert analysis.alias_size_in_bytes == held
    step(state, BATCH)  # and no warning


def test_a_state_that_is_copied_is_said_with_the_reason():
    def step(state, batch):
        narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), state.packed)
        return dataclasses.replace(state, packed=narrow), batch

    state = TrainState.create({"w": jnp.ones(2)}, jopt.sgd(0.1), buckets=False)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        CompiledStep(step)(state, 0.0)
    said = [str(warning.message) for warning in seen]
    assert any(
        "train_step: 8 of the state's" in message
        and "['w'] becomes bfloat16[2] from float32[2]: a step must" in message
        for message in said
    ), said


def test_a_step_can_be_lowered_for_shapes_alone():
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


@pytest.mark.slow("float32 is accumulated in the quick run")
def test_float64_is_accumulated_in_float64():
    # Strict dtypes know no sum of float64 and float32.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        params = jax.tree.map(lambda x: x.astype(jnp.float64), plain_model())
        batch = (INPUTS.astype(jnp.float64), LABELS)
        loss, grads = jax.jit(jax.value_and_grad(plain_loss))(params, batch, None)
        keep = jopt.Precision(output=None)
        state = TrainState.create(params, jopt.sgd(0.1), precision=keep)

        state, metrics = train_step(plain_loss, microbatch=5)(state, batch)

        assert state.params["w"].dtype == metrics.loss.dtype == jnp.float64
        expected = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        made, wanted = (state.params, metrics.loss), (expected, loss)
        chex.assert_trees_all_close(made, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("settings", "batch", "message"),
    [
        ({"accumulate": 0}, BATCH, "accumulate must be a whole number of at least 1"),
        ({"microbatch": 0}, BATCH, "microbatch must be a whole number of at least 1"),
        ({"accumulate": 2.0}, BATCH, "at least 1, got 2.0"),
        ({"accumulate": 2, "microbatch": 2}, BATCH, "not both; got 2 and 2"),
        (
            {"accumulate": 2, "weight": lambda batch: batch[0]},
            BATCH,
            r"weight must return one number for a microbatch, got .* \[8, 4\]; sum it",
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
    state = TrainState.create(plain_model(), jopt.sgd(0.1))
    with pytest.raises(ValueError, match=message):
        train_step(plain_loss, **settings)(state, batch)


@pytest.mark.slow("another average is read alike", but=1)
@pytest.mark.parametrize("buckets", [True, False])
def test_averages_are_read_from_a_state_with_buckets_too(buckets):
    averaged = jopt.chain(jopt.sgd(0.1), jopt.parameter_ema(0.5))
    state = TrainState.create(plain_model(), averaged, buckets=buckets)
    state, _ = train_step(plain_loss)(state, BATCH)
    mean = jopt.ema_params(state.opt_state, state.params)
    chex.assert_trees_all_close(mean, state.params, rtol=1e-6)

    params, tx = plain_model(), jopt.schedule_free_sgd(0.1)
    opt_state = tx.init(params)
    state = TrainState.create(params, tx, buckets=buckets)
    state, _ = run(train_step(plain_loss), state, [BATCH] * 2)
    for _ in range(2):  # after one the average is where the params are
        grads = jax.grad(plain_loss)(params, BATCH, None)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = jopt.apply_updates(params, updates)
    chex.assert_trees_all_close(
        jopt.schedule_free_eval_params(state.opt_state, state.params),
        jopt.schedule_free_eval_params(opt_state, params),
        **CLOSE,
    )


@pytest.mark.parametrize(
    ("loss_fn", "found"),
    [
        (lambda params, batch, key: params["w"].sum(0), r"float32\[2\]"),
        (lambda params, batch, key: None, "NoneType"),
        (lambda params, batch, key: (params["w"].sum(), 1), "tuple"),
        (lambda params, batch, key: jax.lax.complex(*params["w"][0]), r"complex64\[\]"),
    ],
)
def test_a_loss_that_is_no_scalar_is_refused(loss_fn, found):
    state = TrainState.create({"w": jnp.ones((3, 2))}, jopt.sgd(0.1))
    with pytest.raises(TypeError, match=f"must return a real scalar, got {found}"):
        train_step(loss_fn)(state, BATCH)


def test_a_state_that_was_donated_or_is_none_is_said_to_be_so():
    step = train_step(plain_loss)
    state = TrainState.create(plain_model(), jopt.sgd(0.1))
    step(state, BATCH)
    with pytest.raises(ValueError, match="was donated to an earlier step"):
        step(state, BATCH)
    with pytest.raises(TypeError, match=r"got tuple; call step\(state, batch\)"):
        step(BATCH, state)  # pyright: ignore[reportArgumentType]


def test_batches_of_many_steps_must_be_stacked():
    state = TrainState.create(plain_model(), jopt.sgd(0.1))
    with pytest.raises(ValueError, match="batches must be stacked"):
        jopt.train_steps(plain_loss)(state, (jnp.ones((2, 4, 4)), LABELS))
