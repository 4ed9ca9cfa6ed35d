"""Free of a schedule or of a learning rate, and what mixes several memories."""

from typing import Any

from row import Row, contrib, cosine, matrices, rows

# They compare sums over the run or over the tree, which keep each term's rounding.
SUMS: dict[str, Any] = {"rtol": 5e-6, "scale": 1e-6}

ROWS = rows(
    {
        "schedule_free": Row(
            lambda lib: contrib(lib).schedule_free(
                lib.sgd(cosine(lib)), lib.linear_schedule(0.1, 0.3, 10), 0.8, 1.5
            ),
            counters=("step_count", "count"),
        ),
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
        "mechanize": Row(
            lambda lib: contrib(lib).mechanize(
                lib.adam(0.1, eps=0.1), eps=1e-3, s_init=0.1
            ),
            real=True,
            **SUMS,
        ),
        "mechanize, complex": Row(
            lambda lib: contrib(lib).mechanize(lib.sgd(0.1), 0.1, 1e-3, 1e-2, 3),
            optax=False,
            **SUMS,
        ),
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
        "scale_by_ademamix": lambda lib: contrib(lib).scale_by_ademamix(
            0.8, 0.95, 0.99, lib.linear_schedule(0.0, 5.0, 20), 1e-4, 1e-6
        ),
        "ademamix": lambda lib: contrib(lib).ademamix(
            1e-3, weight_decay=0.01, mask=matrices
        ),
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
    }
)
