"""The end of an optimizer with decoupled weight decay: decay and learning rate."""

from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

from jopt.core import GradientTransformation, Kind, PyTree, ScalarOrSchedule
from jopt.transforms import AddDecayedWeights, ScaleByLearningRate

Decay: TypeAlias = Annotated[
    Literal["rate", "independent"],
    Kind(
        '"rate" (weight_decay is multiplied by the learning rate) or "independent" (it '
        "is not)",
        lambda decay: isinstance(decay, str) and decay in ("rate", "independent"),
        ValueError,
    ),
]


def descent(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule,
    mask: PyTree | Callable[[PyTree], PyTree] | None,
    decay: Decay,
) -> tuple[GradientTransformation, GradientTransformation]:
    """Return the transformations that make a step of a direction u.

    "rate":         -learning_rate (u + weight_decay p)
    "independent":  -learning_rate u - weight_decay p
    """
    rate = ScaleByLearningRate(learning_rate)
    if decay == "rate":
        return AddDecayedWeights(weight_decay, mask), rate
    return rate, AddDecayedWeights(weight_decay, mask, flip_sign=True)
