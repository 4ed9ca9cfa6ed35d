"""Labels and masks: static values for the leaves of the params, matched by path."""

import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Self, TypeVar

import jax
import numpy as np
from jax.core import Tracer
from jax.tree_util import KeyPath, all_leaves, keystr, tree_flatten_with_path

from jopt.core._buckets import Buckets
from jopt.core._errors import error_about
from jopt.core._pytree import PyTree, TreeDef, TreePath

L = TypeVar("L", bound="Labels")


class Labels:
    """A label for each leaf of the params: a static value, hashable.

    Labels are equal if their trees are equal by value, or their functions are the same
    object. An `nnx.Variable` counts as one leaf, at its own path.

    Args:
      given: one of three forms.

        A tree of labels. It is matched by path, so its nodes may be of other types than
        the params' (a dict for an `nnx.State`). It may be a prefix of the params: a
        label stands for all leaves below it.

        A function with one required argument, `function(params)`, which returns such a
        tree.

        A function with two required arguments, `function(path, leaf)`, which gets the
        path of a leaf, like "layers/0/kernel", and the leaf, and returns its label.
    """

    noun, tree = "label", "The labels' tree"  # as errors call them

    def __init__(self, given: PyTree):
        if isinstance(given, Labels):
            self._set(given._function, given._table, given._unpacked)
        # A module is a tree even if it is callable.
        elif callable(given) and all_leaves([given]):
            self._set(given, {})
        else:
            with error_about(given):
                self._set(None, by_path(given))

    @classmethod
    def at(cls, table: Mapping[TreePath, Any]) -> Self:
        """Return the labels of a mapping from paths."""
        return cls._made(None, table)

    def checked(self, path: TreePath, label: Any) -> Any:
        """Return the label at a path as a static value; raise if it cannot be one."""
        if isinstance(label, Tracer) or type(label).__hash__ is None:
            raise TypeError(
                f"{type(self).__name__}: the {self.noun} of {path_text(path)} must be "
                f"a static, hashable value, got {label!r}; make it of paths, shapes "
                "and dtypes."
            )
        return label

    def on(self, params: PyTree) -> Self:
        """Return these labels as a tree that fits `params`: functions are called.

        Raises:
          ValueError: names the first path without a label, and the first label without
            a path.
        """
        if not jax.tree.leaves(params):
            # optax's placeholders for params have no leaves, and no paths to look for.
            return self.at({})
        if isinstance(params, Buckets):
            return self._on_buckets(params)
        table = self._table_for(params)
        self._check_paths(table, params)
        return self if table is self._table else self.at(table)

    def _table_for(self, params: PyTree) -> dict[TreePath, Any]:
        if self._function is None:
            return self._table
        if not _takes_a_leaf(self._function):
            return by_path(self._function(params))
        return {
            path: self._function("/".join(path), _only(node))
            for path, node in _points(params)[0]
            if jax.tree.leaves(node)
        }

    def _on_buckets(self, params: Buckets) -> Self:
        arrays = {path for path, _ in _points(params)[0]}
        if self._function is None and arrays.issuperset(self._table):
            return self  # `on` has returned these labels for such buckets
        tree = params.tree()
        unpacked = self.on(tree)
        numbers = jax.tree.leaves(params.layout.numbers)
        labels = dict(zip(numbers, unpacked.leaves(tree), strict=True))
        return self._made(None, params.by_array(labels), unpacked)

    def mapped(self, rule: Callable[[Any], Any], kind: type[L]) -> L:
        """Return labels of class `kind`, with `rule` applied to each label."""
        unpacked = self._unpacked and self._unpacked.mapped(rule, kind)
        table = {path: rule(label) for path, label in self._table.items()}
        return kind._made(None, table, unpacked)

    def leaves(self, params: PyTree) -> list[Any]:
        """Return the label of each leaf of `params`; raises as `on` does."""
        return [
            label
            for label, node in self.on(params).nodes(params)[0]
            for _ in jax.tree.leaves(node)
        ]

    def nodes(self, tree: PyTree) -> tuple[list[tuple[Any, PyTree]], TreeDef]:
        """Split `tree` at the paths of these labels, which must come from `on`.

        Returns:
          Pairs of a label and its node of `tree`, and the structure whose `unflatten`
          builds a tree from such nodes.
        """
        points, structure = _points(tree, self._table)
        return [(self._table.get(path), node) for path, node in points], structure

    @property
    def function(self) -> Callable[..., Any] | None:
        """The function that returns the labels, or None if they are a tree."""
        return self._function

    def items(self) -> list[tuple[TreePath, Any]]:
        """Return pairs of a path and its label."""
        return list(self._table.items())

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Labels) and self._identity == other._identity
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        if self._function is not None:
            return repr(self._function)
        if () in self._table:
            return repr(self._table[()])
        return repr({path_text(path): label for path, label in self._table.items()})

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[object, ...]]:
        # The cached hash stays out of the pickle: strings hash differently in another
        # process.
        return self._made, (self._function, self._table, self._unpacked)

    @classmethod
    def _made(
        cls,
        function: Callable[..., Any] | None,
        table: Mapping[TreePath, Any],
        unpacked: "Labels | None" = None,
    ) -> Self:
        self = object.__new__(cls)
        self._set(function, table, unpacked)
        return self

    def _set(
        self,
        function: Callable[..., Any] | None,
        table: Mapping[TreePath, Any],
        unpacked: "Labels | None" = None,
    ) -> None:
        self._function = function
        self._table = {path: self.checked(path, x) for path, x in table.items()}
        self._unpacked = unpacked  # for buckets: the labels of the unpacked tree
        self._identity = (type(self), function, tuple(self._table.items()), unpacked)
        self._hash = hash(self._identity)

    def _check_paths(self, table: Mapping[TreePath, Any], params: PyTree) -> None:
        points = _points(params, table)[0]
        there = {path for path, _ in points}
        without = [p for p, node in points if p not in table and jax.tree.leaves(node)]
        # A node without leaves, such as a masked one, needs no label.
        surplus = [p for p in table if p not in there and not _empty_at(params, p)]
        found = [
            f"{path_text(p)} of the params has no {self.noun}" for p in without[:1]
        ]
        there = listed_paths(by_path(params))
        found += [
            f"there is no {path_text(p)} in the params, which have {there}"
            for p in surplus[:1]
        ]
        if found:
            raise ValueError(
                f"{self.tree} must be the params' tree, or a prefix of it, with a "
                f"{self.noun} at each leaf, but {', and '.join(found)}."
            )


class Mask(Labels):
    """Which leaves a transformation applies to: `Labels` that are bools.

    Args:
      given: a tree of bools or a function that returns them; the forms are those of
        `Labels`.
    """

    noun, tree = "bool", "The mask's tree"

    def checked(self, path: TreePath, label: Any) -> bool:
        kinds = (bool, np.bool_, np.ndarray, jax.Array)
        if isinstance(label, kinds) and not isinstance(label, Tracer):
            label = np.asarray(label)
            if label.dtype == bool and label.ndim == 0:
                return bool(label)
        raise TypeError(
            f"Mask: at {path_text(path)} there must be a bool, got {label!r}; make the "
            "mask of paths, shapes and dtypes, True where a leaf is chosen."
        )

    def choose(self, params: PyTree, chosen: PyTree, others: PyTree) -> PyTree:
        """Return the leaves of `chosen` where the mask is true, else of `others`.

        Where the mask is false, `chosen` may hold anything, such as a masked node.
        """
        mask = self.on(params)
        ours, _ = mask.nodes(chosen)
        theirs, structure = mask.nodes(others)
        return structure.unflatten(
            new if yes else old
            for (yes, new), (_, old) in zip(ours, theirs, strict=True)
        )

    def hide(self, tree: PyTree, hidden: PyTree) -> PyTree:
        """Return `tree` with `hidden` wherever this mask, which is from `on`, is false.

        Hiding leaves of buckets commutes with unpacking.
        """
        nodes, structure = self.nodes(tree)
        # A node without a label has no leaves, so there is nothing to hide.
        made = structure.unflatten(hidden if yes is False else n for yes, n in nodes)
        if isinstance(tree, Buckets) and isinstance(self._unpacked, Mask):
            shown = self._unpacked.hide(tree.layout.numbers, hidden)
            return Buckets(made.vectors, made.leaves, tree.layout.showing(shown))
        return made


def as_mask(given: PyTree) -> Mask | None:
    """Return a mask from what a user may give for one; None stays None.

    Args:
      given: a tree of bools, a function that returns them, a mask or None.
    """
    return given if given is None or isinstance(given, Mask) else Mask(given)


def path_text(path: TreePath) -> str:
    """Return a path as messages show it: "layers/0/kernel"."""
    return "/".join(path) or "the root"


def listed_paths(paths: Iterable[TreePath], most: int = 20) -> str:
    """Return paths as messages list them, cut after `most`."""
    texts = [path_text(path) for path in paths]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def by_path(tree: PyTree) -> dict[TreePath, Any]:
    """Return the leaves of a tree by their paths; a Variable counts as its value."""
    return {path: _only(node) for path, node in _points(tree)[0]}


def nested(table: Mapping[TreePath, Any]) -> PyTree:
    """Return a mapping from paths to leaves as nested dicts."""
    if () in table:
        return table[()]
    tree: dict[str, Any] = {}
    for path, leaf in table.items():
        node = tree
        for word in path[:-1]:
            node = node.setdefault(word, {})
        node[path[-1]] = leaf
    return tree


def with_paths(function: Callable[[TreePath, PyTree], PyTree], tree: PyTree) -> PyTree:
    """Return the tree of `function(path, leaf)`; the leaf may be a Variable."""
    points, structure = _points(tree)
    return structure.unflatten(function(path, node) for path, node in points)


def _points(
    tree: PyTree, stops: Collection[TreePath] = ()
) -> tuple[list[tuple[TreePath, PyTree]], TreeDef]:
    """Flatten `tree` down to its leaves, or to the nodes at the paths `stops`."""
    # A tree with a Variable in it means that Flax is loaded: it need not be imported.
    variable = getattr(sys.modules.get("flax.nnx"), "Variable", ())

    def stop(path: KeyPath, node: PyTree) -> bool:
        return isinstance(node, variable) or _words(path) in stops

    points, structure = tree_flatten_with_path(tree, stop, is_leaf_takes_path=True)
    return [(_words(path), node) for path, node in points], structure


def _words(path: KeyPath) -> TreePath:
    return tuple(keystr((key,), simple=True) for key in path)


def _only(node: PyTree) -> PyTree:
    """Return the value of a Variable, and any other node itself."""
    leaves = jax.tree.leaves(node)
    return leaves[0] if len(leaves) == 1 else node


def _empty_at(tree: PyTree, path: TreePath) -> bool:
    """Return whether `tree` has a node without leaves at `path` or above it."""
    starts = {path[:length] for length in range(len(path) + 1)}

    def is_empty(path: KeyPath, node: PyTree) -> bool:
        return _words(path) in starts and not jax.tree.leaves(node)

    points, _ = tree_flatten_with_path(tree, is_empty, is_leaf_takes_path=True)
    return any(is_empty(path, node) for path, node in points)


def _takes_a_leaf(function: Callable[..., Any]) -> bool:
    """Return whether a function has two required positional arguments."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a builtin without a signature
        return False
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    return sum(p.kind in positional and p.default is p.empty for p in parameters) == 2
