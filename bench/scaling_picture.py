"""Draw what N trials cost beside one, from the files that scaling.py wrote.

python bench/scaling_picture.py cpu
"""

import json
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
COLORS = {"digits": "#4477aa", "mnist": "#cc6677", "text": "#228833"}
NAMES = {"digits": "MLP (digits)", "mnist": "CNN (mnist)", "text": "transformer (text)"}


def draw(results, device):
    """Draw T(N)/T(1), and trial-steps a second beside serial; return the file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    cost, speed = figure.subplots(1, 2)
    most = 1
    for model, color in COLORS.items():
        path = results / f"scaling-{model}-{device}.json"
        if not path.exists():
            continue
        rows = json.loads(path.read_text())["rows"]
        trials = [row["trials"] for row in rows]
        most, style = max(most, *trials), {"color": color, "label": NAMES[model]}
        cost.plot(trials, [row["over_one_trial"] for row in rows], "o-", **style)
        serial = [row["serial_over_this"] for row in rows]
        speed.plot(trials, serial, "o-", **style)
    cost.plot([1, most], [1, most], "--", color="gray", label="one after another")
    cost.axhline(1, color="gray", lw=0.8, ls=":", label="as one trial")
    speed.axhline(1, color="gray", lw=0.8, ls="--", label="one after another")
    cost.set(yscale="log", ylabel="T(N) / T(1)", title="Time of N trials over one's")
    speed.set(
        ylabel="serial time / T(N)",
        title="Times faster than serial scans",
        ylim=(0, None),
    )
    for axes in (cost, speed):
        axes.set_xscale("log", base=4)
        axes.set_xlabel("trials")
        axes.set_xticks([4**k for k in range(7) if 4**k <= most])
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.suptitle(device)
    file = results / f"scaling-{device}.png"
    figure.savefig(file, dpi=110)
    return file


if __name__ == "__main__":
    print(f"drawn in {draw(RESULTS, sys.argv[1])}")
