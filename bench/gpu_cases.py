"""The cases of bench/gpu.py: each measures, and prints a JSON line a measurement.

    python bench/gpu_cases.py NAME [--quick]

It is bench/gpu.py that runs this, in a process a case. The environment variable
JOPT_CASE says until when a case may run and what the ceilings are.

A line has `row`, its name, and of these what there is: `times` of the programs that
took turns (medians and quartiles in milliseconds), `ratios` by what jopt is compared
with (how many times faster jopt is), `fractions` of the ceilings, `aims` for ratios
and fractions, `told` for the table, and details.

Bytes that must move are those of a training's parameters and optimizer state, and of
its gradients. Of a sweep with AdamW they are 40 a parameter and step: the model reads
the parameters forwards and backwards and writes the gradients, 12; AdamW reads four
numbers and writes three, 28. Activations are left out, so the fraction of a sweep is
a little less than what the device does.
"""

import argparse
import functools
import json
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from turns import TURN, rounds, steps, timed

import jopt
from jopt.sweep._supervised import training_of
from jopt.sweep.engine._devices import bytes_needed

Row = dict[str, Any]
RATE, NORM = 1e-3, 1.0
SWEEP_BYTES = 40  # a parameter and step, of AdamW: see above
AT_COPY = {"copy": 0.85}  # aim of an optimizer alone: a fraction of the bandwidth
SHORT = 0.003  # seconds of a turn in a quick run


class Report:
    """What a case is given, and where it writes its rows."""

    def __init__(self, quick: bool):
        given = json.loads(os.environ.get("JOPT_CASE", "{}"))
        self.quick = quick
        self.until = given.get("until", float("inf"))
        self.ceilings: dict[str, float] = given.get("ceilings", {})
        # Rows go out by the process's first output; what else is printed does not.
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def add(self, name: str, **row: Any) -> None:
        """Write a row at once."""
        if self.quick:
            row.pop("aims", None)  # they are of the full sizes
        found = {"row": name} | {k: v for k, v in row.items() if v not in (None, {})}
        print(json.dumps(found, default=float), file=self._out, flush=True)

    def late(self, name: str, seconds: float = 0.0) -> bool:
        """Return whether less than some seconds are left; then say so in a row."""
        left = self.until - time.time()
        if left < (0.0 if self.quick else seconds):
            self.add(name, skipped=f"{left:.0f} s of the case are left")
            return True
        return False

    def rounds(
        self, runs: Mapping[str, Any], seconds: float, parts: Mapping[str, int] = {}
    ) -> dict[str, Any]:
        """Return the times of programs that take turns.

        parts: of a program whose call is several steps, how many; its times are a
        step's.
        """
        given = (0.0, SHORT) if self.quick else (seconds, TURN)
        times = rounds(runs, *given)
        for name, number in parts.items():
            row = times[name]
            row["median_ms"] /= number
            row["quartiles_ms"] = [x / number for x in row["quartiles_ms"]]
        return times

    def fraction(self, **rates: float) -> dict[str, float]:
        """Return fractions of ceilings.

        rates: by ceiling, what is moved or computed a second.
        """
        known = self.ceilings
        return {k: rate / known[k] for k, rate in rates.items() if k in known}


def ceilings(report: Report) -> None:
    """Measure the bandwidth of a copy and the rates of matrix products."""
    on_cpu = jax.default_backend() == "cpu"
    size, side = (2**24, 256) if report.quick else (2**30, 8192)
    big = jax.random.normal(jax.random.key(0), (size // 4,))
    copies = {
        "in place": steps(jax.jit(lambda x: x + 1, donate_argnums=0), big + 0),
        "to another": steps(jax.jit(lambda x: x + 1), big),
    }
    times = report.rounds(copies, 2)
    best = 2e3 * size / min(row["median_ms"] for row in times.values())
    report.add(
        f"copy of {size // 2**20} MiB",
        times=times,
        ceiling={"copy": best},
        told={"GB/s": best / 1e9},
    )
    del copies, big
    for name, dtype in (("bf16", jnp.bfloat16), ("tf32", jnp.float32)):
        # Random numbers: a chip draws less power, and is faster, on zeros.
        keys = jax.random.split(jax.random.key(0))
        a, b = (jax.random.normal(key, (side, side), dtype) for key in keys)
        product = functools.partial(jax.jit(jnp.matmul), a)
        run = steps(lambda _, product=product, b=b: product(b), None)
        times = report.rounds({name: run}, 2)
        rate = 2e3 * side**3 / times[name]["median_ms"]
        report.add(
            f"product of {side} by {side}, {a.dtype}",
            times=times,
            ceiling={name: rate},
            told={"TFLOP/s": rate / 1e12, "precision": "default"},
            is_tf32=name == "tf32" and not on_cpu,
        )


class Variant(NamedTuple):
    """A task by name; of a sweep's variants the first is as jopt has it."""

    name: str
    task: Any


def products(jaxpr: Any) -> int:
    """Return the operations of a program's matrix products; convolutions are none."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            (left, *_), (out,) = equation.invars, equation.outvars
            terms = math.prod(left.aval.shape[axis] for axis in contracted)
            total += 2 * terms * math.prod(out.aval.shape)
        for value in equation.params.values():
            if hasattr(inner := getattr(value, "jaxpr", value), "eqns"):
                total += products(inner)
    return total


class Sweeps:
    """Trials of a model at different learning rates, in variants that compute the same.

    The engine's blocks are timed beside one jitted scan of optax a trial, and beside
    a Python loop of jitted steps where `loop` asks for it.
    """

    def __init__(self, variants: Sequence[Variant], length: int, loop: bool = False):
        from trials import Work, looped, serial

        self.works = {v.name: Work(v.task, length) for v in variants}
        self.length, (self.first, *_) = length, self.works
        self.serial = {f"serial{n}, a trial": serial(w) for n, w in self.works.items()}
        self.loop = {"loop, a trial": looped(self.works[self.first])} if loop else {}
        self.blocks: dict[int, Any] = {}
        task, key = variants[0].task, jax.random.key(0)
        shapes = jax.eval_shape(training_of(task).start, key)
        self.parameters = sum(x.size for x in jax.tree.leaves(shapes[0]))
        batch = jax.tree.map(lambda x: jnp.asarray(x[: task.batch_size]), task.train)
        slope = jax.make_jaxpr(jax.grad(training_of(task).loss, has_aux=True))
        self.flops = products(slope(*shapes, batch, key).jaxpr)  # of a step

    def measure(
        self, report: Report, name: str, number: int, aims: dict[str, float]
    ) -> None:
        """Add the row of so many trials."""
        from trials import trained

        from jopt.sweep.engine import pick
        from jopt.sweep.engine._program import Program

        stacked = {n: work.stacked(number) for n, work in self.works.items()}
        picked = {
            n: pick(stacked[n], work.batches, 10_000) for n, work in self.works.items()
        }
        program, _ = picked[self.first]
        batches = self.works[self.first].batches
        scanned = [4**i for i in range(7) if 4**i <= number]
        for block in scanned:
            if block not in self.blocks:
                self.blocks[block] = Program(stacked[self.first], block, batches)
        runs = {
            **{
                f"jopt{n}": trained(p, number, self.works[n].batches)
                for n, (p, _) in picked.items()
            },
            **{f"block {b}": trained(self.blocks[b], b, batches) for b in scanned},
            **self.serial,
            **self.loop,
        }
        times = report.rounds(runs, 2)
        found = {name: row["median_ms"] for name, row in times.items()}
        ours = found[f"jopt{self.first}"]
        whole = {b: -(-number // b) * found[f"block {b}"] for b in scanned}
        best = min(whole, key=whole.__getitem__)
        serial = number * min(found[n] for n in self.serial)
        beside = {
            f"jopt{n}": found[f"jopt{n}"] / ours for n in self.works if n != self.first
        }
        made = 1e3 * number * self.length / ours  # trial-steps a second
        report.add(
            name,
            times=times,
            ratios={"serial": serial / ours}
            | {n.partition(",")[0]: number * found[n] / ours for n in self.loop}
            | beside,
            fractions=report.fraction(
                copy=made * SWEEP_BYTES * self.parameters, tf32=made * self.flops
            ),
            aims=aims,
            told={
                "trial-steps/s": made,
                **(
                    {f"T({number})/T(1)": ours / found["block 1"]} if number > 1 else {}
                ),
                "block": program.block,
                "best block": best,
                "picked/best": ours / whole[best],
                "peak GB": program.trained_bytes / 1e9,
            },
            trials=number,
            steps=self.length,
            parameters=self.parameters,
            flops_a_step=self.flops,
            blocks={n: p.block for n, (p, _) in picked.items()},
            search={n: s for n, (_, s) in picked.items()},
            block_ms=whole,
        )


def enlarged(flat: bool) -> dict[str, Any]:
    """Return scikit-learn's digits at 28 by 28, the size of MNIST, for a classifier."""
    from sklearn.datasets import load_digits

    from jopt.tasks._data import split

    images, labels = load_digits(return_X_y=True)
    places = np.arange(28) * 8 // 28
    large = images.reshape(-1, 8, 8)[:, places][:, :, places]
    shape = (len(large), 784) if flat else (len(large), 28, 28, 1)
    return split(large.reshape(shape), labels)


def mlp(report: Report) -> None:
    """Sweep two MLPs: 64-64-64-10 on digits, and 784-128-10 on images of 28 by 28."""
    from flax import nnx

    from jopt.tasks import digits, nnx_classifier

    def wide(rngs: Any) -> Any:
        layers = nnx.Linear(784, 128, rngs=rngs), nnx.relu
        return nnx.Sequential(*layers, nnx.Linear(128, 10, rngs=rngs))

    large = nnx_classifier("784-128-10", wide, **enlarged(flat=True))
    length = 4 if report.quick else 64
    models = {"64-64-64-10": digits(), "784-128-10": large}
    found = {n: Sweeps([Variant("", t)], length, loop=True) for n, t in models.items()}
    aims = {"serial": 50.0, "copy": 0.6}
    for number in (16, 1) if report.quick else (256, 64, 1, 1024, 16, 4096):
        for model, sweeps in found.items():
            name = f"MLP {model}, {number:,} trials"
            if not report.late(name, 6):
                sweeps.measure(report, name, number, aims if number == 256 else {})


def cnn(report: Report) -> None:
    """Sweep a CNN of two convolutions, by products and with plain nnx.Conv."""
    from jopt.tasks import NnxCNN, nnx_classifier

    width = 4 if report.quick else 32

    def plain(rngs: Any) -> Any:
        model = NnxCNN(width, rngs)
        for layer in (model.first, model.second):
            layer.conv_general_dilated = jax.lax.conv_general_dilated
        return model

    data = enlarged(flat=False)
    ours = nnx_classifier("products", functools.partial(NnxCNN, width), **data)
    theirs = nnx_classifier("nnx.Conv", plain, **data)
    variants = [Variant("", ours), Variant(", nnx.Conv", theirs)]
    sweeps = Sweeps(variants, 2 if report.quick else 32)
    for number in (4, 1) if report.quick else (64, 16, 1):
        name = f"CNN, {number} trials"
        if not report.late(name, 8):
            aims = {"serial": 10.0} if number == 64 else {}
            sweeps.measure(report, name, number, aims)


def transformer(report: Report) -> None:
    """Sweep a small transformer of two layers on characters, at two widths."""
    from jopt.tasks import text

    found = {
        width: Sweeps([Variant("", text(width=width))], 2 if report.quick else 32)
        for width in ((8,) if report.quick else (64, 256))
    }
    for number in (4, 1) if report.quick else (64, 16, 1):
        for width, sweeps in found.items():
            name = f"transformer of width {width}, {number} trials"
            if not report.late(name, 8):
                sweeps.measure(report, name, number, {})


def gpt2(report: Report) -> None:
    """Time the whole step of GPT-2 small, computed in bfloat16."""
    from gpt2_small import Shape
    from models import Model
    from train_step import CALL, Training, by_hand, transformations

    small = {"layers": 2, "width": 32, "heads": 2, "vocabulary": 64}
    sizes = small if report.quick else {"vocabulary": 50_304}
    shape, length = Shape(compute="bfloat16", **sizes), 16 if report.quick else 1024
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 2**20)
    params = shape.init(jax.random.key(0))
    size = sum(x.size for x in jax.tree.leaves(params))
    examples = fitting(shape, length, 0.6 * limit)

    def tokens(*axes: int) -> jax.Array:
        key = jax.random.key(1)
        return jax.random.randint(key, (*axes, length + 1), 0, shape.vocabulary)

    batch, batches = tokens(examples), tokens(CALL, examples)
    model = Model("GPT-2", params, shape.loss, batch)
    # As PaLM's paper counts (appendix B): two operations a weight and token, three
    # times with the backward pass, and attention's products.
    per_token = 6 * size + 12 * shape.layers * shape.width * length
    flops = per_token * examples * length
    for clip in (True, False):
        name = f"GPT-2 {size / 1e6:.0f}M, batch {examples}, {'clip+' * clip}adamw"
        if report.late(name, 40):
            continue
        ours, theirs = transformations(clip)
        made = {
            "optax": (by_hand(model, theirs), (params, theirs.init(params)), batch),
            "jopt": (
                jopt.train_step(model.loss),
                jopt.TrainState.create(params, ours),
                batch,
            ),
            "jopt, ten a call": (
                jopt.train_steps(model.loss),
                jopt.TrainState.create(params, ours),
                batches,
            ),
        }
        lowered = {n: step.lower(held, x) for n, (step, held, x) in made.items()}
        began = time.perf_counter()
        with ThreadPoolExecutor() as threads:
            each = threads.map(lambda program: program.compile(), lowered.values())
            peaks = dict(zip(lowered, map(bytes_needed, each), strict=True))
        compiling = time.perf_counter() - began
        runs = {}
        for way, (step, held, x) in made.items():
            own = jax.tree.map(jnp.copy, held)  # they are donated
            runs[way] = Training(step, own, x).run()
        times = report.rounds(runs, 12, {"jopt, ten a call": CALL})
        found = {way: row["median_ms"] for way, row in times.items()}
        report.add(
            name,
            times=times,
            ratios={
                "optax": found["optax"] / found["jopt"],
                "optax, ten a call": found["optax"] / found["jopt, ten a call"],
            },
            fractions=report.fraction(bf16=1e3 * flops / found["jopt"]),
            aims={"optax": 1 / 0.97} if clip else {},
            told={f"peak GB of {way}": peak / 1e9 for way, peak in peaks.items()},
            flops=flops,
            tokens=examples * length,
            compile_seconds_together=compiling,
            bytes_limit=limit,
        )


def fitting(shape: Any, length: int, room: float) -> int:
    """Return the largest batch whose training step takes so many bytes.

    The compiled steps of one layer and of two say what an example takes at all depths;
    parameters, moments and gradients take 16 bytes a parameter beside.
    """
    from train_step import transformations

    _, tx = transformations(clip=True)
    probed = 2

    def step(loss: Any, params: Any, state: Any, batch: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(params, batch)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    def lowered(layers: int) -> tuple[Any, int]:
        shallow = shape._replace(layers=layers)
        params = jax.eval_shape(shallow.init, jax.random.key(0))
        batch = jax.ShapeDtypeStruct((probed, length + 1), jnp.int32)
        arguments = params, jax.eval_shape(tx.init, params), batch
        jitted = jax.jit(functools.partial(step, shallow.loss), donate_argnums=(0, 1))
        return jitted.lower(*arguments), sum(x.size for x in jax.tree.leaves(params))

    found = [lowered(layers) for layers in (1, 2)]
    with ThreadPoolExecutor() as threads:
        each = list(threads.map(lambda one: bytes_needed(one[0].compile()), found))
    one, two = (max(n - 16 * s, 1) for n, (_, s) in zip(each, found, strict=True))
    an_example = (one + (shape.layers - 1) * max(two - one, 0)) / probed
    (_, size), (_, more) = found
    held = 16 * (size + (shape.layers - 1) * (more - size))
    batch = int((room - held) / an_example)
    return max(1, min(batch - batch % 8 if batch > 8 else batch, 512))


class Optimizer(NamedTuple):
    """A transformation in jopt and, where it is there, in optax."""

    name: str
    ours: Any
    theirs: Any = None
    period: int = 1  # steps a call has: as many as its costs repeat after
    multiplies: bool = False  # whether its products take longer than moving its bytes

    @property
    def clips(self) -> bool:
        return self.name.startswith("clip+")


def optimizers() -> list[Optimizer]:
    """Return what is timed alone, in order."""
    return [
        Optimizer("adamw", jopt.adamw(RATE), optax.adamw(RATE)),
        Optimizer(
            "clip+adamw",
            jopt.chain(jopt.clip_by_global_norm(NORM), jopt.adamw(RATE)),
            optax.chain(optax.clip_by_global_norm(NORM), optax.adamw(RATE)),
        ),
        Optimizer("lion", jopt.lion(RATE), optax.lion(RATE)),
        Optimizer("low_bit adamw", jopt.low_bit(jopt.adamw(RATE))),
        Optimizer("adafactor", jopt.adafactor(RATE), optax.adafactor(RATE)),
        Optimizer("muon", jopt.muon(RATE), optax.contrib.muon(RATE), 1, True),
        Optimizer("soap", jopt.soap(RATE), None, 10, True),
    ]


def optimizer_alone(
    report: Report,
    name: str,
    params: Any,
    chosen: Sequence[Optimizer],
    aims: dict[str, float],
    both: bool = True,
) -> None:
    """Time the updates of leaves by optimizers alone, as step.py does.

    aims: of those that are as fast as memory is. both: whether optax's is compiled,
    too.
    """
    from models import optimizer_step

    keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(params)))
    draw = jax.jit(lambda key, like: jax.random.normal(key, like.shape))
    keys = jax.tree.unflatten(jax.tree.structure(params), list(keys))
    grads = jax.tree.map(draw, keys, params)
    for optimizer in chosen:
        row = f"{optimizer.name}, {name}{'' if both else ', without optax'}"
        if report.late(row, 8):
            continue
        runs, compiling, peaks, moved = {}, {}, {}, 0
        libraries = {"jopt": (jopt, optimizer.ours)}
        if both and optimizer.theirs is not None:
            libraries["optax"] = (optax, optimizer.theirs)
        for library, (module, tx) in libraries.items():
            held = jopt.pack(params, tx) if library == "jopt" else params
            like = grads if held is params else jopt.pack_like(held, grads)
            held = jax.tree.map(jnp.copy, held), tx.init(held)
            program = jax.jit(optimizer_step(module, tx), donate_argnums=(0, 1))
            began = time.perf_counter()
            compiled = program.lower(*held, like).compile()
            compiling[library] = time.perf_counter() - began
            peaks[library] = bytes_needed(compiled)
            if library == "jopt":
                arrays = jax.tree.leaves(held), jax.tree.leaves(like)
                held_bytes, read = (sum(x.nbytes for x in part) for part in arrays)
                moved = 2 * held_bytes + (2 if optimizer.clips else 1) * read

            call = functools.partial(stepped, compiled, like, optimizer.period)
            runs[library] = steps(call, held)
            del held, program, compiled, call
        parts = dict.fromkeys(runs, optimizer.period)
        if optimizer.name in ("adamw", "clip+adamw"):
            runs |= in_torch(optimizer, params, grads)
        times = report.rounds(runs, 1.5, parts)
        found = {way: row["median_ms"] for way, row in times.items()}
        ours = found.pop("jopt")
        report.add(
            row,
            times=times,
            ratios={way: median / ours for way, median in found.items()},
            fractions=report.fraction(copy=1e3 * moved / ours),
            aims={} if optimizer.multiplies else aims,
            told={
                "MB to move": moved / 1e6,
                **{f"peak GB of {k}": v / 1e9 for k, v in peaks.items()},
            },
            steps_a_call=optimizer.period,
            compile_seconds=compiling,
            least_bytes=moved,
            peak_bytes=peaks,
        )
        runs.clear()


def stepped(program: Any, grads: Any, number: int, held: Any) -> Any:
    """Return parameters and state after some steps."""
    for _ in range(number):
        held = program(*held, grads)
    return held


def in_torch(optimizer: Optimizer, params: Any, grads: Any) -> dict[str, Any]:
    """Return the steps of torch's fused AdamW, where torch is installed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        return {}
    import step

    arrays = [list(map(np.asarray, jax.tree.leaves(tree))) for tree in (params, grads)]
    return {"torch": step.in_torch(optimizer, *arrays)}


def optimizer_1(report: Report) -> None:
    """Time optimizers on one leaf of 256M numbers."""
    side = 64 if report.quick else 16_384
    params = {"w": jax.random.normal(jax.random.key(0), (side, side))}
    name = f"1 x {side * side / 2**20:.3g}M"
    optimizer_alone(report, name, params, optimizers(), AT_COPY)


def optimizer_gpt2(report: Report) -> None:
    """Time optimizers on the leaves of GPT-2 small."""
    from gpt2_small import Shape

    small = {"layers": 1, "width": 32, "vocabulary": 64}
    shape = Shape(**(small if report.quick else {"vocabulary": 50_304}))
    params = shape.init(jax.random.key(0))
    name = f"{len(jax.tree.leaves(params))} leaves of GPT-2"
    chosen = optimizers()[: 2 if report.quick else None]
    optimizer_alone(report, name, params, chosen, AT_COPY)


def optimizer_2000(report: Report) -> None:
    """Time optimizers on 2,000 leaves of 32 by 32; optax's, that compile long, last."""
    number = 20 if report.quick else 2000
    whole = jax.random.normal(jax.random.key(0), (number, 32, 32))
    params = {f"w{i:04}": leaf for i, leaf in enumerate(jax.jit(list)(whole))}
    name, chosen = f"{number:,} x 1k", optimizers()[: 2 if report.quick else None]
    optimizer_alone(report, name, params, chosen, {}, both=False)
    # AdamW, Lion and Adafactor before clipping, which takes XLA longest.
    chosen = sorted(chosen, key=lambda one: one.clips)
    optimizer_alone(report, name, params, [c for c in chosen if c.theirs], {})


def halving(report: Report) -> None:
    """Sweep to the end, and with successive halving, in blocks of two sizes."""
    from jopt import sweep
    from jopt.tasks import digits

    number, length, looks = (16, 24, 4) if report.quick else (1024, 1080, 30)
    rates = np.geomspace(1e-4, 3e-1, number // 4).tolist()
    trials = sweep.grid(
        jopt.adamw, learning_rate=rates, weight_decay=[1e-4, 1e-2, 0.1, 1.0]
    )
    rule = sweep.SuccessiveHalving(min_resource=1 if report.quick else 3)
    given = {"steps": length, "segments": looks}
    for block in (None, number // 16):
        name = f"{number} trials, block {block or 'picked'}"
        if report.late(name, 15):
            continue
        found: dict[str, list[Row]] = {"to the end": [], "halving": []}
        for _ in range(1 if report.quick else 3):
            for way, rows in found.items():
                pruner = rule if way == "halving" else None
                sweep.clear_programs()  # each sweep compiles anew
                began = time.perf_counter()
                result = sweep.run(
                    digits(), trials, pruner=pruner, block=block, **given
                )
                total = time.perf_counter() - began
                kept = ("train_seconds", "compile_seconds", "segment_compiles", "block")
                info = {key: result.info[key] for key in (*kept, "trial_steps")}
                rows.append({**info, "total_seconds": total})
            if report.until - time.time() < 15:
                break
        median = {
            way: {
                key: float(np.median([row[key] for row in rows]))
                for key in ("train_seconds", "total_seconds", "trial_steps")
            }
            for way, rows in found.items()
        }
        full, pruned = median["to the end"], median["halving"]
        compiles = found["halving"][0]["segment_compiles"]
        report.add(
            f"halving of {name}",
            ratios={"to the end": full["train_seconds"] / pruned["train_seconds"]},
            told={
                **{f"s {way}": m["train_seconds"] for way, m in median.items()},
                **{f"s {way}, in all": m["total_seconds"] for way, m in median.items()},
                "trial-steps": pruned["trial_steps"] / full["trial_steps"],
                "compiles": compiles,
                "blocks of": found["halving"][0]["block"][0],
            },
            runs=found,
        )


def overheads(report: Report) -> None:
    """Time accumulation, eager updates, and a first call with and without a cache."""
    _accumulation(report)
    _eager(report)
    _first_call(report)


def _accumulation(report: Report) -> None:
    from accumulate import EVERY, windows
    from models import mlp as chain

    layers, width = (4, 32) if report.quick else (50, 1024)
    model = chain(layers, width, 32 * EVERY)
    name = f"accumulation over {EVERY}, {model.name}"
    if report.late(name, 12):
        return
    found = windows(model, alone=False)
    peaks = {way: window.temporary for way, window in found.items()}
    runs = {way: steps(window.next, window.held) for way, window in found.items()}
    for window in found.values():
        del window.held  # gone with the first call
    times = report.rounds(runs, 3)
    medians = {way: row["median_ms"] for way, row in times.items()}
    ours = medians.pop("jopt")
    # A microbatch reads the parameters twice and adds to the sum, 16 bytes a parameter;
    # AdamW is 28.
    moved = (16 * EVERY + 28) * model.size
    report.add(
        name,
        times=times,
        ratios={way: median / ours for way, median in medians.items()},
        fractions=report.fraction(copy=1e3 * moved / ours),
        least_bytes=moved,
        temporary_bytes=peaks,
    )


def _eager(report: Report) -> None:
    from overheads import eager

    leaves = 20 if report.quick else 1000
    name = f"eager update of {leaves:,} leaves of 32 by 32"
    if report.late(name, 8):
        return
    seconds = eager(leaves, 3 if report.quick else 9)
    medians = {way: 1e3 * float(np.median(each)) for way, each in seconds.items()}
    report.add(
        name,
        times={way: {"median_ms": median} for way, median in medians.items()},
        ratios={"optax": medians["optax"] / medians["jopt"]},
        fractions=report.fraction(copy=1e3 * 28 * leaves * 1024 / medians["jopt"]),
        seconds=seconds,
    )


def _first_call(report: Report) -> None:
    """Time the first call of a train step, with and without JAX's cache on disk."""
    from models import mlp as chain
    from train_step import by_hand, transformations

    model = chain(4 if report.quick else 50, 32)
    name = f"first call of a step, {model.name}"
    if report.late(name, 12):
        return
    ours, theirs = transformations(clip=True)

    def called(library: str) -> float:
        jax.clear_caches()
        params = jax.tree.map(jnp.copy, model.params)
        if library == "optax":
            step, held = by_hand(model, theirs), (params, theirs.init(params))
        else:
            step, held = (
                jopt.train_step(model.loss),
                jopt.TrainState.create(params, ours),
            )
        jax.block_until_ready((held, model.batch))
        return timed(lambda: step(held, model.batch))

    seconds = {}
    with tempfile.TemporaryDirectory() as directory:
        for cache in ("no cache", "empty cache", "full cache"):
            if cache == "empty cache":
                use_cache(directory)
            for library in ("optax", "jopt"):
                seconds[f"{library}, {cache}"] = called(library)
        use_cache(None)
    report.add(
        name,
        told={f"s {way}": value for way, value in seconds.items()},
        ratios={
            f"optax, {cache}": seconds[f"optax, {cache}"] / seconds[f"jopt, {cache}"]
            for cache in ("no cache", "full cache")
        },
        leaves=model.leaves,
    )


def use_cache(directory: str | None) -> None:
    """Let JAX keep all that it compiles in a directory from here on, or nowhere."""
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()


CASES: dict[str, Callable[[Report], None]] = {
    "ceilings": ceilings,
    "mlp": mlp,
    "gpt2": gpt2,
    "optimizer-1": optimizer_1,
    "optimizer-gpt2": optimizer_gpt2,
    "optimizer-2000": optimizer_2000,
    "cnn": cnn,
    "halving": halving,
    "overheads": overheads,
    "transformer": transformer,
}
CACHED = ("mlp", "cnn", "transformer", "halving")  # compile equal programs again


def device() -> None:
    """Print what this runs on."""
    from record import cores, environment, versions

    found = jax.local_devices()[0]
    about = {
        "device": {
            "platform": found.platform,
            "kind": found.device_kind,
            "count": jax.local_device_count(),
            "memory": (found.memory_stats() or {}).get("bytes_limit"),
        },
        "versions": versions(),
        "environment": environment(),
        "cores": cores(),
        "load": os.getloadavg(),
    }
    print(json.dumps(about), flush=True)


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("case", choices=["device", *CASES])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.case == "device":
        return device()
    if "JOPT_CASE" in os.environ:
        threading.Thread(target=end_with_parent, daemon=True).start()
    report = Report(options.quick)
    with tempfile.TemporaryDirectory() as directory:
        if options.case in CACHED:
            use_cache(directory)
        CASES[options.case](report)
    return None


if __name__ == "__main__":
    main()
