"""Compression."""

from jopt.compress._adapters import Adapted, dora, lora, merge
from jopt.compress._files import load_compressed, save_compressed
from jopt.compress._limit_rank import LimitRank, LimitRankState, limit_rank
from jopt.compress._quantization import Quantized, dequantize, quantize
from jopt.compress._shrink import shrink
from jopt.compress._size import LeafSize, Size, size
from jopt.compress._sparse import to_bcoo, to_csr

__all__ = [
    "Adapted",
    "LeafSize",
    "LimitRank",
    "LimitRankState",
    "Quantized",
    "Size",
    "dequantize",
    "dora",
    "limit_rank",
    "load_compressed",
    "lora",
    "merge",
    "quantize",
    "save_compressed",
    "shrink",
    "size",
    "to_bcoo",
    "to_csr",
]
