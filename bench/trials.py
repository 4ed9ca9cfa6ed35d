"""What scaling.py times: steps of some trials, by the engine's parts and by optax."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from roofline import least
from turns import steps

import jopt
from jopt import sweep
from jopt.sweep._plan import CALL, Plan, base_key
from jopt.sweep._supervised import training_of
from jopt.sweep._trial import stack
from jopt.sweep.engine import StackedTrials
from jopt.sweep.engine._program import Program

TURN = 16  # trials, at least


class Work:
    """A task, and calls of some steps of some of its trials."""

    def __init__(self, task, steps):
        self.task, self.steps = task, steps
        self.plan = Plan(task, task.batch_size, steps, 1, base_key(0))
        self.data = self.plan.data()
        (self.batches,) = self.plan.batches(0)

    def stacked(self, number):
        """Return `number` trials, each with a learning rate of its own."""
        rates = np.geomspace(1e-4, 1e-2, number)
        trials = sweep.grid(jopt.adamw, learning_rate=rates)
        configs, seeded = stack([t.config for t in trials]), self.plan.starts(trials)
        return StackedTrials(self.task, configs, seeded, self.data, self.batches)

    def seconds(self, program, number):
        """Return the time of `number` trials for the steps of a call."""
        firsts = range(0, number, program.block)
        waiting = jax.block_until_ready([started(program, first) for first in firsts])
        began = time.perf_counter()
        while waiting:  # one at a time, as the engine's pool hands them out
            jax.block_until_ready(program.train(*waiting.pop(), self.batches))
        return time.perf_counter() - began

    def turn(self, program, number):
        """Return the same as the mean of as many times as a turn has room for."""
        times = repeats(number)
        return sum(self.seconds(program, number) for _ in range(times)) / times

    def needs(self, program, roof):
        """Return what the roofline says of a step of a block."""
        first = {name: getattr(self.batches, name)[:1] for name in ("steps", "rows")}
        trials = [jax.tree.leaves(part) for part in program.zeros()]
        arguments = *trials, (), self.data.train, self.batches._replace(**first)
        step = jax.jit(program.stacked.train, donate_argnums=0).lower(*arguments)
        return least(step.compile(), roof)


def repeats(number):
    """Return how many times so many trials are trained in a turn."""
    return max(1, TURN // number)


def started(program, first):
    """Return a block of trials before their first step, from the trial `first` on."""
    rows = np.minimum(
        np.arange(first, first + program.block), program.stacked.count - 1
    )
    own, shared = program.start(rows, 0)
    return [own], [shared]


def by_optax(work):
    """Return a step of plain optax, whose rate is an argument.

    step(rate, held, data, (rows, number)) returns what it holds next, and the loss.
    """
    loss = jax.value_and_grad(training_of(work.task).loss, has_aux=True)

    def step(rate, held, data, now):
        params, model_state, opt_state = held
        batch = jax.tree.map(lambda array: array[now[0]], data)
        key = jax.random.fold_in(work.plan.key, now[1])
        (value, model_state), grads = loss(params, model_state, batch, key)
        updates, opt_state = optax.adamw(rate).update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        return (params, model_state, opt_state), value

    return step


def start_of_optax(work):
    """Return what the first of those steps holds."""
    params, model_state = training_of(work.task).start(work.plan.key)
    return params, model_state, optax.adamw(0.0).init(params)


def serial(work):
    """Return the time of some trainings by plain optax, as a function."""
    held, step = start_of_optax(work), by_optax(work)

    def train(rate, held, data):
        steps = work.batches.rows, jnp.arange(work.steps)
        return jax.lax.scan(lambda held, now: step(rate, held, data, now), held, steps)

    arguments = held, work.data.train
    program = jax.jit(train).lower(1e-3, *arguments).compile()

    def seconds(number):
        began = time.perf_counter()
        for rate in np.geomspace(1e-4, 1e-2, number).tolist():
            jax.block_until_ready(program(rate, *arguments))
        return time.perf_counter() - began

    return seconds


def looped(work):
    """Return some trainings by a Python loop of jitted steps, as a function."""
    step = jax.jit(by_optax(work), donate_argnums=1)
    rows, start = list(np.asarray(work.batches.rows)), start_of_optax(work)

    def run(number):
        for rate in np.geomspace(1e-4, 1e-2, number).tolist():
            held = jax.tree.map(jnp.copy, start)
            for now in enumerate(rows):
                held, _ = step(rate, held, work.data.train, now[::-1])
            jax.block_until_ready(held)

    return run


def trained(program, number, batches):
    """Return calls of a program that train `number` trials, block by block."""
    firsts = range(0, number, program.block)
    return steps(
        lambda held: [program.train(*block, batches)[:2] for block in held],
        [started(program, first) for first in firsts],
    )


def steps_that_fit(task, numbers, seconds, rounds):
    """Return the steps of a call with which `rounds` rounds take about `seconds`."""
    work, times = Work(task, 4), []
    few, many = 1, min(16, numbers[-1])
    stacked = work.stacked(many)
    for block in (few, many):
        program = Program(stacked, block, work.batches)
        times.append(min(work.seconds(program, block) for _ in range(3)) / work.steps)
    a_trial = max(times[1] - times[0], times[1] / many) / max(many - few, 1)
    blocks = powers(numbers[-1])
    calls = sum(repeats(n) for n in (*blocks, *numbers))
    trained = sum(n * repeats(n) for n in (*blocks, *numbers))
    a_round = trained * a_trial + calls * max(0, times[0] - a_trial)
    return int(np.clip(seconds / rounds / a_round, 2, CALL))


def powers(most):
    """Return the powers of two from 1 to `most`."""
    return [2**power for power in range(most.bit_length())]
