"""Decoupled decay, times the learning rate or not: Loshchilov & Hutter 2017."""

from typing import Any

from reference.core import chain
from reference.transforms import add_decayed_weights, scale_by_learning_rate


def descent(learning_rate, weight_decay, mask=None, decay="rate"):
    rate = scale_by_learning_rate(learning_rate)
    if decay == "rate":
        return chain(add_decayed_weights(weight_decay, mask), rate)
    return chain(rate, add_decayed_weights(negative(weight_decay), mask))


def negative(number: Any) -> Any:
    if not callable(number):
        return -number
    schedule: Any = number
    return lambda t: -schedule(t)
