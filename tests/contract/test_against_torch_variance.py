"""DoG, MoMo, MADGRAD, StableAdamW and MARS equal packages for PyTorch."""

from typing import Any

import pytest

import jopt

torch = pytest.importorskip("torch", reason="the packages are for it")

from torch_runs import assert_updates_of_torch, single  # noqa: E402

B1, B2, GAMMA = single(0.8, 0.9, 0.2)
RATE, SMALL, DECAY, EPS = single(0.1, 1e-3, 0.125, 1e-4)


def oracle(name):
    return pytest.importorskip(name, reason="an oracle, if installed")


@pytest.mark.parametrize(
    ("settings", "kind", "size"),
    [
        ({"reps_rel": EPS}, "heuristic", EPS),
        ({"init_eta": SMALL}, "learning_rate", SMALL),
    ],
    ids=["heuristic", "learning_rate"],
)
def test_dog(settings, kind, size):
    theirs = oracle("dog")

    assert_updates_of_torch(
        jopt.dog(init_step=(kind, size), eps=EPS, weight_decay=DECAY),
        lambda p: theirs.DoG(p, eps=EPS, weight_decay=DECAY, **settings),
    )


def test_layerwise_dog():
    theirs = oracle("dog")

    assert_updates_of_torch(
        jopt.scale_by_distance_over_gradients(EPS, EPS, global_scale=-1.0),
        lambda p: theirs.LDoG(p, reps_rel=EPS, eps=EPS),
    )


@jopt.pytree
class WithLoss(jopt.GradientTransformation):
    """Give the inner transformation a loss of 1 at each step."""

    inner: Any

    def init(self, params):
        return self.inner.init(params)

    def update(self, updates, state, params=None, **extra):
        return self.inner.update(updates, state, params, value=1.0, **extra)

    def parts(self, state):
        return {"inner": (self.inner, state)}


class TorchWithLoss:
    """The same for PyTorch's."""

    def __init__(self, inner):
        self.inner = inner

    def step(self):
        self.inner.step(loss=torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("adapt", [False, True], ids=["fixed", "adapt"])
@pytest.mark.parametrize("bound", [0.0, -5.0])
def test_momo(adapt, bound):
    """The step is a difference of sums over all coordinates: hence the slack."""
    theirs = oracle("momo")
    tx = jopt.momo(SMALL, B1, bound, DECAY, adapt, proximal=True)

    assert_updates_of_torch(
        WithLoss(tx),
        lambda p: TorchWithLoss(
            theirs.Momo(p, SMALL, DECAY, B1, lb=bound, use_fstar=adapt)
        ),
        rtol=2e-5,
        scale=2e-6,
    )


@pytest.mark.parametrize("adapt", [False, True], ids=["fixed", "adapt"])
def test_momo_adam(adapt):
    theirs = oracle("momo")
    tx = jopt.momo_adam(RATE, B1, B2, EPS, -1.0, DECAY, adapt, proximal=True)

    assert_updates_of_torch(
        WithLoss(tx),
        lambda p: TorchWithLoss(
            theirs.MomoAdam(
                p,
                RATE,
                (B1, B2),
                eps=EPS,
                weight_decay=DECAY,
                lb=-1.0,
                divide=True,
                use_fstar=adapt,
            )
        ),
        rtol=2e-5,
        scale=2e-6,
    )


def test_madgrad():
    theirs = oracle("pytorch_optimizer")

    assert_updates_of_torch(
        jopt.madgrad(RATE, B1, DECAY, EPS),
        lambda p: theirs.MADGRAD(p, RATE, B1, DECAY, eps=EPS),
        scale=1e-6,
    )


@pytest.mark.parametrize("shape", [(4, 5), (6,)], ids=str)
def test_stable_adamw(shape):
    """Theirs shrinks the decay too, as the paper does."""
    theirs = oracle("pytorch_optimizer")

    assert_updates_of_torch(
        jopt.stable_adamw(RATE, B1, B2, EPS, DECAY),
        lambda p: theirs.StableAdamW(p, RATE, (B1, B2), weight_decay=DECAY, eps=EPS),
        shape,
    )


def test_mars():
    """Theirs corrects the first gradient too, but that is clipped to the same.

    Their eps is not corrected for bias: there is none here.
    """
    theirs = oracle("pytorch_optimizer")

    assert_updates_of_torch(
        jopt.mars(RATE, B1, B2, 0.0, weight_decay=DECAY, gamma=GAMMA),
        lambda p: theirs.MARS(
            p, RATE, (B1, B2), GAMMA, weight_decay=DECAY, eps=0.0, optimize_1d=True
        ),
    )


def test_independent_decay_is_their_fixed_decay():
    theirs = oracle("pytorch_optimizer")

    assert_updates_of_torch(
        jopt.mars(
            RATE, B1, B2, 0.0, 0.0, None, DECAY, gamma=GAMMA, decay="independent"
        ),
        lambda p: theirs.MARS(
            p,
            RATE,
            (B1, B2),
            GAMMA,
            weight_decay=DECAY,
            fixed_decay=True,
            eps=0.0,
            optimize_1d=True,
        ),
    )
