"""Rows of the transformations in `jopt/transforms/`."""

import jax
import optax

from rows import Row, contrib, harmonic, matrices


def towards_params(g, p):
    """A function of a leaf of the updates and of the params."""
    return 2 * g + 0.125 * p


def all_towards_params(updates, params):
    """A function of the updates and the params."""
    return jax.tree.map(towards_params, updates, params)


ROWS = {
    # _apply_every.py
    "apply_every": lambda lib: lib.apply_every(3),
    # _block_clipping.py
    "clip_by_block_rms": lambda lib: lib.clip_by_block_rms(0.5),
    "adaptive_grad_clip": lambda lib: lib.adaptive_grad_clip(0.1, 2.0),
    "adaptive_grad_clip, axis": Row(
        lambda lib: lib.adaptive_grad_clip(0.1, axis=()), idle={".eps"}
    ),
    # _clipping.py
    # Coordinates have no order in the complex plane.
    "clip": Row(lambda lib: lib.clip(0.2), real=True),
    "clip_by_global_norm": lambda lib: lib.clip_by_global_norm(0.5),
    # _constraints.py
    "keep_params_nonnegative": Row(
        lambda lib: lib.keep_params_nonnegative(), real=True
    ),
    "zero_nans": lambda lib: lib.zero_nans(),
    # _decay.py
    "add_decayed_weights": lambda lib: lib.add_decayed_weights(0.1),
    "add_decayed_weights, schedule": lambda lib: lib.add_decayed_weights(
        lib.linear_schedule(0.1, 0.0, 20)
    ),
    "add_decayed_weights, mask": lambda lib: lib.add_decayed_weights(0.1, matrices),
    "add_adaptive_decay": Row(
        lambda lib: lib.add_adaptive_decay(0.3, 0.5, 0.01), optax=False
    ),
    # _momentum.py
    "trace": lambda lib: lib.trace(0.9),
    "trace, nesterov": lambda lib: lib.trace(0.9, nesterov=True),
    "ema": lambda lib: lib.ema(0.95),
    "ema, biased": lambda lib: lib.ema(0.95, debias=False),
    # _norms.py
    "scale_by_trust_ratio": lambda lib: lib.scale_by_trust_ratio(3.0, 0.1, 0.01),
    "scale_by_param_block_norm": lambda lib: lib.scale_by_param_block_norm(5.0),
    "scale_by_param_block_rms": lambda lib: lib.scale_by_param_block_rms(5.0),
    "normalize_by_update_norm": lambda lib: lib.normalize_by_update_norm(2.0, 0.1),
    "centralize": lambda lib: lib.centralize(),
    # _plateau.py
    "reduce_on_plateau": Row(
        lambda lib: contrib(lib).reduce_on_plateau(0.5, 2, cooldown=1),
        idle={".accumulation_size", ".atol", ".cooldown", ".min_scale", ".rtol"},
        extra={"value": 1.0},
        counters=(),
    ),
    "reduce_on_plateau, min_scale": Row(
        lambda lib: contrib(lib).reduce_on_plateau(0.7, 1, min_scale=0.6),
        idle={".accumulation_size", ".atol", ".patience", ".rtol"},
        extra={"value": 1.0},
        counters=(),
    ),
    # _projection.py
    "project": Row(
        lambda lib: lib.project(optax.projections.projection_l2_ball, scale=1),
        optax=False,
        reference=False,
    ),
    # _proximal.py
    "proximal_l1": Row(lambda lib: lib.proximal_l1(0.5, 0.1), optax=False),
    "proximal_l1, schedule": Row(
        lambda lib: lib.chain(
            lib.scale(-0.1),
            lib.proximal_l1(0.5, lib.linear_schedule(0.1, 0.05, 20)),
        ),
        optax=False,
    ),
    "add_l1_subgradient": Row(lambda lib: lib.add_l1_subgradient(0.1), optax=False),
    # _rate.py
    "scale": lambda lib: lib.scale(-0.5),
    "scale_by_learning_rate": lambda lib: lib.scale_by_learning_rate(0.1),
    "scale_by_learning_rate, unflipped": lambda lib: lib.scale_by_learning_rate(
        0.1, flip_sign=False
    ),
    "scale_by_learning_rate, schedule": lambda lib: lib.scale_by_learning_rate(
        lib.linear_schedule(0.1, 0.01, 20, 1)
    ),
    "scale_by_schedule": lambda lib: lib.scale_by_schedule(
        lib.exponential_decay(0.5, 10, 0.5)
    ),
    "scale_by_schedule, function": lambda lib: lib.scale_by_schedule(harmonic),
    # _scale_leaves.py
    "scale_leaves": Row(lambda lib: lib.scale_leaves(0.5), optax=False),
    # _stateless.py
    "stateless": lambda lib: lib.stateless(all_towards_params),
    "stateless_with_tree_map": lambda lib: lib.stateless_with_tree_map(towards_params),
    # _trivial.py
    "identity": lambda lib: lib.identity(),
    "set_to_zero": lambda lib: lib.set_to_zero(),
}
