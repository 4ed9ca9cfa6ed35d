"""What does a train step launch and move on an H100, found without one?

XLA compiles each program for the chip, and the compiled text is read: exact in kernels,
copies and aliases, a model in bytes (bench/kernels.py), silent about time. The step is
that of a transformer as large as GPT-2 small (bench/gpt2_small.py: 147 leaves, products
in bfloat16) on 8 sequences of 512 tokens; beside it the optimizer alone, with 10 leaves
of 1,048,576 numbers, 100 of 65,536 and 300 of 1,024, in float32.

optax     `update` and `apply_updates` in one jitted function that is given parameters
          and state to keep
jopt      `jopt.train_step`, which measures the gradients' norm too, and in which what
          is not finite changes nothing; alone, `update` and `apply_updates` of packed
          parameters and gradients
by leaf   the former without buckets

kernels   launches; `beyond`: more than the forward and the backward pass alone have
GB        read and written in a step; `B/param`: beyond the two passes, a parameter
aliased   of the state's bytes, those that are written in place

    python bench/h100_hlo.py --target h100_sxm.txtpb
    python bench/h100_hlo.py --target h100_sxm.txtpb --layers 2 --texts folder
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from gpt2_small import Shape
from h100 import H100, PACKAGES, Missing
from kernels import kernels
from models import optimizer_step
from record import question

import jopt
from jopt.sweep.store import surroundings

HERE = Path(__file__).parent
SEQUENCES, LENGTH = 8, 512
ALONE = ((10, 1_048_576), (100, 65_536), (300, 1_024))
TRANSFORMATIONS = {
    "adamw": lambda library: library.adamw(1e-3),
    "clip + adamw": lambda library: library.chain(
        library.clip_by_global_norm(1.0), library.adamw(1e-3)
    ),
}


class Program(NamedTuple):
    """A jitted step, the shapes of its arguments, and how many of them are donated."""

    task: str
    transformation: str
    library: str
    step: Any
    arguments: tuple[Any, ...]
    donated: int
    parameters: int


def train_steps(chip: H100, model: Shape) -> Iterator[Program]:
    """Yield the two passes alone, then the whole step with each optimizer."""
    params = chip.shapes(model.init, jax.random.key(0))
    batch = chip.place(jax.ShapeDtypeStruct((SEQUENCES, LENGTH + 1), jnp.int32))
    size = sum(x.size for x in jax.tree.leaves(params))
    passes = jax.jit(jax.value_and_grad(model.loss))
    yield Program("train step", "", "", passes, (params, batch), 0, size)
    for name, make in TRANSFORMATIONS.items():
        tx = make(optax)
        step = jax.jit(_step_of_optax(tx, model), donate_argnums=(0, 1))
        arguments = params, chip.shapes(tx.init, params), batch
        yield Program("train step", name, "optax", step, arguments, 2, size)
        for library, buckets in (("jopt", True), ("by leaf", False)):
            state = chip.shapes(_creation(make(jopt), buckets), params)
            step = jopt.train_step(model.loss)
            yield Program("train step", name, library, step, (state, batch), 1, size)


def optimizers(chip: H100, number: int, size: int) -> Iterator[Program]:
    """Yield the step of each optimizer alone."""
    tree = [jax.ShapeDtypeStruct((size,), jnp.float32)] * number
    for name, make in TRANSFORMATIONS.items():
        for library, module in (("optax", optax), ("jopt", jopt)):
            tx = make(module)
            params = chip.shapes(_packing(tx) if module is jopt else list, tree)
            arguments = params, chip.shapes(tx.init, params), params
            step = jax.jit(optimizer_step(module, tx), donate_argnums=(0, 1))
            task = f"{number} x {size:,}"
            yield Program(task, name, library, step, arguments, 2, number * size)


def _creation(tx: Any, buckets: bool) -> Any:
    return lambda params: jopt.TrainState.create(params, tx, buckets=buckets)


def _packing(tx: Any) -> Any:
    return lambda tree: jopt.pack(tree, tx)


def _step_of_optax(tx: Any, model: Shape) -> Any:
    def step(params: Any, state: Any, batch: Any) -> Any:
        loss, gradients = jax.value_and_grad(model.loss)(params, batch)
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    return step


def row(program: Program, texts: Path | None) -> dict[str, Any]:
    """Compile a program and return what its text and its analysis say."""
    began = time.perf_counter()
    compiled = program.step.lower(*program.arguments).compile()
    seconds = time.perf_counter() - began
    found = kernels(compiled.as_text())
    memory = compiled.memory_analysis()
    words = [program.task, program.transformation, program.library]
    if texts:
        texts.mkdir(parents=True, exist_ok=True)
        name = "-".join("".join(word.split()) for word in words if word)
        (texts / f"{name}.txt").write_text(compiled.as_text())
    donated = program.arguments[: program.donated]
    return {
        **dict(zip(("task", "transformation", "library"), words, strict=True)),
        "kernels": len(found),
        "by_kind": Counter(kernel.kind for kernel in found),
        "bytes": sum(kernel.bytes for kernel in found),
        "parameters": program.parameters,
        "state_bytes": sum(map(_bytes, jax.tree.leaves(donated))),
        "aliased_bytes": memory.alias_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "compile_seconds": seconds,
    }


def _bytes(x: Any) -> int:
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.eval_shape(jax.random.key_data, x)
    return x.size * x.dtype.itemsize


def less(each: dict[str, Any], passes: dict[str, Any]) -> dict[str, Any]:
    """Return a row with what its step has beyond the forward and backward passes."""
    inside = each["task"] == passes["task"]  # or else the optimizer is alone
    moved = each["bytes"] - inside * passes["bytes"]
    return each | {
        "kernels_beyond": each["kernels"] - inside * passes["kernels"],
        "bytes_a_parameter": moved / each["parameters"],
    }


def show(each: dict[str, Any]) -> None:
    share = each["aliased_bytes"] / (each["state_bytes"] or 1)
    print(
        f"{each['task']:15}{each['transformation'] or 'none':14}{each['library']:8}"
        f"{each['kernels']:8}{each['kernels_beyond']:8}{each['by_kind']['copy']:8}"
        f"{each['bytes'] / 1e9:10.3f}{each['bytes_a_parameter']:9.2f}{share:9.2%}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("--target", type=Path, help="XLA's description of the chip")
    parser.add_argument("--layers", type=int, default=Shape().layers)
    parser.add_argument("--quick", action="store_true", help="one layer, 300 leaves")
    parser.add_argument("--texts", type=Path, help="a folder for the compiled programs")
    options = parser.parse_args()
    try:
        chip = H100(options.target)
    except Missing as missing:
        print(missing, file=sys.stderr)
        raise SystemExit(2) from None
    layers = 1 if options.quick else options.layers
    model = Shape(layers=layers, compute="bfloat16")

    print(
        f"{'':15}{'optimizer':14}{'':8}{'kernels':>8}{'beyond':>8}{'copies':>8}"
        f"{'GB':>10}{'B/param':>9}{'aliased':>9}"
    )
    rows: list[dict[str, Any]] = []

    def add(program: Program) -> None:
        each = row(program, options.texts)
        rows.append(less(each, rows[0] if rows else each))
        show(rows[-1])

    for program in train_steps(chip, model):
        add(program)
    for number, size in ALONE[-1:] if options.quick else ALONE:
        for program in optimizers(chip, number, size):
            add(program)

    report = {
        "question": question(__doc__),
        "command": f"python bench/h100_hlo.py --target {options.target.name}",
        "compiled_for": chip.device.device_kind,
        "model": model._asdict() | {"sequences": SEQUENCES, "length": LENGTH},
        "rows": rows,
        **surroundings(),
    }
    report["versions"] |= {name: version(name) for name in PACKAGES}
    if not options.quick and layers == Shape().layers:
        path = HERE / "results" / "h100-hlo.json"
        path.write_text(json.dumps(report, indent=2) + "\n")
        print(f"written to {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
