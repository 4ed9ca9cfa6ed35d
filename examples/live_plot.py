"""Draw the validation losses of a sweep while it trains, after each segment."""

import tempfile

import altair as alt

import jopt
from jopt import sweep
from jopt.tasks import digits

picture = tempfile.mkdtemp() + "/live.png"


def draw(now: sweep.Segment):
    rows = [
        {"trial": trial, "segment": segment + 1, "loss": float(loss)}
        for trial, losses in enumerate(now.valid["loss"])
        for segment, loss in enumerate(losses)
    ]
    title = f"{now.alive.sum()} trials are still trained"
    chart = alt.Chart(alt.InlineData(rows), title=title).mark_line()
    y = alt.Y("loss:Q", scale=alt.Scale(type="log"))
    chart = chart.encode(x="segment:O", y=y, color="trial:N")
    chart.save(picture)  # in a notebook: IPython.display.display(chart)
    print(f"segment {now.number} of {now.segments}: {picture}")


trials = sweep.grid(jopt.adamw, learning_rate=[1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])
sweep.run(digits(), trials, steps=80, segments=8, callbacks=[draw])
