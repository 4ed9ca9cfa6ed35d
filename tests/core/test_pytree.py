"""`@pytree`: a frozen dataclass whose fields are leaves unless they are static."""

import copy
import dataclasses
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compile_counts import counted

import jopt


@jopt.pytree
class Bowl:
    depth: Any
    width: Any = 2
    name: str = jopt.static(default="bowl")

    def __post_init__(self):
        jopt.check(self, "depth", least=0, below=10)


def test_fields_are_leaves_unless_static():
    leaves, structure = jax.tree.flatten(Bowl(1.5, [2.5, None]))

    assert leaves == [1.5, 2.5]
    assert structure.unflatten(leaves) == Bowl(1.5, [2.5, None])
    assert structure != jax.tree.structure(Bowl(1.5, [2.5, None], name="other"))


@jopt.pytree
class Rack:
    widths: Any = jopt.field(converter=tuple)
    names: Any = jopt.static(converter=tuple, default=())

    def __post_init__(self):
        assert type(self.widths) is type(self.names) is tuple


def test_a_converter_is_called_on_what_a_user_gives_and_not_by_jax():
    rack = Rack([1.5, 2.5], ["a"])

    assert rack == Rack(widths=(1.5, 2.5), names=("a",))
    assert jax.tree.leaves(rack) == [1.5, 2.5]
    assert hash(rack) == hash(dataclasses.replace(rack, names=["a"]))
    assert jax.tree.map(str, rack).widths == ("1.5", "2.5")
    placeholder = object()
    assert jax.tree.structure(Bowl(1.5)).unflatten([placeholder] * 2).depth is (
        placeholder
    )


def test_paths_name_the_fields():
    leaves = jax.tree_util.tree_leaves_with_path(Bowl(1.5, {"a": 2.5}))

    assert [jax.tree_util.keystr(p) for p, _ in leaves] == [".depth", ".width['a']"]


def test_integers_become_floats_and_bools_stay():
    assert type(Bowl(1).depth) is float
    assert type(Bowl(1).width) is float
    assert Bowl(True).depth is True


def test_objects_are_frozen_and_copied_by_replace():
    bowl = Bowl(1.0)

    with pytest.raises(dataclasses.FrozenInstanceError):
        bowl.depth = 2.0  # pyright: ignore[reportAttributeAccessIssue]
    assert dataclasses.replace(bowl, depth=2.0) == Bowl(2.0)
    assert copy.deepcopy(bowl) == pickle.loads(pickle.dumps(bowl)) == bowl


def test_equality_is_by_value_for_numbers_and_by_identity_for_arrays():
    array = jnp.ones(3)

    assert Bowl(1) == Bowl(1.0) == Bowl(np.float64(1))
    assert Bowl(1.0) != Bowl(2.0)
    assert Bowl(1.0) != Bowl(1.0, name="other")
    assert Bowl(1.0) != 1.0
    assert Bowl(array) == Bowl(array) != Bowl(jnp.ones(3))
    assert hash(Bowl(array)) == hash(Bowl(array))
    assert len({Bowl(1.0), Bowl(1), Bowl(2.0)}) == 2


def test_equal_objects_share_the_compile_cache_in_a_static_slot():
    program, traces = counted(lambda bowl, x: bowl.depth * x, static_argnums=0)

    assert program(Bowl(2.0), 3.0) == program(Bowl(2), 3.0) == 6.0
    assert len(traces) == 1


def test_repr_shows_numbers_in_full_and_arrays_by_shape():
    assert repr(Bowl(1e-3)) == "Bowl(depth=0.001, width=2.0, name='bowl')"
    assert "depth=float32[3]" in repr(Bowl(jnp.ones(3)))
    assert "depth=0.5" in repr(Bowl(jnp.float32(0.5)))
    assert "width=(0.1,)" in repr(Bowl(1.0, (0.1,)))


def test_repr_shows_tracers_by_shape():
    shown = []
    jax.jit(lambda bowl: shown.append(repr(bowl)))(Bowl(1.0))

    assert shown == ["Bowl(depth=float32[], width=float32[], name='bowl')"]


def test_checks_meet_users_numbers_only():
    axes = jax.tree.map(lambda _: None, Bowl(1.0))
    doubled = jax.vmap(lambda bowl: jax.tree.map(lambda x: 2 * x, bowl))(
        Bowl(jnp.array([-1.0, 20.0]), jnp.ones(2))
    )

    assert axes.depth is None
    np.testing.assert_array_equal(doubled.depth, [-2.0, 40.0])
    with pytest.raises(ValueError, match=r"^Bowl: depth must be below 10, got 10\.$"):
        Bowl(10)
    with pytest.raises(ValueError, match=r"^Bowl: depth must be at least 0, got -1\.$"):
        Bowl(-1)
    with pytest.raises(ValueError, match=r"at least 0 and below 10, got nan\.$"):
        Bowl(float("nan"))
    with pytest.raises(ValueError, match=r"at least 0, got -1\.0\.$"):
        Bowl(np.float32(-1))
    with pytest.raises(
        TypeError, match=r"^Bowl: depth must be a number, got 'deep'\.$"
    ):
        Bowl("deep")


def test_gradients_are_an_object_of_gradients():
    slopes = jax.grad(lambda bowl: bowl.depth**2 * bowl.width)(Bowl(3.0, 2.0))

    assert (slopes.depth, slopes.width, slopes.name) == (12.0, 9.0, "bowl")
