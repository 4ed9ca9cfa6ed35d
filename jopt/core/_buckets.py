"""`Buckets`: a tree whose small leaves lie in a few long vectors."""

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.tree_util import GetAttrKey, keystr, tree_flatten_with_path

from jopt.core._arguments import checked
from jopt.core._explicit_sharding import spec_of
from jopt.core._kinds import Arrays
from jopt.core._layout import Layout
from jopt.core._numbers import dtype_of
from jopt.core._pytree import PyTree
from jopt.core._serialization import tell_flax
from jopt.core._transformation import GradientTransformation

T = TypeVar("T")

MOST = 8_192
"""Elements of the largest leaf that is joined with others.

Measured, 50 layers on 2 cores: joining matrices of 4,096 elements makes a step 15 %
faster, of 9,216 2 %, of 16,384 not.
"""

AXES = 2
"""Axes of a leaf that is joined, at most.

A convolution whose kernel is cut out of a vector is slower: that of the first layer
alone, of 864 elements, makes the step of a network of nine 7 % slower on a CPU.
"""


@jax.tree_util.register_pytree_with_keys_class
class Buckets:
    """A tree of arrays in few arrays: small leaves in vectors, large ones themselves.

    A step pays for every array that goes in and comes out, 6 to 25 microseconds on the
    host, and XLA fuses nothing across arrays: a thousand biases cost what a thousand
    kernels cost. Joined to one vector they are one array.

    It is a tree like any other, so a transformation that treats each coordinate by
    itself works on it unchanged, and its state consists of `Buckets` of the same
    layout. Make it by `pack`, `pack_like`; take it apart by `unpack`.
    """

    def __init__(self, vectors: Any, leaves: Any, layout: Layout):
        self.vectors = vectors
        self.leaves = leaves
        self.layout = layout

    def tree_flatten_with_keys(self):
        vectors, leaves = GetAttrKey("vectors"), GetAttrKey("leaves")
        return ((vectors, self.vectors), (leaves, self.leaves)), self.layout

    def tree_flatten(self):
        return (self.vectors, self.leaves), self.layout

    @classmethod
    def tree_unflatten(cls, layout: Layout, children: Any) -> "Buckets":
        vectors, leaves = children
        return cls(vectors, leaves, layout)

    def __repr__(self) -> str:
        joined = sum(map(len, self.layout.joined))
        return (
            f"Buckets({joined} leaves in {len(self.layout.joined)} vectors, "
            f"{len(self.layout.alone)} alone)"
        )

    def tree(self, true: jax.Array | None = None) -> PyTree:
        """Return the user's tree: what stands for a vector stands for its leaves.

        true: a bool scalar that is true, which the compiler cannot know. XLA's CPU
        backend makes a kernel of every cut whose start is a constant, and compiles a
        thousand for a minute; where the starts are data it makes one for each shape.

        Raises a ValueError if what stands for a vector has another length.
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

    def like(self, leaves: Iterator[Any]) -> "Buckets":
        """Return buckets of this layout that hold the next of these leaves."""
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
        """Return by an array's path what was given by its leaf's number.

        What lies in one vector has the same; what is not given is left out.
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
    most: int = MOST,
    shards: int = 1,
) -> Any:
    """Return `tree` with its small leaves joined, as far as `tx` allows it.

        packed = jopt.pack(params, tx)
        state = tx.init(packed)
        updates, state = tx.update(jopt.pack_like(packed, grads), state, packed)

    tree: any tree of arrays. tx: what will work on it; leaves are joined that it treats
    alike, coordinate by coordinate (see `GradientTransformation.groups`), and that have
    one dtype; without it all leaves of a dtype. most: the elements of the largest leaf
    that is joined. shards: a vector's length is a multiple of it, filled with zeros.

    Arrays of more than two axes, kernels of convolutions, stay themselves, and so do
    those that are divided among devices. Returns `Buckets`, or `tree` where there is
    nothing to join. Raises a ValueError if `shards` is below 1.
    """
    if shards < 1:
        raise ValueError(f"pack: shards must be at least 1, got {shards}.")
    leaves, structure = jax.tree.flatten(tree)
    allowed = [()] * len(leaves) if tx is None else tx.groups(tree)
    groups: dict[Hashable, list[int]] = {}
    for i, (leaf, group) in enumerate(zip(leaves, allowed, strict=True)):
        small = jnp.size(leaf) <= most and jnp.ndim(leaf) <= AXES
        if group is not None and small and not _is_divided(leaf):
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
    """Return `tree` in the layout of `packed`: of every `Buckets` node that it has.

    tree: like `unpack(packed)`, in shapes and paths; gradients, or another state.
    Raises a ValueError that names the first leaf where it is not.
    """
    return laid_out(packed, check_like(packed, tree))


def laid_out(packed: PyTree, leaves: Sequence[Any]) -> PyTree:
    """Return the leaves of `unpack(packed)`, in its order, as `packed` has them."""
    given = iter(leaves)
    nodes, structure = jax.tree.flatten(packed, is_leaf=_is_buckets)
    return structure.unflatten(
        node.like(given) if _is_buckets(node) else next(given) for node in nodes
    )


@checked
def unpack(tree: Arrays, true: jax.Array | None = None) -> PyTree:
    """Return `tree` with the user's tree in the place of every `Buckets` node.

    true: for a step to be compiled, see `Buckets.tree`.
    """
    return jax.tree.map(
        lambda node: node.tree(true) if _is_buckets(node) else node,
        tree,
        is_leaf=_is_buckets,
    )


def check_like(
    packed: PyTree, tree: Arrays, dtypes: bool = False, where: str = "pack_like: tree"
) -> list[Any]:
    """Return the leaves of `tree` in the order of those of `unpack(packed)`.

    Raises a ValueError that names the place, `where`, and the first leaf that is
    missing, is not there, or has another shape, or another dtype if `dtypes` count.
    """
    found: list[Any] = []  # by path: nodes of other types may have another order
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


def _packed(layout: Layout, leaves: Mapping[int, Any]) -> Buckets:
    tell_flax(Buckets)
    vectors = tuple(layout.vector(leaves, numbers) for numbers in layout.joined)
    return Buckets(vectors, tuple(leaves[i] for i in layout.alone), layout)


def _as_data(numbers: list[int], true: jax.Array) -> Sequence[Any]:
    """Return the numbers, on a CPU as data: not even a branch is worth it elsewhere."""

    def constants(_: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(jnp.asarray(n, jnp.int32) for n in numbers)

    def data(true: jax.Array) -> tuple[jax.Array, ...]:
        zeros = (jnp.zeros((), jnp.int32),) * len(numbers)
        return jax.lax.cond(true, constants, lambda _: zeros, true)

    return jax.lax.platform_dependent(true, cpu=data, default=constants)


def _cut(vector: Any, start: Any, size: int, shape: tuple[int, ...]) -> Any:
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


def _next(node: Any, leaves: Iterator[Any]) -> Any:
    """Return what stands for a leaf, made of the next leaves.

    Usually that is one array; a mask hides it, and codes are more than one.
    """
    structure = jax.tree.structure(node)
    return structure.unflatten(itertools.islice(leaves, structure.num_leaves))


def _is_hidden(node: Any) -> bool:
    """Whether it stands for no array: a masked node, None."""
    return not hasattr(node, "shape")


def _is_buckets(node: Any) -> bool:
    return isinstance(node, Buckets)


def _is_divided(leaf: Any) -> bool:
    """Whether it lies in parts on several devices."""
    if spec_of(leaf):  # of a tracer, too
        return True
    if isinstance(leaf, Tracer) or not hasattr(leaf, "sharding"):
        return False
    return leaf.sharding is not None and not leaf.sharding.is_fully_replicated
