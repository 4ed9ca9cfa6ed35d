"""Draw the validation losses of a sweep while it trains, after each segment."""

import tempfile

from matplotlib.figure import Figure

import jopt
from jopt import sweep
from jopt.tasks import digits

picture = tempfile.mkdtemp() + "/live.png"


def draw(now: sweep.Segment):
    figure = Figure()
    axes = figure.subplots()
    axes.semilogy(range(1, now.segments + 1), now.valid["loss"].T)  # a line a trial
    axes.set(xlabel="segment", title=f"{now.alive.sum()} trials are still trained")
    figure.savefig(picture)  # in a notebook: IPython.display.display(figure)
    print(f"segment {now.number} of {now.segments}: {picture}")


trials = sweep.grid(jopt.adamw, learning_rate=[1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])
sweep.run(digits(), trials, steps=80, segments=8, callbacks=[draw])
