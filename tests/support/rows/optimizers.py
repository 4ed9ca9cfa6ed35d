"""Rows of the optimizers in `jopt/optimizers/`."""

from dataclasses import dataclass
from typing import Any

import jax

from rows import Row, contrib, cosine, matrices

# Sums over the run or over the tree are compared, which keep each term's rounding.
SUMS: dict[str, Any] = {"rtol": 5e-6, "scale": 1e-6}

# MoMo's step is a difference of sums over all leaves, made anew at each step. optax's
# inner products of complex leaves are complex, and change the types of its state.
MOMO: Any = {"extra": {"value": 1.0}, "real": True, "rtol": 2e-5, "scale": 2e-6}

# Newton's own polynomial: with half of any of its numbers, it still converges.
CUBIC = (1.5, -0.5, 0.0)
# A step of Newton-Schulz multiplies a small singular value, and its rounding.
MUON: Any = {"rtol": 5e-6, "scale": 5e-6}
# The numbers of Muon's AdamW: the contract tests train a matrix, which it does not see.
MUON_ADAM = {
    f".transforms[1].transforms[{part}].{name}"
    for part, names in enumerate(
        (("b1", "b2", "eps", "eps_root"), ("weight_decay",), ("learning_rate",))
    )
    for name in names
}

# RAdam's mean square is used from the fifth step on: see test_classics.py.
RADAM_IDLE = ("b2", "eps", "eps_root", "threshold")

KRON_COUNTERS = ("count", "since")


def forgetful(step, exponent):
    """A decay rate that stays below 0.9."""
    return 0.9 * (1 - (step + 1) ** -exponent)


def two_axes(params: Any) -> Any:
    """Return a mask that is True for the leaves with exactly two axes."""
    return jax.tree.map(lambda p: len(p.shape) == 2, params)


@dataclass(frozen=True)
class EachColumn:
    """Dimension numbers as a function: a cube is a matrix for each of its columns."""

    numbers: Any

    def __call__(self, params: Any) -> Any:
        found = {2: self.numbers(0, 1), 3: self.numbers(0, 2)}
        return jax.tree.map(lambda p: found.get(len(p.shape)), params)


ROWS = {
    # _adabelief.py
    "scale_by_belief": lambda lib: lib.scale_by_belief(
        0.8, 0.95, 1e-4, 1e-6, nesterov=True
    ),
    "adabelief": lambda lib: lib.adabelief(1e-3),
    # _adadelta.py
    # optax squares complex gradients as they are.
    "scale_by_adadelta": Row(lambda lib: lib.scale_by_adadelta(), optax=False),
    "adadelta": Row(
        lambda lib: lib.adadelta(
            cosine(lib), 0.8, 1e-3, weight_decay=0.1, weight_decay_mask=matrices
        ),
        real=True,
    ),
    # _adafactor.py
    "scale_by_factored_rms": lambda lib: lib.chain(
        lib.scale_by_factored_rms(
            decay_rate=0.6, min_dim_size_to_factor=3, epsilon=1e-4
        ),
        lib.scale(-0.1),
    ),
    "scale_by_factored_rms, decay": lambda lib: lib.chain(
        lib.scale_by_factored_rms(
            min_dim_size_to_factor=4, epsilon=1e-4, decay_rate_fn=forgetful
        ),
        lib.scale(-0.1),
    ),
    "adafactor": Row(
        lambda lib: lib.adafactor(0.1, 2), idle={".transforms[3].min_scale"}
    ),
    # optax keeps a complex momentum in dtype_momentum, which is real.
    "adafactor, momentum": Row(
        lambda lib: lib.adafactor(
            cosine(lib),
            multiply_by_parameter_scale=False,
            clipping_threshold=None,
            momentum=0.9,
            weight_decay_rate=0.01,
            weight_decay_mask=matrices,
        ),
        real=True,
    ),
    # _adagrad.py
    "scale_by_rss": lambda lib: lib.scale_by_rss(0.0, 0.01),
    "adagrad": lambda lib: lib.adagrad(0.1),
    # _adam.py
    "scale_by_adam": lambda lib: lib.scale_by_adam(0.8, 0.95, 1e-4, 1e-6),
    "adam": lambda lib: lib.adam(1e-3),
    "adam, nesterov": lambda lib: lib.adam(1e-3, 0.8, 0.99, nesterov=True),
    "adam, no memory": lambda lib: lib.adam(1e-3, 0.0, 0.0, 1e-3),
    "adamw": lambda lib: lib.adamw(1e-3, weight_decay=0.01),
    "adamw, schedules": lambda lib: lib.adamw(
        cosine(lib), weight_decay=lib.linear_schedule(0.01, 0.0, 20)
    ),
    "adamw, mask": lambda lib: lib.adamw(1e-3, weight_decay=0.01, mask=matrices),
    "nadam": lambda lib: lib.nadam(1e-3),
    "nadamw": lambda lib: lib.nadamw(1e-3, weight_decay=0.01, mask=matrices),
    "adamw, independent": Row(
        lambda lib: lib.adamw(
            cosine(lib), weight_decay=0.01, mask=matrices, decay="independent"
        ),
        optax=False,
    ),
    "nadamw, independent": Row(
        lambda lib: lib.nadamw(
            1e-2,
            weight_decay=lib.linear_schedule(0.01, 0.0, 20),
            decay="independent",
        ),
        optax=False,
    ),
    # _adamax.py
    "adamax": lambda lib: lib.adamax(1e-2, 0.8, 0.9, 1e-3),
    "adamaxw": lambda lib: lib.adamaxw(1e-2, weight_decay=0.1, mask=matrices),
    # _adan.py
    # At 1 - b2 = b2 optax's factor is the paper's.
    "scale_by_adan": Row(
        lambda lib: lib.scale_by_adan(0.9, 0.5, 0.8, 1e-3, 1e-4), counters=("t",)
    ),
    "adan": Row(
        lambda lib: lib.adan(1e-2, weight_decay=0.1, mask=matrices),
        optax=False,
        counters=("t",),
    ),
    # _ademamix.py
    "scale_by_ademamix": lambda lib: contrib(lib).scale_by_ademamix(
        0.8, 0.95, 0.99, lib.linear_schedule(0.0, 5.0, 20), 1e-4, 1e-6
    ),
    "ademamix": lambda lib: contrib(lib).ademamix(
        1e-3, weight_decay=0.01, mask=matrices
    ),
    # _adopt.py
    # Coordinates have no order in the complex plane, so optax cannot clip them.
    "scale_by_adopt": Row(
        lambda lib: contrib(lib).scale_by_adopt(0.8, 0.9, 4.0), real=True
    ),
    "adopt": Row(lambda lib: contrib(lib).adopt(0.1, eps=4.0), optax=False),
    "adopt, nesterov": Row(
        lambda lib: contrib(lib).adopt(
            0.1, 0.8, 0.9, 1.0, nesterov=True, use_clipping=False
        )
    ),
    # _amsgrad.py
    "scale_by_amsgrad": lambda lib: lib.scale_by_amsgrad(0.8, 0.95, 1e-4, 1e-6),
    "amsgrad": lambda lib: lib.amsgrad(1e-3, b2=0.9),
    "amsgrad, paper": lambda lib: lib.amsgrad(
        1e-3, b2=0.9, bias_correction_mu=False, bias_correction_nu=False
    ),
    # _cocob.py
    # Signs and sizes of single coordinates: there are none in the complex plane.
    # Where a particle is near its start its update is a small difference.
    "cocob": Row(
        lambda lib: contrib(lib).cocob(cosine(lib), 10.0, 1e-3, 0.1, matrices),
        real=True,
        scale=1e-6,
    ),
    "cocob, eps": Row(
        lambda lib: contrib(lib).cocob(),
        real=True,
        idle={".transforms[1].learning_rate", ".transforms[2].eps"},
    ),
    # _dadapt.py
    "dadapt_adamw": Row(
        lambda lib: contrib(lib).dadapt_adamw(
            lib.linear_schedule(8.0, 4.0, 3), (0.8, 0.9), 0.5, 0.1, weight_decay=0.1
        ),
        real=True,
    ),
    "dadapt_adamw, complex": Row(
        lambda lib: contrib(lib).dadapt_adamw(8.0, (0.8, 0.9), 0.5, 0.1),
        optax=False,
        **SUMS,
    ),
    # _dog.py
    "dog": Row(
        lambda lib: contrib(lib).dog(init_step=("heuristic", 0.1), eps=10.0),
        counters=("is_init_step",),
    ),
    "dog, learning_rate": Row(
        lambda lib: contrib(lib).dog(
            cosine(lib), ("learning_rate", 0.1), 0.1, weight_decay=0.1
        ),
        counters=("is_init_step", "count"),
    ),
    "dog, distance": Row(
        lambda lib: contrib(lib).dog(0.5, ("distance", 2.0), 0.1, 0.1, mask=matrices),
        counters=("is_init_step",),
    ),
    # optax gives the updates of scalars an axis, and takes complex leaves for real.
    "scale_by_distance_over_gradients": Row(
        lambda lib: lib.scale_by_distance_over_gradients(0.1, 0.1, global_scale=-0.5),
        optax=False,
    ),
    # _dowg.py
    "dowg": lambda lib: contrib(lib).dowg(),
    "dowg, distance": lambda lib: contrib(lib).dowg(0.5, 2.0, 0.1, weight_decay=0.1),
    # _fromage.py
    "fromage": Row(lambda lib: lib.fromage(0.1), idle={".transforms[0].min_norm"}),
    "fromage, schedule": lambda lib: lib.fromage(
        lib.linear_schedule(1.0, 0.5, 20), 3.0
    ),
    # _kron.py
    # Its fits build on each other: test_preconditioned.py compares them in float64.
    "kron": Row(
        lambda lib: lib.kron(1e-3, weight_decay=0.1, mask=matrices),
        optax=False,
        counters=KRON_COUNTERS,
        scale=1e-5,
    ),
    "scale_by_kron": Row(
        lambda lib: lib.scale_by_kron(
            0.8,
            0.5,
            precond_lr=0.3,
            precond_init_scale=0.1,
            damping=0.1,
            max_rms=0.05,
            merge_dims=False,
        ),
        optax=False,
        counters=KRON_COUNTERS,
        scale=1e-5,
    ),
    # _lamb.py
    "lamb": Row(
        lambda lib: lib.lamb(1e-2, 0.8, 0.95, weight_decay=0.1, mask=matrices),
        idle={".transforms[2].min_norm"},
    ),
    # _lars.py
    # Two norms, whose sums the compiler orders: their rounding is each whole term's
    # of the momentum. Of 240 simulated leaves, summed in random order, with and
    # without FMA, the worst needs a scale of 2.7e-7.
    "lars": Row(
        lambda lib: lib.lars(0.1), idle={".transforms[1].min_norm"}, scale=5e-7
    ),
    "lars, masks": Row(
        lambda lib: lib.lars(
            0.1, 0.01, matrices, 0.01, trust_ratio_mask=matrices, nesterov=True
        ),
        idle={".transforms[1].min_norm"},
    ),
    # _lion.py
    # The direction of a complex difference, where that is small.
    "scale_by_lion": Row(
        lambda lib: lib.scale_by_lion(0.9, 0.7),
        idle={".smooth_beta"},
        scale=4e-6,
    ),
    "scale_by_lion, smooth": lambda lib: lib.scale_by_lion(
        mode="smooth", smooth_beta=0.1
    ),
    "scale_by_lion, refined": Row(
        lambda lib: lib.scale_by_lion(0.8, mode="refined"), idle={".smooth_beta"}
    ),
    "lion": Row(
        lambda lib: lib.lion(1e-3, 0.9, 0.7, weight_decay=0.1, mask=matrices),
        idle={".transforms[0].smooth_beta"},
        scale=4e-6,
    ),
    # _madgrad.py
    # optax squares complex gradients as they are, and has no cube root of that.
    "madgrad": Row(lambda lib: contrib(lib).madgrad(1e-2), real=True),
    # Where a point is near its start its update is a small difference.
    "madgrad, schedule": Row(
        lambda lib: contrib(lib).madgrad(cosine(lib), 0.5, 0.1, 1e-3),
        optax=False,
        scale=1e-6,
    ),
    # _mars.py
    "mars": Row(
        lambda lib: lib.mars(
            1e-2, eps_root=1e-4, weight_decay=0.1, mask=matrices, gamma=0.2
        ),
        optax=False,
        # The norm, whose sum the compiler orders, and 3.8 times a difference round
        # each term of the mean. Of 240 simulated leaves, in random order and with
        # and without FMA, the worst needs a scale of 4.7e-7.
        scale=1e-6,
    ),
    # The direction of a complex difference, which is a thousandth of the mean once:
    # a rounding of the mean turns it by 6e-5, and a typical one by a third of that.
    "mars, lion": Row(
        lambda lib: lib.chain(
            lib.scale_by_mars(0.9, 0.5),
            lib.lion(1e-2, 0.9, 0.7, decay="independent"),
        ),
        optax=False,
        idle={".transforms[1].transforms[0].smooth_beta"},
        scale=2e-5,
    ),
    # _momo.py
    "momo": Row(lambda lib: contrib(lib).momo(1e-3, weight_decay=0.1), **MOMO),
    "momo, adapt": Row(
        lambda lib: contrib(lib).momo(
            cosine(lib), 0.8, -5.0, 0.1, adapt_lower_bound=True
        ),
        **MOMO,
    ),
    "momo_adam": Row(
        lambda lib: contrib(lib).momo_adam(eps=1e-3),
        idle={".lower_bound"},
        **MOMO,
    ),
    "momo_adam, adapt": Row(
        lambda lib: contrib(lib).momo_adam(
            0.5, 0.8, 0.9, 1e-3, -5.0, 0.1, adapt_lower_bound=True
        ),
        **MOMO,
    ),
    # _muon.py
    # optax divides by zero on the matrix without entries.
    "muon": Row(
        lambda lib: contrib(lib).muon(0.01, CUBIC, weight_decay=0.1, adam_b1=0.8),
        idle=MUON_ADAM,
        optax=False,
        **MUON,
    ),
    "muon, each column": Row(
        lambda lib: contrib(lib).muon(
            0.01,
            (CUBIC, (1.25, -0.25, 0.0)),
            beta=0.8,
            eps=1e-3,
            nesterov=False,
            preconditioning="aol",
            adam_weight_decay=0.1,
            muon_weight_dimension_numbers=EachColumn(contrib(lib).MuonDimensionNumbers),
            consistent_rms=0.2,
        ),
        idle={*MUON_ADAM, ".transforms[0].transforms[0].eps"},
        **MUON,
    ),
    "scale_by_muon": Row(
        lambda lib: lib.masked(
            lib.chain(lib.scale_by_muon(CUBIC, 2, adaptive=True), lib.scale(0.01)),
            two_axes,
        ),
        optax=False,
        **MUON,
    ),
    # _noisy_sgd.py
    "noisy_sgd": Row(
        lambda lib: lib.noisy_sgd(0.1, 0.5, 0.8, key=3),
        # Its mathematics is a distribution: see test_classics.py.
        reference=False,
        counters=("count", "rng_key"),
    ),
    # _normuon.py
    "normuon": Row(
        lambda lib: lib.normuon(0.01, CUBIC, weight_decay=0.1),
        idle=MUON_ADAM,
        optax=False,
        **MUON,
    ),
    "normalize_neurons": Row(
        lambda lib: lib.masked(
            lib.chain(lib.normalize_neurons(0.9, 1e-2, None), lib.scale(0.01)),
            two_axes,
        ),
        optax=False,
    ),
    # _novograd.py
    "novograd": lambda lib: lib.novograd(1e-2),
    "novograd, decay": lambda lib: lib.novograd(0.1, 0.8, 0.9, 1e-3, 1e-4, 0.1),
    # _optimistic.py
    "optimistic_gradient_descent": lambda lib: lib.optimistic_gradient_descent(
        0.1, 0.8, 0.5
    ),
    "optimistic_adam_v2": lambda lib: lib.optimistic_adam_v2(
        1e-3, alpha=1.5, beta=0.25
    ),
    # _polyak.py
    "scale_by_polyak": Row(
        lambda lib: lib.scale_by_polyak(0.1, 10.0, 0.5),
        idle={".max_learning_rate"},
        extra={"value": 5.0},
    ),
    # optax's scales the norm: test_classics.py compares what it does right.
    "polyak_sgd": Row(
        lambda lib: lib.polyak_sgd(0.006, 0.5, 0.1, 0.5, "sps+"),
        optax=False,
        extra={"value": 5.0},
    ),
    # _prodigy.py
    # optax squares complex gradients: with complex leaves there is no comparison.
    "prodigy": Row(
        lambda lib: contrib(lib).prodigy(
            lib.linear_schedule(1.0, 0.5, 3),
            (0.8, 0.9),
            eps=10.0,
            estim_lr0=0.1,
            estim_lr_coef=50.0,
            weight_decay=0.1,
        ),
        real=True,
        **SUMS,
    ),
    "prodigy, safeguard": Row(
        lambda lib: contrib(lib).prodigy(
            1.0, (0.8, 0.9), 0.95, 10.0, 0.1, 20.0, 0.1, True
        ),
        optax=False,
    ),
    # _radam.py
    "scale_by_radam": Row(
        lambda lib: lib.scale_by_radam(0.8, 0.95, 1e-4, 1e-6, 4.5),
        idle={"." + name for name in RADAM_IDLE},
    ),
    "radam, nesterov": Row(
        lambda lib: lib.radam(1e-3, b2=0.95, nesterov=True),
        idle={".transforms[0]." + name for name in RADAM_IDLE},
    ),
    # _rmsprop.py
    "scale_by_rms": lambda lib: lib.scale_by_rms(0.9, 1e-4, 0.1),
    "scale_by_stddev": lambda lib: lib.scale_by_stddev(0.9, 1e-4, 0.1),
    "rmsprop": lambda lib: lib.rmsprop(1e-2),
    "rmsprop, outside": lambda lib: lib.rmsprop(1e-2, 0.99, eps_in_sqrt=False),
    "rmsprop, unbiased": lambda lib: lib.rmsprop(1e-2, bias_correction=True),
    "rmsprop, momentum": lambda lib: lib.rmsprop(1e-2, momentum=0.8),
    "rmsprop, nesterov": lambda lib: lib.rmsprop(1e-2, momentum=0.8, nesterov=True),
    "rmsprop, centered": lambda lib: lib.rmsprop(1e-2, centered=True),
    # Without an initial scale the first variance is |g|^2 - |g|^2: rounding alone.
    "rmsprop, centered, unbiased": lambda lib: lib.rmsprop(
        1e-2, initial_scale=30.0, centered=True, bias_correction=True
    ),
    # _rprop.py
    # optax's is late by a step: test_classics.py compares what it does right.
    "scale_by_rprop": Row(
        lambda lib: lib.scale_by_rprop(0.1, 0.6, 1.3, 0.065, 0.12),
        real=True,
        optax=False,
    ),
    "rprop": Row(
        lambda lib: lib.rprop(0.1),
        idle={".transforms[0]." + name for name in ("min_step_size", "max_step_size")},
        real=True,
        optax=False,
    ),
    # _schedule_free.py
    "schedule_free_sgd": Row(
        lambda lib: contrib(lib).schedule_free_sgd(0.1, 3.0, 0.8, 0.01),
        counters=("step_count",),
    ),
    # What the paper has and optax has not.
    "schedule_free_sgd, paper": Row(
        lambda lib: lib.schedule_free_sgd(0.1, 3.0, 0.8, lag=0),
        counters=("step_count",),
        optax=False,
        **SUMS,
    ),
    "schedule_free_adamw": Row(
        lambda lib: contrib(lib).schedule_free_adamw(
            0.01, 3.0, b2=0.95, eps=1e-3, weight_decay=0.1
        ),
        counters=("step_count", "count"),
        **SUMS,
    ),
    # _sgd.py
    "sgd": lambda lib: lib.sgd(0.1),
    "sgd, schedule": lambda lib: lib.sgd(cosine(lib)),
    "sgd, momentum": lambda lib: lib.sgd(0.1, 0.9),
    "sgd, nesterov": lambda lib: lib.sgd(0.1, momentum=0.9, nesterov=True),
    # _shampoo.py
    # Its roots amplify float32's rounding: test_preconditioned.py compares in float64.
    "shampoo": Row(
        lambda lib: lib.shampoo(1e-3, precondition_frequency=2, weight_decay=0.1),
        optax=False,
        scale=1e-4,
    ),
    "shampoo, paper": Row(
        lambda lib: lib.shampoo(
            1e-2,
            b1=0.0,
            b2=1.0,
            matrix_eps=1e-3,
            precondition_frequency=1,
            graft="none",
        ),
        optax=False,
        idle={".transforms[0].eps"},  # of leaves without matrices
        scale=1e-4,
    ),
    "scale_by_shampoo": Row(
        lambda lib: lib.scale_by_shampoo(
            0.8, 0.9, 1e-4, 1e-2, 0.5, precondition_frequency=3, graft="rmsprop"
        ),
        optax=False,
        scale=1e-5,
        # A rounding u of a factor, which a batched product or eigh makes another,
        # is e u / matrix_eps in its root: 200 u for the least matrix_eps, 0.0025.
        mapped=1.2e-5,
    ),
    # _sign.py
    "scale_by_sign": lambda lib: lib.scale_by_sign(),
    "sign_sgd": lambda lib: lib.sign_sgd(cosine(lib)),
    "signum": lambda lib: lib.signum(0.1, 0.7),
    # _simplified_ademamix.py
    # optax squares complex gradients.
    "simplified_ademamix": Row(
        lambda lib: contrib(lib).simplified_ademamix(
            1e-3, alpha=2.0, weight_decay=0.01, mask=matrices
        ),
        real=True,
    ),
    "scale_by_simplified_ademamix": Row(
        lambda lib: contrib(lib).scale_by_simplified_ademamix(
            0.8, 0.9, lib.linear_schedule(0.0, 5.0, 20), 1e-4, 1e-6
        ),
        optax=False,
    ),
    # _sm3.py
    # optax's fails on scalar parameters: test_classics.py compares the others.
    "scale_by_sm3": Row(lambda lib: lib.scale_by_sm3(0.8, 0.9, 1e-3), optax=False),
    "sm3": Row(lambda lib: lib.sm3(0.1), optax=False),
    # _soap.py
    # float32 numbers do not determine the eigenvectors of eigenvalues below 1e-7 of the
    # greatest: the float64 reference is compared in float64, by test_preconditioned.py.
    "soap": Row(
        lambda lib: lib.soap(1e-2, precondition_frequency=2),
        optax=False,
        reference=False,
    ),
    "scale_by_soap": Row(
        lambda lib: lib.scale_by_soap(0.8, 0.9, 0.7, 1e-4, precondition_frequency=1),
        optax=False,
        reference=False,
    ),
    # _stable_adamw.py
    "stable_adamw": Row(
        lambda lib: lib.stable_adamw(1e-2, b2=0.9, eps=1e-3, mask=matrices),
        optax=False,
    ),
    "stable_adamw, schedules": Row(
        lambda lib: lib.stable_adamw(
            cosine(lib), weight_decay=lib.linear_schedule(0.01, 0.0, 20)
        ),
        optax=False,
    ),
    # _yogi.py
    "scale_by_yogi": lambda lib: lib.scale_by_yogi(0.8, 0.95, 1e-4, 1e-6, 0.01),
    "yogi": lambda lib: lib.yogi(1e-2),
}
