"""SOAP, Shampoo and Kron equal those of the package pytorch_optimizer.

In float64 on both sides: eigenvectors of small eigenvalues are not determined by
float32 numbers, and roots of them amplify its rounding.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import assert_close
from reference_runs import steps

import jopt

REASON = "PyTorch and the author's package are not installed"
torch = pytest.importorskip("torch", reason=REASON)

STEPS = 20


@pytest.fixture
def packages():
    # pytorch_optimizer's import warns of what it does not find.
    package = pytest.importorskip("pytorch_optimizer", reason=REASON)
    with jax.enable_x64(True):
        yield package


def run(shape):
    return np.random.default_rng(0).normal(size=(2, STEPS, *shape))


def ours(tx, shape):
    return jax.jit(steps)(tx, *map(jnp.asarray, run(shape)))[0]


def theirs(make, shape):
    weights = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    optimizer = make([weights])
    updates = []
    for g, p in zip(*run(shape), strict=True):
        before = torch.tensor(p)
        weights.data.copy_(before)
        weights.grad = torch.tensor(g)
        optimizer.step()
        updates.append((weights.detach() - before).numpy())
    return np.stack(updates)


def soaps(package, every, **settings):
    shared = {"precondition_frequency": every, "eps": 0.0, "weight_decay": 0.0}
    renamed = {
        {
            "max_precond_dim": "max_precondition_dim",
            "normalize_grads": "normalize_gradient",
        }.get(name, name): value
        for name, value in settings.items()
    }
    if "normalize_grads" in settings:
        # Theirs multiplies what it has normalized by Adam's correction.
        renamed["correct_bias"] = False
    return (
        jopt.soap(0.1, 0.9, 0.95, 0.8, **shared, **settings),
        lambda p: package.SOAP(p, 0.1, (0.9, 0.95), 0.8, **shared, **renamed),
    )


# Shapes whose first gradient leaves at most one direction of an axis unseen: a basis of
# more than one is arbitrary.
@pytest.mark.parametrize(
    ("shape", "every", "settings"),
    [
        ((3,), 2, {}),
        ((4, 4), 1, {}),
        ((4, 5), 10, {}),
        ((2, 3, 4), 3, {}),
        ((4, 6), 2, {"max_precond_dim": 4}),
        ((2, 2, 4), 2, {"max_precond_dim": 4, "merge_dims": True}),
        ((2,), 2, {"precondition_1d": True}),
        ((4, 5), 2, {"normalize_grads": True}),
    ],
    ids=str,
)
def test_soap(packages, shape, every, settings):
    tx, make = soaps(packages, every, **settings)

    # Their QR is made in float32.
    assert_close(ours(tx, shape), theirs(make, shape), rtol=1e-6, scale=5e-6)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4)], ids=str)
def test_shampoo_as_first_published(packages, shape):
    tx = jopt.shampoo(
        0.1, 0.0, 1.0, matrix_eps=1e-12, precondition_frequency=1, graft="none"
    )

    wanted = theirs(lambda p: packages.Shampoo(p, 0.1, matrix_eps=1e-12), shape)

    assert_close(ours(tx, shape), wanted, rtol=1e-9, scale=1e-9)


def scalable(package, graft, every, block_size):
    return lambda p: package.ScalableShampoo(
        p,
        0.1,
        (0.0, 0.9),
        start_preconditioning_step=every,
        preconditioning_compute_steps=every,
        shape_interpretation=False,
        block_size=block_size,
        graft_type=graft,
        nesterov=False,
        diagonal_eps=0.0,
        matrix_eps=1e-13,
        use_svd=True,
    )


@pytest.mark.parametrize(
    ("shape", "every", "graft", "number"),
    [((4, 5), 1, "sgd", 1), ((4, 4), 3, "rmsprop", 3), ((2, 3, 4), 3, "sgd", 1)],
    ids=str,
)
def test_shampoo_with_a_graft(packages, shape, every, graft, number):
    tx = jopt.shampoo(
        0.1, 0.0, 0.9, 0.0, 1e-13, precondition_frequency=every, graft=graft
    )

    wanted = theirs(scalable(packages, number, every, 8), shape)

    assert_close(ours(tx, shape), wanted, rtol=1e-9, scale=1e-9)


def test_shampoo_in_blocks(packages):
    tx = jopt.shampoo(
        0.1, 0.0, 0.9, 0.0, 1e-13, block_size=4, precondition_frequency=1, graft="none"
    )

    wanted = theirs(scalable(packages, 0, 1, 4), (8, 12))

    # Theirs does not divide the factors by 1 - b2^t.
    weight = 1 - 0.9 ** np.arange(1, STEPS + 1).reshape(-1, 1, 1)
    assert_close(ours(tx, (8, 12)), wanted * np.sqrt(weight), rtol=1e-9, scale=1e-9)


@pytest.fixture
def same_draws(monkeypatch):
    """Give their optimizers our random numbers, at the steps of their fits."""
    torch.compiler.set_stance("force_eager")

    def install(every):
        fits = itertools.count(every - 1, every)

        def randn_like(x, dtype=None):
            key = jax.random.fold_in(jax.random.key(0), next(fits))
            drawn = jax.random.normal(key, tuple(x.shape) or (1,), jnp.float64)
            return torch.tensor(np.asarray(drawn), dtype=x.dtype).reshape(x.shape)

        monkeypatch.setattr(torch, "randn_like", randn_like)

    yield install
    torch.compiler.set_stance("default")


@pytest.mark.parametrize(
    ("shape", "every"), [((), 1), ((3,), 2), ((4, 5), 1), ((2, 3, 4), 2)], ids=str
)
def test_kron(packages, same_draws, shape, every):
    settings = {"b1": 0.8, "preconditioner_update_probability": 1 / every}
    tx = jopt.kron(0.1, damping=0.0, merge_dims=False, **settings)
    same_draws(every)

    wanted = theirs(
        lambda p: packages.Kron(
            p,
            0.1,
            0.8,
            pre_conditioner_update_probability=1 / every,
            precondition_dtype=torch.float64,
            balance_prob=0.0,
        ),
        shape,
    )

    # Their triangular solves are made in float32.
    assert_close(ours(tx, shape), wanted, rtol=1e-6, scale=1e-6)


@pytest.mark.parametrize("mode", ["one_diag", "smart_one_diag", "all_diag"])
def test_kron_with_diagonal_factors(packages, same_draws, mode):
    tx = jopt.kron(0.1, damping=0.0, memory_save_mode=mode)
    same_draws(1)

    wanted = theirs(
        lambda p: packages.Kron(
            p,
            0.1,
            memory_save_mode=mode,
            precondition_dtype=torch.float64,
            balance_prob=0.0,
        ),
        (4, 5),
    )

    assert_close(ours(tx, (4, 5)), wanted, rtol=1e-6, scale=1e-6)


@pytest.mark.parametrize("shape", [(3,), (4, 5), (2, 3, 4)], ids=str)
@pytest.mark.usefixtures("packages")
def test_kron_of_its_author(same_draws, capsys, shape):
    kron_torch = pytest.importorskip("kron_torch", reason=REASON)
    tx = jopt.kron(0.1, preconditioner_update_probability=0.5)
    same_draws(2)

    wanted = theirs(
        lambda p: kron_torch.Kron(
            p,
            0.1,
            preconditioner_update_probability=0.5,
            precond_dtype=torch.float64,
        ),
        shape,
    )

    got = ours(tx, shape)
    capsys.readouterr()  # it prints its size
    # At the steps of a fit it damps the update too; between them it is as ours, with
    # factors fitted to the damped gradient.
    assert_close(got[::2], wanted[::2], rtol=1e-6, scale=1e-6)
    assert_close(got, wanted, rtol=1e-2, scale=1e-2)
