"""`jopt predict`: the predictions of a sweep's best model on new examples."""

import argparse
import inspect
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jopt.cli.parsers import parser_of

DESCRIPTION = """\
Predict new examples with the best model of a sweep. The predictions are written next to
the input file. The terminal shows their shape and, for class probabilities, the
number of examples of each class.
"""

EXAMPLES = """\
examples:
  jopt predict sweeps/digits-1 images.npy              writes images.predictions.npy
  jopt predict sweeps/digits-1 images.npy --out digits.npy
  jopt predict results examples.npz

INPUT is a .npy or .npz file with the examples on the first axis. A .npy file holds the
first array of the task's data, such as the images of (images, labels). A .npz file
holds several arrays by their names in the task's data, or 0, 1, ... for a tuple.
Arrays that the task's predict function does not read may be left out.

The model is DIR/best/1. If the task is your own, its file is imported.

exit status: 0; 2 after bad input or if the predictions cannot be written.
"""


def add_to(commands: Any) -> None:
    """Add the command's options to the parser's `commands`."""
    says = "predict new examples with the best model of a sweep"
    parser = parser_of(commands, "predict", says, DESCRIPTION, EXAMPLES)
    add = parser.add_argument
    add("directory", type=Path, metavar="DIR", help="the directory of a sweep")
    add("input", type=Path, metavar="INPUT", help="a .npy or .npz file of examples")
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="file to write (default: INPUT.predictions.npy; .npz for several arrays)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    # Import late, so that `jopt predict --help` stays fast.
    from jopt import sweep
    from jopt.cli import command_file, lookup
    from jopt.core import by_path, path_text

    directory, given = options.directory, read(options.input)
    best = sweep.load(directory).best
    name = command_file.read(
        directory, "sweep.load(directory, task=...).predict(examples)"
    )["task"]
    if ":" in name:
        print(f"imports {name}")
    takes = inspect.signature(lookup.task_maker(name)).parameters
    setting = {} if best is None else best.hyperparameters
    task = lookup.task(name, **{n: x for n, x in setting.items() if n in takes})
    result = sweep.load(directory, task=task)
    if isinstance(given, dict):
        given = sweep.named_batch(task, given)
    answers = by_path(result.predict(given))
    path = write({path_text(p): x for p, x in answers.items()}, options)
    for place, array in answers.items():
        of = f" at {path_text(place)}" if place else ""
        print(f"{path}{of}: {array.dtype}{list(array.shape)}")
        if are_scores(array):
            print(f"examples of each class: {counted(array)}")
    return 0


def read(path: Path) -> Any:
    """Return the array of a .npy file, or the arrays of a .npz file by name.

    Raises:
      FileNotFoundError: there is no file.
      ValueError: the file has another format, Python objects, or no array.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; give a .npy or a .npz.")
    try:
        with path.open("rb") as file:
            held = np.load(file, allow_pickle=False)
            if isinstance(held, np.ndarray):
                return held
            arrays = dict(held)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} must be a .npy or .npz of numbers, without Python's objects, "
            "which are not read; write it with numpy.save or numpy.savez."
        ) from error
    if not arrays:
        raise ValueError(f"{path} must have at least one array, got none.")
    return arrays


def write(answers: dict[str, np.ndarray], options: argparse.Namespace) -> Path:
    """Write the predictions, as .npy, or as .npz for several arrays; return the path.

    Raises:
      ValueError: `--out` is the input, or has another suffix.
      OSError: the file cannot be written.
    """
    from jopt.sweep import replacing

    # NumPy's file formats do not support bfloat16.
    plain: dict[str, Any] = {
        n: x.astype(np.float32) if x.dtype.kind == "V" else x
        for n, x in answers.items()
    }
    suffix = ".npy" if len(plain) == 1 else ".npz"
    path = options.out or options.input.with_suffix(f".predictions{suffix}")
    if path.suffix != suffix:
        what = "one array" if len(plain) == 1 else f"{len(plain)} arrays"
        raise ValueError(
            f"--out must end in {suffix}, as the predictions are {what}, got {path}."
        )
    if path.exists() and path.samefile(options.input):
        raise ValueError(f"--out must be another file than the input, got {path}.")
    try:
        with replacing(path) as partial, partial.open("wb") as file:
            if len(plain) == 1:
                np.save(file, *plain.values())
            else:
                np.savez(file, **plain)
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({error.strerror or error}); give another with "
            "--out FILE."
        ) from error
    return path


def are_scores(answers: np.ndarray) -> bool:
    """Return whether each row holds the probabilities of several classes."""
    if answers.ndim != 2 or answers.shape[1] < 2 or answers.dtype.kind not in "fV":
        return False
    scores = answers.astype(np.float32)
    return bool(np.all(scores >= 0) and np.all(abs(scores.sum(axis=1) - 1) < 0.02))


def counted(scores: np.ndarray, most: int = 20) -> str:
    """Return the number of examples of each class, for the first classes."""
    counts = np.bincount(scores.argmax(axis=1), minlength=scores.shape[1])
    words = [f"{label}: {count}" for label, count in enumerate(counts[:most])]
    more = f" and {len(counts) - most} classes more" if len(counts) > most else ""
    return ", ".join(words) + more
