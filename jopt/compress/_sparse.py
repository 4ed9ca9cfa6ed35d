"""Parameters as sparse matrices of JAX and of SciPy."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jopt.compress._chosen import chosen_paths, matrices
from jopt.compress._paths import replaced
from jopt.compress._quantization import dequantize
from jopt.core import Arrays, PyTree, by_path, checked


@checked
def to_bcoo(params: Arrays, where: PyTree = matrices) -> PyTree:
    """Return params with a `jax.experimental.sparse.BCOO` in place of large leaves.

    A product with a dense batch is slower than a dense one until about one weight in a
    hundred is left: sparsity saves bytes, not time.

    Args:
      params: a tree of arrays or `Quantized`, not under `jit`.
      where: which leaves, a mask as in `masked`; by default those with two axes or
        more.

    Raises:
      ValueError: if `where` chooses no leaf.
    """
    from jax.experimental import sparse

    return _converted("to_bcoo", params, where, sparse.BCOO.fromdense)


@checked
def to_csr(params: Arrays, where: PyTree = matrices) -> PyTree:
    """Return params with a `scipy.sparse.csr_array` in place of large leaves.

    On a CPU SciPy's sparse products are the fastest. A leaf with more than two
    axes becomes a matrix of its last axis, so that a row is one input of a kernel.
    float16 and bfloat16, which SciPy does not have, become float32.

    Args:
      params: a tree of arrays or `Quantized`, not under `jit`.
      where: which leaves, a mask as in `masked`; by default those with two axes or
        more.

    Raises:
      ValueError: if `where` chooses no leaf.
    """
    from scipy import sparse

    def matrix(leaf: Any) -> Any:
        narrow = jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype.itemsize < 4
        array = np.asarray(leaf, np.float32 if narrow else leaf.dtype)
        return sparse.csr_array(array.reshape(-1, *array.shape[-1:]))

    return _converted("to_csr", params, where, matrix)


def _converted(title: str, params: PyTree, where: PyTree, convert: Any) -> PyTree:
    params = dequantize(params)
    leaves = by_path(params)
    paths = chosen_paths(title, where, params)
    return replaced(params, {path: convert(leaves[path]) for path in paths})
