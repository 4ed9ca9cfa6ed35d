"""Compression: pruning, quantization, low-rank adapters and sparse training.

Pruning and quantization are constraints on parameters, so each is a transformation that
holds an optimizer. They are independent of the model and the task, and every number in
them is a leaf: the sparsity, the bits, the rank.

- `prune`, `lottery` and `grow` train what they keep; the rest is exactly 0.
- `straight_through` trains hidden weights, of which the model sees a `Projection`.
- `lora`, `dora` and `limit_rank` train small adapters of frozen weights.
- `quantize`, `size`, `shrink` and `save_compressed` make the stored model small.
"""

from jopt.compress._adapters import Adapted, dora, lora, merge
from jopt.compress._codebook import Codebook
from jopt.compress._competition import Groups
from jopt.compress._few_levels import Quantize, Sign, Ternary
from jopt.compress._files import load_compressed, save_compressed
from jopt.compress._grow import Grow, GrowState, grow
from jopt.compress._limit_rank import LimitRank, LimitRankState, limit_rank
from jopt.compress._lottery import Lottery, LotteryState, lottery
from jopt.compress._projections import Composed, LowRank, Projection, Sparse
from jopt.compress._prune import Prune, PruneState, prune
from jopt.compress._quantization import Quantized, dequantize, quantize
from jopt.compress._scores import Gradient, Magnitude, Movement, Random, Score, Taylor
from jopt.compress._shrink import shrink
from jopt.compress._size import LeafSize, Size, size
from jopt.compress._sparse import to_bcoo, to_csr
from jopt.compress._sparsity import CubicSparsity, cubic_sparsity
from jopt.compress._straight_through import (
    StraightThrough,
    StraightThroughState,
    straight_through,
)
from jopt.compress._units import Block, Channel, Element, Unit

__all__ = [
    "Adapted",
    "Block",
    "Channel",
    "Codebook",
    "Composed",
    "CubicSparsity",
    "Element",
    "Gradient",
    "Groups",
    "Grow",
    "GrowState",
    "LeafSize",
    "LimitRank",
    "LimitRankState",
    "Lottery",
    "LotteryState",
    "LowRank",
    "Magnitude",
    "Movement",
    "Projection",
    "Prune",
    "PruneState",
    "Quantize",
    "Quantized",
    "Random",
    "Score",
    "Sign",
    "Size",
    "Sparse",
    "StraightThrough",
    "StraightThroughState",
    "Taylor",
    "Ternary",
    "Unit",
    "cubic_sparsity",
    "dequantize",
    "dora",
    "grow",
    "limit_rank",
    "load_compressed",
    "lora",
    "lottery",
    "merge",
    "prune",
    "quantize",
    "save_compressed",
    "shrink",
    "size",
    "straight_through",
    "to_bcoo",
    "to_csr",
]
