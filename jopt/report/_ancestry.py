"""How the hyperparameters of a population moved while it trained."""

from typing import Any

from jopt.report._record import Record
from jopt.sweep.population import Lineage


def ancestry(record: Record) -> dict[str, Any] | None:
    """Return each trial's values by step, and the winner's whole ancestry.

    Returns None for a sweep without a lineage, or else {"names", "trials", "best"}: the
    hyperparameters that are numbers and moved; for each trial a list of [step, whether
    it was copied from another then, values]; and the same of the runs that made the
    winner, from step 0 to the end, or None.
    """
    held = record.info.get("lineage")
    if held is None or not held["events"]:
        return None
    lineage = Lineage.from_dict(held)
    names = [n for n in lineage.settings[0] if _moved(lineage, n)]
    trials = [[[0, False, [s[n] for n in names]]] for s in lineage.settings]
    for event in lineage.events:
        values = [event.new[name] for name in names]
        trials[event.child].append([event.step, event.parent != event.child, values])
    best = None
    if record.best is not None:
        best = [
            [stretch.step, False, [stretch.setting[name] for name in names]]
            for stretch in lineage.ancestors(record.best["trial"])
        ]
    return {"names": names, "trials": trials, "best": best}


def _moved(lineage: Lineage, name: str) -> bool:
    settings = [*lineage.settings, *(event.new for event in lineage.events)]
    values = [setting.get(name) for setting in settings]
    numbers = all(isinstance(v, (int, float)) and v is not True for v in values)
    return numbers and len(set(values)) > 1
