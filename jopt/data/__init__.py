"""Data before a step: augmentations as pytrees of numbers, scaling, rare classes."""

from jopt.data._augmentation import Augmentation, Compose
from jopt.data._geometry import Crop, Flip, Rotate, Shift, Zoom
from jopt.data._occlusion import Cutout, Noise

__all__ = [
    "Augmentation",
    "Compose",
    "Crop",
    "Cutout",
    "Flip",
    "Noise",
    "Rotate",
    "Shift",
    "Zoom",
]
