"""What jopt has of optax by `lift` under optax's own names."""

import inspect
import pickle
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from comparison import relaxed, stack
from transformation_table import numbers

import jopt

PARAMS = {
    "w": jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32),
    "b": jnp.array([0.5, -1.0], jnp.float32),
}
START = jnp.zeros(4, jnp.float32)


def rosenbrock(x):
    return jnp.sum((1 - x[:-1]) ** 2 + 10 * (x[1:] - x[:-1] ** 2) ** 2)


def quartic(params):
    return sum(jnp.sum((p - 1) ** 4) for p in jax.tree.leaves(params))


def losses(tx, steps=30, start=START, extra=lambda value, grad: {}):
    """The losses of a run in which each update is given `extra(value, grad)`."""

    def step(carry, _):
        params, state = carry
        value, grad = jax.value_and_grad(rosenbrock)(params)
        given = extra(value, grad)
        updates, state = tx.update(grad, state, params, **given)
        return (jopt.apply_updates(params, updates), state), value

    return jax.lax.scan(step, (start, tx.init(start)), None, steps)[1]


def searched(value, grad):
    return {"value": value, "grad": grad, "value_fn": rosenbrock}


def three_updates(tx, extra):
    state = tx.init(PARAMS)
    for scale in (1.0, -2.0, 0.5):
        grads = jax.tree.map(lambda p, s=scale: s * p, PARAMS)
        updates, state = tx.update(grads, state, PARAMS, **extra)
    return updates


@pytest.mark.slow("all are lifted by one function", but=1)
@pytest.mark.parametrize(
    ("make", "extra"),
    [
        (lambda lib: lib.lbfgs(0.1, linesearch=None), {}),
        (lambda lib: lib.scale_by_lbfgs(3), {}),
        (lambda lib: lib.contrib.acprop(0.1, weight_decay=0.1), {}),
        (lambda lib: lib.contrib.galore(0.1, rank=2, update_proj_gap=2), {}),
        (lambda lib: lib.contrib.sophia(0.1, update_interval=2), {"obj_fn": quartic}),
        (
            lambda lib: lib.contrib.hutchinson_estimator_diag_hessian(),
            {"obj_fn": quartic},
        ),
    ],
    ids=["lbfgs", "scale_by_lbfgs", "acprop", "galore", "sophia", "hutchinson"],
)
def test_updates_are_those_of_optax(make, extra):
    class Names:
        lbfgs, scale_by_lbfgs, contrib = jopt.lbfgs, jopt.scale_by_lbfgs, jopt

    got = jax.jit(lambda tx: three_updates(tx, extra))(make(Names))
    with relaxed():
        wanted = jax.jit(lambda: three_updates(make(optax), extra))()

    chex.assert_trees_all_close(got, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.slow("lbfgs has a row of the contract")
def test_lbfgs_solves_under_jit_as_optax_does():
    tx = jopt.lbfgs()

    ours = jax.jit(lambda tx: losses(tx, extra=searched))(tx)
    with relaxed():
        theirs = jax.jit(lambda: losses(optax.lbfgs(), extra=searched))()

    assert ours[-1] < 1e-10 < 1 < ours[0]
    np.testing.assert_allclose(ours[:10], theirs[:10], rtol=1e-3)
    assert tx == jopt.lbfgs() == pickle.loads(pickle.dumps(tx))


@pytest.mark.slow("lbfgs runs compiled in the quick run")
def test_lbfgs_steps_eagerly_and_its_state_keeps_the_value():
    tx = jopt.lbfgs()
    value, grad = jax.value_and_grad(rosenbrock)(START)

    updates, state = tx.update(
        grad, tx.init(START), START, value=value, grad=grad, value_fn=rosenbrock
    )

    after = rosenbrock(jopt.apply_updates(START, updates))
    assert after < value
    again, _ = optax.value_and_grad_from_state(rosenbrock)(START + 9, state=state)
    np.testing.assert_allclose(again, after, rtol=1e-6)


@pytest.mark.slow("the contract maps every number of lbfgs's row")
def test_numbers_of_a_line_search_inside_lbfgs_are_leaves_that_can_be_swept():
    txs = [
        jopt.lbfgs(linesearch=jopt.scale_by_zoom_linesearch(15, curv_rtol=rtol))
        for rtol in (0.9, 0.1)
    ]
    assert ".numbers['linesearch'].numbers['curv_rtol']" in numbers(txs[0])

    def run(tx):
        return losses(tx, 6, extra=searched)

    swept = jax.jit(jax.vmap(run))(stack(txs))

    for tx, got in zip(txs, swept, strict=True):
        np.testing.assert_allclose(got, jax.jit(run)(tx), rtol=1e-3)
    assert not np.allclose(swept[0], swept[1], rtol=1e-3)


def test_a_line_search_follows_any_optimizer():
    ours = jopt.chain(
        jopt.sgd(1.0), jopt.scale_by_backtracking_linesearch(20, store_grad=True)
    )
    theirs = optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20, store_grad=True)
    )

    got = jax.jit(lambda tx: losses(tx, extra=searched))(ours)
    with relaxed():
        wanted = jax.jit(lambda: losses(theirs, extra=searched))()

    assert (np.diff(got) <= 0).all()
    np.testing.assert_allclose(got, wanted, rtol=1e-3)


def test_lbfgs_says_what_a_line_search_may_be():
    message = (
        "lbfgs: linesearch must be \"zoom\", None or a transformation, got 'armijo'."
    )
    with pytest.raises(ValueError, match="^" + message + "$"):
        jopt.lbfgs(linesearch="armijo")


def test_sophia_takes_the_curvature_of_the_objective():
    """With a diagonal Hessian Hutchinson's estimate is exact: Newton's step, damped."""
    curvature = jnp.array([1.0, 10.0], jnp.float32)
    tx = jopt.sophia(1.0, 0.0, 0.0, weight_decay=0.0, gamma=2.0, update_interval=1)
    params = jnp.array([0.5, 0.1], jnp.float32)

    def objective(p):
        return jnp.sum(curvature * p**2) / 2

    @jax.jit
    def second(tx):
        grads = jax.grad(objective)(params)
        _, state = tx.update(grads, tx.init(params), params, obj_fn=objective)
        return tx.update(grads, state, params, obj_fn=objective)[0]

    # The first step has no Hessian yet; the second divides by gamma times it.
    np.testing.assert_allclose(second(tx), -params / 2, rtol=1e-6)


def test_galore_takes_an_inner_transformation_of_jopt():
    tx = jopt.galore(0.1, 2, base_optimizer=jopt.scale_by_adam(b1=0.8))
    assert numbers(tx)[".numbers['base_optimizer'].b1"] == 0.8

    got = jax.jit(lambda tx: three_updates(tx, {}))(tx)
    with relaxed():
        theirs = optax.contrib.galore(
            0.1, 2, base_optimizer=optax.scale_by_adam(b1=0.8)
        )
        wanted = jax.jit(lambda: three_updates(theirs, {}))()

    chex.assert_trees_all_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_private_gradients_without_noise_are_the_mean_of_clipped_ones():
    params = jnp.zeros(2, jnp.float32)
    examples = jnp.array([[3.0, 4.0], [0.3, 0.4]], jnp.float32)
    tx = jopt.dpsgd(0.5, l2_norm_clip=1.0, noise_multiplier=0.0, seed=0, momentum=0.9)

    updates, state = tx.update(examples, tx.init(params), params)
    more, _ = tx.update(examples, state, params)

    mean = np.array([0.6 + 0.3, 0.8 + 0.4]) / 2
    np.testing.assert_allclose(updates, -0.5 * mean, rtol=1e-6)
    np.testing.assert_allclose(more, -0.5 * 1.9 * mean, rtol=1e-6)


@pytest.mark.slow("the function is optax's own")
@pytest.mark.parametrize(
    "given", [{"key": 3}, {"seed": 3}, {"key": jax.random.key(3)}], ids=str
)
def test_private_noise_depends_on_the_key_alone_and_scales(given):
    params, examples = jnp.zeros(1000, jnp.float32), jnp.zeros((4, 1000), jnp.float32)

    def noise(tx: Any) -> Any:
        return tx.update(examples, tx.init(params), params)[0]

    once = noise(jopt.differentially_private_aggregate(2.0, 3.0, **given))
    other = noise(jopt.differentially_private_aggregate(2.0, 3.0, 4))
    with relaxed():
        theirs = noise(optax.contrib.differentially_private_aggregate(2.0, 3.0, 3))

    np.testing.assert_allclose(once, theirs, rtol=1e-6)
    assert 1.4 < once.std() < 1.6  # 2 * 3 / 4
    assert not np.allclose(once, other)


@pytest.mark.parametrize("given", [{}, {"key": 1, "seed": 1}])
def test_private_noise_needs_one_key(given):
    with pytest.raises(ValueError, match="key must be given, and seed not with it"):
        jopt.differentially_private_aggregate(1.0, 1.0, **given)


def test_split_complex_leaves_are_pairs_of_real_ones_to_the_inner_transformation():
    z = jnp.array([3 + 4j, -1 + 0.5j], jnp.complex64)
    tx = jopt.split_real_and_imaginary(jopt.adagrad(0.1, 0.0))
    assert numbers(tx)[".numbers['inner'].transforms[1].learning_rate"] == 0.1

    updates, _ = tx.update({"z": z}, tx.init({"z": z}), {"z": z})

    # Adagrad's first step is the sign of each part.
    np.testing.assert_allclose(updates["z"], [-0.1 - 0.1j, 0.1 - 0.1j], rtol=1e-5)


OWN_DEFAULTS = {"linesearch", "hessian_diagonal_fn"}
FUNCTIONS = [
    getattr(jopt, name)
    for name in sorted({*jopt.interop.__all__} - {"Lifted", "lift", "to_optax"})
]


@pytest.mark.parametrize("ours", FUNCTIONS, ids=lambda function: function.__name__)
def test_arguments_are_those_of_optax(ours):
    name = ours.__name__
    library = optax.contrib if hasattr(optax.contrib, name) else optax
    theirs = inspect.signature(getattr(library, name)).parameters
    ours = inspect.signature(ours).parameters

    assert list(ours) == list(theirs)
    for argument, parameter in ours.items():
        assert parameter.kind == theirs[argument].kind
        if argument not in OWN_DEFAULTS:
            assert parameter.default == theirs[argument].default
