"""`Labels`: a word for each leaf of the params, matched by path, as a static value."""

import inspect
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, Self, TypeVar

import jax
from jax.core import Tracer
from jax.tree_util import all_leaves, keystr, tree_flatten_with_path

from jopt.core._arguments import refused
from jopt.core._buckets import Buckets
from jopt.core._pytree import PyTree

Words = tuple[str, ...]
Kind = TypeVar("Kind", bound="Labels")


class Labels:
    """What each leaf of the params is called: a tree, or a function that says it.

    A tree is matched by path, so its nodes may be of other types than the params' (a
    dict for an `nnx.State`), and it may be a prefix: a label stands for all below it.

    A function with one required argument gets the params and returns such a tree. A
    function with two gets the path of a leaf, like "layers/0/kernel", and the leaf, and
    returns its label. An `nnx.Variable` is one leaf, at its own path.

    Hashable and compared by value, a function by identity.
    """

    noun, tree = "label", "The labels' tree"

    def __init__(self, given: Any):
        if isinstance(given, Labels):
            self._set(given._function, given._table, given._apart)
        # A module may be callable, and is a tree all the same.
        elif callable(given) and all_leaves([given]):
            self._set(given, {})
        else:
            with refused(given):
                self._set(None, _table(given))

    @classmethod
    def at(cls, table: Mapping[Words, Any]) -> Self:
        """Return the labels that stand at these paths."""
        return cls._made(None, table)

    def checked(self, words: Words, label: Any) -> Any:
        """Return the label at a path as a static value, or say what is wrong there."""
        if isinstance(label, Tracer) or type(label).__hash__ is None:
            raise TypeError(
                f"{type(self).__name__}: the {self.noun} of {named(words)} must be a "
                f"static, hashable value, got {label!r}; make it of paths, shapes and "
                "dtypes."
            )
        return label

    def on(self, params: PyTree) -> Self:
        """Return these labels as they stand for `params`: no function any more.

        Raises a ValueError that names the first path without a label, and the first
        label without a path.
        """
        if not jax.tree.leaves(params):
            # optax's placeholders for params have no leaves, and no paths to look for.
            return self.at({})
        if isinstance(params, Buckets):
            return self._on_buckets(params)
        table = self._table
        if self._function is not None and _is_for_a_leaf(self._function):
            table = {
                words: self._function("/".join(words), _only(node))
                for words, node in _points(params)[0]
                if jax.tree.leaves(node)
            }
        elif self._function is not None:
            table = _table(self._function(params))
        self._check_paths(table, params)
        return self if table is self._table else self.at(table)

    def _on_buckets(self, params: Buckets) -> Self:
        arrays = {words for words, _ in _points(params)[0]}
        if self._function is None and arrays.issuperset(self._table):
            return self  # what `on` has returned for these buckets before
        tree = params.tree()
        apart = self.on(tree)
        numbers = jax.tree.leaves(params.layout.numbers)
        labels = dict(zip(numbers, apart.leaves(tree), strict=True))
        return self._made(None, params.by_array(labels), apart)

    def mapped(self, rule: Callable[[Any], Any], kind: type[Kind]) -> Kind:
        """Return labels of another kind at the same paths, by a rule."""
        apart = self._apart and self._apart.mapped(rule, kind)
        return kind._made(None, {w: rule(x) for w, x in self._table.items()}, apart)

    def leaves(self, params: PyTree) -> list[Any]:
        """Return the label of each leaf of `params`; errors are those of `on`."""
        return [
            label
            for label, node in self.on(params).nodes(params)[0]
            for _ in jax.tree.leaves(node)
        ]

    def nodes(self, tree: PyTree) -> tuple[list[tuple[Any, PyTree]], Any]:
        """Return each label with what it stands for in `tree`, and how to join them.

        These labels are what `on` returned. What is joined is the second result's
        `unflatten` of as many nodes.
        """
        points, structure = _points(tree, self._table)
        return [(self._table.get(words), node) for words, node in points], structure

    @property
    def function(self) -> Callable[..., Any] | None:
        """The function that says the labels, or None where they are a tree."""
        return self._function

    def items(self) -> list[tuple[Words, Any]]:
        """Return each path that has a label, and the label."""
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
        return repr({named(words): label for words, label in self._table.items()})

    def __reduce__(self) -> Any:
        # Not the hash: that of a string is another in another process.
        return self._made, (self._function, self._table, self._apart)

    @classmethod
    def _made(
        cls, function: Any, table: Mapping[Words, Any], apart: "Labels | None" = None
    ) -> Self:
        self = object.__new__(cls)
        self._set(function, table, apart)
        return self

    def _set(
        self, function: Any, table: Mapping[Words, Any], apart: "Labels | None" = None
    ) -> None:
        self._function: Callable[..., Any] | None = function
        self._table = {w: self.checked(w, label) for w, label in table.items()}
        self._apart = apart  # for buckets: the labels of the tree that is in them
        self._identity = (type(self), function, tuple(self._table.items()), apart)
        self._hash = hash(self._identity)

    def _check_paths(self, table: Mapping[Words, Any], params: PyTree) -> None:
        points = _points(params, table)[0]
        there = {words for words, _ in points}
        without = [w for w, node in points if w not in table and jax.tree.leaves(node)]
        # Below a node without leaves, a masked one for one, there is nothing to label.
        surplus = [w for w in table if w not in there and not _empty_at(params, w)]
        found = [f"{named(w)} of the params has no {self.noun}" for w in without[:1]]
        found += [
            f"there is no {named(w)} in the params, which have {paths_of(params)}"
            for w in surplus[:1]
        ]
        if found:
            raise ValueError(
                f"{self.tree} must be the params' tree, or a prefix of it, with a "
                f"{self.noun} at each leaf, but {', and '.join(found)}."
            )


def named(words: Words) -> str:
    """Return a path as it is written in messages."""
    return "/".join(words) or "the root"


def paths_of(tree: PyTree, most: int = 20) -> str:
    """Return the paths of the leaves of `tree`, as many as a message can hold."""
    paths = [named(words) for words, _ in _points(tree)[0]]
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(paths[:most]) + more


def _table(tree: PyTree) -> dict[Words, Any]:
    return {words: _only(node) for words, node in _points(tree)[0]}


def _points(
    tree: PyTree, stops: Collection[Words] = ()
) -> tuple[list[tuple[Words, Any]], Any]:
    """Flatten `tree` down to its leaves, or to the paths `stops` where these are."""
    # Flax need not be loaded to tell: whoever has a Variable has loaded it.
    variable = getattr(sys.modules.get("flax.nnx"), "Variable", ())

    def stop(path: Any, node: Any) -> bool:
        return isinstance(node, variable) or _words(path) in stops

    points, structure = tree_flatten_with_path(tree, stop, is_leaf_takes_path=True)
    return [(_words(path), node) for path, node in points], structure


def _words(path: Any) -> Words:
    return tuple(keystr((key,), simple=True) for key in path)


def _only(node: PyTree) -> Any:
    """What a Variable holds."""
    leaves = jax.tree.leaves(node)
    return leaves[0] if len(leaves) == 1 else node


def _empty_at(tree: PyTree, words: Words) -> bool:
    """Whether there is a node without leaves in `tree`, at `words` or above."""
    starts = {words[:length] for length in range(len(words) + 1)}

    def stop(path: Any, node: Any) -> bool:
        return _words(path) in starts and not jax.tree.leaves(node)

    points, _ = tree_flatten_with_path(tree, stop, is_leaf_takes_path=True)
    return any(_words(p) in starts and not jax.tree.leaves(node) for p, node in points)


def _is_for_a_leaf(function: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # of a builtin that tells none
        return False
    required = [p for p in parameters if p.default is p.empty]
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    return sum(p.kind in positional for p in required) == 2
