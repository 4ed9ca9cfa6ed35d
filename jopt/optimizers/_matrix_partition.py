"""A direction for the matrices and AdamW for the rest."""

from dataclasses import dataclass
from typing import Any

from jopt.core import GradientTransformation, PyTree, chain
from jopt.optimizers._adam import adamw
from jopt.transforms import Dimensions, add_decayed_weights, scale_by_learning_rate
from jopt.wrappers import Partition, partition


@dataclass(frozen=True)
class _Groups:
    """A function of the params that labels their leaves "muon" or "adam"."""

    dimensions: Dimensions

    def __call__(self, params: PyTree) -> PyTree:
        return self.dimensions.groups(params)


def matrices_and_rest(
    *direction: GradientTransformation,
    learning_rate: Any,
    weight_decay: Any,
    weight_decay_mask: Any,
    adam_learning_rate: Any,
    adam: tuple[Any, ...],
    nesterov: bool,
    weight_dimension_numbers: Any,
) -> Partition:
    """Step along `direction` where there is a matrix, and by AdamW elsewhere."""
    matrices = chain(
        *direction,
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )
    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    rest = adamw(rate, *adam, nesterov=nesterov)
    groups = _Groups(Dimensions(weight_dimension_numbers))
    return partition({"muon": matrices, "adam": rest}, groups)
