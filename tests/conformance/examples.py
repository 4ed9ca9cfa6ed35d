"""Run optax's example scripts with optax and with jopt, and compare their numbers.

    python tests/conformance/examples.py FOLDER

FOLDER holds scripts and notebooks that import optax, such as the folder `examples` of
optax's repository. Each runs twice in a process of its own: as it is, and with jopt in
optax's place. The arrays that it leaves in its namespace and the numbers that it prints
are compared. Those that import `optax._src` cannot run with any other library.
"""

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+(?:e[+-]?\d+)?")


def source(path: Path) -> str:
    """The code of a script, or of a notebook without its shell commands."""
    text = path.read_text()
    if path.suffix != ".ipynb":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join("".join(cell["source"]) for cell in cells).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(("!", "%")))


def with_jopt(code: str) -> str:
    """The same code with jopt in optax's place."""
    code = re.sub(r"^(\s*)from optax\b", r"\1from jopt", code, flags=re.MULTILINE)
    imported = r"\1import jopt\2; import jopt as optax"
    code = re.sub(r"^(\s*)import optax([.\w]*) *$", imported, code, flags=re.MULTILINE)
    return re.sub(r"^(\s*)import optax\b", r"\1import jopt", code, flags=re.MULTILINE)


def run_once(path: Path, library: str, out: Path) -> None:
    """Execute the code and save what it leaves behind."""
    import jax

    code = source(path)
    code = with_jopt(code) if library == "jopt" else code
    printed = io.StringIO()
    space = {"__name__": "__main__", "__file__": str(path)}
    sys.argv = [str(path)]
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        exec(compile(code, str(path), "exec"), space)
    found = {
        "(printed)": np.array([float(n) for n in NUMBER.findall(printed.getvalue())])
    }
    for name, value in space.items():
        if name.startswith("_"):
            continue
        for i, leaf in enumerate(jax.tree.leaves(value)):
            array = isinstance(leaf, (jax.Array, np.ndarray)) and np.size(leaf) > 0
            if array and jax.numpy.issubdtype(leaf.dtype, np.inexact):
                found[f"{name}[{i}]"] = np.asarray(leaf, np.float64)
    np.savez(out, allow_pickle=False, **found)


def error_of(path: Path, library: str, out: Path, limit: float) -> str | None:
    """Run the code in a process; return the last line of its error, if it fails."""
    command = [sys.executable, __file__, str(path), "--run", library, "--out", str(out)]
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
            cwd=path.parent,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return f"more than {limit:g} s"
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


def difference(ours: Path, theirs: Path) -> tuple[float, str, int]:
    """The greatest difference relative to an array's size, where, and of how many."""
    worst, where = 0.0, "-"
    with np.load(ours) as got, np.load(theirs) as wanted:
        names = sorted({*wanted.files} & {*got.files})
        for name in names:
            x, y = got[name], wanted[name]
            apart = np.inf
            if x.shape == y.shape:
                # What has converged to zero is rounding: 0.01 is added to the size.
                size = 0.01 + np.max(np.abs(y), initial=0, where=np.isfinite(y))
                same = (x == y) | (np.isnan(x) & np.isnan(y))
                apart = np.max(np.where(same, 0, np.abs(x - y)) / size, initial=0)
            if not apart <= worst:
                worst, where = float(apart), name
    return worst, where, len(names)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare optax's examples.")
    parser.add_argument("folder", type=Path, help="of scripts and notebooks")
    parser.add_argument("--limit", type=float, default=600, help="seconds for each run")
    parser.add_argument("--rtol", type=float, default=1e-3, help="of an array's size")
    parser.add_argument("--run", choices=("optax", "jopt"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_once(options.folder, options.run, options.out)
        return 0
    paths = [p for p in options.folder.rglob("*") if p.suffix in (".py", ".ipynb")]
    failed = 0
    for path in sorted(paths):
        code = source(path)
        if not re.search(r"^\s*(import|from) optax", code, re.MULTILINE):
            continue
        if "optax._src" in code or path.stem.endswith("_test"):
            print(f"left out  {path.name}: it imports private modules, or is a test")
            continue
        with tempfile.TemporaryDirectory() as work:
            files = {name: Path(work, f"{name}.npz") for name in ("optax", "jopt")}
            errors = {
                name: error_of(path, name, file, options.limit)
                for name, file in files.items()
            }
            if errors["optax"]:
                print(f"no answer {path.name}: with optax, too: {errors['optax']}")
            elif errors["jopt"]:
                failed += 1
                print(f"FAILS     {path.name}: {errors['jopt']}")
            else:
                worst, where, number = difference(files["jopt"], files["optax"])
                verdict = "same     " if worst <= options.rtol else "DIFFERS  "
                failed += worst > options.rtol
                print(f"{verdict} {path.name}: {number} arrays, {worst:.1e} ({where})")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
