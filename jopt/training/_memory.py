"""`memory`: the bytes of a training state, by part, by dtype and by leaf."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import KeyPath, keystr, tree_leaves_with_path
from jax.typing import ArrayLike

from jopt.core import PyTree, dtype_of, is_typed_key, unpack

if TYPE_CHECKING:
    import pandas

SHOWN = 20
"""Number of leaves that are printed one by one; `Memory.table` has them all."""


class LeafMemory(NamedTuple):
    """One leaf: its path in the tree, its dtype and shape, and its bytes."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


@dataclasses.dataclass(frozen=True)
class Memory:
    """The bytes of the leaves of a tree, the largest first; it prints as a table.

    Attributes:
      rows: one `LeafMemory` a leaf.
      parameters: number of parameters of the model, or None where it is unknown.
    """

    rows: tuple[LeafMemory, ...]
    parameters: int | None

    @property
    def bytes(self) -> int:
        """The sum of all bytes."""
        return sum(row.bytes for row in self.rows)

    @property
    def bytes_per_parameter(self) -> float | None:
        """Bytes divided by the number of parameters, or None where that is unknown."""
        return self.bytes / self.parameters if self.parameters else None

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by the first word of the path, the largest first.

        Of a `TrainState` that is by field.
        """
        return self._summed(lambda row: row.path.partition("/")[0])

    @property
    def dtypes(self) -> dict[str, int]:
        """Bytes by dtype, the largest first."""
        return self._summed(lambda row: row.dtype)

    def table(self) -> "pandas.DataFrame":
        """Return a DataFrame of path, dtype, shape and bytes, one row a leaf."""
        import pandas  # heavy, and an extra

        return pandas.DataFrame(list(self.rows), columns=list(LeafMemory._fields))

    def __str__(self) -> str:
        number = len(self.rows)
        leaves = "leaf" if number == 1 else "leaves"
        title = f"{short_bytes(self.bytes)} in {number} {leaves}"
        if self.parameters:
            title += (
                f", {self.bytes_per_parameter:.2f} bytes for each of "
                f"{self.parameters:,} parameters"
            )
        largest = [
            (row.path, row.dtype, str(list(row.shape)), short_bytes(row.bytes))
            for row in self.rows[:SHOWN]
        ]
        rest = self.rows[SHOWN:]
        if rest:
            size = short_bytes(sum(row.bytes for row in rest))
            largest.append((f"and {len(rest)} smaller", "", "", size))
        return "\n\n".join(
            [
                title,
                aligned(self._shares("part", self.parts)),
                aligned(self._shares("dtype", self.dtypes)),
                aligned([("leaf", "dtype", "shape", "bytes"), *largest]),
            ]
        )

    def _summed(self, name: Callable[[LeafMemory], str]) -> dict[str, int]:
        sums: dict[str, int] = {}
        for row in self.rows:
            sums[name(row)] = sums.get(name(row), 0) + row.bytes
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    def _shares(self, name: str, sums: Mapping[str, int]) -> list[tuple[str, ...]]:
        rows = [(name, "bytes", "share", "a parameter")]
        for key, size in sums.items():
            each = f"{size / self.parameters:.2f}" if self.parameters else ""
            share = size / self.bytes if self.bytes else 0
            rows.append((key, short_bytes(size), f"{share:.1%}", each))
        return [row[: 4 if self.parameters else 3] for row in rows]


def memory(tree: PyTree, params: PyTree | None = None) -> Memory:
    """Return the bytes of all arrays of a tree, leaf by leaf.

        print(jopt.memory(state))
        jopt.memory(jax.eval_shape(tx.init, params), params).bytes_per_parameter

    Shapes (`jax.eval_shape`) are counted like arrays, so memory is known before it is
    allocated. Leaves that share a vector (see `pack`) are shown one by one; the unused
    ends of vectors have their own row. A sharded array counts once, as a whole, and so
    does a replicated one.

    Args:
      tree: a `TrainState`, an optimizer's state, parameters: any tree of arrays or of
        their shapes.
      params: the tree whose elements are the parameters that bytes are divided by. By
        default it is `tree.params` or `tree["params"]`, if there is one.

    Returns:
      A `Memory`, which prints as a table.

    Raises:
      TypeError: names a leaf that is not an array.
    """
    shapes = jax.tree_util.tree_map_with_path(_shape, tree)
    if params is None:
        given = isinstance(shapes, Mapping)
        params = shapes.get("params") if given else getattr(shapes, "params", None)
    rows = [
        LeafMemory(_name(path), str(x.dtype), tuple(x.shape), bytes_of(x))
        for path, x in tree_leaves_with_path(unpack(shapes))
    ]
    held = sum(map(bytes_of, jax.tree.leaves(shapes)))
    if unused := held - sum(row.bytes for row in rows):
        rows.append(LeafMemory("ends of vectors", "", (), unused))
    sizes = [math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(params)]
    return Memory(
        tuple(sorted(rows, key=lambda row: -row.bytes)), sum(sizes) if sizes else None
    )


def _shape(path: KeyPath, leaf: ArrayLike) -> jax.ShapeDtypeStruct:
    try:
        return jax.ShapeDtypeStruct(jnp.shape(leaf), dtype_of(leaf))
    except TypeError:
        raise TypeError(
            f"memory: {_name(path) or 'the tree'} is not an array but a "
            f"{type(leaf).__name__}; give a tree of arrays, or of their shapes."
        ) from None


def _name(path: KeyPath) -> str:
    return keystr(path, simple=True, separator="/")


def bytes_of(x: jax.ShapeDtypeStruct) -> int:
    """Return the bytes of an array, or of a key's data."""
    if is_typed_key(x):
        x = jax.eval_shape(jax.random.key_data, x)
    return math.prod(x.shape) * x.dtype.itemsize


def short_bytes(size: int) -> str:
    """Return a number of bytes in three digits and a unit."""
    for unit, power in (("GB", 9), ("MB", 6), ("kB", 3)):
        if size >= 10**power:
            return f"{size / 10**power:.3g} {unit}"
    return f"{size} B"


def aligned(rows: Iterable[tuple[str, ...]]) -> str:
    """Return lines with aligned columns, the first to the left, others to the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [
                cell.rjust(width)
                for cell, width in zip(row[1:], widths[1:], strict=True)
            ]
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)
