"""State and updates have the params' sharding under a mesh of explicit axes."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec as P
from jax.tree_util import tree_leaves_with_path
from scripts import SUPPORT
from transformation_table import TRANSFORMATIONS, simplest_first

import jopt

MESH = AbstractMesh((4, 2), ("data", "model"), axis_types=(AxisType.Explicit,) * 2)
SPECS = {
    "both": ((8, 16), P("data", "model")),
    "rows": ((8, 16), P("data")),
    "columns": ((8, 16), P(None, "model")),
    "vector": ((8,), P("data")),
    "cube": ((2, 8, 16), P(None, "data", "model")),
    "whole": ((3, 5), P()),
}
# Transformations whose computation is optax's own.
OF_OPTAX = {"lift(lbfgs)": "optax's products of vectors name no output sharding"}


def types(tree):
    return [str(jax.typeof(x)) for x in jax.tree.leaves(tree)]


def shapes():
    return {
        key: jax.ShapeDtypeStruct(
            shape, jnp.float32, sharding=NamedSharding(MESH, spec)
        )
        for key, (shape, spec) in SPECS.items()
    }


def key_of(entry):
    return getattr(entry, "key", None)


@pytest.mark.parametrize("name", simplest_first({*TRANSFORMATIONS} - {*OF_OPTAX}, 4))
def test_states_and_updates_keep_their_types(name):
    tx, extra = TRANSFORMATIONS[name](jopt), dict(TRANSFORMATIONS[name].extra)

    def check(params):
        state = tx.init(params)
        updates, after = tx.update(params, state, params, **extra)
        assert types(updates) == types(params)
        assert types(after) == types(state)
        for path, leaf in tree_leaves_with_path(state):
            like = next((params[k.key] for k in path if key_of(k) in params), None)
            if like is not None and like.shape == leaf.shape:
                assert jax.typeof(leaf).sharding.spec == jax.typeof(like).sharding.spec
        return updates

    with jax.sharding.use_abstract_mesh(MESH):
        jax.eval_shape(check, shapes())


@pytest.mark.parametrize("name", OF_OPTAX)
def test_what_optax_computes_stops_with_its_own_error(name):
    tx = TRANSFORMATIONS[name](jopt)

    with (
        jax.sharding.use_abstract_mesh(MESH),
        pytest.raises(Exception, match="output sharding"),
    ):
        jax.eval_shape(lambda p: tx.update(p, tx.init(p), p), shapes())


@pytest.mark.slow("types are looked at without devices; this looks at the numbers")
def test_divided_params_are_trained_as_whole_ones_are():
    script = SUPPORT / "explicit_mesh.py"
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
    assert done.stdout.split() == sorted(done.stdout.split())
    assert len(done.stdout.split()) >= 10
