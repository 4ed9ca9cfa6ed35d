"""`state_sharding`: where each array of a train state lies on many devices."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.tree_util import GetAttrKey, keystr, tree_leaves_with_path, tree_map_with_path

from jopt.core import Buckets, PyTree, checked
from jopt.training._division import divided
from jopt.training._state import TrainState
from jopt.wrappers import Coded, is_coded

Path: TypeAlias = tuple[Any, ...]


@checked
def state_sharding(
    state: TrainState, params_sharding: PyTree, axis: str = "data"
) -> TrainState:
    """Return where each array of a state lies, the optimizer's divided over `axis`.

        mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        everywhere = NamedSharding(mesh, PartitionSpec())
        create = lambda: jopt.TrainState.create(init(), tx, shards=8)
        shardings = jopt.state_sharding(jax.eval_shape(create), everywhere)
        state = jax.jit(create, out_shardings=shardings)()
        step = jopt.train_step(loss_fn, shardings=shardings)

    No device ever holds the whole state: of n along `axis` each has an nth of Adam's
    moments and makes that part of the update. The gradients are summed and the params
    collected; no moment is sent, if `tx` treats each coordinate by itself. One that
    multiplies matrices, muon for one, collects them for each product.

    state: a `TrainState`, or its shapes. params_sharding: one `NamedSharding` for all
    params, or a tree of them like the params, or like its upper part. axis: of its
    mesh, the one that divides the batch.

    Params lie as given. What is like a param in the optimizer's state lies as that one
    does, divided over `axis` too, along its first dimension that is whole and
    divisible, if any; where `axis` divides the param already, it stays at that. The
    codes of a moment (see `low_bit`) are divided where that is along the leading
    dimension alone, and each part is whole blocks. Everything else has a copy on each
    device. Small leaves in vectors (see `pack`) must be whole; the vectors' moments are
    divided.

    Returns a `TrainState` of `NamedSharding`s: `out_shardings` of one, or what
    `jax.device_put` takes.

    Raises a TypeError if params_sharding holds something else than `NamedSharding`s,
    and a ValueError if it does not fit the params, if they are on different meshes, if
    the mesh has no such axis, or axes that are not automatic, if a vector's length is
    no multiple of it, or if the state lies on several devices already.

    Rajbhandari et al. 2019, https://arxiv.org/abs/1910.02054, section 5.1.
    """
    for path, x in tree_leaves_with_path(state):
        if len(getattr(getattr(x, "sharding", None), "device_set", ())) > 1:
            raise ValueError(
                f"state_sharding: state{keystr(path)} lies on several devices already; "
                "give the state's shapes: jax.eval_shape(lambda: state)."
            )
    shapes = jax.eval_shape(lambda x: x, state)
    by_leaf = _by_leaf(params_sharding, shapes.params, axis)
    everywhere = NamedSharding(next(iter(by_leaf.values())).mesh, PartitionSpec())
    packed = dict(_packed(shapes.packed, list(by_leaf.items()), axis))

    def lies(path: Any, x: Any) -> Any:
        field, *rest = path
        if field == GetAttrKey("packed"):
            return packed[tuple(rest)][1]
        # mu's leaf of a param has the param's path behind its own.
        ends = (tuple(rest[i:]) for i in range(len(path)))
        shape, sharding = next(
            (packed[end] for end in ends if end in packed), (None, everywhere)
        )
        of_optimizer = field == GetAttrKey("opt_state")
        like = of_optimizer and shape == x.shape
        found = divided(x.shape, sharding, axis) if like else everywhere
        return _of_codes(x, found, everywhere, axis) if is_coded(x) else found

    return tree_map_with_path(lies, shapes, is_leaf=is_coded)


def _of_codes(
    x: Coded, sharding: NamedSharding, everywhere: NamedSharding, axis: str
) -> Coded:
    """Where codes lie: blocks are in flat order, and so are parts of leading rows."""
    blocks, in_bytes = x.codes.shape
    full = blocks * in_bytes * 8 == math.prod(x.shape) * x.bits
    leading = sharding.spec == PartitionSpec(axis)
    fits = full and leading and not blocks % sharding.mesh.shape[axis]
    lies = sharding if fits else everywhere
    return dataclasses.replace(x, codes=lies, scales=lies)


def _by_leaf(
    params_sharding: PyTree, params: PyTree, axis: str
) -> dict[Path, NamedSharding]:
    """The sharding of each leaf, which is given for it or for what it is part of."""
    given = dict(tree_leaves_with_path(params_sharding))
    for path, sharding in given.items():
        _check(sharding, next(iter(given.values())), path, axis)
    found, used = {}, set()
    for path, x in tree_leaves_with_path(params):
        above = next(
            (path[:i] for i in range(len(path) + 1) if path[:i] in given), None
        )
        if above is None:
            raise ValueError(
                f"state_sharding: params_sharding has nothing for params{keystr(path)};"
                " give a tree like the params, or one NamedSharding for all."
            )
        try:
            given[above].shard_shape(x.shape)
        except ValueError as error:
            raise ValueError(
                f"state_sharding: params{keystr(path)} of shape {list(x.shape)} cannot "
                f"lie as {given[above].spec} on {dict(given[above].mesh.shape)}; "
                "divide dimensions that are multiples of their axes, or leave it whole."
            ) from error
        used.add(above)
        found[path] = given[above]
    if unused := given.keys() - used:
        raise ValueError(
            f"state_sharding: params_sharding has {keystr(min(unused, key=keystr))}, "
            "which the params do not have; give a tree like the params."
        )
    return found


def _packed(packed: PyTree, by_leaf: Any, axis: str) -> Iterator[Any]:
    """The shape and sharding of each packed array, by its path."""
    arrays = tree_leaves_with_path(packed)
    if not isinstance(packed, Buckets):
        for (path, x), (_, sharding) in zip(arrays, by_leaf, strict=True):
            yield path, (x.shape, sharding)
        return
    layout, mesh = packed.layout, by_leaf[0][1].mesh
    for numbers in layout.joined:
        for path, sharding in (by_leaf[i] for i in numbers):
            if not sharding.is_fully_replicated:
                raise ValueError(
                    f"state_sharding: params{keystr(path)} is to lie as {sharding.spec}"
                    ", but it is in a vector with other small leaves; leave it whole, "
                    "or make the state with buckets=False."
                )
    size = mesh.shape[axis]
    lies = [NamedSharding(mesh, PartitionSpec())] * len(layout.joined)
    lies += [by_leaf[i][1] for i in layout.alone]
    for (path, x), sharding in zip(arrays, lies, strict=True):
        if path[0] == GetAttrKey("vectors") and x.shape[0] % size:
            raise ValueError(
                f"state_sharding: a vector of {x.shape[0]} elements cannot be divided "
                f"among the {size} devices of {axis!r}; make the state with "
                f"shards={size}."
            )
        yield path, (x.shape, sharding)


def _check(sharding: Any, first: Any, path: Path, axis: str) -> None:
    where = f"params_sharding{keystr(path)}"
    if not isinstance(sharding, NamedSharding):
        raise TypeError(
            f"state_sharding: {where} must be a NamedSharding, got {sharding!r}; give "
            "jax.sharding.NamedSharding(mesh, PartitionSpec(...))."
        )
    mesh = sharding.mesh
    if mesh != first.mesh:
        raise ValueError(f"state_sharding: {where} is on another mesh than the others.")
    if axis not in mesh.shape:
        raise ValueError(
            f"state_sharding: axis must be one of the mesh's, "
            f"{', '.join(map(repr, mesh.shape))}, got {axis!r}."
        )
    if set(mesh.axis_types) != {AxisType.Auto}:
        raise ValueError(
            f"state_sharding: the axes of the mesh must be automatic, got {mesh}; make "
            "it with axis_types=(jax.sharding.AxisType.Auto,) * number of axes."
        )
