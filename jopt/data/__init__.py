"""Prepare data for training: augmentations, scaling, and rare classes."""

from jopt.data._augmentation import Augmentation, Compose
from jopt.data._geometry import Crop, Flip, Rotate, Shift, Zoom
from jopt.data._occlusion import Cutout, Noise
from jopt.data._rare_classes import BalancedBatches, class_weights
from jopt.data._scaling import Scaling, normalize, standardize

__all__ = [
    "Augmentation",
    "BalancedBatches",
    "Compose",
    "Crop",
    "Cutout",
    "Flip",
    "Noise",
    "Rotate",
    "Scaling",
    "Shift",
    "Zoom",
    "class_weights",
    "normalize",
    "standardize",
]
