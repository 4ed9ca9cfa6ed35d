"""What masks, clips, corrects or averages: MADGRAD, StableAdamW, MARS, SAM."""

from row import Row, contrib, cosine, matrices, rows

ROWS = rows(
    {
        # optax squares complex gradients as they are, and has no cube root of that.
        "madgrad": Row(lambda lib: contrib(lib).madgrad(1e-2), real=True),
        # Where a point is near its start its update is a small difference.
        "madgrad, schedule": Row(
            lambda lib: contrib(lib).madgrad(cosine(lib), 0.5, 0.1, 1e-3),
            optax=False,
            scale=1e-6,
        ),
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
        "cautious": Row(
            lambda lib: lib.cautious(lib.adamw(1e-2, weight_decay=0.1)),
            optax=False,
            idle={".floor"},
        ),
        "cautious, direction": Row(
            lambda lib: lib.chain(
                lib.cautious(lib.scale_by_adam(), 1.0, descending=False),
                lib.scale_by_learning_rate(1e-2),
            ),
            optax=False,
        ),
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
        "normalize": lambda lib: contrib(lib).normalize(),
        "sam": Row(
            lambda lib: contrib(lib).sam(
                lib.sgd(0.1, 0.9),
                lib.chain(contrib(lib).normalize(), lib.sgd(0.5)),
            ),
            counters=("steps_since_sync",),
        ),
        "sam, three": Row(
            lambda lib: contrib(lib).sam(
                lib.sgd(0.1, 0.9), lib.sgd(0.5, 0.9), sync_period=3, reset_state=False
            ),
            idle={".optimizer.transforms[0].decay"},
            counters=("steps_since_sync",),
            reference=False,
        ),
    }
)
