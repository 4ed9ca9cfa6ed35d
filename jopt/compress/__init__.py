"""Compression: zeros that stay.

Pruning is a constraint on parameters, so it is a transformation that holds an optimizer.
It needs nothing of the model or of the task, and every number in it is a leaf.
"""

from jopt.compress._competition import Groups
from jopt.compress._grow import Grow, GrowState, grow
from jopt.compress._lottery import Lottery, LotteryState, lottery
from jopt.compress._prune import Prune, PruneState, prune
from jopt.compress._scores import Gradient, Magnitude, Movement, Random, Score, Taylor
from jopt.compress._sparsity import CubicSparsity, cubic_sparsity
from jopt.compress._units import Block, Channel, Element, Unit

__all__ = [
    "Block",
    "Channel",
    "CubicSparsity",
    "Element",
    "Gradient",
    "Groups",
    "Grow",
    "GrowState",
    "Lottery",
    "LotteryState",
    "Magnitude",
    "Movement",
    "Prune",
    "PruneState",
    "Random",
    "Score",
    "Taylor",
    "Unit",
    "cubic_sparsity",
    "grow",
    "lottery",
    "prune",
]
