"""The end of an optimizer with decoupled weight decay: decay and learning rate."""

from collections.abc import Callable
from typing import Literal, TypeAlias

from jopt._core import GradientTransformation
from jopt._pytree import PyTree
from jopt.schedules import ScalarOrSchedule
from jopt.transforms.decay import AddDecayedWeights
from jopt.transforms.rate import ScaleByLearningRate

Decay: TypeAlias = Literal["rate", "independent"]


def descent(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule,
    mask: PyTree | Callable[[PyTree], PyTree] | None,
    decay: Decay,
) -> tuple[GradientTransformation, GradientTransformation]:
    """Return the transformations that make a step of a direction u.

        "rate":         -learning_rate (u + weight_decay p)
        "independent":  -learning_rate u - weight_decay p

    Raises a ValueError if `decay` is neither.
    """
    rate = ScaleByLearningRate(learning_rate)
    if decay == "rate":
        return AddDecayedWeights(weight_decay, mask), rate
    if decay == "independent":
        return rate, AddDecayedWeights(weight_decay, mask, flip_sign=True)
    raise ValueError(
        'Weight decay: decay must be "rate" (weight_decay is multiplied by the '
        f'learning rate) or "independent" (it is not), got {decay!r}.'
    )
