"""Building blocks and combinations of them."""

from row import Row, harmonic, matrices, rows

ROWS = rows(
    {
        "identity": lambda lib: lib.identity(),
        "set_to_zero": lambda lib: lib.set_to_zero(),
        "scale": lambda lib: lib.scale(-0.5),
        "scale_by_learning_rate": lambda lib: lib.scale_by_learning_rate(0.1),
        "scale_by_learning_rate, unflipped": lambda lib: lib.scale_by_learning_rate(
            0.1, flip_sign=False
        ),
        "scale_by_learning_rate, schedule": lambda lib: lib.scale_by_learning_rate(
            lib.linear_schedule(0.1, 0.01, 20, 1)
        ),
        "scale_by_schedule": lambda lib: lib.scale_by_schedule(
            lib.exponential_decay(0.5, 10, 0.5)
        ),
        "scale_by_schedule, function": lambda lib: lib.scale_by_schedule(harmonic),
        "trace": lambda lib: lib.trace(0.9),
        "trace, nesterov": lambda lib: lib.trace(0.9, nesterov=True),
        "ema": lambda lib: lib.ema(0.95),
        "ema, biased": lambda lib: lib.ema(0.95, debias=False),
        # Coordinates have no order in the complex plane.
        "clip": Row(lambda lib: lib.clip(0.2), real=True),
        "clip_by_global_norm": lambda lib: lib.clip_by_global_norm(0.5),
        "add_decayed_weights": lambda lib: lib.add_decayed_weights(0.1),
        "add_decayed_weights, schedule": lambda lib: lib.add_decayed_weights(
            lib.linear_schedule(0.1, 0.0, 20)
        ),
        "add_decayed_weights, mask": lambda lib: lib.add_decayed_weights(0.1, matrices),
        "chain": lambda lib: lib.chain(
            lib.clip_by_global_norm(0.5), lib.chain(lib.trace(0.9), lib.scale(-0.1))
        ),
        "named_chain": lambda lib: lib.named_chain(
            ("clip", lib.clip_by_global_norm(0.5)), ("adam", lib.adamw(1e-2))
        ),
    }
)
