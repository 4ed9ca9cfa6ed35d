"""Matrices that act on the axes of one array: products, eigenbases, powers."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from jopt.core._pytree import Number


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of matrices that `vmap` maps by a loop on CPUs.

    Other devices get the whole batch at once. The function has no reverse-mode
    derivatives.
    """
    # jaxlib before 0.11.2 runs a batch of matrices on the thread pool that its caller
    # occupies, and waits. If such calls occupy all threads of the pool, they deadlock.
    # A call with one matrix stays on the caller's thread.
    alone = custom_vmap(function)

    @alone.def_vmap
    def mapped(size: int, batched: list[bool], *matrices: jax.Array) -> Any:
        stacks = [
            x if there else jnp.broadcast_to(x, (size, *x.shape))
            for x, there in zip(matrices, batched, strict=True)
        ]
        made = lax.platform_dependent(
            *stacks,
            cpu=lambda *xs: lax.map(lambda x: alone(*x), xs),
            default=jax.vmap(function),
        )
        return made, jax.tree.map(lambda _: True, made)

    return alone


_eigh = one_by_one(lambda matrix: tuple(jnp.linalg.eigh(matrix)))
_orthogonal = one_by_one(lambda matrix: jnp.linalg.qr(matrix)[0])
_backward = one_by_one(lambda u, y: jax.scipy.linalg.solve_triangular(u, y))
_forward = one_by_one(lambda u, y: jax.scipy.linalg.solve_triangular(u, y, trans=1))


def solve_upper_transposed(factor: jax.Array, rows: jax.Array) -> jax.Array:
    """Solve `factor.T @ x = rows` for x, with an upper triangular factor.

    Args:
      factor: [n, n]; elements below the diagonal are not read.
      rows: the right-hand sides, [n, k].

    Returns:
      x, of the shape of `rows`.
    """
    upper = jnp.triu(factor)
    return lax.custom_linear_solve(
        lambda x: upper.T @ x,
        rows,
        solve=lambda _, y: _forward(factor, y),
        transpose_solve=lambda _, y: _backward(factor, y),
    )


def gram(x: jax.Array, axis: int) -> jax.Array:
    """Return the Gram matrix of the slices of `x` along `axis`.

    Args:
      x: an array.
      axis: the axis whose slices are multiplied with each other.
    """
    rows = unfold(x, axis)
    return rows @ rows.T


def unfold(x: jax.Array, axis: int) -> jax.Array:
    """Return `x` as a matrix whose rows are its slices along `axis`.

    Args:
      x: an array.
      axis: an axis of `x`.
    """
    rest = x.size // max(1, x.shape[axis])
    return jnp.moveaxis(x, axis, 0).reshape(x.shape[axis], rest)


def multiply_along(
    x: jax.Array, matrix: jax.Array, axis: int, *, turned: bool = False
) -> jax.Array:
    """Multiply `x` along `axis` by `matrix`, or by its transpose if `turned`.

    Args:
      x: an array.
      matrix: square, as long as the axis.
      axis: an axis of `x`.
      turned: whether to multiply by the transpose.

    Returns:
      The product, of the shape of `x`.
    """
    columns = jnp.tensordot(x, matrix, ((axis,), (0 if turned else 1,)))
    return jnp.moveaxis(columns, -1, axis)


def multiply_along_axes(
    x: jax.Array,
    matrices: Iterable[jax.Array],
    axes: Iterable[int],
    *,
    turned: bool = False,
) -> jax.Array:
    """Multiply `x` along each of `axes` by the matrix of that axis.

    Args:
      x: an array.
      matrices: one for each of the axes.
      axes: of `x`.
      turned: whether to multiply by the transposes.

    Returns:
      The product, of the shape of `x`.
    """
    for matrix, axis in zip(matrices, axes, strict=True):
        x = multiply_along(x, matrix, axis, turned=turned)
    return x


def eigenbasis(matrix: jax.Array) -> jax.Array:
    """Return the eigenvectors of a symmetric matrix by descending eigenvalue.

    They are constants to differentiation, because eigenvectors of equal eigenvalues
    have no derivative.

    Args:
      matrix: symmetric, [..., n, n].
    """
    return _eigh(lax.stop_gradient(matrix))[1][:, ::-1]


def refined_basis(matrix: jax.Array, basis: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Bring `basis` closer to the eigenbasis by one step of orthogonal iteration.

    Args:
      matrix: a symmetric matrix.
      basis: an orthogonal matrix whose columns approximate its eigenvectors.

    Returns:
      The order of the old vectors by descending Rayleigh quotient, and the new basis
      in that order, `qr(matrix @ basis[:, order])`. Both are constants to
      differentiation.
    """
    matrix, basis = lax.stop_gradient((matrix, basis))
    product = matrix @ basis
    order = jnp.argsort(jnp.sum(basis * product, axis=0), descending=True)
    return order, _orthogonal(product[:, order])


@jax.custom_jvp
def inverse_power(matrix: jax.Array, power: Number, eps: Number) -> jax.Array:
    """Return `(A + eps top I) ** -power`, where top is the greatest eigenvalue of A.

    If A is 0, the result is the identity. Eigenvalues may be equal: the derivative is
    computed by divided differences, not through that of the eigenvectors.

    Args:
      matrix: A, symmetric and positive semidefinite; eigenvalues that rounding made
        negative count as 0.
      power: the power, above 0.
      eps: the ridge relative to the greatest eigenvalue, above 0.
    """
    values, basis, _ = _spectrum(matrix, eps)
    return (basis * (values**-power)[None, :]) @ basis.T


@inverse_power.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    matrix, power, eps = primals
    moved, moved_power, moved_eps = tangents
    values, basis, top = _spectrum(matrix, eps)
    powers = values**-power
    inner = basis.T @ moved @ basis

    # The divided difference of x ** -power at two eigenvalues, computed from the
    # logarithm of their quotient: nothing cancels if they are close.
    ratio = values[:, None] / values[None, :]
    apart = ratio != 1
    gap = jnp.where(apart, jnp.log(jnp.where(apart, ratio, 2)), 1)
    quotient = jnp.where(apart, jnp.expm1(-power * gap) / jnp.expm1(gap), -power)
    turned = quotient * (powers / values)[None, :] * inner

    ridge = moved_eps * top + eps * inner[-1, -1]
    raised = -powers * (power / values * ridge + jnp.log(values) * moved_power)
    result = (basis * powers[None, :]) @ basis.T
    return result, basis @ (turned + jnp.diag(raised)) @ basis.T


def _spectrum(matrix: jax.Array, eps: Number) -> tuple[jax.Array, ...]:
    """Return the eigenvalues of A + eps top I (1 if they underflow), a basis, top."""
    values, basis = _eigh(matrix)
    top = jnp.maximum(values[-1], 0)
    seen = eps * top > jnp.finfo(matrix.dtype).tiny
    values = jnp.where(seen, jnp.maximum(values, 0) + eps * top, 1)
    return values, basis, jnp.where(seen, top, 0)
