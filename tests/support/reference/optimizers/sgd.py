"""Gradient descent with momentum: Polyak 1964 and Sutskever et al. 2013."""

from reference.core import chain
from reference.transforms import identity, scale_by_learning_rate, trace


def sgd(learning_rate, momentum=None, nesterov=False):
    sums = identity() if momentum is None else trace(momentum, nesterov)
    return chain(sums, scale_by_learning_rate(learning_rate))
