"""What comes from optax by `lift`."""

import optax
from row import Row, rows

import jopt

ROWS = rows(
    {
        "lift(adan)": Row(
            lambda lib: (lib.adan if lib is optax else jopt.lift(optax.adan))(
                1e-2, weight_decay=0.1
            ),
            reference=False,
        )
    }
)
