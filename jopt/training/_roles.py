"""The role of each parameter in a model that gets wider, read off its shapes."""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from jopt.core import (
    PyTree,
    TreePath,
    argument_error,
    by_path,
    checked,
    close_match,
    path_text,
)
from jopt.training._forms import form_of

RoleKind: TypeAlias = Literal["hidden", "input", "output", "vector", "fixed"]
KINDS = "hidden", "input", "output", "vector", "fixed"
VECTORS = "bias", "scale"  # names of leaves that are vectors whatever their shape


class Role(NamedTuple):
    """The role of a parameter in a model that gets wider.

    Attributes:
      kind: "hidden" where inputs and outputs grow with the width; "input" where the
        outputs alone grow, as in an embedding; "output" where the inputs alone grow, as
        in a readout; "vector" for biases and scales that grow; "fixed" for parameters
        that do not grow.
      r_in: how many times more inputs than the narrow model's.
      r_out: how many times more outputs.
      fan_in: inputs of the wide model's matrix, 1 for a vector.
      fan_out: outputs of the wide model's matrix.
    """

    kind: RoleKind
    r_in: float
    r_out: float
    fan_in: int
    fan_out: int


@checked
def roles(
    base: PyTree, other: PyTree, *, overrides: Mapping[str, RoleKind] | None = None
) -> dict[str, Role]:
    """Return the role of each parameter, read off the shapes at two widths.

        small, wide = (nnx.eval_shape(lambda: Model(width)) for width in (64, 256))
        jopt.roles(small, wide)

    Axes whose sizes differ grow. A leaf of one axis, or named bias or scale, is a
    vector. Of two growing axes or more, the last is the output and the others are
    inputs: hidden. A single growing axis is the output if it is the last axis of the
    leaf (input), and an input if it is the first, or the last but one of four or more
    (output). Neither weights nor names of layers are looked at.

    Shapes cannot tell that a tied embedding is the readout as well: say which it is.

    Args:
      base: the narrow model: an nnx module, linen's variables, or a tree of parameters;
        arrays or shapes.
      other: the same model at another width. Compared with itself, a model shows no
        axis that grows.
      overrides: kinds by path, such as {"head/kernel": "output"}, in place of those
        that the shapes say.

    Returns:
      A `Role` by the path of each parameter, such as "layers/0/kernel".

    Raises:
      TypeError: a model has no parameters, or one that is neither an array nor a shape.
      ValueError: a leaf is in one model only, as at another depth; no leaf grows; a
        leaf's role is ambiguous; an override names no leaf or no kind.
    """
    given: Any = dict(overrides or {})
    _check_model("base", base)
    _check_model("other", other)
    narrow, wide = map(shapes_of, (base, other))
    for path in {**narrow, **wide}:
        if path not in narrow or path not in wide:
            raise ValueError(
                f"roles: both models must have the same parameters, and "
                f"{path_text(path)} is in one of them only; compare two widths of one "
                "depth."
            )
    if narrow == wide:
        raise ValueError(
            "roles: the models must have different widths, got twice the same shapes; "
            "give the model at another width."
        )
    for name, kind in given.items():
        known = list(map(path_text, wide))
        if name not in known:
            raise ValueError(
                f"roles: overrides must name parameters, got {name!r}"
                f"{close_match(name, known)}."
            )
        if kind not in KINDS:
            raise ValueError(
                f"roles: overrides must be among {', '.join(KINDS)}, got {kind!r} for "
                f"{name}."
            )
    return {
        path_text(path): _role(path, narrow[path], shape, given.get(path_text(path)))
        for path, shape in wide.items()
    }


def _check_model(name: str, model: PyTree) -> None:
    leaves = by_path(_params(model)).values()
    if not leaves or not all(hasattr(leaf, "shape") for leaf in leaves):
        rule = "a model, or a tree of arrays or shapes"
        raise argument_error("roles", name, model, rule, TypeError)


def shapes_of(model: PyTree) -> dict[TreePath, tuple[int, ...]]:
    """Return the shapes of a model's parameters by path."""
    leaves = by_path(_params(model))
    return {path: tuple(leaf.shape) for path, leaf in leaves.items()}


def _params(model: PyTree) -> PyTree:
    return form_of(model).split(model)[0]


def _role(
    path: TreePath,
    narrow: tuple[int, ...],
    wide: tuple[int, ...],
    kind: RoleKind | None,
) -> Role:
    """Return the role of a leaf of these shapes.

    Args:
      path: of the leaf.
      narrow: its shape in the narrow model.
      wide: its shape in the wide one.
      kind: given by the user; None reads it off the shapes.
    """
    if len(narrow) != len(wide):
        raise ValueError(
            f"roles: {path_text(path)} must have the same number of axes in both "
            f"models, got the shapes {narrow} and {wide}."
        )
    growing = [axis for axis in range(len(wide)) if narrow[axis] != wide[axis]]
    kind = kind or _kind(path, wide, growing)
    if kind is None:
        raise ValueError(
            f"roles: {path_text(path)} of shape {wide} is ambiguous, as its axis "
            f"{growing[0]} alone grows: give its kind, as in "
            f'overrides={{"{path_text(path)}": "input"}}.'
        )
    # Axes from this one on are outputs, those before it are inputs.
    first = 0 if kind in ("vector", "fixed") else len(wide) - 1
    if kind == "output" and growing:
        first = growing[-1] + 1
    elif kind in ("hidden", "input") and growing:
        first = growing[-1]
    if kind == "fixed" and len(wide) > 1:
        first = len(wide) - 1
    ins, outs = (
        [math.prod(shape[part]) for shape in (narrow, wide)]
        for part in (slice(0, first), slice(first, None))
    )
    r_in, r_out = (now / before if before else 1.0 for before, now in (ins, outs))
    return Role(kind, r_in, r_out, ins[1], outs[1])


def _kind(
    path: TreePath, shape: tuple[int, ...], growing: list[int]
) -> RoleKind | None:
    """Return the kind that the shapes say; None if they do not."""
    last = len(shape) - 1
    if not growing:
        return "fixed"
    if last == 0 or (path and path[-1] in VECTORS):
        return "vector"
    if len(growing) > 1:
        return "hidden"
    (axis,) = growing
    if axis == last:
        return "input"
    if axis == 0 or (axis == last - 1 and last > 2):
        return "output"
    return None
