"""Adaptive optimizers equal those of PyTorch and of the package pytorch_optimizer."""

import pytest

import jopt

torch = pytest.importorskip("torch")

from torch_runs import assert_updates_of_torch, single  # noqa: E402

B1, B2, B3 = single(0.8, 0.9, 0.96)
RATE, RHO, DECAY, EPS = single(0.1, 0.8, 0.125, 1e-4)


def test_adamax():
    """PyTorch's learning rate is 2e-3 by default, its decay is of the gradients."""
    assert_updates_of_torch(
        jopt.chain(jopt.add_decayed_weights(DECAY), jopt.adamax(RATE, B1, B2, EPS)),
        lambda p: torch.optim.Adamax(p, RATE, (B1, B2), EPS, weight_decay=DECAY),
    )


def test_adadelta():
    """PyTorch's learning rate is 1 by default."""
    assert_updates_of_torch(
        jopt.adadelta(RATE, RHO, EPS, weight_decay=DECAY),
        lambda p: torch.optim.Adadelta(p, RATE, RHO, EPS, weight_decay=DECAY),
    )


@pytest.mark.parametrize("shape", [(4, 5), (20,)], ids=["matrix", "vector"])
def test_adafactor(shape):
    """PyTorch's learning rate is at most 1 / sqrt(t), 0.01 by default.

    It multiplies the decay too, every matrix is factored, and eps is a least value.
    """
    (exponent,) = single(0.8)
    assert_updates_of_torch(
        jopt.adafactor(RATE, 1, exponent, weight_decay_rate=RATE * DECAY),
        lambda p: torch.optim.Adafactor(
            p, RATE, -exponent, eps=(0.0, 1e-3), weight_decay=DECAY
        ),
        shape,
    )


def collection():
    return pytest.importorskip("pytorch_optimizer", reason="an oracle, if installed")


def test_adabelief():
    """Theirs has one eps for both places."""
    theirs = collection()
    assert_updates_of_torch(
        jopt.adabelief(RATE, B1, B2, EPS, EPS),
        lambda p: theirs.AdaBelief(p, RATE, (B1, B2), eps=EPS),
    )


def test_adan():
    """Theirs has no eps_root, and divides by 1 + rate decay unless told otherwise."""
    theirs = collection()
    assert_updates_of_torch(
        jopt.adan(RATE, B1, B2, B3, EPS, 0.0, weight_decay=DECAY),
        lambda p: theirs.Adan(
            p, RATE, (B1, B2, B3), weight_decay=DECAY, weight_decouple=True, eps=EPS
        ),
    )


def test_lamb():
    """Theirs corrects no bias of the mean square, and limits the params' norm to 10.

    Without eps and decay the former is a factor that the trust ratio takes out.
    """

    def lamb(p):
        made = collection().Lamb(p, RATE, (B1, B2), eps=0.0, adam_debias=True)
        made.clamp = float("inf")
        return made

    assert_updates_of_torch(jopt.lamb(RATE, B1, B2, eps=0.0), lamb)


def test_lars():
    """Theirs divides by |g| + decay |p|, and scales matrices only."""
    theirs, (coefficient, momentum) = collection(), single(0.01, 0.9)
    assert_updates_of_torch(
        jopt.lars(
            RATE, trust_coefficient=coefficient, momentum=momentum, nesterov=True
        ),
        lambda p: theirs.LARS(
            p, RATE, 0.0, momentum, trust_coefficient=coefficient, nesterov=True
        ),
    )


def test_fromage():
    """Theirs has no least norm."""
    theirs = collection()
    assert_updates_of_torch(jopt.fromage(RATE, 0.0), lambda p: theirs.Fromage(p, RATE))


def test_novograd():
    """Theirs has the paper's betas by default, 0.95 and 0.98."""
    theirs = collection()
    assert_updates_of_torch(
        jopt.novograd(RATE, B1, B2, EPS, weight_decay=DECAY),
        lambda p: theirs.NovoGrad(p, RATE, (B1, B2), weight_decay=DECAY, eps=EPS),
    )


def test_yogi():
    """Theirs starts at 1e-6 as well."""
    theirs = collection()
    assert_updates_of_torch(
        jopt.yogi(RATE, B1, B2, EPS), lambda p: theirs.Yogi(p, RATE, (B1, B2), eps=EPS)
    )
