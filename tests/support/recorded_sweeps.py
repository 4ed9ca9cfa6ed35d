"""Make records of sweeps that never ran, one of every kind that a report shows."""

import numpy as np

from jopt.report import Record
from jopt.sweep import Lineage
from jopt.sweep.population import Event

STEPS, SEGMENTS = 60, 6
KINDS = ("pruned", "dead", "fixed", "population", "interrupted")


def record(kind="pruned", trials=24):
    """A record; its first trial is the winner if there is one."""
    random = np.random.default_rng(0)
    rows, steps = np.arange(trials), np.arange(STEPS)
    columns = {
        "learning_rate": 10 ** random.uniform(-4, -1, trials),
        "decay": np.tile([0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 3.0, 10.0], trials)[rows],
        "width": np.tile([8, 16, 32], trials)[rows],
        "nesterov": rows % 2 == 0,
        "kind": np.asarray(["adam", "</script><b>", "lion"])[rows % 3],
    }
    if kind == "fixed":
        columns = {"learning_rate": np.full(trials, 0.1)}
    losses = (2 + rows[:, None]) * np.exp(-steps / 20) + 0.1
    ends = np.arange(1, SEGMENTS + 1) * (STEPS // SEGMENTS)
    made, status = _ends(kind, trials)
    losses = np.where(steps < made[:, None], losses, np.nan).astype(np.float32)
    valid = np.where(ends <= made[:, None], losses[:, ends - 1], np.nan)
    last = np.where(status == "diverged", np.nan, losses[rows, np.maximum(made, 1) - 1])
    table = {
        "trial": rows,
        **columns,
        "seed": rows % 2 if kind == "fixed" else np.zeros(trials, int),
        "status": status,
        "steps": made,
        "train_loss": losses[:, 0],
        "valid_loss": last.astype(np.float32),
    }
    best = {
        "trial": 0,
        "hyperparameters": {name: held[0].item() for name, held in columns.items()},
        "seed": 0,
        "valid": {"loss": float(last[0])},
        "test": {"loss": 0.25, "accuracy": 0.75},
    }
    rows_of: dict[str, int] = {}
    settings = zip(*(column.tolist() for column in columns.values()), strict=True)
    info = {
        "task": "points",
        "space": {n: c.tolist() for n, c in columns.items()},
        "setting": [rows_of.setdefault(repr(s), len(rows_of)) for s in settings],
    }
    if kind == "population":
        info["lineage"] = lineage(columns["learning_rate"]).as_dict()
    values = {"loss": valid.astype(np.float32)}
    if kind == "interrupted":  # before the first report
        del table["valid_loss"]
        values = {}
    won = kind not in ("dead", "interrupted")
    return Record(table, losses, values, ends, info, best if won else None)


def lineage(rates):
    """Trial 0 went on from trial 1 after 20 steps, and both were changed after 40."""
    own = Lineage({"learning_rate": float(rate)} for rate in rates)
    one, other, new = ({"learning_rate": float(r)} for r in (rates[0], rates[1], 0.05))
    events = [
        Event(1, 20, 0, 1, one, other),
        Event(3, 40, 0, 0, other, new),
        Event(3, 40, 1, 1, other, new),
    ]
    return Lineage(own.settings, events)


def _ends(kind, trials):
    made, status = np.full(trials, STEPS), np.full(trials, "complete", dtype="<U11")
    if kind == "pruned":
        made[8:16], status[8:16] = 20, "pruned"
        made[16:20], status[16:20] = 30, "pruned"
        made[20:], status[20:] = 13, "diverged"
    if kind == "dead":
        made[:], status[:] = 0, "diverged"
    if kind == "interrupted":
        made[:], status[:] = 10, "interrupted"
        made[-4:] = 0
    return made, status
