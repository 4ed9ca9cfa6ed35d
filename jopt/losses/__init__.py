"""Losses as pytrees of numbers, and all functions of `optax.losses`.

Two kinds:

- A pointwise loss, `loss(logits, labels, **extra) -> [batch]`: one value per example.
- An objective around pointwise losses, `objective(apply, batch, key)`, which returns
  (loss, metrics): it changes the inputs, or weighs several losses.

Every public name of this module is listed below or is optax's own.
"""

from optax.losses import *  # noqa: F403

from jopt.losses._adversarial import Adversarial as Adversarial
from jopt.losses._cross_entropy import (
    Binary as Binary,
    CrossEntropy as CrossEntropy,
    Focal as Focal,
    LabelSmoothed as LabelSmoothed,
)
from jopt.losses._distillation import (
    Attention as Attention,
    Distilled as Distilled,
    Hints as Hints,
)
from jopt.losses._imbalance import (
    ClassBalanced as ClassBalanced,
    ClassWeighted as ClassWeighted,
    LogitAdjusted as LogitAdjusted,
)
from jopt.losses._loss import Loss as Loss
from jopt.losses._mixup import Mixup as Mixup
from jopt.losses._tasks import (
    UncertaintyWeighted as UncertaintyWeighted,
    Weighted as Weighted,
)
