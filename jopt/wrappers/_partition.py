"""`partition`: one transformation for each group of leaves."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Annotated, Any, NamedTuple

from jopt.core import (
    GradientTransformation,
    Kind,
    Labels,
    Mask,
    PyTree,
    Transformation,
    TreePath,
    as_transformation,
    checked,
    close_match,
    common_groups,
    is_transformation,
    path_text,
    pytree,
    static,
)
from jopt.wrappers._masked import Masked, MaskedState


class PartitionState(NamedTuple):
    """The state of each group's transformation, for the group's leaves only."""

    inner_states: Mapping[Hashable, MaskedState]  # by label


def _as_labels(given: PyTree | Callable[..., PyTree]) -> Labels:
    return given if isinstance(given, Labels) else Labels(given)


@pytree
class Partition(GradientTransformation):
    """Apply to each leaf the transformation of its label.

    Make it with `partition`.

    Args:
      transforms: a transformation for each group.
      names: the label of each group, static.
      param_labels: as in `partition`, static.
      mask_compatible_extra_args: as in `masked`, static.
    """

    transforms: tuple[GradientTransformation, ...]
    names: tuple[Hashable, ...] = static()
    param_labels: PyTree = static(converter=_as_labels)
    mask_compatible_extra_args: bool = static(default=False, kw_only=True)

    any_dtype = True

    def groups(self, params):
        each = (tx.groups(params) for tx in self._groups(params).values())
        return common_groups(params, *each)

    def frozen(self, params):
        each = (tx.frozen(params) for tx in self._groups(params).values())
        return [*map(any, zip(*each, strict=True))]

    def init(self, params):
        groups = self._groups(params)
        return PartitionState({name: tx.init(params) for name, tx in groups.items()})

    def update(self, updates, state, params=None, **extra):
        states = dict(self._states(state))
        for name, tx in self._groups(updates).items():
            updates, states[name] = tx.update(updates, states[name], params, **extra)
        return updates, PartitionState(states)

    def eval_params(self, state, params):
        states = self._states(state)
        for name, tx in self._groups(params).items():
            params = tx.eval_params(states[name], params)
        return params

    def parts(self, state):
        states = [self._states(state)[name].inner_state for name in self.names]
        pairs = zip(self.transforms, states, strict=True)
        return dict(zip(self.labels, pairs, strict=True))

    @property
    def labels(self) -> tuple[str, ...]:
        """The groups' names as components of a path."""
        return tuple(map(str, self.names))

    def _groups(self, params: PyTree) -> dict[Hashable, Masked]:
        labels = self.param_labels.on(params)
        for words, label in labels.items():
            self._check_label(words, label)
        return {
            name: Masked(
                tx,
                labels.mapped(lambda label, name=name: label == name, Mask),
                mask_compatible_extra_args=self.mask_compatible_extra_args,
            )
            for name, tx in zip(self.names, self.transforms, strict=True)
        }

    def _states(self, state: PartitionState) -> Mapping[Hashable, MaskedState]:
        states = state.inner_states
        if set(states) != set(self.names):
            raise ValueError(
                f"Partition: the state must have the groups {_listed(self.names)}, got "
                f"{_listed(states)}; give the state that this partition's own init and "
                "update made."
            )
        return states

    def _check_label(self, words: TreePath, label: object) -> None:
        if label in self.names:
            return
        close = close_match(str(label), list(map(str, self.names)))
        raise ValueError(
            f"Partition: {path_text(words)} is labelled {label!r}, which has no "
            f"transformation{close}; there is {_listed(self.names)}."
        )


def _listed(names: Iterable[Hashable]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _are_transformations(given: Any) -> bool:
    return isinstance(given, Mapping) and all(map(is_transformation, given.values()))


_TRANSFORMS = Kind(
    "a dict, a transformation by label",
    _are_transformations,
    hint="; a factory must be called first: jopt.adam(1e-3), not jopt.adam.",
)


@checked
def partition(
    transforms: Annotated[Mapping[Any, Transformation], _TRANSFORMS],
    param_labels: PyTree | Callable[..., PyTree],
    *,
    mask_compatible_extra_args: bool = False,
) -> Partition:
    """Apply to each leaf the transformation of its label.

        tx = jopt.partition(
            {"decay": jopt.adamw(3e-4), "rest": jopt.adam(3e-4)},
            lambda path, p: "decay" if path.endswith("kernel") else "rest",
        )

    Each transformation is `masked`: it sees its own leaves, norms are of the group, and
    a group of `set_to_zero` keeps no state. The state is a dict by label. To restart
    one group, replace its part of the state by that of a fresh state:

        fresh = tx.init(params).inner_states["rest"]
        state = PartitionState({**state.inner_states, "rest": fresh})

    Hyperparameters are named by label: `jopt.replace(tx, **{"rest.learning_rate": 1})`.

    Args:
      transforms: a dict of transformations, of jopt or optax, by label.
      param_labels: static. A tree of labels like the params, or a prefix of it, is
        matched by path, so that a dict fits an `nnx.State` or a `FrozenDict`. A
        function of the params returns such a tree. A function with two required
        arguments returns a label for a path ("layers/0/kernel") and its leaf. In
        `update` functions get the gradients, whose paths and shapes are the params'.
      mask_compatible_extra_args: as in `masked`.

    Returns:
      A `Partition`.

    Raises:
      ValueError: if a label has no transformation, or if the labels' tree does not
        match the params; both messages name the path.
    """
    return Partition(
        tuple(as_transformation(tx) for tx in transforms.values()),
        tuple(transforms),
        param_labels,
        mask_compatible_extra_args=mask_compatible_extra_args,
    )


multi_transform = partition
MultiTransformState = PartitionState
