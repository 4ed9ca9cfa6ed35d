"""Lookahead: fast parameters that explore, and slow ones that follow."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jopt.core import (
    Buckets,
    GradientTransformation,
    Number,
    PyTree,
    Transformation,
    apply_updates,
    as_transformation,
    check,
    copied,
    field,
    increment,
    map_leaves,
    pytree,
    static,
    unpack,
    wide,
)
from jopt.wrappers._step_counts import period_at


class LookaheadState(NamedTuple):
    """The fast optimizer's state, the steps since the last sync, the slow params."""

    fast_state: PyTree  # of the inner transformation
    steps_since_sync: jax.Array  # int32[]
    slow: PyTree = None  # like params, at least float32; None if they are a pair


class LookaheadParams(NamedTuple):
    """Parameters to train with, and parameters to predict with.

    Gradients are those of `fast`; `slow` generalizes better.
    """

    fast: PyTree  # train with these
    slow: PyTree  # predict with these

    @classmethod
    def init_synced(cls, params: PyTree) -> "LookaheadParams":
        """Return the pair that starts from `params`, in new arrays.

        Args:
          params: tree of arrays.
        """
        return cls(fast=params, slow=jax.tree.map(jnp.array, params))

    @property
    def differentiated(self) -> PyTree:
        """The part whose structure gradients and updates have."""
        return self.fast


@pytree
class Lookahead(GradientTransformation):
    """Run a fast optimizer, and move slow parameters towards it every few steps.

        fast <- fast + u,  u of fast_optimizer
        every sync_period steps:  slow <- slow + slow_step_size (fast - slow)
                                  fast <- slow

        tx = jopt.lookahead(jopt.adam(1e-3), sync_period=5, slow_step_size=0.5)
        state = jopt.TrainState.create(model, tx)
        params = jopt.lookahead_eval_params(state.opt_state, state.params)

    The params are the fast ones; the slow ones are in the state: evaluate with those.
    As in optax, the params may be a pair of both, and the state then holds no copy:

        params = jopt.LookaheadParams.init_synced(params)
        grads = jax.grad(loss)(params.fast)
        updates, state = tx.update(grads, state, params)

    With such a pair `update` takes gradients like `params.fast` and returns a
    `LookaheadParams` of updates. If `init` was given the fast part alone, the slow copy
    in the state is not used.

    Updates must be applied as they are: any change to them would separate fast from
    slow. So this is the outermost transformation: a chain goes inside.

    Args:
      fast_optimizer: a transformation.
      sync_period: steps from one sync to the next, at least 1, rounded to an integer;
        it can be swept.
      slow_step_size: fraction of the way, at least 0, usually at most 1.
      reset_state: whether the state of `fast_optimizer` is initialized at each sync.

    Raises:
      ValueError: if `update` is given no params, or others than `init` was.

    Zhang et al. 2019, https://arxiv.org/abs/1907.08610, Algorithm 1.
    """

    fast_optimizer: Transformation = field(converter=as_transformation)
    sync_period: Number
    slow_step_size: Number
    reset_state: bool = static(default=False)

    def __post_init__(self):
        check(self, "sync_period", least=1, most=2**31 - 1)
        check(self, "slow_step_size", least=0)

    def init(self, params):
        pair = isinstance(params, LookaheadParams)
        return LookaheadState(
            self.fast_optimizer.init(params.fast if pair else params),
            jnp.zeros((), jnp.int32),
            None if pair else copied(params),
        )

    def update(self, updates, state, params=None, **extra):
        pair = self._pair(params, state)
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
        steps = jnp.where(meet, 0, steps)
        if isinstance(params, LookaheadParams):
            after = LookaheadState(fast_state, steps, state.slow)
            return LookaheadParams(fast, slow), after
        moved = apply_updates(state.slow, slow)
        return fast, LookaheadState(fast_state, steps, moved)

    def eval_params(self, state, params):
        if isinstance(params, LookaheadParams):
            return params.slow
        if state.slow is None:
            return params
        return map_leaves(lambda fast, slow: slow, params, state.slow)

    def parts(self, state):
        return {"fast_optimizer": (self.fast_optimizer, state.fast_state)}

    def _pair(self, params: PyTree, state: LookaheadState) -> LookaheadParams:
        if isinstance(params, LookaheadParams):
            return params
        if params is not None and state.slow is not None:
            return LookaheadParams(params, state.slow)
        given = "none" if params is None else type(params).__name__
        raise ValueError(
            f"Lookahead: update needs params as a LookaheadParams, got {given}; make "
            "the pair by LookaheadParams.init_synced(params) and call "
            "tx.update(updates, state, pair), or give init and update the same params."
        )


lookahead = Lookahead


def lookahead_eval_params(state: PyTree, params: PyTree) -> PyTree:
    """Return the slow parameters, for evaluation and for checkpoints.

        params = jopt.lookahead_eval_params(opt_state, params)

    Training continues with the params themselves.

    Args:
      state: state of `lookahead`, or of a transformation that holds it.
      params: the fast parameters, or the pair of both.

    Returns:
      A tree like the fast parameters.

    Raises:
      ValueError: if `state` does not hold exactly one state of `lookahead`, or if
        neither it nor `params` has slow parameters.
    """
    if isinstance(params, LookaheadParams):
        return params.slow
    is_state = lambda node: isinstance(node, LookaheadState)  # noqa: E731
    nodes = jax.tree.leaves(state, is_leaf=is_state)
    slow = [node.slow for node in nodes if is_state(node)]
    held = [tree for tree in slow if tree is not None]
    if len(held) != 1:
        raise ValueError(
            "lookahead_eval_params: state must hold one LookaheadState with slow "
            f"parameters, got {len(slow)} LookaheadStates, {len(held)} with slow "
            "parameters; give the optimizer's state first, and the params, or the pair "
            "of both, second."
        )
    (tree,) = held
    return map_leaves(
        lambda fast, slow: slow,
        params,
        tree if isinstance(params, Buckets) else unpack(tree),
    )
