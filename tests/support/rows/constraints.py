"""Clips by block and unit, constraints, functions as transformations, sums."""

import jax
import optax
from row import Row, rows


def towards_params(g, p):
    """A function of a leaf of the updates and of the params."""
    return 2 * g + 0.125 * p


def all_towards_params(updates, params):
    """A function of the updates and the params."""
    return jax.tree.map(towards_params, updates, params)


ROWS = rows(
    {
        "clip_by_block_rms": lambda lib: lib.clip_by_block_rms(0.5),
        "adaptive_grad_clip": lambda lib: lib.adaptive_grad_clip(0.1, 2.0),
        "adaptive_grad_clip, axis": Row(
            lambda lib: lib.adaptive_grad_clip(0.1, axis=()), idle={".eps"}
        ),
        "keep_params_nonnegative": Row(
            lambda lib: lib.keep_params_nonnegative(), real=True
        ),
        "zero_nans": lambda lib: lib.zero_nans(),
        "proximal_l1": Row(lambda lib: lib.proximal_l1(0.5, 0.1), optax=False),
        "proximal_l1, schedule": Row(
            lambda lib: lib.chain(
                lib.scale(-0.1),
                lib.proximal_l1(0.5, lib.linear_schedule(0.1, 0.05, 20)),
            ),
            optax=False,
        ),
        "add_l1_subgradient": Row(lambda lib: lib.add_l1_subgradient(0.1), optax=False),
        "project": Row(
            lambda lib: lib.project(optax.projections.projection_l2_ball, scale=1),
            optax=False,
            reference=False,
        ),
        "stateless": lambda lib: lib.stateless(all_towards_params),
        "stateless_with_tree_map": lambda lib: lib.stateless_with_tree_map(
            towards_params
        ),
        "apply_every": lambda lib: lib.apply_every(3),
    }
)
