"""Train PPO on a cart pole, at many settings and seeds in one program.

    python examples/ppo.py 64 4 120     settings, seeds, updates; by default 4 2 6

A task is three functions: a start, a step, and what it is judged by. Here is no data
set: a step plays the game with the trial's own policy.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import jopt
from jopt import sweep

ENVS, STEPS, EPOCHS, PARTS, LONGEST = 16, 64, 4, 4, 500
DISCOUNT, LAMBDA, WIDTH = 0.99, 0.95, 64


def pushed(state, right):
    """Return a cart pole after 0.02 s (Barto, Sutton & Anderson 1983)."""
    _, speed, angle, turn = state
    force, sin, cos = jnp.where(right, 10, -10), jnp.sin(angle), jnp.cos(angle)
    pull = (force + 0.05 * turn**2 * sin) / 1.1
    bend = (9.8 * sin - cos * pull) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    change = jnp.stack([speed, pull - 0.05 * bend * cos / 1.1, turn, bend])
    return state + 0.02 * change


def fallen(state):
    return (jnp.abs(state[0]) > 2.4) | (jnp.abs(state[2]) > 12 * jnp.pi / 180)


def fresh(key, number=ENVS):
    return jax.random.uniform(key, (number, 4), minval=-0.05, maxval=0.05)


def network(params, x):
    """Return the logits of the two pushes, and the value."""
    *hidden, (w, b) = params
    for weights, biases in hidden:
        x = jnp.tanh(x @ weights + biases)
    return (x @ w + b)[:2], (x @ w + b)[2]


def init(config, key):
    sizes = [(4, WIDTH, 1.0), (WIDTH, WIDTH, 1.0), (WIDTH, 3, 0.01)]
    *keys, start = jax.random.split(key, 4)
    params = [
        (jax.random.normal(key, (n, m)) * scale / n**0.5, jnp.zeros(m))
        for key, (n, m, scale) in zip(keys, sizes, strict=True)
    ]
    state = {"params": params, "opt_state": config["tx"].init(params)}
    return {**state, "envs": fresh(start), "lengths": jnp.zeros(ENVS)}


def play(params, envs, lengths, key):
    """Play STEPS steps of all games; return how they stand, and what was seen."""

    def move(carry, key):
        envs, lengths = carry
        act, again = jax.random.split(key)
        logits, values = jax.vmap(lambda x: network(params, x))(envs)
        right = jax.random.categorical(act, logits)
        log_chance = jnp.take_along_axis(jax.nn.log_softmax(logits), right[:, None], 1)
        after, lengths = jax.vmap(pushed)(envs, right == 1), lengths + 1
        over = jax.vmap(fallen)(after)
        ended = over | (lengths >= LONGEST)
        next_values = jax.vmap(lambda x: network(params, x)[1])(after)
        error = 1.0 + DISCOUNT * jnp.where(over, 0, next_values) - values
        carry = jnp.where(ended[:, None], fresh(again), after)
        seen = (envs, right, log_chance[:, 0], values), (error, ended)
        return (carry, jnp.where(ended, 0.0, lengths)), seen

    return jax.lax.scan(move, (envs, lengths), jax.random.split(key, STEPS))


def loss(params, part, config):
    states, right, old, values_then, gains = part
    logits, values = jax.vmap(lambda x: network(params, x))(states)
    log_chances = jax.nn.log_softmax(logits)
    new = jnp.take_along_axis(log_chances, right[:, None], 1)[:, 0]
    wrong = 0.5 * (values - values_then - gains) ** 2
    gains = (gains - gains.mean()) / (gains.std() + 1e-8)
    ratio, clip = jnp.exp(new - old), config["clip"]
    policy = jnp.minimum(ratio * gains, jnp.clip(ratio, 1 - clip, 1 + clip) * gains)
    entropy = -jnp.sum(jnp.exp(log_chances) * log_chances, axis=1)
    return jnp.mean(wrong - policy - config["entropy"] * entropy)


def step(config, state, batch, key):
    """One update of PPO (Schulman et al. 2017): play, then EPOCHS passes over it."""
    first, *orders = jax.random.split(key, 1 + EPOCHS)
    games = state["params"], state["envs"], state["lengths"]
    (envs, lengths), (rows, (errors, ended)) = play(*games, first)

    def back(later, now):  # generalized advantages (Schulman et al. 2016)
        error, end = now
        found = error + DISCOUNT * LAMBDA * jnp.where(end, 0, later)
        return found, found

    _, gains = jax.lax.scan(back, jnp.zeros(ENVS), (errors, ended), reverse=True)
    rows = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (*rows, gains))
    orders = [jax.random.permutation(key, ENVS * STEPS) for key in orders]

    def descend(carry, order):
        part = jax.tree.map(lambda x: x[order], rows)
        value, grads = jax.value_and_grad(loss)(carry[0], part, config)
        updates, opt_state = config["tx"].update(grads, carry[1], carry[0])
        return (jopt.apply_updates(carry[0], updates), opt_state), value

    carry, parts = (state["params"], state["opt_state"]), EPOCHS * PARTS
    orders = jnp.concatenate(orders).reshape(parts, -1)
    (params, opt_state), losses = jax.lax.scan(descend, carry, orders)
    state = {"params": params, "opt_state": opt_state, "envs": envs, "lengths": lengths}
    return state, {"loss": losses.mean()}


def evaluate(config, state, batch, key):
    """Return the mean length of 16 games of the likelier pushes."""

    def move(carry, _):
        envs, alive, total = carry
        logits, _ = jax.vmap(lambda x: network(state["params"], x))(envs)
        envs = jax.vmap(pushed)(envs, logits[:, 1] > logits[:, 0])
        alive &= ~jax.vmap(fallen)(envs)
        return (envs, alive, total + alive), None

    carry = fresh(key, 16), jnp.ones(16, bool), jnp.zeros(16)
    return {"return": jax.lax.scan(move, carry, length=LONGEST)[0][2].mean()}


def factory(learning_rate, entropy, clip):
    tx = jopt.chain(jopt.clip_by_global_norm(0.5), jopt.adam(learning_rate))
    return {"tx": tx, "entropy": entropy, "clip": clip}


settings, seeds, updates = map(int, sys.argv[1:] or (4, 2, 6))
rates, entropies = sweep.log_uniform(1e-4, 1e-2), sweep.log_uniform(1e-4, 1e-1)
ranges = {"learning_rate": rates, "entropy": entropies, "clip": sweep.uniform(0.1, 0.3)}
trials = sweep.sample(factory, settings, sampler=sweep.Sobol(), **ranges)
task = sweep.Task("ppo", init, step, evaluate, metric="return", mode="max")
result = sweep.run(task, trials, steps=updates, seeds=seeds)
returns = np.sort(result.settings()["valid_return"])[::-1]
print("mean returns of the best settings:", *returns[:5].round())
print(f"best: {result.best.hyperparameters}, return {result.best.valid['return']:.0f}")
