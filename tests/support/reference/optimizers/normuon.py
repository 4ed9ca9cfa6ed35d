"""NorMuon: Li et al. 2025, Algorithm 1."""

import numpy as np

from reference.core import as_data, leafwise
from reference.optimizers.muon import matrices_and_rest, scale_by_muon
from reference.transforms import MATRIX, QUINTIC, width_scale


@as_data
def normalize_neurons(b2=0.95, eps=1e-8, consistent_rms=0.2, *, axes=MATRIX):
    def rule(gradients, _):
        v = 0
        shape = [gradients.shape[1 + axis] for axis in axes]
        for o in gradients:
            square = np.sum(o**2, axes[0], keepdims=True) / max(1, shape[0])
            v = b2 * v + (1 - b2) * square
            n = o / (np.sqrt(v) + eps)
            was, is_ = (np.sqrt(np.sum(x**2, axes, keepdims=True)) for x in (o, n))
            wanted = width_scale(shape) * was
            if consistent_rms is not None:
                wanted = consistent_rms * (shape[0] * shape[1]) ** 0.5
            yield np.divide(wanted, is_, where=is_ > 0, out=0 * is_) * n, {"nu": v}

    return leafwise(rule)


def normuon(learning_rate, ns_coeffs=QUINTIC, *, b2=0.95, weight_decay=0.0):
    def direction(axes):
        step = scale_by_muon(ns_coeffs, axes=axes)
        return step, normalize_neurons(b2, axes=axes)

    adam = {"nesterov": True, "weight_decay": 0.0}
    return matrices_and_rest(direction, None, learning_rate, weight_decay, adam)
