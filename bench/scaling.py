"""What do N trials cost beside one, and is the block of trials well chosen?

For 1, 4, 16, 64, 256 trials (and 1024, 4096 on an accelerator) of an MLP (digits), a
CNN (mnist) and a transformer (text), with AdamW at as many learning rates:

    block      that the sweep engine picks by timing, for trials of 10,000 steps
    best       block of a full scan over powers of two, by the time of all trials
    pick/best  the time of all trials in picked blocks, over that in the best blocks
    steps/s    steps of trials, all trials together
    T(N)/T(1)  time of N trials over that of one
    serial     time of N trainings, one after another, over T(N): each is one compiled
               scan of plain optax; up to four are run, more are so many times one
    products   fraction of the measured rate of products, and
    bandwidth  of the measured bandwidth, that what XLA counts of the program comes to;
               the greater is the fraction of the roofline. Bytes are counted as if
               nothing stayed in a cache, so beyond 1 it did (see bench/roofline.py)

Times are medians over rounds; in a round every block of the scan, every number of
trials and the serial way take turns in random order. Compiling, picking and starting
the trials are apart. A turn has at least 16 trials, for after another program the
first call is slow. Blocks that do not fit in memory are left out. Steps of a call and
rounds fit a time: `--seconds` for each model, compiling (a minute or two) not counted.

    python bench/scaling.py
    python bench/scaling.py digits --seconds 60
    python bench/scaling.py --quick             small models, few trials; keeps nothing
"""

import argparse
import functools
import os
import random
import statistics
import time

import jax
from record import keep, question
from roofline import roofs, shown
from scaling_picture import draw
from trials import Work, powers, serial, steps_that_fit

from jopt.sweep._supervised import training_of
from jopt.sweep.engine import _devices as devices, pick
from jopt.sweep.engine._program import Program
from jopt.sweep.store import surroundings
from jopt.tasks import digits, mnist, text

MODELS = {"digits": digits, "mnist": mnist, "text": text}
SMALL = {
    "digits": functools.partial(digits, width=8),
    "mnist": functools.partial(mnist, width=2),
    "text": functools.partial(text, length=8, width=8, layers=1, heads=1),
}
TRAINING = 10_000  # steps that the engine is told a trial has
SERIAL = 4  # trainings that are run one after another at most
ROUNDS = 3, 15  # at least, at most


def measure(task, numbers, steps, seconds, roof):
    """Return the report of a model, measured by calls of some steps."""
    began = time.perf_counter()
    work = Work(task, steps or steps_that_fit(task, numbers, seconds, ROUNDS[0]))
    found = {n: pick(work.stacked(n), work.batches, TRAINING) for n in numbers}
    picked = {number: program for number, (program, _) in found.items()}
    room = devices.budget(jax.local_devices(), None, held=0)
    scanned = {program.block: program for program in picked.values()}
    stacked = work.stacked(numbers[-1])
    for block in powers(numbers[-1]):
        program = scanned.get(block) or Program(stacked, block, work.batches)
        if program.trained_bytes > room:
            break
        scanned[block] = program
    run_serial = serial(work)
    bounds = {
        b: work.needs(scanned[b], roof) for b in {p.block for p in picked.values()}
    }
    compiling = time.perf_counter() - began

    one_after_another, turn = min(SERIAL, numbers[-1]), functools.partial
    turns = {
        ("serial", one_after_another): turn(run_serial, one_after_another),
        **{("scan", b): turn(work.turn, p, b) for b, p in scanned.items()},
        **{("all", n): turn(work.turn, p, n) for n, p in picked.items()},
    }
    rounds = {name: [] for name in turns}
    load, began, done = os.getloadavg(), time.perf_counter(), 0
    late = lambda: time.perf_counter() - began >= seconds  # noqa: E731
    while done < ROUNDS[0] or (done < ROUNDS[1] and not late()):
        for name in random.sample(list(turns), len(turns)):
            rounds[name].append(turns[name]())
        done += 1
    times = {name: statistics.median(taken) for name, taken in rounds.items()}
    one_serial = times["serial", one_after_another] / one_after_another

    def row(number):
        block, total = picked[number].block, times["all", number]
        whole = {b: -(-number // b) * times["scan", b] for b in scanned if b <= number}
        best = min(whole, key=whole.__getitem__)
        step = total / -(-number // block) / work.steps
        return {
            "trials": number,
            "block": block,
            "best_block": best,
            "picked_over_best": whole[block] / whole[best],
            "seconds": total,
            "trial_steps_per_second": number * work.steps / total,
            "over_one_trial": total / times["all", 1],
            "serial_over_this": number * one_serial / total,
            "step": bounds[block],
            "of_products": bounds[block]["products_seconds"] / step,
            "of_bandwidth": bounds[block]["bandwidth_seconds"] / step,
            "scan_seconds": whole,
            "search": found[number][1],
        }

    return {
        "question": question(__doc__),
        "model": task.name,
        "batch_size": task.batch_size,
        "parameters": devices.bytes_of(
            jax.eval_shape(training_of(task).start, work.plan.key)[0]
        )
        // 4,
        "steps": work.steps,
        "training_steps_told": TRAINING,
        "rounds": done,
        "compile_and_pick_seconds": compiling,
        "measure_seconds": time.perf_counter() - began,
        "blocks_beyond_memory": [b for b in powers(numbers[-1]) if b not in scanned],
        "rows": [row(number) for number in numbers],
        "roof": roof,
        "load": {"before": load, "after": os.getloadavg(), "cores": os.cpu_count()},
        "round_seconds": {f"{kind} {n}": taken for (kind, n), taken in rounds.items()},
        **surroundings(),
    }


def show(report):
    """Print the table of a model."""
    print(
        f"\n{report['model']}: {report['parameters']} parameters, batches of "
        f"{report['batch_size']}; {report['rounds']} rounds of {report['steps']} steps"
    )
    titles = "trials block best pick/best steps/s T(N)/T(1) serial products bandwidth"
    print("".join(f"{title:>10}" for title in titles.split()))
    for row in report["rows"]:
        print(
            f"{row['trials']:10}{row['block']:10}{row['best_block']:10}"
            f"{row['picked_over_best']:10.2f}{row['trial_steps_per_second']:10.0f}"
            f"{row['over_one_trial']:10.2f}{row['serial_over_this']:10.2f}"
            f"{row['of_products']:10.2f}{row['of_bandwidth']:10.2f}"
        )
    if left_out := report["blocks_beyond_memory"]:
        print(f"blocks beyond the memory, not in the scan: {left_out}")
    worst = max(row["picked_over_best"] for row in report["rows"])
    before, after = (report["load"][when][0] for when in ("before", "after"))
    print(
        f"the picked blocks take at most {100 * (worst - 1):.0f} % more than the best; "
        f"{report['compile_and_pick_seconds']:.0f} s to compile and pick, "
        f"{report['measure_seconds']:.0f} s to measure; load {before:.2f} before, "
        f"{after:.2f} after, of {report['load']['cores']} cores",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=question(__doc__))
    parser.add_argument("models", nargs="*", metavar="model", help=", ".join(MODELS))
    parser.add_argument("--seconds", type=float, default=100, help="a model's, about")
    parser.add_argument("--most", type=int, help="trials; default: 256, 4096 on a GPU")
    parser.add_argument("--quick", action="store_true", help="small; keeps no file")
    options = parser.parse_args()
    if unknown := set(options.models) - set(MODELS):
        parser.error(f"{unknown.pop()} is none of {', '.join(MODELS)}")
    if jax.device_count() > 1:
        parser.error("this is a measurement of one device; hide the others from JAX")

    usual = 256 if jax.default_backend() == "cpu" else 4096
    most = options.most or (4 if options.quick else usual)
    numbers = [4**power for power in range(7) if 4**power <= most]
    roof = roofs(options.quick)
    print(jax.devices()[0].device_kind, shown(roof), sep=": ")
    for name in options.models or MODELS:
        task = (SMALL if options.quick else MODELS)[name]()
        steps, seconds = (4, 0) if options.quick else (None, options.seconds)
        report = measure(task, numbers, steps, seconds, roof)
        show(report)
        if not options.quick:
            path = keep(f"scaling-{name}", report)
            draw(path.parent, path.stem.removeprefix(f"scaling-{name}-"))


if __name__ == "__main__":
    main()
