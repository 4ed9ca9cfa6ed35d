"""Ask and tell: a search around a training loop of one's own, 16 settings at a time.

The loop is ten lines of JAX, mapped over the settings; the study proposes them and is
told what came of them. With `directory=` it goes on after a crash.
"""

import jax
import jax.numpy as jnp

import jopt
from jopt import sweep

KEY = jax.random.key(0)
INPUTS = jax.random.normal(KEY, (256, 8))
TARGETS = jnp.sin(INPUTS @ jnp.arange(8.0))


def loss(params):
    hidden = jnp.tanh(INPUTS @ params["in"])
    return jnp.mean((hidden @ params["out"] - TARGETS) ** 2)


@jax.jit
def train(configs):
    """Return the last loss of each setting."""

    def alone(tx):
        params = {"in": 0.5 * jax.random.normal(KEY, (8, 32)), "out": jnp.zeros(32)}

        def step(carry, _):
            params, state = carry
            updates, state = tx.update(jax.grad(loss)(params), state, params)
            return (jopt.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), length=200)
        return loss(params)

    return jax.vmap(alone)(configs)


space = sweep.Space(
    jopt.adamw,
    learning_rate=sweep.log_uniform(1e-4, 10),
    b1=sweep.uniform(0.5, 0.99),
    weight_decay=sweep.log_uniform(1e-6, 1e-1),
)
study = sweep.Study(space, sampler=sweep.TPE(), metric="loss", mode="min")
for batch in range(6):
    trials = study.ask(16)
    study.tell(trials, train(sweep.stack(trials)))  # a loss that is not finite diverged
    assert study.best is not None
    print(f"batch {batch}: best loss {study.best.value:.4f}")
print(study.best.trial.hyperparameters)
