"""What a benchmark found: rows with their aims, printed as they come, kept as JSON."""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import jax

import jopt

HERE = Path(__file__).parent
NO_SLOWER = 0.97  # what every row must reach, noise apart
PACKAGES = ("jax", "jaxlib", "optax", "flax", "numpy", "torch")
SETTINGS = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "XLA_", "OMP_", "JAX_")


def question(doc: str | None) -> str:
    """Return the first line of a script's docstring."""
    return (doc or "").partition("\n")[0]


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser that has the options that every script has."""
    parser = argparse.ArgumentParser(description=question(doc))
    parser.add_argument("--quick", action="store_true", help="few, small, no results")
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    return parser


def progress(*words: object) -> None:
    """Tell what is being done, beside the table."""
    print("   ", *words, file=sys.stderr, flush=True)


def keep(name: str, report: dict[str, Any]) -> Path:
    """Write a report under results/, named after its device, and say where."""
    kind = report["device"]["kind"].replace(" ", "-").lower()
    path = HERE / "results" / f"{name}-{kind}.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nwritten to {path.relative_to(HERE.parent)}")
    return path


class Record:
    """The rows of a script, and what they were measured on."""

    def __init__(self, name: str, doc: str | None, options: argparse.Namespace):
        self.name, self.options = name, options
        self.rows: list[dict[str, Any]] = []
        self.more: dict[str, Any] = {"question": question(doc)}
        self.load = os.getloadavg()
        print(f"{question(doc)}\n{self._where()}\n", flush=True)

    def add(
        self,
        measure: str,
        values: dict[str, float],
        aim: float | None = NO_SLOWER,
        unit: str = "ms",
        **details: Any,
    ) -> None:
        """Add a row: how many times optax's value is jopt's.

        values: optax's, jopt's, and others' to stand beside. aim: the least ratio.
        """
        ratio = values["optax"] / values["jopt"] if values["jopt"] else 1.0
        others = [
            f"{name} {value:.4g}"
            for name, value in values.items()
            if name not in ("optax", "jopt")
        ]
        shown = f"optax {values['optax']:.4g}, jopt {values['jopt']:.4g}"
        words = ", ".join([f"{shown} {unit}", *others])
        self._add(measure, ratio, "times", "at least", aim, words, values, details)

    def add_bound(
        self, measure: str, found: float, unit: str, most: float, **details: Any
    ) -> None:
        """Add a row: a number that must be at most so great."""
        self._add(measure, found, unit, "at most", most, "", {}, details)

    def _add(self, measure, found, unit, bound, aim, words, values, details) -> None:
        kept = None
        if aim is not None:
            kept = found >= aim if bound == "at least" else found <= aim
        row = {"measure": measure, "found": found, "unit": unit, "bound": bound}
        self.rows.append(row | {"aim": aim, "kept": kept, "values": values} | details)
        print(f"{line(self.rows[-1])}  {words}".rstrip(), flush=True)

    def write(self) -> None:
        """Write the rows: a full run's under results/, named after the device."""
        device = jax.devices()[0]
        report = self.more | {
            "command": " ".join(["python", f"bench/{self.name}.py", *sys.argv[1:]]),
            "versions": versions(),
            "device": {"platform": device.platform, "kind": device.device_kind},
            "cores": cores(),
            "environment": environment(),
            "load": {"before": self.load, "after": os.getloadavg()},
            "rows": self.rows,
        }
        if self.options.json:
            self.options.json.write_text(json.dumps(report, indent=2) + "\n")
        if not self.options.quick:
            keep(self.name, report)

    def _where(self) -> str:
        settings = environment()
        said = ", ".join(f"{name}={value}" for name, value in settings.items())
        kind = jax.devices()[0].device_kind
        return (
            f"{kind}, {cores()} cores, load {self.load[0]:.1f}; set "
            f"for all libraries: {said or 'nothing, malloc as the system has it'}"
        )


def line(row: dict[str, Any]) -> str:
    """Return a row in words: measure, what was found, the aim, whether it is met."""
    aim, kept = row["aim"], row["kept"]
    sign = {"at least": ">=", "at most": "<="}[row["bound"]]
    wanted = "" if aim is None else f"{sign} {aim:g}"
    verdict = {True: "pass", False: "MISS", None: ""}[kept]
    unit = {"times": "x"}.get(row["unit"], row["unit"])
    found = f"{row['found']:.{2 if row['found'] < 100 else 0}f} {unit}"
    return f"{row['measure']:58}{wanted:>9}{found:>17}  {verdict:4}"


def cores() -> int:
    """Return how many cores this process may use; torch is given as many threads."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def environment() -> dict[str, str]:
    """Return the environment variables that times depend on."""
    found = {k: v for k, v in os.environ.items() if k.startswith(SETTINGS)}
    return dict(sorted(found.items()))


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of what is measured; None where not there."""

    def version(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    found = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "jopt": jopt.__version__, **found}
