"""Decompositions of batches of matrices are right, differentiable, and finish."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scripts import SUPPORT

import jopt
from jopt.core import eigenbasis, refined_basis, solve_upper_transposed

SCRIPT = SUPPORT / "lapack_at_once.py"
slow = pytest.mark.slow("the lowered text says that no call takes a batch")


@pytest.mark.parametrize("name", ["soap", "shampoo", "kron", "sweep"])
@slow
def test_decompositions_do_not_wait_for_each_other(name):
    script = [sys.executable, str(SCRIPT), name, "2"]
    seconds = 600 if name == "sweep" else 150

    done = subprocess.run(
        script, timeout=seconds, capture_output=True, text=True, check=False
    )

    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize(
    ("tx", "calls"),
    [
        (jopt.scale_by_soap(precondition_frequency=1), {"eigh", "qr"}),
        (jopt.scale_by_shampoo(precondition_frequency=1), {"eigh"}),
        (
            jopt.scale_by_kron(preconditioner_update_probability=1.0),
            {"triangular_solve"},
        ),
    ],
    ids=["soap", "shampoo", "kron"],
)
def test_a_call_on_a_cpu_is_of_one_matrix(tx, calls):
    params = [jnp.ones((4, 5))] * 3
    block = jax.tree.map(lambda x: jnp.stack([jnp.float32(x)] * 2), tx)
    update = jax.jit(jax.vmap(lambda tx: tx.update(params, tx.init(params))))

    lowered = update.lower(block).as_text().splitlines()

    lapack = [line for line in lowered if "@lapack_" in line]
    assert len(lapack) >= 2 * len(calls)
    for line in lapack:
        assert "tensor<4x" in line or "tensor<5x" in line
        assert not any(f"tensor<{n}x{d}x" in line for n in (2, 3, 6) for d in (4, 5))


def matrices(*shape):
    return np.random.default_rng(0).normal(size=shape)


def test_mapped_over_two_axes_they_are_those_of_each_matrix():
    x = matrices(2, 3, 5, 5)
    symmetric = x @ x.mT
    upper = np.triu(x) + 3 * np.eye(5)
    twice = lambda function: jax.vmap(jax.vmap(function))  # noqa: E731

    bases = twice(eigenbasis)(jnp.float32(symmetric))
    start = jnp.broadcast_to(jnp.eye(5), x.shape)
    order, refined = twice(refined_basis)(jnp.float32(symmetric), start)
    rows = jax.vmap(
        lambda u: jax.vmap(solve_upper_transposed, (0, None))(u, jnp.float32(x[0, 0]))
    )(jnp.float32(upper))

    diagonal = bases.mT @ symmetric @ bases
    values = np.linalg.eigvalsh(symmetric)[..., ::-1]
    np.testing.assert_allclose(
        diagonal, values[..., None] * np.eye(5), rtol=1e-4, atol=1e-4
    )
    columns = np.take_along_axis(symmetric, np.asarray(order)[..., None, :], -1)
    wanted = np.linalg.qr(columns)[0]
    signs = np.sign(np.sum(wanted * refined, axis=-2, keepdims=True))
    np.testing.assert_allclose(refined * signs, wanted, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(upper.mT @ rows, x[:1, :1] + 0 * x, rtol=1e-4, atol=1e-4)


def test_a_triangular_system_has_its_derivatives_both_ways():
    factor = jnp.float32(np.triu(matrices(2, 4, 4)) + 3 * np.eye(4))
    rows = jnp.float32(matrices(2, 4, 3))

    def ours(factor, rows):
        return jnp.sum(jnp.sin(jax.vmap(solve_upper_transposed)(factor, rows)))

    def plain(factor, rows):
        return jnp.sum(jnp.sin(jnp.linalg.inv(jnp.triu(factor)).mT @ rows))

    def forward(function):
        return jax.jvp(function, (factor, rows), (jnp.cos(factor), jnp.cos(rows)))

    for got, wanted in zip(forward(ours), forward(plain), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4)
    got, wanted = (jax.grad(f, argnums=(0, 1))(factor, rows) for f in (ours, plain))
    for x, y in zip(got, wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_the_command_keeps_openblas_to_one_thread_unless_it_is_told_otherwise():
    program = """if True:
        import os, sys
        from jopt.cli import main
        early = "scipy" in sys.modules  # which brings the OpenBLAS that JAX calls
        try:
            main(["--version"])
        except SystemExit:
            print(os.environ["OPENBLAS_NUM_THREADS"], early)
    """

    def said(**environment):
        kept = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
        return subprocess.run(
            [sys.executable, "-c", program],
            env=kept | environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()[-2:]

    assert said() == ["1", "False"]
    assert said(OPENBLAS_NUM_THREADS="2") == ["2", "False"]
