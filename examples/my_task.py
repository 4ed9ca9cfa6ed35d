"""A task of one's own, for the command line: a linen model on scikit-learn's wines.

jopt sweep examples/my_task.py:wine --steps 200
"""

import numpy as np
from flax import linen
from sklearn.datasets import load_wine

from jopt.tasks import linen_classifier


class Network(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(linen.relu(linen.Dense(32)(x)))


def wine():
    inputs, labels = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    train, valid, test = np.split(order, [100, 140])
    mean, std = inputs[train].mean(axis=0), inputs[train].std(axis=0)
    inputs = ((inputs - mean) / std).astype(np.float32)
    return linen_classifier(
        "wine",
        Network(),
        train=(inputs[train], labels[train].astype(np.int32)),
        valid=(inputs[valid], labels[valid].astype(np.int32)),
        test=(inputs[test], labels[test].astype(np.int32)),
        batch_size=20,
        epochs=20,
    )
