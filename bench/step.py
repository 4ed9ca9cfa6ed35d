"""How fast is the optimizer alone, by number and size of leaves?

Float32 leaves, square matrices: 1 x 64M is one of 8192 by 8192, 1000 x 1k a thousand of
32 by 32. Each program takes parameters, state and gradients, gives back the first two,
and has them donated, in this order; optax's is plain, never `flatten`.

optax       optax.apply_updates of tx.update, jitted
jopt        the same with `jopt.pack(params, tx)`: small leaves in a vector, and
            gradients in that layout, as `jopt.train_step` makes them
by leaf     jopt's, with gradients by leaf, joined within the program
torch       AdamW(fused=True), after clip_grad_norm_ where there is clipping, with as
            many threads; where torch is installed

First, all of JAX's take three steps from one start and must come to the same place.
Adafactor and Muon look at leaves one by one; their leaves stay leaves in jopt too. Muon
is of leaves that a training has many of: at 8192 by 8192 it is one long product.

roof        bytes that the step has to read and write at least, over the time of jopt's,
            over the bytes a second of a large copy in place, as the step is. What fits
            into a cache exceeds 1.

    python bench/step.py            but 10,000 leaves: optax compiles them for minutes
    python bench/step.py --all
    python bench/step.py --quick
"""

import gc
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from models import optimizer_step
from record import NO_SLOWER, Record, arguments, cores, progress
from roofline import roofs
from turns import rounds, steps

import jopt

try:
    import torch
except ImportError:
    torch = None

NAMES = {8192: "64M", 2048: "4M", 256: "64k", 32: "1k", 16: "256"}
OPTIMIZERS = {
    "adamw": (jopt.adamw, optax.adamw),
    "adafactor": (jopt.adafactor, optax.adafactor),
    "lion": (jopt.lion, optax.lion),
    "muon": (jopt.muon, optax.contrib.muon),
}
RATE, NORM = 1e-3, 1.0
MANY, TENS, FEW = 20.0, 100.0, 1.9  # aims: a thousand, ten thousand, few and clipping


class Case(NamedTuple):
    """An optimizer on leaves of side by side numbers."""

    optimizer: str
    leaves: int
    side: int
    aim: float = NO_SLOWER

    @property
    def name(self) -> str:
        return f"{self.optimizer}, {self.leaves:,} x {NAMES[self.side]}"

    @property
    def clips(self) -> bool:
        return self.optimizer.startswith("clip+")

    def transformations(self) -> tuple[Any, Any]:
        """Return jopt's and optax's."""
        ours, theirs = OPTIMIZERS[self.optimizer.removeprefix("clip+")]
        if not self.clips:
            return ours(RATE), theirs(RATE)
        return (
            jopt.chain(jopt.clip_by_global_norm(NORM), ours(RATE)),
            optax.chain(optax.clip_by_global_norm(NORM), theirs(RATE)),
        )


QUICK = [
    Case("clip+adamw", 16, 2048, FEW),
    Case("adamw", 200, 256),
    Case("adamw", 1000, 32, MANY),
    Case("clip+adamw", 1000, 32, MANY),
    Case("lion", 100, 32),
    Case("adafactor", 100, 32),
    Case("muon", 50, 32),
    Case("adamw", 2000, 16, MANY),  # for the 10,000
]
FULL = [
    Case("adamw", 1, 8192),
    Case("clip+adamw", 1, 8192, FEW),
    Case("lion", 1, 8192),
    Case("adafactor", 1, 8192),
    Case("adamw", 16, 2048),
    Case("clip+adamw", 16, 2048, FEW),
    Case("adamw", 1000, 256),
    Case("clip+adamw", 1000, 256),
    Case("lion", 1000, 256),
    Case("adafactor", 100, 256),
    Case("muon", 100, 256),
    Case("adamw", 1000, 32, MANY),
    Case("clip+adamw", 1000, 32, MANY),
    Case("lion", 1000, 32, MANY),
    Case("adafactor", 100, 32),
    Case("muon", 100, 32),
]
ALL = [
    Case("adafactor", 1000, 256),
    Case("adafactor", 1000, 32),
    Case("adamw", 10_000, 16, TENS),
]


def leaves(case: Case, seed: int) -> dict[str, np.ndarray]:
    """Return normal numbers, a matrix a leaf."""
    shape = (case.leaves, case.side, case.side)
    numbers = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return {f"w{i:05}": matrix for i, matrix in enumerate(numbers)}


class Stepping:
    """A jitted step of a library's: what it holds, and how it goes on."""

    def __init__(self, library: Any, tx: Any, params: Any, grads: Any):
        step = optimizer_step(library, tx)
        self.program = jax.jit(step, donate_argnums=(0, 1))
        # A program's own arrays: they are donated.
        self.held = jax.tree.map(jnp.copy, params), tx.init(params)
        self.grads = grads
        began = time.perf_counter()
        self.program.lower(*self.held, grads).compile()
        self.compile_seconds = time.perf_counter() - began

    def next(self, held: Any) -> Any:
        return self.program(*held, self.grads)

    def after(self, number: int) -> list[jax.Array]:
        """Make some steps; return the parameters, by leaf."""
        for _ in range(number):
            self.held = self.next(self.held)
        return jax.tree.leaves(jopt.unpack(self.held[0]))


def in_torch(case: Case, params: Any, grads: Any) -> Any:
    """Return torch's steps as a function of their number."""
    assert torch is not None
    torch.set_num_threads(cores())
    place = "cuda" if jax.default_backend() == "gpu" else "cpu"
    held = [torch.from_numpy(p.copy()).to(place).requires_grad_() for p in params]
    for tensor, gradient in zip(held, grads, strict=True):
        tensor.grad = torch.from_numpy(gradient.copy()).to(place)
    optimizer = torch.optim.AdamW(held, lr=RATE, weight_decay=1e-4, fused=True)

    def run(calls: int) -> None:
        for _ in range(calls):
            if case.clips:
                torch.nn.utils.clip_grad_norm_(held, NORM)
            optimizer.step()
        if place == "cuda":
            torch.cuda.synchronize()

    return run


def apart(start: Any, ours: Any, theirs: Any) -> float:
    """Return the distance of two sets of leaves, over how far one has travelled."""

    @jax.jit
    def distance(some: Any, others: Any) -> jax.Array:
        squares = [
            jnp.sum(jnp.square(a - b)) for a, b in zip(some, others, strict=True)
        ]
        return jnp.sqrt(sum(squares, start=jnp.zeros(())))

    # In one array where there are many: a program of thousands compiles for minutes.
    if len(ours) > 1:
        start, ours, theirs = ([np.stack(x)] for x in (start, ours, theirs))
    return float(distance(ours, theirs) / distance(theirs, start))


def measured(case: Case, seconds: float, copies: float | None, record: Record) -> None:
    """Time a case and add its row."""
    params, grads = leaves(case, 0), leaves(case, 1)
    start, slopes = jax.tree.map(jnp.asarray, (params, grads))
    ours, theirs = case.transformations()
    packed = jopt.pack(start, ours)
    joined = packed is not start
    progress(f"{case.name}: compiling")
    programs = {"optax": Stepping(optax, theirs, start, slopes)}
    like = jopt.pack_like(packed, slopes) if joined else slopes
    programs["jopt"] = Stepping(jopt, ours, packed, like)
    if joined:
        programs["by leaf"] = Stepping(jopt, ours, packed, slopes)
    progress(*(f"{name} {p.compile_seconds:.1f} s" for name, p in programs.items()))
    places = {name: program.after(3) for name, program in programs.items()}
    for name, place in places.items():
        far = apart(list(params.values()), place, places["optax"])
        assert far < 1e-2, f"{case.name}: optax and {name} do not agree: {far}"
    del places, packed, like, start
    moved = 2 * sum(x.nbytes for x in jax.tree.leaves(programs["jopt"].held))
    moved += (2 if case.clips else 1) * sum(g.nbytes for g in grads.values())
    runs = {name: steps(p.next, p.held) for name, p in programs.items()}
    for program in programs.values():
        del program.held  # gone with the first call
    if torch is not None and "adamw" in case.optimizer:
        runs["torch"] = in_torch(case, params.values(), grads.values())
    times = rounds(runs, seconds)
    medians = {name: found["median_ms"] for name, found in times.items()}
    roof = copies and 1e3 * moved / copies / medians["jopt"]
    compiling = {name: p.compile_seconds for name, p in programs.items()}
    record.add(
        case.name,
        medians,
        case.aim,
        times=times,
        compile_seconds=compiling,
        least_bytes=moved,
        roof=roof,
    )
    if joined:
        print(f"{'':6}gradients by leaf: {medians['optax'] / medians['by leaf']:.2f} x")
    if roof:
        print(f"{'':6}{roof:.2f} of the bandwidth of a copy in place")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--all", action="store_true", help="those that compile minutes")
    parser.add_argument("--only", help="cases whose names contain this; writes nothing")
    options = parser.parse_args()
    cases = QUICK if options.quick else FULL + ALL * options.all
    if options.only:
        every = dict.fromkeys(FULL + ALL + QUICK)
        cases = [case for case in every if options.only in case.name]
        options.quick = True
    record = Record("step", __doc__, options)
    copies = None if options.quick else roofs()["bytes_per_second"]
    record.more["copied_bytes_per_second"] = copies
    for case in cases:
        measured(case, 1.5 if options.quick else 5, copies, record)
        gc.collect()
        jax.clear_caches()
    record.write()


if __name__ == "__main__":
    main()
