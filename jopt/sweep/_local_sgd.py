"""Local SGD: clients train on parts of the data, and average from time to time."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jopt.core import Number, PyTree, check, checked, noted, pytree, shown, wide
from jopt.sweep._data import is_stream
from jopt.sweep._supervised import is_supervised, training_of
from jopt.sweep._task import Task, examples


@pytree
class Local:
    """A config for a task of `local_sgd`: a client's config, and its steps per round.

    Args:
      config: as for the task that the clients train, such as a transformation.
      every: steps between two averages, at least 1, rounded; a number, so trials that
        differ in it share a program.
    """

    config: Any
    every: Number = 8.0

    def __post_init__(self):
        check(self, "every", least=1)


class Clients(NamedTuple):
    """The state of a task of `local_sgd`."""

    count: jax.Array  # int32[], steps made
    states: PyTree  # the clients' states, stacked on axis 0


@checked
def local_sgd(
    task: Task, clients: int, *, by: Callable[[PyTree], Any] | None = None
) -> Task:
    """Return the task of clients that train apart and average their states.

        each client c:   s_c <- step(s_c, a batch of its own part of the data)
        every H steps:   s_c <- mean over clients of s

        def factory(learning_rate, every):
            return sweep.Local(jopt.sgd(learning_rate), every)

        task = sweep.local_sgd(digits(), clients=4)
        trials = sweep.grid(factory, learning_rate=[0.1, 0.3], every=[1, 8, 64])
        result = sweep.run(task, trials)

    This is federated averaging with all clients in every round. A trial is a whole
    federation: its clients are an axis of its state, and its loss is their mean. The
    clients' mean is evaluated, kept and saved. The mean covers all floats of a state,
    an optimizer's moments too. With H = 1 and an optimizer that is linear in the
    gradients, such as SGD with momentum, the clients together take the steps of one
    training on all of the data.

    The batch size is that of one client. Its default is the task's batch size divided
    by the clients, so that an epoch has as many steps. Folds are refused, since the
    data are already dealt to the clients.

    Args:
      task: any task that is trained on a tree of arrays.
      clients: the number of clients, at least 2.
      by: training examples -> one value an example. The examples are sorted by it
        before they are dealt, so that clients have different data, such as one class
        each. By default all clients have similar data. A remainder is left out.

    Raises:
      ValueError: a number breaks its rule; the training examples are not a tree of
        arrays, or are fewer than the clients.

    McMahan et al. 2017, https://arxiv.org/abs/1602.05629, Algorithm 1; Stich 2019,
    https://arxiv.org/abs/1805.09767, Algorithm 1.
    """
    if clients < 2:
        raise ValueError(f"local_sgd: clients must be at least 2, got {clients}.")
    if task.train is None or is_stream(task.train):
        raise ValueError(
            "local_sgd: task must have its training examples as a tree of arrays, "
            f"which are dealt to the clients, got {shown(task.train)} for train of "
            f"{task.name}."
        )
    size = examples(task.train)
    if size < clients:
        raise ValueError(
            f"local_sgd: clients must be at most the {size} training examples, got "
            f"{clients}."
        )
    if is_supervised(task) and (training := training_of(task)).scaling is not None:
        fitted = dataclasses.replace(training, fitted=training.fit(task.train))
        task = dataclasses.replace(task, **fitted.functions())
    order = np.arange(size)
    if by is not None:
        with noted(f"In by of local_sgd, on all {size} training examples."):
            values = np.asarray(by(jax.tree.map(np.asarray, task.train)))
        if values.shape != (size,):
            raise ValueError(
                "local_sgd: by must return one value an example, of the shape "
                f"({size},), got {values.shape}."
            )
        order = np.argsort(values, kind="stable")
    each = size // clients
    rows = order[: each * clients]
    # [examples of a client, clients]: an example of this task is one of every client.
    rows = rows.reshape(each, clients) if by is None else rows.reshape(clients, each).T
    federation = _Federation(task, clients)
    return dataclasses.replace(
        task,
        init=federation.init,
        step=federation.step,
        evaluate=federation.evaluate,
        summarize=None if task.summarize is None else federation.summarize,
        model=federation.model,
        train=jax.tree.map(lambda array: np.asarray(array)[rows], task.train),
        batch_size=max(1, task.batch_size // clients),
        source=None,
    )


@dataclasses.dataclass(frozen=True)
class _Federation:
    """The functions of a task of `local_sgd`."""

    task: Task
    clients: int

    def init(self, config: Local, key: jax.Array) -> Clients:
        if not isinstance(config, Local):
            raise TypeError(
                f"Task {self.task.name}: the factory of the trials must return a "
                "sweep.Local, with the config of a client and the steps between two "
                f"means, got {shown(config)}."
            )
        state = jax.tree.map(jnp.asarray, self.task.init(config.config, key))
        return Clients(jnp.zeros((), jnp.int32), jax.tree.map(self._copies, state))

    def step(
        self, config: Local, state: Clients, batch: PyTree, key: jax.Array
    ) -> tuple[Clients, dict[str, jax.Array]]:
        def one(own: PyTree, batch: PyTree, place: jax.Array) -> Any:
            own_key = jax.random.fold_in(key, place)
            return self.task.step(config.config, own, batch, own_key)

        places = jnp.arange(self.clients, dtype=jnp.int32)
        states, metrics = jax.vmap(one, (0, 1, 0))(state.states, batch, places)
        count = state.count + 1
        every = jnp.maximum(1, jnp.round(wide(config.every))).astype(jnp.int32)
        meets = count % every == 0

        def met(x: jax.Array) -> jax.Array:
            return jnp.where(meets, _mean(x)[None], x) if _is_float(x) else x

        means = jax.tree.map(lambda value: jnp.mean(wide(value), axis=0), metrics)
        return Clients(count, jax.tree.map(met, states)), means

    def evaluate(
        self, config: Local, state: Clients, batch: PyTree, key: jax.Array
    ) -> dict[str, Any]:
        mean = _averaged(state)

        def values(batch: PyTree) -> dict[str, Any]:
            return self.task.evaluate(config.config, mean, batch, key)

        alone = np.ndim(jax.tree.leaves(self.task.train)[0])
        if batch is None or np.ndim(jax.tree.leaves(batch)[0]) == alone:
            return values(batch)
        # A training example holds one example of each client; evaluate their mean.
        each = jax.vmap(values, in_axes=1)(batch)
        return jax.tree.map(lambda value: jnp.mean(wide(value), axis=0), each)

    def summarize(
        self, config: Local, state: Clients, means: dict[str, Any]
    ) -> dict[str, Any]:
        assert self.task.summarize is not None
        return self.task.summarize(config.config, _averaged(state), means)

    def model(self, config: Local, state: Clients) -> PyTree:
        state = _averaged(state)
        return (
            state if self.task.model is None else self.task.model(config.config, state)
        )

    def _copies(self, x: jax.Array) -> jax.Array:
        """Return a leaf copied for each client; keys differ by client."""
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) and not x.shape:
            places = jnp.arange(self.clients, dtype=jnp.int32)
            return jax.vmap(lambda place: jax.random.fold_in(x, place))(places)
        return jnp.broadcast_to(x[None], (self.clients, *x.shape))


def _is_float(x: jax.Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _mean(x: jax.Array) -> jax.Array:
    return jnp.mean(wide(x), axis=0).astype(x.dtype)


def _averaged(state: Clients) -> PyTree:
    """Return the mean of the clients' floats; counters and keys are the first's."""
    return jax.tree.map(lambda x: _mean(x) if _is_float(x) else x[0], state.states)
