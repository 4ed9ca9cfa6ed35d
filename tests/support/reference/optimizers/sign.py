"""Signs of gradients: Bernstein et al. 2018."""

import numpy as np

from reference.core import chain, leafwise
from reference.transforms import ema, scale_by_learning_rate


def scale_by_sign():
    return leafwise(lambda gradients, _: ((np.sign(g), {}) for g in gradients))


def sign_sgd(learning_rate):
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


def signum(learning_rate, beta=0.9):
    rate = scale_by_learning_rate(learning_rate)
    return chain(ema(beta, debias=False), scale_by_sign(), rate)
