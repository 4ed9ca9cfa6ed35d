"""Rows of the schedules in `jopt/schedules/`."""

from rows import Row

ROWS = {
    # _decay.py
    "constant": lambda lib: lib.constant_schedule(0.3),
    "linear": lambda lib: lib.linear_schedule(0.1, 0.9, 40),
    "linear, begin": lambda lib: lib.linear_schedule(0.9, 0.1, 40, 7),
    "linear, no steps": lambda lib: lib.linear_schedule(0.1, 0.9, 0),
    "linear, negative begin": lambda lib: lib.linear_schedule(0.1, 0.9, 40, -5),
    "polynomial": lambda lib: lib.polynomial_schedule(0.1, 0.9, 2, 40),
    "polynomial, root": lambda lib: lib.polynomial_schedule(0.9, 0.1, 0.5, 40, 7),
    "polynomial, no steps": lambda lib: lib.polynomial_schedule(0.1, 0.9, 3, 0),
    "exponential": lambda lib: lib.exponential_decay(0.5, 10, 0.7),
    "exponential, begin": lambda lib: lib.exponential_decay(0.5, 10, 0.7, 7),
    "exponential, stairs": lambda lib: lib.exponential_decay(
        0.5, 10, 0.7, staircase=True
    ),
    "exponential, end": lambda lib: lib.exponential_decay(0.5, 10, 0.7, end_value=0.1),
    "exponential, growth": lambda lib: lib.exponential_decay(
        0.5, 10, 1.2, 7, end_value=0.9
    ),
    "exponential, no steps": lambda lib: lib.exponential_decay(0.5, 0, 0.7),
    "exponential, no rate": lambda lib: lib.exponential_decay(0.5, 10, 0.0),
    "cosine": lambda lib: lib.cosine_decay_schedule(0.5, 80),
    "cosine, floor": lambda lib: lib.cosine_decay_schedule(0.5, 80, 0.1, 1.5),
    # _endless.py
    "warmup exponential": lambda lib: lib.warmup_exponential_decay_schedule(
        0.1, 0.5, 20, 10, 0.7, 7, end_value=0.05
    ),
    "warmup exponential, stairs": lambda lib: lib.warmup_exponential_decay_schedule(
        0.1, 0.5, 20, 10, 0.7, staircase=True
    ),
    "inverse sqrt": Row(
        lambda lib: lib.inverse_sqrt_schedule(0.1, 0.5, 20), optax=False
    ),
    # _joined.py
    "join": lambda lib: lib.join_schedules(
        [
            lib.linear_schedule(0.0, 0.5, 20),
            lib.constant_schedule(0.5),
            lib.exponential_decay(0.5, 10, 0.7),
        ],
        [20, 50],
    ),
    "sgdr": lambda lib: lib.sgdr_schedule(
        [
            {
                "init_value": 0.1,
                "peak_value": p,
                "warmup_steps": w,
                "decay_steps": d,
            }
            for p, w, d in ((0.5, 5, 40), (0.4, 2, 30), (0.3, 5, 50))
        ]
    ),
    # _onecycle.py
    "linear onecycle": lambda lib: lib.linear_onecycle_schedule(100, 0.5),
    "linear onecycle, all": lambda lib: lib.linear_onecycle_schedule(
        90, 0.5, 0.25, 0.75, 10.0, 100.0
    ),
    "cosine onecycle": lambda lib: lib.cosine_onecycle_schedule(100, 0.5),
    "cosine onecycle, all": lambda lib: lib.cosine_onecycle_schedule(
        90, 0.5, 0.25, 10.0, 100.0
    ),
    # _piecewise.py
    "piecewise": lambda lib: lib.piecewise_constant_schedule(
        0.5, {10: 0.5, 30: 0.1, 70: 3}
    ),
    "piecewise, no pieces": lambda lib: lib.piecewise_constant_schedule(0.5),
    "interpolate": lambda lib: lib.piecewise_interpolate_schedule(
        "linear", 0.5, {10: 0.5, 30: 3.0, 70: 0.1}
    ),
    "interpolate, cosine": lambda lib: lib.piecewise_interpolate_schedule(
        "cosine", 0.5, {70: 0.1, 10: 0.5}
    ),
    "interpolate, no pieces": lambda lib: lib.piecewise_interpolate_schedule(
        "cosine", 0.5
    ),
    # _stable.py
    "warmup stable": Row(
        lambda lib: lib.warmup_stable_decay_schedule(0.1, 0.5, 20, 100, 0.05, 0.3),
        optax=False,
    ),
    "warmup stable, root": Row(
        lambda lib: lib.warmup_stable_decay_schedule(
            0.0, 0.5, 20, 100, cooldown_fraction=0.25, cooldown="1-sqrt"
        ),
        optax=False,
    ),
    # _warmup.py
    "warmup cosine": lambda lib: lib.warmup_cosine_decay_schedule(0.0, 0.5, 20, 100),
    "warmup cosine, floor": lambda lib: lib.warmup_cosine_decay_schedule(
        0.1, 0.5, 20, 100, 0.05, 2.0
    ),
    "warmup cosine, no warmup": lambda lib: lib.warmup_cosine_decay_schedule(
        0.1, 0.5, 0, 100
    ),
    "warmup constant": lambda lib: lib.warmup_constant_schedule(0.1, 0.5, 20),
    "warmup linear": Row(
        lambda lib: lib.warmup_linear_decay_schedule(0.1, 0.5, 20, 100, 0.05),
        optax=False,
    ),
}
