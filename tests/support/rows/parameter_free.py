"""What sets its own step size: DoG, DoWG, COCOB, MoMo; and the scale on a plateau."""

from typing import Any

from row import Row, contrib, cosine, matrices, rows

# MoMo's step is a difference of sums over all leaves, made anew at each step. optax's
# inner products of complex leaves are complex, and change the types of its state.
MODEL: Any = {
    "extra": {"value": 1.0},
    "real": True,
    "rtol": 2e-5,
    "scale": 2e-6,
}

ROWS = rows(
    {
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
            lambda lib: contrib(lib).dog(
                0.5, ("distance", 2.0), 0.1, 0.1, mask=matrices
            ),
            counters=("is_init_step",),
        ),
        "dowg": lambda lib: contrib(lib).dowg(),
        "dowg, distance": lambda lib: contrib(lib).dowg(
            0.5, 2.0, 0.1, weight_decay=0.1
        ),
        # optax gives the updates of scalars an axis, and takes complex leaves for real.
        "scale_by_distance_over_gradients": Row(
            lambda lib: lib.scale_by_distance_over_gradients(
                0.1, 0.1, global_scale=-0.5
            ),
            optax=False,
        ),
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
        "momo": Row(lambda lib: contrib(lib).momo(1e-3, weight_decay=0.1), **MODEL),
        "momo, adapt": Row(
            lambda lib: contrib(lib).momo(
                cosine(lib), 0.8, -5.0, 0.1, adapt_lower_bound=True
            ),
            **MODEL,
        ),
        "momo_adam": Row(
            lambda lib: contrib(lib).momo_adam(eps=1e-3),
            idle={".lower_bound"},
            **MODEL,
        ),
        "momo_adam, adapt": Row(
            lambda lib: contrib(lib).momo_adam(
                0.5, 0.8, 0.9, 1e-3, -5.0, 0.1, adapt_lower_bound=True
            ),
            **MODEL,
        ),
        "reduce_on_plateau": Row(
            lambda lib: contrib(lib).reduce_on_plateau(0.5, 2, cooldown=1),
            idle={".accumulation_size", ".atol", ".cooldown", ".min_scale", ".rtol"},
            extra={"value": 1.0},
            counters=(),
        ),
        "reduce_on_plateau, min_scale": Row(
            lambda lib: contrib(lib).reduce_on_plateau(0.7, 1, min_scale=0.6),
            idle={".accumulation_size", ".atol", ".patience", ".rtol"},
            extra={"value": 1.0},
            counters=(),
        ),
    }
)
