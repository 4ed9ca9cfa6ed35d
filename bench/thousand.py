"""What do 1,000 trials take in memory, and their display, callbacks and files in time?

1,000 settings of AdamW on the MLP of digits, swept twice, each time in a fresh process:
once in memory alone, once with a directory (the record, with a checkpoint at each of 10
segments while it runs, then all files of the result). Both have the command line's
display, on a terminal that nobody sees, and a callback.

    growth    peak memory of the process, less the peak of a sweep of two blocks before
    said      what the sweep's own analysis says: parameters and optimizer state of all
              trials, what the compiled call needs, data, curves
    display   seconds of a core that telling the display and drawing it take, as a share
              of the training: of its seconds, or of its seconds of all cores if those
              are fewer, for then others use the machine
    callback  likewise, of the callback and of what is made for it
    keep      seconds of writing the record, as a share of the training's

Exits with 1 if the growth is more than 2 times what is said (4 with the directory: a
checkpoint is copied out of the pool, and once more by orbax), or the display and the
callbacks together take 1 % of the time.

    python bench/thousand.py
    python bench/thousand.py --quick         a tenth of it, for CI, no file
"""

# Nothing but the standard library, so not `record`, which imports jax: a child's peak
# begins with its parent's size.
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MOST_GROWTH = {"memory": 2, "directory": 4}
MOST_DISPLAY = 0.01


def measured(way, options):
    """Run the sweep in a fresh process; return what it says of itself."""
    asked = json.dumps({**options, "directory": way == "directory"})
    command = [sys.executable, str(HERE / "thousand_sweep.py"), asked]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(printed.stdout.splitlines()[-1])
    said = sum(found["said"][name] for name in ("trials", "call", "data", "curves"))
    seconds, training = found["seconds"], found["train_seconds"]
    telling, least = (
        seconds["_tell"] + seconds["refresh"],
        min(training, seconds["run"]),
    )
    growth = {
        name: found["peaks"][name] - found["peaks"]["few"]
        for name in ("ready", "trained", "saved")
        if name in found["peaks"]
    }
    return found | {
        "growth": growth,
        "growth_over_said": max(growth.values()) / said,
        "said_in_all": said,
        "display_share": telling / least,
        "callback_share": seconds["_call_back"] / least,
        "keep_share": (seconds["_keep"] + seconds["_saved"]) / training,
        "save_share": found["save_seconds"] / found["total_seconds"],
    }


def show(rows):
    """Print what each way took."""
    megabytes = {
        "peak, all imported": lambda row: row["peaks"]["imported"],
        "peak, a sweep of two blocks": lambda row: row["peaks"]["few"],
        "peak, all trials": lambda row: max(row["peaks"].values()),
        "  growth until the first step": lambda row: row["growth"]["ready"],
        "  growth until the end": lambda row: max(row["growth"].values()),
        "said: trials": lambda row: row["said"]["trials"],
        "said: call, data, curves": lambda row: (
            row["said_in_all"] - row["said"]["trials"]
        ),
        "files": lambda row: row["directory_bytes"],
    }
    seconds = {
        "training, s": lambda row: row["train_seconds"],
        "from nothing, s": lambda row: row["total_seconds"],
        "writing the result, s": lambda row: row["save_seconds"],
    }
    print(f"\n{'':32}" + "".join(f"{way:>12}" for way in rows))

    def line(name, value, unit, shown):
        values = "".join(f"{value(row) / unit:>12{shown}}" for row in rows.values())
        print(f"{name:32}{values}")

    for name, value in megabytes.items():
        line(f"{name}, MB", value, 1e6, ".1f")
    line("growth / said", lambda row: row["growth_over_said"], 1, ".2f")
    for name, value in seconds.items():
        line(name, value, 1, ".2f")
    for name in ("display", "callback", "keep"):
        line(f"{name} / training", lambda row, n=name: row[f"{n}_share"], 1, ".2%")


def misses(rows):
    """Return a sentence for each promise that is not kept."""
    said = []
    for way, row in rows.items():
        if row["growth_over_said"] > MOST_GROWTH[way]:
            said.append(f"{way}: {row['growth_over_said']:.1f} times what is said")
        share = row["display_share"] + row["callback_share"]
        if share >= MOST_DISPLAY:
            said.append(f"{way}: display and callbacks take {share:.1%} of the time")
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="for CI")
    given = parser.parse_args()
    if given.quick:
        given.trials, given.steps = 100, 30
    options = {"trials": given.trials, "steps": given.steps, "block": given.block}
    options["segments"] = 10
    print(
        f"digits, {given.trials} trials of {given.steps} steps, blocks of {given.block}"
    )
    rows = {}
    for way in MOST_GROWTH:
        rows[way] = measured(way, options)
        print(f"{way:10}{rows[way]['train_seconds']:8.2f} s of training", flush=True)
    show(rows)
    if given.quick:
        return
    report = {"question": __doc__.splitlines()[0], **options, "ways": rows}
    device = rows["memory"]["device"]["kind"].replace(" ", "-").lower()
    path = HERE / "results" / f"thousand-digits-{device}.json"
    path.write_text(json.dumps(report | {"cores": os.cpu_count()}, indent=2) + "\n")
    print(f"\nwritten to {path.relative_to(HERE.parent)}")
    if said := misses(rows):
        sys.exit("; ".join(said))


if __name__ == "__main__":
    main()
