"""Compression."""

from jopt.compress._quantization import Quantized, dequantize, quantize

__all__ = ["Quantized", "dequantize", "quantize"]
