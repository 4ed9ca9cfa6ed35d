"""Learning rate and decoupled weight decay, the last parts of an optimizer."""

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


def rate_and_decay(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule,
    mask: PyTree | Callable[[PyTree], PyTree] | None,
    decay: Decay,
) -> tuple[GradientTransformation, GradientTransformation]:
    """Return the transformations that turn a direction u into a step.

        "rate":         -learning_rate (u + weight_decay p)
        "independent":  -learning_rate u - weight_decay p

    Args:
      learning_rate: step size, at least 0; a number or a schedule.
      weight_decay: at least 0; a number or a schedule.
      mask: which parameters decay, see `add_decayed_weights`.
      decay: "rate" or "independent", as above.
    """
    rate = ScaleByLearningRate(learning_rate)
    if decay == "rate":
        return AddDecayedWeights(weight_decay, mask), rate
    return rate, AddDecayedWeights(weight_decay, mask, flip_sign=True)
