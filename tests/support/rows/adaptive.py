"""Adaptive optimizers of the first generation, and scaling by norms."""

from row import Row, cosine, matrices, rows


def forgetful(step, exponent):
    """A decay that never comes near 1."""
    return 0.9 * (1 - (step + 1) ** -exponent)


ROWS = rows(
    {
        "scale_by_belief": lambda lib: lib.scale_by_belief(
            0.8, 0.95, 1e-4, 1e-6, nesterov=True
        ),
        "adabelief": lambda lib: lib.adabelief(1e-3),
        # optax squares complex gradients as they are.
        "scale_by_adadelta": Row(lambda lib: lib.scale_by_adadelta(), optax=False),
        "adadelta": Row(
            lambda lib: lib.adadelta(
                cosine(lib), 0.8, 1e-3, weight_decay=0.1, weight_decay_mask=matrices
            ),
            real=True,
        ),
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
        "adamax": lambda lib: lib.adamax(1e-2, 0.8, 0.9, 1e-3),
        "adamaxw": lambda lib: lib.adamaxw(1e-2, weight_decay=0.1, mask=matrices),
        # At 1 - b2 = b2 optax's factor is the paper's.
        "scale_by_adan": Row(
            lambda lib: lib.scale_by_adan(0.9, 0.5, 0.8, 1e-3, 1e-4), counters=("t",)
        ),
        "adan": Row(
            lambda lib: lib.adan(1e-2, weight_decay=0.1, mask=matrices),
            optax=False,
            counters=("t",),
        ),
        "fromage": Row(lambda lib: lib.fromage(0.1), idle={".transforms[0].min_norm"}),
        "fromage, schedule": lambda lib: lib.fromage(
            lib.linear_schedule(1.0, 0.5, 20), 3.0
        ),
        "lamb": Row(
            lambda lib: lib.lamb(1e-2, 0.8, 0.95, weight_decay=0.1, mask=matrices),
            idle={".transforms[2].min_norm"},
        ),
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
        "novograd": lambda lib: lib.novograd(1e-2),
        "novograd, decay": lambda lib: lib.novograd(0.1, 0.8, 0.9, 1e-3, 1e-4, 0.1),
        "scale_by_yogi": lambda lib: lib.scale_by_yogi(0.8, 0.95, 1e-4, 1e-6, 0.01),
        "yogi": lambda lib: lib.yogi(1e-2),
        "scale_by_trust_ratio": lambda lib: lib.scale_by_trust_ratio(3.0, 0.1, 0.01),
        "scale_by_param_block_norm": lambda lib: lib.scale_by_param_block_norm(5.0),
        "scale_by_param_block_rms": lambda lib: lib.scale_by_param_block_rms(5.0),
        "normalize_by_update_norm": lambda lib: lib.normalize_by_update_norm(2.0, 0.1),
        "centralize": lambda lib: lib.centralize(),
    }
)
