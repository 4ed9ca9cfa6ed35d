"""Polyak 1964 and Sutskever et al. 2013; the mean and its bias of Kingma & Ba 2014."""

from reference.blocks import identity, scale_by_learning_rate
from reference.run import as_data, chain, leafwise


@as_data
def trace(decay, nesterov=False):
    def rule(gradients, _):
        t = 0
        for g in gradients:
            t = g + decay * t
            yield g + decay * t if nesterov else t, {"trace": t}

    return leafwise(rule)


@as_data
def ema(decay, debias=True):
    def rule(gradients, _):
        m = 0
        for t, g in enumerate(gradients, 1):
            m = decay * m + (1 - decay) * g
            yield m / (1 - decay**t) if debias else m, {"ema": m}

    return leafwise(rule)


def sgd(learning_rate, momentum=None, nesterov=False):
    sums = identity() if momentum is None else trace(momentum, nesterov)
    return chain(sums, scale_by_learning_rate(learning_rate))
