"""Lookahead: fast parameters that explore, slow ones that follow."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jopt._core import GradientTransformation, Transformation, as_transformation
from jopt._leaves import map_leaves
from jopt._numbers import increment, wide
from jopt._pytree import Number, PyTree, check, pytree, static
from jopt.wrappers._period import period_at


class LookaheadState(NamedTuple):
    """The state of the fast optimizer, and how long it has run on its own."""

    fast_state: PyTree
    steps_since_sync: jax.Array  # int32[]


class LookaheadParams(NamedTuple):
    """Parameters to train with, and parameters to predict with.

    Gradients are taken of `fast`; `slow` generalizes better.
    """

    fast: PyTree
    slow: PyTree

    @classmethod
    def init_synced(cls, params: PyTree) -> "LookaheadParams":
        """Return the pair that starts from `params`, in arrays of their own."""
        return cls(fast=params, slow=jax.tree.map(jnp.array, params))

    @property
    def differentiated(self) -> PyTree:
        """The part that gradients and updates are like."""
        return self.fast


@pytree
class Lookahead(GradientTransformation):
    """Let a fast optimizer run, and every few steps go a part of its way.

        fast <- fast + u,  u of fast_optimizer
        every sync_period steps:  slow <- slow + slow_step_size (fast - slow)
                                  fast <- slow

    fast_optimizer: a transformation. sync_period: at least 1, in steps, rounded to an
    integer; it can be swept. slow_step_size: at least 0, a fraction, usually at most 1.
    reset_state: start `fast_optimizer` anew whenever the two meet.

        params = jopt.LookaheadParams.init_synced(params)
        grads = jax.grad(loss)(params.fast)
        updates, state = tx.update(grads, state, params)

    `update` takes gradients like `params.fast` and returns a `LookaheadParams` of
    updates, to be applied as they are: a change of them would pull the pair apart. So
    this is the outermost: a chain goes inside. `init` takes the pair, or its fast part
    alone.

    Raises a ValueError if `params` is no `LookaheadParams`.

    Zhang et al. 2019, https://arxiv.org/abs/1907.08610, Algorithm 1.
    """

    fast_optimizer: Transformation
    sync_period: Number
    slow_step_size: Number
    reset_state: bool = static(default=False)

    def __post_init__(self):
        check(self, "sync_period", least=1, most=2**31 - 1)
        check(self, "slow_step_size", least=0)
        self.__dict__["fast_optimizer"] = as_transformation(self.fast_optimizer)

    def init(self, params):
        fast = params.fast if isinstance(params, LookaheadParams) else params
        return LookaheadState(self.fast_optimizer.init(fast), jnp.zeros((), jnp.int32))

    def update(self, updates, state, params=None, **extra):
        pair = self._pair(params)
        made, fast_state = self.fast_optimizer.update(
            jax.tree.map(wide, updates), state.fast_state, pair.fast, **extra
        )
        steps = increment(state.steps_since_sync)
        meet = steps >= period_at(self.sync_period, steps)

        def rule(_, slow, fast, u):
            ahead = fast + u - slow
            part = self.slow_step_size * ahead
            return jnp.where(meet, u + part - ahead, u), jnp.where(meet, part, 0)

        fast, slow = map_leaves(rule, updates, pair.slow, pair.fast, made)
        if self.reset_state:
            fast_state = jax.tree.map(
                lambda new, old: jax.lax.select(meet, new, old),
                self.fast_optimizer.init(pair.fast),
                fast_state,
            )
        return LookaheadParams(fast, slow), LookaheadState(
            fast_state, jnp.where(meet, 0, steps)
        )

    def parts(self, state):
        return {"fast_optimizer": (self.fast_optimizer, state.fast_state)}

    def _pair(self, params: Any) -> LookaheadParams:
        if isinstance(params, LookaheadParams):
            return params
        given = "none" if params is None else type(params).__name__
        raise ValueError(
            f"Lookahead: update needs params as a LookaheadParams, got {given}; make "
            "the pair by LookaheadParams.init_synced(params) and call "
            "tx.update(updates, state, pair)."
        )


lookahead = Lookahead
