"""Test which numbers can be mapped, in every factory of jopt and of optax.

    python tests/support/sweepable_numbers.py

writes docs/sweepable.md. A number passes if `vmap` over three of its values, in one
compiled program, equals a loop over them.
"""

import functools
import inspect
import operator
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from comparison import call_unoptimized, relaxed, stack
from compile_counts import counted

import jopt

# What an argument without a number as its default is, in these runs.
NUMBERS: dict[str, float | int] = {
    "learning_rate": 0.05,
    "max_learning_rate": 0.5,
    "weight_decay": 0.01,
    "momentum": 0.9,
    "step_size": -0.1,
    "decay": 0.9,
    "max_delta": 0.2,
    "max_norm": 0.5,
    "threshold": 0.5,
    "init_value": 0.1,
    "value": 0.3,
    "peak_value": 0.5,
    "transition_steps": 20,
    "warmup_steps": 5,
    "decay_steps": 40,
    "decay_rate": 0.7,
    "power": 2.0,
    "end_value": 0.2,
    "strength": 0.1,
}

# Factories that take more than numbers, as functions of the library and the numbers.
MADE: dict[str, Callable[..., Any]] = {
    "accumulate": lambda lib, every=3: lib.accumulate(lib.sgd(0.1), every),
    "adaptive_grad_clip": lambda lib, clipping=0.1, eps=1e-3: lib.adaptive_grad_clip(
        clipping, eps
    ),
    "add_adaptive_decay": lambda lib, ratio=0.3, decay=0.5, eps=0.01: (
        lib.add_adaptive_decay(ratio, decay, eps)
    ),
    "add_noise": lambda lib, eta=0.01, gamma=0.55: lib.add_noise(eta, gamma, 0),
    "apply_if_finite": lambda lib, max_consecutive_errors=3: lib.apply_if_finite(
        lib.sgd(0.1), max_consecutive_errors
    ),
    "cautious": lambda lib, learning_rate=0.1: lib.cautious(lib.sgd(learning_rate)),
    "conditionally_transform": lambda lib, learning_rate=0.1: (
        lib.conditionally_transform(lib.sgd(learning_rate), lambda step: step < 2)
    ),
    "Codebook": lambda lib, size=8.0: lib.straight_through(
        lib.sgd(0.1), lib.Codebook(size)
    ),
    "cubic_sparsity": lambda lib, final=0.8, begin=5, end=40, initial=0.1: (
        lib.cubic_sparsity(final, begin, end, initial)
    ),
    "flatten": lambda lib, learning_rate=0.1: lib.flatten(lib.adam(learning_rate)),
    "grow": lambda lib, sparsity=0.5, fraction=0.8: lib.grow(
        lib.adam(0.1), sparsity, fraction=fraction, every=1
    ),
    "inject_hyperparams": lambda lib, learning_rate=0.1, b2=0.99: (
        lib.inject_hyperparams(lib.adam)(learning_rate=learning_rate, b2=b2)
    ),
    "join_schedules": lambda lib, boundary=20, end_value=0.1: lib.join_schedules(
        [lib.constant_schedule(0.5), lib.linear_schedule(0.5, end_value, 20)],
        [boundary],
    ),
    "lookahead": lambda lib, sync_period=2, slow_step_size=0.5: lib.lookahead(
        lib.sgd(0.1), sync_period, slow_step_size
    ),
    "lottery": lambda lib, fraction=0.4: lib.lottery(lib.adam(0.1), fraction, 2),
    "masked": lambda lib, learning_rate=0.1: lib.masked(
        lib.sgd(learning_rate), {"w": True, "b": False}
    ),
    "mechanize": lambda lib, weight_decay=0.01, eps=1e-8, s_init=1e-6: room(
        lib, "mechanize"
    ).mechanize(lib.sgd(0.1), weight_decay, eps, s_init),
    "MultiSteps": lambda lib, every_k_schedule=2: lib.MultiSteps(
        lib.sgd(0.1), every_k_schedule
    ).gradient_transformation(),
    "normalize_neurons": lambda lib, b2=0.95, eps=1e-8, consistent_rms=0.2: (
        only_matrices(lib, lib.normalize_neurons(b2, eps, consistent_rms))
    ),
    "orthogonalize": lambda lib, eps=1e-8: only_matrices(
        lib, lib.orthogonalize(eps=eps)
    ),
    "scale_by_muon": lambda lib, beta=0.95, eps=1e-8: only_matrices(
        lib, room(lib, "scale_by_muon").scale_by_muon(beta=beta, eps=eps)
    ),
    "noisy_sgd": lambda lib, learning_rate=0.1, eta=0.01, gamma=0.55: lib.noisy_sgd(
        learning_rate, eta, gamma, 0
    ),
    "partition": lambda lib, learning_rate=0.1, b1=0.9: lib.partition(
        {"w": lib.adam(learning_rate, b1), "b": lib.sgd(learning_rate)},
        {"w": "w", "b": "b"},
    ),
    "piecewise_constant_schedule": lambda lib, init_value=0.5, boundary=20, scale=0.1: (
        lib.piecewise_constant_schedule(init_value, pieces(lib, boundary, scale))
    ),
    "piecewise_interpolate_schedule": (
        lambda lib, init_value=0.5, boundary=20, scale=0.1: (
            lib.piecewise_interpolate_schedule(
                "linear", init_value, pieces(lib, boundary, scale)
            )
        )
    ),
    "prune": lambda lib, sparsity=0.5: lib.prune(lib.adam(0.1), sparsity),
    "schedule_free": lambda lib, learning_rate=0.1, b1=0.9, weight_lr_power=2.0: room(
        lib, "schedule_free"
    ).schedule_free(lib.sgd(learning_rate), learning_rate, b1, weight_lr_power),
    "scale_by_schedule": lambda lib, decay_rate=0.5: lib.scale_by_schedule(
        lib.exponential_decay(0.1, 10, decay_rate)
    ),
    "sam": lambda lib, rho=0.1: room(lib, "sam").sam(
        lib.sgd(0.1), lib.chain(room(lib, "sam").normalize(), lib.sgd(rho))
    ),
    "sgdr_schedule": lambda lib, peak_value=0.5, warmup_steps=5, decay_steps=20: (
        lib.sgdr_schedule(
            [
                {
                    "init_value": 0.1,
                    "peak_value": peak_value,
                    "warmup_steps": warmup_steps,
                    "decay_steps": decay_steps,
                }
            ]
            * 2
        )
    ),
    "straight_through": lambda lib, sparsity=0.5, bits=8.0, begin=1.0: (
        lib.straight_through(
            lib.adam(0.1),
            lib.Composed(lib.Sparse(sparsity), lib.Quantize(bits, begin=begin)),
        )
    ),
    "stateless": lambda lib, learning_rate=0.1: lib.chain(
        lib.stateless(lambda updates, params: updates), lib.sgd(learning_rate)
    ),
    "Ternary": lambda lib, threshold=0.7: lib.straight_through(
        lib.sgd(0.1), lib.Ternary(threshold)
    ),
}


def room(lib: Any, name: str) -> Any:
    """The module of `lib` that has the name: optax, or its contrib."""
    return lib if hasattr(lib, name) else getattr(lib, "contrib", None)


def only_matrices(lib: Any, tx: Any) -> Any:
    """`tx`, for the matrix among the parameters."""
    return lib.masked(tx, {"w": True, "b": False})


def pieces(lib: Any, boundary: Any, scale: Any) -> Any:
    """A boundary and a scale as the library takes them."""
    return [(boundary, scale)] if lib is jopt else {boundary: scale}


# Integers that are the program itself: how often, how many, how large.
STRUCTURE = {
    "min_dim_size_to_factor",
    "num_betas",
    "lag",
    "ns_steps",
    "precondition_frequency",
    "max_precond_dim",
    "block_size",
    "max_size_triangular",
    "min_ndim_triangular",
    "memory_size",
    "max_linesearch_steps",
    "max_backtracking_steps",
    "rank",
    "update_proj_gap",
    "seed",
}

# Whole numbers, where the default is a float or says nothing.
WHOLE = {
    ("apply_every", "k"): 4,
    ("scale_by_factored_rms", "step_offset"): 0,
    ("adafactor", "decay_offset"): 0,
}

# Where half of the number, or a quarter, is not lawful.
LAWFUL = {
    ("rprop", "eta_plus"): (1.2, 1.5, 2.0),
    ("scale_by_rprop", "eta_plus"): (1.2, 1.5, 2.0),
    ("radam", "threshold"): (5.0, 6.0, 8.0),
    ("scale_by_radam", "threshold"): (5.0, 6.0, 8.0),
}

# Functions of trees and of programs: they make no transformation.
NO_FACTORIES = {
    "incremental_update",
    "multi_transform",
    "pack",
    "train_step",
    "optimistic_adam",
    "periodic_update",
    "skip_large_updates",
    "unitwise_clip",
    "lookahead_eval_params",
    "schedule_free_eval_params",
    # Its numbers are sizes of arrays.
    "low_bit",
    # They make a model or arrays.
    "dora",
    "lora",
    "quantize",
    # They measure, and change no update.
    "measure_with_ema",
    # optax's own through `lift`, which need functions or examples' gradients.
    "dpsgd",
    "lbfgs",
    "scale_by_backtracking_linesearch",
    "scale_by_zoom_linesearch",
    "sophia",
}

PARAMS = {"w": jnp.full((4, 4), 0.5), "b": jnp.linspace(-1.0, 1.0, 4)}
NOISE = np.random.default_rng(0).normal(0, 8, (3, 4, 4)).astype(np.float32)
STEPS = np.arange(60)


def maker(lib: Any, name: str) -> Callable[..., Any] | None:
    """The factory as a function of its numbers, if the library has it."""
    place = room(lib, name)
    if place is None or not hasattr(place, name):
        return None
    if name in MADE:
        return functools.partial(MADE[name], lib)
    return getattr(place, name)


def factories() -> Iterator[str]:
    """Every public factory of jopt that takes a number."""
    for name in sorted({*vars(jopt), *MADE}):
        made = getattr(jopt, name)
        lower = name == name.lower() and not name.startswith("_")
        asked = (lower or name in MADE) and callable(made) and name not in NO_FACTORIES
        if asked and numbers_of(jopt, name):
            yield name


def numbers_of(lib: Any, name: str) -> dict[str, float | int]:
    """The numeric arguments of a factory, with a value each."""
    found: dict[str, float | int] = {}
    made = maker(lib, name)
    if made is None:
        return found
    for argument, parameter in inspect.signature(made).parameters.items():
        default = parameter.default
        if argument in STRUCTURE:
            continue
        if (name, argument) in WHOLE:
            found[argument] = WHOLE[name, argument]
        elif isinstance(default, (int, float)) and not isinstance(default, bool):
            found[argument] = default
        elif argument in NUMBERS and default in (None, inspect.Parameter.empty):
            found[argument] = NUMBERS[argument]
    return found


def three(name: str, argument: str, number: float | int) -> Any:
    """Three lawful values of the number's own kind."""
    if (name, argument) in LAWFUL:
        return np.array(LAWFUL[name, argument], np.float32)
    if isinstance(number, int):
        return np.array([number, number + 1, number + 3], np.int32)
    return np.array([number, number / 2, number / 4 or 0.01], np.float32)


def run(lib: Any, name: str, numbers: Any) -> Any:
    """Three steps of training, or sixty of a schedule."""
    factory = maker(lib, name)
    assert factory is not None
    made = factory(**numbers)
    if not hasattr(made, "update"):
        return jax.vmap(made)(jnp.asarray(STEPS))
    if lib is optax:
        made = optax.with_extra_args_support(made)

    def loss(params: Any, noise: Any) -> Any:
        squares = sum(jnp.sum(p**2) for p in jax.tree.leaves(params))
        return squares + jnp.sum(params["w"] * noise)

    params = PARAMS
    if name == "lookahead":
        params = lib.LookaheadParams.init_synced(PARAMS)
    state = made.init(params)
    for noise in NOISE:
        value, grads = jax.value_and_grad(loss)(getattr(params, "fast", params), noise)
        updates, state = made.update(grads, state, params, value=value)
        params = jax.tree.map(lambda p, u: p + u, params, updates)
    return params


def ask(lib: Any, name: str, argument: str) -> str:
    """Return "yes", "differs from a loop" or the error's name."""
    numbers = numbers_of(lib, name)
    values = three(name, argument, numbers[argument])

    def mapped(value: Any) -> Any:
        return run(lib, name, {**numbers, argument: value})

    try:
        got = jax.jit(jax.vmap(mapped))(values)
    except Exception as error:  # whatever stops it is the answer
        return type(error).__name__
    loop = [run(lib, name, {**numbers, argument: v.item()}) for v in values]
    wanted = jax.tree.map(lambda *leaves: np.stack(leaves), *loop)
    return "yes" if _close(got, wanted) else "differs from a loop"


def differing(name: str) -> list[str]:
    """The numbers of jopt's factory whose mapping differs from a loop, all at once.

    Two programs: one row with one number changed, and all rows mapped.
    """
    numbers = {a: np.asarray(n) for a, n in numbers_of(jopt, name).items()}
    numbers = {
        a: n.astype(np.int32 if n.dtype.kind == "i" else np.float32)
        for a, n in numbers.items()
    }
    rows = [
        {**numbers, argument: value}
        for argument in numbers
        for value in three(name, argument, numbers[argument].item())
    ]
    program, traces = counted(functools.partial(run, jopt, name))
    loop = [program(row) for row in rows]
    assert len(traces) == 1
    got = call_unoptimized(jax.vmap(functools.partial(run, jopt, name)), stack(rows))
    return [
        argument
        for i, argument in enumerate(numbers)
        for k in range(3 * i, 3 * i + 3)
        if not _close(jax.tree.map(operator.itemgetter(k), got), loop[k])
    ]


def _close(got: Any, wanted: Any) -> bool:
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True)
    return all(
        np.allclose(x, y, rtol=2e-4, atol=1e-6, equal_nan=True) for x, y in pairs
    )


def passed(answers: dict[str, str]) -> int:
    """How many answers are yes."""
    return list(answers.values()).count("yes")


def report(rows: list[dict[str, Any]]) -> str:
    """The table as a page of Markdown."""
    lines = [
        "# What can be swept",
        "",
        "Every numeric argument of every factory, mapped over three values by `vmap` "
        "in one compiled program, against a loop over the three. Made by "
        "`python tests/support/sweepable_numbers.py`, which asks both libraries the "
        f"same in one run: jopt {jopt.__version__}, optax {optax.__version__}, "
        f"jax {jax.__version__}. A dash "
        "is a factory that optax has not. Integers that are the program's own "
        "structure (how many iterations, how large a block) are not numbers here: a "
        "sweep compiles a group for each.",
        "",
        "| factory | jopt | optax | where optax fails |",
        "|---|---|---|---|",
    ]
    for row in rows:
        ours, theirs = row["jopt"], row.get("optax")
        failing = [f"`{a}`: {why}" for a, why in (theirs or {}).items() if why != "yes"]
        lines.append(
            f"| `{row['name']}` | {passed(ours)} of {len(ours)} | "
            f"{f'{passed(theirs)} of {len(theirs)}' if theirs else '-'} | "
            f"{'; '.join(failing)} |"
        )
    ours = [row["jopt"] for row in rows]
    both = [row for row in rows if row.get("optax")]
    common = [{a: row["jopt"][a] for a in row["optax"]} for row in both]
    lines += [
        "",
        f"jopt: **{sum(map(passed, ours))} of {sum(map(len, ours))}**. Of the "
        f"{sum(map(len, common))} that optax has too, jopt: "
        f"{sum(map(passed, common))}, optax: "
        f"{sum(passed(row['optax']) for row in both)}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    rows = []
    for name in factories():
        row: dict[str, Any] = {"name": name}
        for title, lib in (("jopt", jopt), ("optax", optax)):
            asked = [a for a in numbers_of(jopt, name) if a in numbers_of(lib, name)]
            with relaxed(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row[title] = {argument: ask(lib, name, argument) for argument in asked}
        rows.append(row)
        wrong = {
            a: why
            for t in ("jopt", "optax")
            for a, why in row[t].items()
            if why != "yes"
        }
        print(
            f"{name:36}",
            *(f"{t} {passed(row[t])}/{len(row[t])}" for t in ("jopt", "optax")),
            wrong or "",
            flush=True,
        )
    path = Path(__file__).parents[2] / "docs" / "sweepable.md"
    path.write_text(report(rows))
    print(path.read_text().splitlines()[-1])
    sys.exit(any(passed(row["jopt"]) < len(row["jopt"]) for row in rows))


if __name__ == "__main__":
    main()
