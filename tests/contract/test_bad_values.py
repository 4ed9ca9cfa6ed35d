"""Every bad argument is refused where it is passed, in a sentence that names it."""

# pyright: reportCallIssue=false, reportArgumentType=false

import itertools

import bad_values
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

import jopt
from jopt import sweep
from jopt.cli import main

PARAMS = {"w": jnp.ones(2)}
TRAINING = (
    "run",
    "resume",
    "extend",
    "revive",
    "work",
    "lr_range",
    "compress",
    "combine",
)
TRAINING += ("write", "LearningRateRange.save", "learning_curves")
LOADING = ("digits", "mnist", "mnist_nnx", "text", "co2", "diabetes", "diabetes_linen")
LOADING += ("docstrings", "imports", "longtail", "transfer", "transfer_cost")


def refused(make, error, *words):
    with pytest.raises(error) as caught:
        make()
    sentence = str(caught.value)
    assert all(word in sentence for word in words), sentence


def test_a_sample_of_bad_values_is_accepted_or_refused_in_a_sentence(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    slow = {*TRAINING, *LOADING}
    functions = [
        called for called in bad_values.calls() if slow.isdisjoint(called.names)
    ]
    asked = [
        (called, argument, value)
        for called in functions
        for argument, value in itertools.product(called.arguments, bad_values.BAD)
    ]
    found = [bad_values.judged(*one) for one in asked[::23]]

    assert [verdict for verdict in found if verdict] == []


@pytest.mark.slow("a sample runs; all of it takes a minute")
def test_every_bad_value_is_accepted_or_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert list(bad_values.wrong(bad_values.calls())) == []


def test_the_functions_are_many_and_the_exceptions_few():
    names = {called.names[0] for called in bad_values.calls()}

    assert len(names) > 250
    assert len(bad_values.EXCEPTIONS) == 20


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: jopt.adamw(), ("adamw() is missing learning_rate;",)),
        (
            lambda: jopt.linear_schedule(0.0),
            ("linear_schedule() is missing end_value",),
        ),
        (
            lambda: jopt.linear_schedule(0.0, 1.0, 9, transition_start=3),
            ("linear_schedule() got an unexpected", "did you mean transition_steps?"),
        ),
        (
            lambda: jopt.MultiSteps(),
            ("MultiSteps() is missing opt, every",),
        ),
        (lambda: jopt.Clip(1.0, 2.0), ("Clip() takes 2 positional arguments",)),
        (lambda: sweep.Task(), ("Task() is missing name, init",)),
        (
            lambda: sweep.Setup(jopt.sgd(0.1), batchsize=3),
            ("Setup() got an unexpected", "did you mean batch_size?"),
        ),
        (lambda: sweep.SuccessiveHalving(rungs=3), ("SuccessiveHalving() got",)),
    ],
)
def test_missing_and_unknown_arguments_name_what_was_called(make, words):
    refused(make, TypeError, *words)
    with pytest.raises(TypeError) as caught:
        make()
    assert "__init__" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: jopt.sgd(0.1, momentum=2.0),
            "Trace: decay must be at most 1, got 2.0. This is momentum of sgd.",
        ),
        (
            lambda: jopt.adamw(0.1, mask="kernel"),
            "Mask: at the root there must be a bool, got 'kernel'; make the mask of "
            "paths, shapes and dtypes, True where a leaf is chosen. This is mask of "
            "adamw.",
        ),
        (lambda: jopt.adam(0.1, b1=1.0), "ScaleByAdam: b1 must be below 1, got 1.0."),
    ],
)
def test_a_part_says_which_argument_it_refuses(make, sentence):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "rate", [1j, np.complex64(1), jnp.ones(2, complex), True, None]
)
def test_a_rate_that_is_no_real_number_is_refused(rate):
    refused(lambda: jopt.adam(rate), TypeError, "adam: learning_rate must be a number")


def test_tracers_and_arrays_pass_the_door():
    rates = jnp.array([0.1, 0.2])
    grads = jax.tree.map(jnp.ones_like, PARAMS)

    def moved(rate):
        tx = jopt.chain(jopt.clip(rate), jopt.sgd(rate, momentum=rate))
        return tx.update(grads, tx.init(PARAMS))[0]["w"]

    np.testing.assert_allclose(jax.vmap(moved)(rates)[:, 0], -(rates**2), rtol=1e-6)
    assert np.isfinite(jax.grad(lambda rate: moved(rate).sum())(0.1))
    made = jax.eval_shape(jopt.adam(0.1).init, PARAMS)
    assert made[0].mu["w"].shape == (2,)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("params", "params must be an array, got 'params'"),
        ({"w": "kernel"}, "params['w'] must be an array, got 'kernel'"),
        ({"w": np.array("kernel")}, "params['w'] must be an array"),
        ({"w": 3}, "params['w'] is int32"),
    ],
)
def test_params_that_are_no_arrays_are_refused(params, words):
    for tx in (jopt.adam(0.1), jopt.scale_by_adam()):
        refused(lambda tx=tx: tx.init(params), TypeError, words)


def test_shapes_make_a_state_but_where_it_is_made_of_their_numbers():
    shapes = jax.eval_shape(lambda: PARAMS)
    state = jopt.adam(0.1).init(shapes)
    assert isinstance(state[0].mu["w"], jax.Array)
    tx = jopt.schedule_free(jopt.sgd(0.1), 0.1)
    refused(lambda: tx.init(shapes), TypeError, "must be an array, got a shape")


def test_a_number_is_a_tree_of_parameters():
    for tx in (jopt.adam(0.1), jopt.sm3(0.1)):
        updates, _ = tx.update(jnp.float32(1), tx.init(0.5))
        assert updates.shape == ()


@pytest.mark.parametrize("state", [None, "state", 3, jnp.ones(3)])
def test_an_update_without_its_state_is_refused(state):
    refused(
        lambda: jopt.scale_by_adam().update(PARAMS, state, PARAMS),
        (TypeError, ValueError),
        "ScaleByAdam.update: state must be",
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: jopt.lift("adam"), ("lift: factory must be a function",)),
        (lambda: jopt.lift(optax.adam(0.1)), ("lift: factory must be a function",)),
        (lambda: jopt.lift(jopt.adam(0.1)), ("lift: factory must be a function",)),
        (lambda: jopt.lift(optax.adam)(), ("adam: missing", "learning_rate")),
        (lambda: jopt.lift(optax.adam)(0.1, beta=1), ("adam: got", "'beta'")),
        (lambda: jopt.lift(optax.adam, static=3), ("lift: static must be",)),
        (
            lambda: jopt.lift(lambda rate: rate)(0.1).init(PARAMS),
            ("lift: factory must return a gradient transformation", "got 0.1"),
        ),
    ],
)
def test_what_cannot_be_lifted_is_refused(make, words):
    refused(make, TypeError, *words)


def test_static_names_are_arguments_of_the_factory():
    for names in ("beta", ["b1", "beta"]):
        refused(
            lambda names=names: jopt.lift(optax.adam, static=names),
            ValueError,
            "lift: static must name arguments of adam, got beta",
        )


@pytest.mark.parametrize("every", [None, "3", 10**12])
def test_a_period_is_a_number_of_steps(every):
    tx = jopt.sgd(0.1)
    refused(lambda: jopt.accumulate(tx, every), TypeError, "accumulate: every must be")
    refused(lambda: jopt.apply_every(every), (TypeError, ValueError), "k must be")


def test_a_number_is_replaced_by_a_number():
    refused(
        lambda: jopt.replace(jopt.adam(0.1), learning_rate=None),
        TypeError,
        "learning_rate must be a number or a schedule, got None.",
    )


STATE = {"model": PARAMS, "tx": jopt.sgd(0.1)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": "seed"}, "TrainState.create: key must be a key of jax.random.key"),
        ({"key": None}, "TrainState.create: key must be a key of jax.random.key"),
        ({"key": 10**30}, "TrainState.create: key must be a key of jax.random.key"),
        ({"tx": jopt.adam}, "TrainState.create: tx must be a gradient transformation"),
        ({"model": "model"}, "TrainState: params is str"),
        (
            {"model": {"w": jax.ShapeDtypeStruct((2,), jnp.float32)}},
            "TrainState: params['w'] is a shape",
        ),
    ],
)
def test_a_state_is_made_of_arrays_a_transformation_and_a_key(change, words):
    refused(lambda: jopt.TrainState.create(**STATE | change), TypeError, words)


def loss_fn(model, batch, key):
    return jnp.mean((batch - model["w"]) ** 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss_fn": 3}, "train_step: loss_fn must be a function"),
        ({"axis": 3}, "train_step: axis must be a string"),
        ({"weight": "mask"}, "train_step: weight must be a function"),
        ({"shardings": 3}, "train_step: shardings must be a jopt.TrainState"),
    ],
)
def test_a_step_is_made_of_functions(settings, words):
    refused(
        lambda: jopt.train_step(**{"loss_fn": loss_fn} | settings), TypeError, words
    )


@pytest.mark.parametrize("state", [None, jopt.TrainState, "state"])
def test_a_step_is_given_a_state(state):
    step = jopt.train_step(loss_fn)
    refused(
        lambda: step(state, jnp.ones(2)), TypeError, "the state must be a TrainState"
    )


@pytest.mark.parametrize("batch", ["batch", {"x": "batch"}, object()])
def test_a_step_is_given_a_batch_of_arrays(batch):
    state = jopt.TrainState.create(**STATE)
    step = jopt.train_step(loss_fn)
    refused(lambda: step(state, batch), TypeError, "train_step: batch")


@pytest.mark.parametrize("answer", [None, "all"])
def test_a_weight_is_a_number(answer):
    state = jopt.TrainState.create(**STATE)
    step = jopt.train_step(loss_fn, accumulate=2, weight=lambda batch: answer)
    words = "train_step: weight must return one number"
    refused(lambda: step(state, jnp.ones((4, 2))), TypeError, words)


TRIALS = sweep.grid(jopt.sgd, learning_rate=[0.1])


class Deaf(sweep.MedianPruner):
    def keep(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sweep.Trial({}, "adam"), ("Trial: config must be a tree of numbers",)),
        (lambda: sweep.Trial({}, optax.sgd(0.1)), ("Trial: config", "jopt.lift")),
        (lambda: sweep.Trial({}, jopt.sgd(0.1), seed=-1), ("Trial: seed must be",)),
        (lambda: sweep.Trial({}, jopt.sgd(0.1), seed=2**32), ("Trial: seed must be",)),
        (lambda: sweep.grid(max, rate=[0.1]), ("factory", "tell its arguments")),
        (lambda: sweep.grid(int, rate=[0.1]), ("factory", "the class int")),
        (
            lambda: sweep.grid(jopt.sgd, learning_rate=[None]),
            ("learning_rate must be",),
        ),
        (lambda: run(progress=lambda: None), ("progress must take one argument",)),
        (
            lambda: run(callbacks=[lambda a, b: 0]),
            ("callbacks must take one",),
        ),
        (lambda: run(pruner=Deaf()), ("pruner.keep must take one argument",)),
        (lambda: run(directory="a\0b"), ("directory must be a path",)),
        (lambda: run(seeds=10**400), ("seeds must be an integer",)),
        (lambda: run(folds="3"), ("folds must be an integer",)),
        (lambda: sweep.resume(None), ("directory must be a path",)),
    ],
)
def test_what_a_sweep_cannot_use_is_refused(make, words):
    refused(make, TypeError, *words)


def run(**options):
    return sweep.run(toy.task(), TRIALS, **options)


@pytest.mark.parametrize(
    "make",
    [
        lambda: run(folds=2**31 - 1),
        lambda: run(seeds=2**31 - 1),
        lambda: sweep.sample(jopt.sgd, 10**12, learning_rate=sweep.uniform(0, 1)),
        lambda: sweep.grid(lambda a, b: jopt.sgd(a), a=range(2000), b=range(2000)),
    ],
)
def test_more_trials_than_any_sweep_has_are_refused_at_once(make):
    refused(make, ValueError, "at most 1,000,000")


def test_a_wrong_option_takes_two_lines(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--steps", "many"])

    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert said == [
        "jopt sweep: argument --steps: invalid int value: 'many'",
        "jopt sweep --help shows all options.",
    ]
