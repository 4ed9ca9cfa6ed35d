"""The optimizers of the first day."""

from row import Row, cosine, matrices, rows

ROWS = rows(
    {
        "sgd": lambda lib: lib.sgd(0.1),
        "sgd, schedule": lambda lib: lib.sgd(cosine(lib)),
        "sgd, momentum": lambda lib: lib.sgd(0.1, 0.9),
        "sgd, nesterov": lambda lib: lib.sgd(0.1, momentum=0.9, nesterov=True),
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
        "scale_by_amsgrad": lambda lib: lib.scale_by_amsgrad(0.8, 0.95, 1e-4, 1e-6),
        "amsgrad": lambda lib: lib.amsgrad(1e-3, b2=0.9),
        "amsgrad, paper": lambda lib: lib.amsgrad(
            1e-3, b2=0.9, bias_correction_mu=False, bias_correction_nu=False
        ),
        "scale_by_rss": lambda lib: lib.scale_by_rss(0.0, 0.01),
        "adagrad": lambda lib: lib.adagrad(0.1),
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
    }
)
