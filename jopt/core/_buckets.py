"""Buckets: a tree whose small leaves are joined into a few long vectors."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.tree_util import GetAttrKey, keystr, tree_flatten_with_path

from jopt.core._arguments import checked
from jopt.core._explicit_sharding import partition_spec
from jopt.core._kinds import Arrays
from jopt.core._numbers import dtype_of
from jopt.core._pytree import PyTree, TreeDef
from jopt.core._serialization import register_with_flax
from jopt.core._transformation import GradientTransformation

T = TypeVar("T")

LARGEST_JOINED = 8_192
"""Elements of the largest leaf that is joined with others.

Measured for 50 layers on 2 cores: joining matrices of 4,096 elements makes a step 15 %
faster; joining 9,216 elements, 2 %; joining 16,384 gains nothing.
"""

_MOST_AXES = 2
"""The largest number of axes of a leaf that is joined.

A convolution is slower if its kernel is cut out of a vector: a single kernel of 864
elements, in the first of nine layers, makes a step 7 % slower on a CPU.
"""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The places of a tree's leaves in `Buckets`; static, compared by value.

    A leaf is named by its index in `jax.tree.leaves` of the tree.

    Args:
      structure: the structure of the tree.
      shapes: the shape of each leaf.
      joined: the indices of the leaves that lie in each vector.
      alone: the indices of the other leaves.
      shards: the length of each vector is a multiple of this.
      shown: the structure and leaf indices that a mask has left of the tree; None if
        nothing is masked.
    """

    structure: TreeDef
    shapes: tuple[tuple[int, ...], ...]
    joined: tuple[tuple[int, ...], ...]
    alone: tuple[int, ...]
    shards: int
    shown: tuple[TreeDef, tuple[int, ...]] | None = None

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self._fields)

    def __hash__(self) -> int:
        # Cached: every call of a compiled step asks for the hash.
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Layout)
            and hash(self) == hash(other)
            and self._fields == other._fields
        )

    def __reduce__(self) -> tuple[type["Layout"], tuple[object, ...]]:
        # The cached hash stays out of the pickle: strings hash differently in another
        # process.
        return Layout, self._fields

    @property
    def _fields(self) -> tuple[object, ...]:
        return (
            self.structure,
            self.shapes,
            self.joined,
            self.alone,
            self.shards,
            self.shown,
        )

    @property
    def numbers(self) -> PyTree:
        """The tree with each leaf replaced by its index, without masked leaves."""
        if self.shown is None:
            return self.structure.unflatten(range(len(self.shapes)))
        structure, numbers = self.shown
        return structure.unflatten(numbers)

    def showing(self, numbers: PyTree) -> "Layout":
        """Return this layout with `numbers`, in which a mask has hidden some leaves."""
        leaves, structure = jax.tree.flatten(numbers)
        return dataclasses.replace(self, shown=(structure, tuple(leaves)))

    def size(self, leaf: int) -> int:
        """Return the number of elements of a leaf."""
        return math.prod(self.shapes[leaf])

    def vector(
        self, leaves: Mapping[int, jax.Array], numbers: tuple[int, ...]
    ) -> jax.Array:
        """Return the vector of the leaves with these indices, padded with zeros.

        Leading axes beyond a leaf's own, such as the trials of a sweep, stay in front.
        """
        flat = [_flat(jnp.asarray(leaves[i]), len(self.shapes[i])) for i in numbers]
        rest = self.length(numbers) - sum(map(self.size, numbers))
        zeros = [jnp.zeros((*flat[0].shape[:-1], rest), flat[0].dtype)] * (rest > 0)
        return jnp.concatenate([*flat, *zeros], axis=-1)

    def length(self, numbers: tuple[int, ...]) -> int:
        """Return the padded length of the vector of the leaves with these indices."""
        return -(-sum(map(self.size, numbers)) // self.shards) * self.shards

    def starts(self, numbers: tuple[int, ...]) -> list[int]:
        """Return the offset of each of these leaves in their vector."""
        sizes = map(self.size, numbers[:-1])
        return list(itertools.accumulate(sizes, initial=0))


@jax.tree_util.register_pytree_with_keys_class
class Buckets:
    """Hold a tree of arrays in few arrays: small leaves joined, large ones as they are.

    Each input and output array of a step costs 6 to 25 microseconds on the host, and
    XLA does not fuse across arrays. A thousand biases thus cost as much as a thousand
    kernels; joined in a vector, they cost as much as one array.

    `Buckets` are a pytree like any other. A transformation that treats each coordinate
    by itself works on them unchanged, and its state consists of `Buckets` of the same
    layout. Make them with `pack` or `pack_like`; `unpack` returns the original tree.

    Args:
      vectors: the vectors, each the concatenation of the flattened small leaves of one
        dtype and group (see `GradientTransformation.groups`).
      leaves: the other leaves, in the order of the tree.
      layout: where each leaf lies; static.
    """

    def __init__(
        self, vectors: tuple[PyTree, ...], leaves: tuple[PyTree, ...], layout: Layout
    ):
        self.vectors = vectors
        self.leaves = leaves
        self.layout = layout

    def tree_flatten_with_keys(self):
        vectors, leaves = GetAttrKey("vectors"), GetAttrKey("leaves")
        return ((vectors, self.vectors), (leaves, self.leaves)), self.layout

    def tree_flatten(self):
        return (self.vectors, self.leaves), self.layout

    @classmethod
    def tree_unflatten(cls, layout: Layout, children: Iterable[PyTree]) -> "Buckets":
        vectors, leaves = children
        return cls(vectors, leaves, layout)

    def __repr__(self) -> str:
        joined = sum(map(len, self.layout.joined))
        return (
            f"Buckets({joined} leaves in {len(self.layout.joined)} vectors, "
            f"{len(self.layout.alone)} alone)"
        )

    def tree(self, true: jax.Array | None = None) -> PyTree:
        """Return the original tree.

        Anything that replaces a vector, such as a masked node, replaces its leaves.

        Args:
          true: a bool scalar that is true, but not a constant to the compiler. XLA's
            CPU backend makes a kernel of every slice whose start is a constant, and
            compiles a thousand of them for a minute; if the starts are data, it makes
            one kernel for each shape.

        Raises:
          ValueError: if an array in the place of a vector has another length.
        """
        layout = self.layout
        found = dict(zip(layout.alone, self.leaves, strict=True))
        for vector, numbers in zip(self.vectors, layout.joined, strict=True):
            length = layout.length(numbers)
            if not _is_hidden(vector) and vector.shape[-1:] != (length,):
                raise ValueError(
                    f"Buckets: for a vector of {length} numbers there is an array of "
                    f"shape {list(vector.shape)}; a transformation that keeps one "
                    "number for each leaf must not be shapeless."
                )
            starts = layout.starts(numbers)
            if true is not None:
                starts = _as_data(starts, true)
            for i, start in zip(numbers, starts, strict=True):
                found[i] = _cut(vector, start, layout.size(i), layout.shapes[i])
        return jax.tree.map(found.__getitem__, layout.numbers)

    def like(self, leaves: Iterator[PyTree]) -> "Buckets":
        """Return buckets of this layout, filled from an iterator of leaves."""
        arrays = dict(zip(self.layout.alone, self.leaves, strict=True))
        for vector, numbers in zip(self.vectors, self.layout.joined, strict=True):
            arrays.update(dict.fromkeys(numbers, vector))
        held = {i: _next(x, leaves) for i, x in sorted(arrays.items())}
        vectors = tuple(
            vector if _is_hidden(vector) else self.layout.vector(held, numbers)
            for vector, numbers in zip(self.vectors, self.layout.joined, strict=True)
        )
        return Buckets(vectors, tuple(held[i] for i in self.layout.alone), self.layout)

    def by_array(self, by_leaf: Mapping[int, T]) -> dict[tuple[str, ...], T]:
        """Return a mapping from the paths of these arrays, given one from leaf indices.

        All leaves of a vector must have the same value. Leaves that are not in
        `by_leaf` are left out.
        """
        firsts = [numbers[0] for numbers in self.layout.joined]
        paths = [("vectors", str(k)) for k in range(len(firsts))]
        paths += [("leaves", str(k)) for k in range(len(self.layout.alone))]
        numbers = (*firsts, *self.layout.alone)
        return {
            path: by_leaf[i]
            for path, i in zip(paths, numbers, strict=True)
            if i in by_leaf
        }


@checked
def pack(
    tree: Arrays,
    tx: GradientTransformation | None = None,
    most: int = LARGEST_JOINED,
    shards: int = 1,
) -> PyTree:
    """Join the small leaves of `tree` into vectors, as far as `tx` allows it.

        packed = jopt.pack(params, tx)
        state = tx.init(packed)
        updates, state = tx.update(jopt.pack_like(packed, grads), state, packed)

    Leaves of more than two axes (kernels of convolutions) and leaves that are sharded
    over devices are never joined.

    Args:
      tree: a tree of arrays.
      tx: the transformation that will work on the result. It joins leaves that it
        treats alike, coordinate by coordinate (see `GradientTransformation.groups`),
        and that have one dtype. If None, all leaves of a dtype are joined.
      most: elements of the largest leaf that is joined.
      shards: the length of each vector is a multiple of this, at least 1; vectors are
        padded with zeros.

    Returns:
      `Buckets`, or `tree` itself if there is nothing to join.

    Raises:
      ValueError: if `shards` is below 1.
    """
    if shards < 1:
        raise ValueError(f"pack: shards must be at least 1, got {shards}.")
    leaves, structure = jax.tree.flatten(tree)
    allowed = [()] * len(leaves) if tx is None else tx.groups(tree)
    groups: dict[Hashable, list[int]] = {}
    for i, (leaf, group) in enumerate(zip(leaves, allowed, strict=True)):
        small = jnp.size(leaf) <= most and jnp.ndim(leaf) <= _MOST_AXES
        if group is not None and small and not _is_sharded(leaf):
            groups.setdefault((dtype_of(leaf), group), []).append(i)
    joined = tuple(tuple(numbers) for numbers in groups.values() if len(numbers) > 1)
    if not joined:
        return tree
    inside = {i for numbers in joined for i in numbers}
    alone = tuple(i for i in range(len(leaves)) if i not in inside)
    layout = Layout(structure, tuple(map(jnp.shape, leaves)), joined, alone, shards)
    return _packed(layout, dict(enumerate(leaves)))


@checked
def pack_like(packed: Arrays, tree: Arrays) -> PyTree:
    """Pack `tree` into the layout of `packed`, for every `Buckets` node that it has.

    Args:
      packed: what `pack` returned, or a tree with such nodes.
      tree: a tree with the paths and shapes of `unpack(packed)`, such as gradients or
        another state.

    Returns:
      A tree with the structure of `packed` and the arrays of `tree`.

    Raises:
      ValueError: if `tree` differs from `unpack(packed)`; it names the first such leaf.
    """
    return pack_leaves(packed, matching_leaves(packed, tree))


def pack_leaves(packed: PyTree, leaves: Sequence[PyTree]) -> PyTree:
    """Return a tree like `packed`, filled with leaves in `unpack(packed)`'s order."""
    given = iter(leaves)
    nodes, structure = jax.tree.flatten(packed, is_leaf=_is_buckets)
    return structure.unflatten(
        node.like(given) if _is_buckets(node) else next(given) for node in nodes
    )


@checked
def unpack(tree: Arrays, true: jax.Array | None = None) -> PyTree:
    """Replace every `Buckets` node of `tree` by the tree that was packed.

    Args:
      tree: a tree with `Buckets` anywhere in it, such as a state.
      true: a bool scalar that is true, but not a constant to the compiler. It
        shortens the compilation of a step on CPUs; see `Buckets.tree`.

    Returns:
      The tree, with each array cut out of its vector.
    """
    return jax.tree.map(
        lambda node: node.tree(true) if _is_buckets(node) else node,
        tree,
        is_leaf=_is_buckets,
    )


def matching_leaves(
    packed: PyTree, tree: Arrays, dtypes: bool = False, where: str = "pack_like: tree"
) -> list[PyTree]:
    """Return the leaves of `tree` in the order of the leaves of `unpack(packed)`.

    Args:
      packed: a tree with `Buckets` nodes.
      tree: a tree with the paths and shapes of `unpack(packed)`.
      dtypes: whether the dtypes must be equal, too.
      where: the function and argument named in errors.

    Raises:
      ValueError: if a leaf is missing, is not in `packed`, or has another shape (or
        dtype, if `dtypes`); it names the first such leaf.
    """
    # Leaves are matched by path: nodes of another type may have another order.
    found: list[PyTree] = []
    theirs = {keystr(path): leaf for path, leaf in tree_flatten_with_path(tree)[0]}
    ours = unpack(jax.eval_shape(lambda x: x, packed))
    for path, leaf in tree_flatten_with_path(ours)[0]:
        name = keystr(path)
        if name not in theirs:
            wrong = "is missing"
        elif jnp.shape(theirs[name]) != leaf.shape:
            wrong = f"has the shape {list(jnp.shape(theirs[name]))}"
        elif dtypes and dtype_of(theirs[name]) != leaf.dtype:
            wrong = f"is {dtype_of(theirs[name])}"
        else:
            found.append(theirs.pop(name))
            continue
        wanted = f"{leaf.dtype}{list(leaf.shape)}"
        raise ValueError(
            f"{where}{name} must be {wanted}, but {wrong} in the tree; give a tree "
            "of the model that was packed."
        )
    if theirs:
        raise ValueError(
            f"{where} has {next(iter(theirs))}, which the model that was "
            "packed does not have; give a tree of that model."
        )
    return found


def _packed(layout: Layout, leaves: Mapping[int, jax.Array]) -> Buckets:
    register_with_flax(Buckets)
    vectors = tuple(layout.vector(leaves, numbers) for numbers in layout.joined)
    return Buckets(vectors, tuple(leaves[i] for i in layout.alone), layout)


def _as_data(numbers: list[int], true: jax.Array) -> Sequence[jax.Array]:
    """Return the numbers as scalars; on a CPU, hide their values from the compiler."""

    def constants(_: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(jnp.asarray(n, jnp.int32) for n in numbers)

    def data(true: jax.Array) -> tuple[jax.Array, ...]:
        zeros = (jnp.zeros((), jnp.int32),) * len(numbers)
        return jax.lax.cond(true, constants, lambda _: zeros, true)

    # On other devices the conditional costs more than it saves.
    return jax.lax.platform_dependent(true, cpu=data, default=constants)


def _cut(
    vector: PyTree, start: int | jax.Array, size: int, shape: tuple[int, ...]
) -> PyTree:
    """Return the leaf at `start` of a vector; a masked node is returned as it is."""
    if _is_hidden(vector):
        return vector
    stacked = vector.shape[:-1]  # trials of a sweep
    if isinstance(vector, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((*stacked, *shape), vector.dtype)
    if not isinstance(start, int):
        cut = jax.lax.dynamic_slice_in_dim(
            vector, start, size, axis=-1, allow_negative_indices=False
        )
    else:
        cut = vector[..., start : start + size]
    return cut.reshape(*stacked, *shape)


def _next(node: PyTree, leaves: Iterator[PyTree]) -> PyTree:
    """Return a node with the structure of `node`, filled with the next leaves.

    A node stands for one leaf of the params. Usually it is one array; a masked node has
    no leaves, and low-bit codes have several.
    """
    structure = jax.tree.structure(node)
    return structure.unflatten(itertools.islice(leaves, structure.num_leaves))


def _is_hidden(node: PyTree) -> bool:
    """Return whether a node is a masked node or None rather than an array."""
    return not hasattr(node, "shape")


def _is_buckets(node: PyTree) -> bool:
    return isinstance(node, Buckets)


def _is_sharded(leaf: PyTree) -> bool:
    """Return whether a leaf is sharded over several devices."""
    if partition_spec(leaf):  # of a tracer, too
        return True
    if isinstance(leaf, Tracer) or not hasattr(leaf, "sharding"):
        return False
    return leaf.sharding is not None and not leaf.sharding.is_fully_replicated


def _flat(x: jax.Array, axes: int) -> jax.Array:
    """Return `x` with its last `axes` axes flattened to one."""
    return x.reshape(*x.shape[: x.ndim - axes], math.prod(x.shape[x.ndim - axes :]))
