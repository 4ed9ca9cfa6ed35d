"""Optimizers with matrices: SOAP, Shampoo, Kron.

All of them are compared with the float64 reference in float64, by
test_preconditioned.py. SOAP's only there: float32 numbers do not determine the
eigenvectors of eigenvalues below 1e-7 of the greatest. Shampoo's roots amplify the
rounding there, and Kron's fits build on each other.
"""

from row import Row, matrices, rows

COUNTERS = ("count", "since")

ROWS = rows(
    {
        "soap": Row(
            lambda lib: lib.soap(1e-2, precondition_frequency=2),
            optax=False,
            reference=False,
        ),
        "scale_by_soap": Row(
            lambda lib: lib.scale_by_soap(
                0.8, 0.9, 0.7, 1e-4, precondition_frequency=1
            ),
            optax=False,
            reference=False,
        ),
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
        "kron": Row(
            lambda lib: lib.kron(1e-3, weight_decay=0.1, mask=matrices),
            optax=False,
            counters=COUNTERS,
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
            counters=COUNTERS,
            scale=1e-5,
        ),
    }
)
