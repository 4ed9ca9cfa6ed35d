"""What does a step of a sweep's block launch on an H100, found without one?

XLA compiles a block's call, a scan over steps, for the chip, and the text of the loop's
body is read. Tasks are those of the command: an MLP (digits), a CNN (mnist) and a
transformer (text), with 64 and 256 learning rates of AdamW.

kernels   launches of a step of the block; `each`: of them a trial
copies    launches that only copy, and their share of the bytes of the trials' state
host      transfers to or from the host inside the loop; none is the aim
products  matrix products, and those that are not of all trials at once, which are
          named: no axis of their result is a multiple of the trials (with 256 trials
          the models have no such axis of their own)

    python bench/h100_blocks.py --target h100_sxm.txtpb
    python bench/h100_blocks.py --target h100_sxm.txtpb --quick
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jax
from h100 import H100, Missing
from kernels import Computation, Kernel, Program, computations, kernels_in
from record import HERE, question, versions
from trials import Work

from jopt.cli import lookup

TASKS = {"MLP": "digits", "CNN": "mnist", "transformer": "text"}
TRIALS = (64, 256)
STEPS = 8
HOST = re.compile(r"infeed|outfeed|^send|^recv|Host")


def compiled(chip: H100, name: str, trials: int) -> tuple[Any, int]:
    """Return the program of a block's call, and the bytes of its trials' state."""
    work = Work(lookup.task(name), STEPS)
    stacked = work.stacked(trials)
    own, shared = jax.eval_shape(stacked.start, stacked.configs, stacked.starts)
    examples = work.batches.within(work.data.train)
    given = own, shared, stacked.data.fixed, examples, work.batches
    train = jax.jit(stacked.train, donate_argnums=0)
    program = train.lower(*chip.place(given)).compile()
    return program, sum(map(bytes_of, own))


def bytes_of(x: Any) -> int:
    """Return the bytes of an array's shape, of a key's words."""
    if jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key):
        x = jax.eval_shape(jax.random.key_data, x)
    return x.size * x.dtype.itemsize


def bodies(program: Program) -> list[str]:
    """Return the names of the loops' bodies, the largest first."""
    whiles = [i for c in program.values() for i in c.values() if i.operation == "while"]
    found = {re.search(r"body=%?([\w.\-]+)", each.rest)[1] for each in whiles}  # pyright: ignore[reportOptionalSubscript]
    return sorted(found, key=lambda name: -len(program[name]))


def shapes(program: Program, around: Computation, kernel: Kernel) -> str:
    """Return the shapes that a kernel takes and gives, without layouts."""
    each = around[kernel.name]
    given = [around[name].shape for name in each.operands if name in around]
    shown = ", ".join(given) + " -> " + each.shape
    return re.sub(r"\{[^}]*\}", "", shown)


def of_all(shown: str, trials: int) -> bool:
    """Return whether a product's result has the trials as an axis, or in a wide one."""
    result = re.findall(r"\[([\d,]*)\]", shown.rpartition("->")[2])
    sizes = [size for each in result for size in each.split(",") if size]
    return any(int(size) % trials == 0 for size in sizes if int(size))


def row(chip: H100, name: str, trials: int) -> dict[str, Any]:
    """Compile a block, and return what the body of its loop says."""
    began = time.perf_counter()
    made, state = compiled(chip, TASKS[name], trials)
    text = made.as_text()
    program, _ = computations(text)
    first, *_ = bodies(program)
    found, body = list(kernels_in(program, first)), program[first]
    products = [k for k in found if k.kind == "product"]
    copies = [k for k in found if k.kind == "copy"]
    apart = [
        f"{k.source.rpartition('/')[2] or k.name}: {shown}"
        for k in products
        if k.name in body and not of_all(shown := shapes(program, body, k), trials)
    ]
    every = [i for c in program.values() for i in c.values()]
    return {
        "task": name,
        "trials": trials,
        "kernels": len(found),
        "kernels_each": len(found) / trials,
        "by_kind": Counter(k.kind for k in found),
        "bytes": sum(k.bytes for k in found),
        "state_bytes": state,
        "copied_of_state": sum(k.bytes for k in copies) / 2 / state,
        "copied": [k.source for k in copies],
        "host": [i.name for i in every if HOST.search(i.operation + i.rest[:200])],
        "conditionals": sum(i.operation == "conditional" for i in every),
        "products": len(products),
        "not_batched": apart,
        "aliased_bytes": made.memory_analysis().alias_size_in_bytes,
        "temporary_bytes": made.memory_analysis().temp_size_in_bytes,
        "compile_seconds": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("--target", type=Path, help="XLA's description of the chip")
    parser.add_argument("--quick", action="store_true", help="64 trials of the MLP")
    parser.add_argument("--only", nargs="+", choices=list(TASKS), default=list(TASKS))
    options = parser.parse_args()
    try:
        chip = H100(options.target)
    except Missing as missing:
        print(missing, file=sys.stderr)
        raise SystemExit(2) from None
    names = ["MLP"] if options.quick else options.only
    print(f"{'':12}{'trials':>7}{'kernels':>9}{'each':>7}{'copies':>8}", end="")
    print(f"{'of state':>10}{'host':>6}{'products':>10}{'not batched':>13}")
    rows = []
    for name in names:
        for trials in TRIALS[:1] if options.quick else TRIALS:
            rows.append(found := row(chip, name, trials))
            print(
                f"{name:12}{trials:7}{found['kernels']:9}{found['kernels_each']:7.2f}"
                f"{found['by_kind']['copy']:8}{found['copied_of_state']:10.2%}"
                f"{len(found['host']):6}{found['products']:10}"
                f"{len(found['not_batched']):13}",
                flush=True,
            )
            for each in found["not_batched"]:
                print(f"    {each}", flush=True)
    if options.quick:
        return
    report = {
        "question": question(__doc__),
        "command": "python bench/h100_blocks.py --target h100_sxm.txtpb",
        "compiled_for": chip.device.device_kind,
        "versions": versions(),
        "rows": rows,
    }
    path = HERE / "results" / "h100-blocks.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written to {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
