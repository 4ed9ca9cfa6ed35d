"""Promises of `state_sharding`, and of a step on several devices."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec as P

import jopt
from jopt.training import state_sharding

SCALARS = 4 * 32
"""Bytes of the norms and losses that a step may send, at most."""

on_eight_devices = pytest.mark.slow("the example of eight devices runs in CI")


def mesh(*sizes, axis_type=AxisType.Auto):
    """A mesh of no devices: for the layouts alone."""
    names = ("data", "model")[: len(sizes)]
    return AbstractMesh(sizes, names, axis_types=(axis_type,) * len(sizes))


EVERYWHERE = NamedSharding(mesh(8), P())


def params():
    small = {"b": jnp.zeros(5), "c": jnp.zeros((2, 3))}
    return {"w": jnp.zeros((160, 256)), "odd": jnp.zeros((131, 131)), **small}


def shapes(tx=None, model=None, **kwargs):
    tx = jopt.adam(0.1) if tx is None else tx
    kwargs = {"shards": 8, **kwargs}
    make = params if model is None else model
    return jax.eval_shape(lambda: jopt.TrainState.create(make(), tx, **kwargs))


def layout(shardings):
    """The spec of each array, by path."""
    found = jax.tree_util.tree_leaves_with_path(shardings)
    return {jax.tree_util.keystr(path): sharding.spec for path, sharding in found}


@pytest.fixture(scope="module")
def seen():
    """What a process with eight devices saw; warnings are errors there, too."""
    script = Path(__file__).parents[1] / "support" / "eight_devices.py"
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore:Error reading persistent",
            script,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def large(sizes):
    """The collectives but for those of a few scalars."""
    kept = {kind: [size for size in of if size > SCALARS] for kind, of in sizes.items()}
    return {kind: sorted(of) for kind, of in kept.items() if of}


@on_eight_devices
def test_each_device_holds_all_params_and_its_part_of_the_moments(seen):
    whole = 4 * seen["params"]
    held = seen["zero"]["held"]
    assert whole <= held["params"] < whole + 4 * 8
    assert 2 * whole / 8 <= held["opt_state"] < 2 * whole / 8 + 64


@on_eight_devices
def test_a_step_sums_gradients_and_collects_params_and_sends_nothing_else(seen):
    for run in ("zero", "in_scan", "low_bit"):
        sent = seen[run]["step"]
        assert sent.keys() <= {"all-reduce", "reduce-scatter", "all-gather"}
        gathered = seen["zero"]["held"]["params"]
        assert sum(sent["all-gather"]) == gathered
        summed = sum(sum(sent.get(kind, [])) for kind in sent) - gathered
        # Of gradients; the rest of a vector is not theirs.
        assert 4 * seen["params"] <= summed <= 4 * seen["params"] + SCALARS


@on_eight_devices
def test_microbatches_send_no_more_than_their_gradients(seen):
    assert large(seen["accumulated"]["step"]) == large(seen["zero"]["step"])


@on_eight_devices
def test_codes_of_moments_are_divided(seen):
    whole = seen["low_bit"]["held"]["params"]
    held = seen["low_bit"]["held"]["opt_state"]
    # A byte and a 64th for each number, but for the vectors', which stay float32.
    in_vectors = 4 * (3 * 256 + 256 * 8 + 8)
    coded = (whole - in_vectors) / 4 * (1 + 4 / 256)
    assert held == pytest.approx(2 * (coded + in_vectors) / 8, abs=64)


@on_eight_devices
def test_the_first_state_is_made_in_parts_and_nothing_is_sent(seen):
    for run in (seen["zero"], seen["mixed"], seen["low_bit"]):
        assert run["init"] == {}
    # The moments cost what is left of them on the device.
    assert seen["zero"]["init_temporaries"] == seen["init_temporaries_of_params"]
    held = sum(seen["mixed"]["held"].values())
    assert seen["mixed"]["init_temporaries"] + held < 3 * 4 * seen["params"]


@on_eight_devices
@pytest.mark.parametrize("run", ["zero", "accumulated", "mixed", "low_bit"])
def test_eight_devices_train_as_one_does(seen, run):
    # A moment between two codes goes to either.
    wider = 10 if run == "low_bit" else 1
    assert seen[run]["losses"] < 3e-6 * wider
    # Adam turns the rounding of a gradient near zero to a part of its rate, 1e-2.
    assert seen[run]["gap"] < 1e-3 * wider


@on_eight_devices
@pytest.mark.parametrize("run", ["zero", "accumulated", "mixed", "low_bit"])
def test_a_state_stays_where_it_lies(seen, run):
    assert seen[run]["stays"]


@on_eight_devices
def test_steps_in_one_call_are_the_same_steps(seen):
    assert seen["in_scan"]["gap"] < 1e-6


@on_eight_devices
def test_a_state_written_leaf_by_leaf_goes_on_where_it_was(seen):
    assert seen["restored"] == 0


def test_moments_are_divided_along_the_first_dimension_that_can_be():
    found = layout(state_sharding(shapes(buckets=False), EVERYWHERE))
    for moment in (".opt_state[0].mu", ".opt_state[0].nu"):
        assert found[moment + "['w']"] == P("data")
        assert found[moment + "['odd']"] == P()
        assert found[moment + "['b']"] == P()
    rest = {spec for path, spec in found.items() if ".mu" not in path}
    assert {spec for path, spec in found.items() if "opt_state" not in path} == {P()}
    assert rest == {P(), P("data")}


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_are_divided_where_each_part_is_whole_blocks(bits):
    rows = {"whole": (64, 64), "short": (8, 640), "few": (5, 1024), "odd": (72, 64)}
    tree = {name: jnp.zeros(shape) for name, shape in rows.items()}
    tx = jopt.low_bit(jopt.sgd(0.1, momentum=0.9), bits=bits, block=512)
    found = layout(state_sharding(shapes(tx, model=lambda: tree), EVERYWHERE))
    divided = [path for path, spec in found.items() if spec == P("data")]
    assert [path.rpartition("[")[2] for path in divided] == [
        "'whole'].codes",
        "'whole'].scales",
    ]


def test_a_vector_stays_whole_and_its_moments_are_divided():
    found = layout(state_sharding(shapes(), EVERYWHERE))
    assert found[".packed.vectors[0]"] == P()
    assert found[".opt_state[0].mu.vectors[0]"] == P("data")


def test_moments_lie_as_their_divided_params_and_once_more():
    state = shapes()
    two = mesh(4, 2)
    whole, columns = NamedSharding(two, P()), NamedSharding(two, P(None, "model"))
    given = {"w": columns, "odd": whole, "b": whole, "c": whole}
    found = layout(state_sharding(state, given))
    names = [path for path in found if path.startswith(".packed.leaves")]
    assert [found[name] for name in names] == [P(), P(None, "model")]
    assert found[".opt_state[0].mu.leaves[1]"] == P("data", "model")
    divided = NamedSharding(two, P("data"))
    found = layout(state_sharding(state, {**given, "w": divided}))
    assert found[".opt_state[0].mu.leaves[1]"] == P("data")
    found = layout(state_sharding(state, given, axis="model"))
    assert found[".opt_state[0].mu.leaves[1]"] == P(None, "model")


def test_moments_are_found_inside_other_transformations():
    tx = jopt.partition(
        {"a": jopt.adam(0.1), "b": jopt.sgd(0.1, momentum=0.9)},
        {"w": "a", "odd": "b", "b": "b", "c": "a"},
    )
    found = layout(state_sharding(shapes(tx, buckets=False), EVERYWHERE))
    moments = [spec for path, spec in found.items() if "mu" in path and "w" in path]
    assert moments == [P("data")]


def test_a_module_has_one_sharding_for_all_or_one_for_each():
    model = lambda: nnx.Linear(256, 256, rngs=nnx.Rngs(0))  # noqa: E731
    state = shapes(model=model, buckets=False)
    one = state_sharding(state, EVERYWHERE)
    each = jax.tree.map(lambda _: EVERYWHERE, state.params)
    assert layout(one) == layout(state_sharding(state, each))
    assert P("data") in layout(one).values()


def test_shardings_that_do_not_fit_are_refused():
    state = shapes()
    rows = NamedSharding(mesh(8), P("data"))
    cases = {
        "axis must be one of the mesh's, 'data', got 'rows'": (EVERYWHERE, "rows"),
        "has nothing for params\\['b'\\]": ({"w": EVERYWHERE}, "data"),
        "has \\['x'\\], which the params do not have": (
            {**dict.fromkeys(params(), EVERYWHERE), "x": EVERYWHERE},
            "data",
        ),
        "params\\['odd'\\] of shape \\[131, 131\\] cannot be sharded as": (
            {**dict.fromkeys(params(), EVERYWHERE), "odd": rows},
            "data",
        ),
        "is on another mesh": (
            {**dict.fromkeys(params(), EVERYWHERE), "w": NamedSharding(mesh(4), P())},
            "data",
        ),
        "must be automatic": (
            NamedSharding(mesh(8, axis_type=AxisType.Explicit), P()),
            "data",
        ),
    }
    for message, (given, axis) in cases.items():
        with pytest.raises(ValueError, match=message):
            state_sharding(state, given, axis)
    with pytest.raises(TypeError, match="params_sharding must be a NamedSharding, got"):
        state_sharding(state, P())
    small = {"w": jnp.zeros(8), "b": jnp.zeros(8)}
    with pytest.raises(ValueError, match="in a vector with other small leaves"):
        state_sharding(shapes(model=lambda: small), rows)
    with pytest.raises(ValueError, match="make the state with shards=8"):
        state_sharding(shapes(shards=1), EVERYWHERE)


def test_a_step_refuses_what_it_cannot_divide():
    state = shapes()
    step = jopt.train_step(
        lambda params, batch, key: params["w"].sum(),
        shardings=state_sharding(state, EVERYWHERE),
    )
    with pytest.raises(ValueError, match=r"must be a multiple of 8, .* are \[12, 2\]"):
        step.lower(state, jnp.zeros((12, 2)))
    with pytest.raises(ValueError, match="shardings are of a state of"):
        step.lower(shapes(jopt.sgd(0.1)), jnp.zeros((8, 2)))


def test_one_device_is_a_mesh_too():
    line = Mesh(np.array(jax.devices()[:1]), ("data",))
    create = lambda: jopt.TrainState.create(params(), jopt.adam(0.1))  # noqa: E731
    shardings = state_sharding(create(), NamedSharding(line, P()))
    step = jopt.train_step(
        lambda params, batch, key: (params["w"] * batch.mean()).sum(),
        shardings=shardings,
    )
    state, metrics = step(jax.device_put(create(), shardings), jnp.ones(3))
    assert metrics.grad_norm == pytest.approx(np.sqrt(160 * 256))
    assert np.allclose(state.params["w"], -0.1)
