"""Signs, signed steps, and the classics beside Adam."""

from row import Row, cosine, rows

# optax's scale_by_sm3 fails on scalar parameters, its rprop is late by a step, and its
# polyak_sgd scales the norm: what it does right is compared in test_classics.py.
SIZES = ("min_step_size", "max_step_size")
WAITING = ("b2", "eps", "eps_root", "threshold")

ROWS = rows(
    {
        "scale_by_sign": lambda lib: lib.scale_by_sign(),
        "sign_sgd": lambda lib: lib.sign_sgd(cosine(lib)),
        "signum": lambda lib: lib.signum(0.1, 0.7),
        "scale_by_rprop": Row(
            lambda lib: lib.scale_by_rprop(0.1, 0.6, 1.3, 0.065, 0.12),
            real=True,
            optax=False,
        ),
        "rprop": Row(
            lambda lib: lib.rprop(0.1),
            idle={".transforms[0]." + name for name in SIZES},
            real=True,
            optax=False,
        ),
        # The mean square waits for the fifth step: see test_classics.py.
        "scale_by_radam": Row(
            lambda lib: lib.scale_by_radam(0.8, 0.95, 1e-4, 1e-6, 4.5),
            idle={"." + name for name in WAITING},
        ),
        "radam, nesterov": Row(
            lambda lib: lib.radam(1e-3, b2=0.95, nesterov=True),
            idle={".transforms[0]." + name for name in WAITING},
        ),
        "scale_by_sm3": Row(lambda lib: lib.scale_by_sm3(0.8, 0.9, 1e-3), optax=False),
        "sm3": Row(lambda lib: lib.sm3(0.1), optax=False),
        "optimistic_gradient_descent": lambda lib: lib.optimistic_gradient_descent(
            0.1, 0.8, 0.5
        ),
        "optimistic_adam_v2": lambda lib: lib.optimistic_adam_v2(
            1e-3, alpha=1.5, beta=0.25
        ),
        "scale_by_polyak": Row(
            lambda lib: lib.scale_by_polyak(0.1, 10.0, 0.5),
            idle={".max_learning_rate"},
            extra={"value": 5.0},
        ),
        "polyak_sgd": Row(
            lambda lib: lib.polyak_sgd(0.006, 0.5, 0.1, 0.5, "sps+"),
            optax=False,
            extra={"value": 5.0},
        ),
        "noisy_sgd": Row(
            lambda lib: lib.noisy_sgd(0.1, 0.5, 0.8, key=3),
            # Its mathematics is a distribution: see test_classics.py.
            reference=False,
            counters=("count", "rng_key"),
        ),
    }
)
