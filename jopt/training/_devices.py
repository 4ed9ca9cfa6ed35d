"""Many devices: the shardings of a state, and a step that keeps them."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

import jax
from jax.lax import with_sharding_constraint
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.tree_util import (
    GetAttrKey,
    KeyPath,
    keystr,
    tree_leaves_with_path,
    tree_map_with_path,
)

from jopt.core import Buckets, PyTree, checked, unpack
from jopt.training._state import TrainState
from jopt.wrappers import Coded, is_coded

M = TypeVar("M")
Shape: TypeAlias = tuple[int, ...]


@checked
def state_sharding(
    state: TrainState, params_sharding: PyTree, axis: str = "data"
) -> TrainState:
    """Return a sharding for each array of a state, the optimizer's over `axis`, too.

        mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        everywhere = NamedSharding(mesh, PartitionSpec())
        create = lambda: jopt.TrainState.create(init(), tx, shards=8)
        shardings = jopt.state_sharding(jax.eval_shape(create), everywhere)
        state = jax.jit(create, out_shardings=shardings)()
        step = jopt.train_step(loss_fn, shardings=shardings)

    No device ever holds the whole state. Each of n devices along `axis` holds an nth of
    Adam's moments and makes that part of the update. The gradients are summed and the
    params are gathered. If `tx` treats each coordinate by itself, no moment is sent. A
    transformation that multiplies matrices, such as muon, gathers its moments for each
    product.

        params             as given by `params_sharding`, trained and frozen ones
        moments            arrays of the optimizer's state that are like a param: as the
                           param, and over `axis` along the first unsharded dimension
                           that it divides, if there is one; exactly as the param if
                           `axis` shards it already
        codes of moments   (see `low_bit`) sharded if that is along the leading
                           dimension alone and each part is whole blocks
        everything else    replicated

    Small leaves that share a vector (see `pack`) must be replicated in
    `params_sharding`; the moments of the vectors are sharded.

    Args:
      state: a `TrainState`, or its shapes (`jax.eval_shape`).
      params_sharding: one `NamedSharding` for all params, or a tree of them like the
        params, or a prefix of it.
      axis: axis of the mesh that divides the batch.

    Returns:
      A `TrainState` whose leaves are `NamedSharding`s: for `out_shardings` of a
      function that returns a state, for `jax.device_put`, and for `train_step`.

    Raises:
      TypeError: if `params_sharding` holds anything but `NamedSharding`s.
      ValueError: if `params_sharding` does not fit the params, or its shardings are on
        different meshes; if the mesh has no such axis, or has axes that are not
        automatic; if the length of a vector is not a multiple of the axis; if the state
        is on several devices already.

    Rajbhandari et al. 2019, https://arxiv.org/abs/1910.02054, section 5.1.
    """
    for path, x in tree_leaves_with_path(state):
        if len(getattr(getattr(x, "sharding", None), "device_set", ())) > 1:
            raise ValueError(
                f"state_sharding: state{keystr(path)} is on several devices already; "
                "give the state's shapes: jax.eval_shape(lambda: state)."
            )
    shapes = jax.eval_shape(lambda x: x, state)
    by_leaf = _by_leaf(params_sharding, shapes.params, axis)
    everywhere = NamedSharding(next(iter(by_leaf.values())).mesh, PartitionSpec())
    trained = tree_leaves_with_path(unpack(shapes.packed))
    of_trained = [(path, by_leaf[path]) for path, _ in trained]
    packed = dict(_packed(shapes.packed, of_trained, axis))

    def lies(path: KeyPath, x: jax.ShapeDtypeStruct | Coded) -> NamedSharding | Coded:
        field, *rest = path
        if field == GetAttrKey("packed"):
            return packed[tuple(rest)][1]
        if field == GetAttrKey("frozen"):
            return by_leaf[tuple(rest)]
        # The path of a leaf of `mu` ends with the path of its param.
        ends = (tuple(rest[i:]) for i in range(len(path)))
        shape, sharding = next(
            (packed[end] for end in ends if end in packed), (None, everywhere)
        )
        of_optimizer = field == GetAttrKey("opt_state")
        like = of_optimizer and shape == x.shape
        found = _divided(x.shape, sharding, axis) if like else everywhere
        return _of_codes(x, found, everywhere, axis) if isinstance(x, Coded) else found

    return tree_map_with_path(lies, shapes, is_leaf=is_coded)


def _of_codes(
    x: Coded, sharding: NamedSharding, everywhere: NamedSharding, axis: str
) -> Coded:
    """Return the sharding of the codes of a moment.

    Blocks are in flat order, and so are parts of leading rows: only these are sharded.
    """
    blocks, in_bytes = x.codes.shape
    full = blocks * in_bytes * 8 == math.prod(x.shape) * x.bits
    leading = sharding.spec == PartitionSpec(axis)
    fits = full and leading and not blocks % sharding.mesh.shape[axis]
    lies = sharding if fits else everywhere
    return dataclasses.replace(x, codes=lies, scales=lies)


def _by_leaf(
    params_sharding: PyTree, params: PyTree, axis: str
) -> dict[KeyPath, NamedSharding]:
    """Return the sharding of each leaf, given for it or for a subtree that holds it."""
    given = dict(tree_leaves_with_path(params_sharding))
    for path, sharding in given.items():
        _check_sharding(sharding, next(iter(given.values())), path, axis)
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
                f"be sharded as {given[above].spec} on a mesh of "
                f"{dict(given[above].mesh.shape)}; "
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


def _packed(
    packed: PyTree, by_leaf: Sequence[tuple[KeyPath, NamedSharding]], axis: str
) -> Iterator[tuple[KeyPath, tuple[Shape, NamedSharding]]]:
    """Yield the path of each packed array, with its shape and sharding."""
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
                    f"state_sharding: params{keystr(path)} is sharded as "
                    f"{sharding.spec}, but it is in a vector with other small leaves; "
                    "leave it whole, or make the state with buckets=False."
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


def _check_sharding(
    sharding: object, first: NamedSharding, path: KeyPath, axis: str
) -> None:
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


@dataclasses.dataclass(frozen=True)
class Placement:
    """The shardings of a step; without them the compiler would gather all arrays.

    Args:
      shardings: shardings of the state, the result of `state_sharding`.
      axis: axis of their mesh that divides the batch.
    """

    shardings: PyTree  # a `TrainState` of `NamedSharding`s
    axis: str

    def __post_init__(self):
        mesh = getattr(self.shardings.step, "mesh", None)
        if mesh is None or self.axis not in mesh.shape:
            axes = "none" if mesh is None else ", ".join(mesh.shape)
            raise ValueError(
                "train_step: axis must be one of the mesh that shardings are on, got "
                f"{self.axis!r}; there is {axes}. Make them by jopt.state_sharding."
            )

    def around(
        self, step: Callable[[TrainState, PyTree], tuple[TrainState, M]]
    ) -> Callable[[TrainState, PyTree], tuple[TrainState, M]]:
        """Return `step` with its batch and its state sharded."""

        @functools.wraps(step)
        def placed(state: TrainState, batch: PyTree) -> tuple[TrainState, M]:
            new, metrics = step(self._state(state), self.batch(batch))
            new = dataclasses.replace(new, packed=self.parts(new.packed))
            return self._state(new), metrics

        return placed

    def batch(self, batch: PyTree) -> PyTree:
        """Return the batch sharded along the leading axis of its arrays.

        Arrays whose leading axis cannot be divided are unchanged.

        Raises:
          ValueError: if none of the arrays can be divided.
        """
        mesh = self.shardings.step.mesh
        size = mesh.shape[self.axis]

        def leaf(x: jax.Array) -> jax.Array:
            if not _divides(size, x):
                return x
            free = [PartitionSpec.UNCONSTRAINED] * (x.ndim - 1)
            spec = PartitionSpec(self.axis, *free)
            return with_sharding_constraint(x, NamedSharding(mesh, spec))

        if not any(_divides(size, x) for x in jax.tree.leaves(batch)):
            shapes = ", ".join(str(list(x.shape)) for x in jax.tree.leaves(batch))
            raise ValueError(
                f"train_step: {size} devices share a batch, so the leading axis of its "
                f"arrays must be a multiple of {size}, but their shapes are "
                f"{shapes or 'none'}."
            )
        return jax.tree.map(leaf, batch)

    def leaf_gradients(self, packed: PyTree, grads: PyTree) -> PyTree:
        """Return the summed gradients of the leaves, sharded.

        Gradients that will be joined are replicated: their vector is sharded.
        """
        return _constrained(grads, unpack(self._whole_vectors(packed)))

    def packed_gradients(self, grads: PyTree) -> PyTree:
        """Return gradients packed like the params, sharded."""
        return self.parts(_constrained(grads, self._whole_vectors(grads)))

    def parts(self, packed: PyTree) -> PyTree:
        """Return packed params, sharded."""
        return _constrained(packed, self._part_shardings(packed))

    def _state(self, state: TrainState) -> TrainState:
        given, held = (len(jax.tree.leaves(x)) for x in (self.shardings, state))
        if given != held:
            raise ValueError(
                f"train_step: shardings are of a state of {given} arrays, but this one "
                f"has {held}; make them of its own shapes: jopt.state_sharding("
                "jax.eval_shape(lambda: state), params_sharding)."
            )
        return _constrained(state, self.shardings)

    def _whole_vectors(self, packed: PyTree) -> PyTree:
        """Return the shardings of `parts`, but leave vectors replicated."""
        parts = self._part_shardings(packed)
        if not isinstance(parts, Buckets):
            return parts
        whole = self.shardings.packed.vectors
        return Buckets(whole, parts.leaves, parts.layout)

    def _part_shardings(self, packed: PyTree) -> PyTree:
        leaves, structure = jax.tree.flatten(packed)
        shardings = jax.tree.leaves(self.shardings.packed)
        return structure.unflatten(
            _divided(x.shape, sharding, self.axis)
            for x, sharding in zip(leaves, shardings, strict=True)
        )


def _divided(shape: Shape, sharding: NamedSharding, axis: str) -> NamedSharding:
    """Return `sharding`, and `axis` along the first free dimension that it divides.

    The first is chosen because parts of leading rows are contiguous. The sharding is
    unchanged if there is none, or if `axis` shards the array already.
    """
    spec = [*sharding.spec, *[None] * (len(shape) - len(sharding.spec))]
    size = sharding.mesh.shape[axis]
    free = [d for d, taken in enumerate(spec) if not taken and not shape[d] % size]
    if any(axis == taken or axis in (taken or ()) for taken in spec) or not free:
        return sharding
    spec[free[0]] = axis
    while spec[-1] is None:  # compiled programs return specs without trailing None
        spec.pop()
    return sharding.update(spec=PartitionSpec(*spec))


def _divides(size: int, x: jax.Array) -> bool:
    return x.ndim > 0 and x.shape[0] % size == 0


def _constrained(tree: PyTree, shardings: PyTree) -> PyTree:
    # Leaves are matched by index: equal trees can carry different static metadata.
    leaves = jax.tree.leaves(shardings)
    return with_sharding_constraint(tree, jax.tree.structure(tree).unflatten(leaves))
