"""A script: run decompositions that could all run at once on so many threads.

    python tests/support/lapack_at_once.py soap 2

prints "done" for SOAP on 2 threads. It hangs if batches of matrices wait for threads
that wait for them. The name "sweep" runs a sweep of SOAP.
"""

import os
import sys
from typing import Any

if __name__ == "__main__":
    # XLA has a thread for each core that the process may use. OpenBLAS would have as
    # many beside them, and take ten times as long.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[2])])
    os.environ["OPENBLAS_NUM_THREADS"] = "1"

import jax
import jax.numpy as jnp

import jopt
from jopt import sweep
from jopt.tasks import text

MAKE = {
    "soap": lambda x: jopt.scale_by_soap(eps=x, precondition_frequency=1),
    "shampoo": lambda x: jopt.scale_by_shampoo(eps=x, precondition_frequency=1),
    "kron": lambda x: jopt.scale_by_kron(x, preconditioner_update_probability=1.0),
}
# Smaller, fewer or of one shape they seldom meet.
PARAMS = [jnp.eye(n, n + 1) for n in range(90, 96)]


@jax.vmap
def trained(tx):
    def step(held, _):
        params, state = held
        updates, state = tx.update(jax.tree.map(jnp.sin, params), state, params)
        return (jopt.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (PARAMS, tx.init(PARAMS)), length=60)[0]


if __name__ == "__main__":
    name = sys.argv[1]
    if name == "sweep":
        rates = jnp.geomspace(1e-4, 1e-1, 6).tolist()
        trials = sweep.grid(jopt.soap, learning_rate=rates)
        sweep.run(text(length=32, width=32), trials, steps=60, seeds=2, block=4)
    else:
        block = jax.vmap(MAKE[name])(jnp.linspace(0.1, 0.2, 8))
        # To compile it is most of the time.
        options: Any = {"xla_backend_optimization_level": 0}
        program = jax.jit(trained).lower(block).compile(options)
        # Two calls in flight: decompositions of several programs may meet, too.
        jax.block_until_ready([program(block), program(block)])
    print("done")
