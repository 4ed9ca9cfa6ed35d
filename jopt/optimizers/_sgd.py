"""Stochastic gradient descent."""

from jopt.core import Chain, DType, Number, ScalarOrSchedule, chain, checked
from jopt.transforms import identity, scale_by_learning_rate, trace


@checked
def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: Number | None = None,
    nesterov: bool = False,
    accumulator_dtype: DType = None,
) -> Chain:
    """Step along the negative gradient, or along its decaying sum.

        t <- g + momentum t        p <- p - learning_rate t
                                   p <- p - learning_rate (g + momentum t), Nesterov

        tx = jopt.sgd(0.1, momentum=0.9)

    Args:
      learning_rate: step size, at least 0, in units of params squared per unit of loss;
        a number or a schedule.
      momentum: share of t that a step keeps, in [0, 1). None keeps no state.
      nesterov, accumulator_dtype: see `trace`.

    Robbins & Monro 1951; Polyak 1964; Sutskever et al. 2013,
    http://proceedings.mlr.press/v28/sutskever13.html.
    """
    if momentum is None:
        return chain(identity(), scale_by_learning_rate(learning_rate))
    sums = trace(momentum, nesterov, accumulator_dtype)
    return chain(sums, scale_by_learning_rate(learning_rate))
