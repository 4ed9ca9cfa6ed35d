"""Compression."""

from jopt.compress._files import load_compressed, save_compressed
from jopt.compress._quantization import Quantized, dequantize, quantize
from jopt.compress._shrink import shrink
from jopt.compress._size import LeafSize, Size, size
from jopt.compress._sparse import to_bcoo, to_csr

__all__ = [
    "LeafSize",
    "Quantized",
    "Size",
    "dequantize",
    "load_compressed",
    "quantize",
    "save_compressed",
    "shrink",
    "size",
    "to_bcoo",
    "to_csr",
]
