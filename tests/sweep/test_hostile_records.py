"""A record from a stranger is data: whatever is in it, a sentence or a result."""

import copy
import json
import random
import re
import shutil
from typing import Any

import pytest
import toy

import jopt
from jopt import sweep
from jopt.report import Record, page
from jopt.sweep import _resume
from jopt.sweep.store._segments import read_segment, write_segment

SIZES: dict[str, Any] = {"steps": 6, "segments": 3, "block": 2}
WRONG = [None, True, -1, 10**30, 0.5, "x", "", [], [[]], {}, {"": 0}, [1e400]]
DEEP = "deep"  # stands for 100,000 brackets, which no Python value is


def trials():
    return sweep.grid(jopt.sgd, learning_rate=[0.1, 0.3], momentum=[0.5, 0.9])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    directory = tmp_path_factory.mktemp("kept") / "sweep"
    options: dict[str, Any] = {
        "seeds": 2,
        "pruner": sweep.MedianPruner(1, metric="loss"),
        "objectives": {"accuracy": "max", "loss": "min"},
        "bounds": {"loss": (None, 1e9)},
    }
    sweep.run(toy.task(), trials(), directory=directory, **SIZES, **options)
    return directory


@pytest.fixture
def directory(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "sweep")


def places(value, path=()):
    """Yield the path of every part of a JSON value, of lists the first items alone."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    if isinstance(value, list):
        for number, item in enumerate(value[:2]):
            yield from places(item, (*path, number))


def changes(value):
    """Yield texts in which a part of a JSON value is missing or of another type."""
    for path in places(value):
        for wrong in (*WRONG, DEEP, KeyError):
            changed = copy.deepcopy(value)
            if not path:
                yield json.dumps(None if wrong is KeyError else wrong)
                continue
            part = changed
            for key in path[:-1]:
                part = part[key]
            if wrong is KeyError:
                del part[path[-1]]
            else:
                part[path[-1]] = wrong
            text = json.dumps(changed)
            if wrong is DEEP:
                text = text.replace(f'"{DEEP}"', "[" * 100_000 + "]" * 100_000, 1)
            yield text


def some(items, count, request):
    items = list(items)
    if request.config.getoption("--all"):
        return items
    return random.Random(0).sample(items, min(count, len(items)))


def opened(directory):
    """Make the page of a directory; return whether it was refused by a sentence."""
    try:
        page(Record.of(sweep.load(directory)))
    except ValueError as error:
        if str(directory) not in str(error):
            raise
        return True
    return False


@pytest.mark.parametrize("name", ["header.json", "end.json"])
def test_a_changed_file_is_refused_or_shown(directory, name, request):
    path = directory / "record" / name
    texts = some(changes(json.loads(path.read_text())), 16, request)
    refused = []
    for text in texts:
        path.write_text(text)
        refused.append(opened(directory))
    assert sum(refused) > len(refused) / 4


class Compiled(Exception):
    pass


@pytest.mark.filterwarnings("ignore:.*The sweep goes")
def test_a_changed_header_is_refused_or_resumed(directory, request, monkeypatch):
    def compiled(plan, trials, devices, memory):
        plan.check(trials)
        raise Compiled

    monkeypatch.setattr(_resume, "compiled_groups", compiled)
    path = directory / "record" / "header.json"
    refused = []
    for text in some(changes(json.loads(path.read_text())), 30, request):
        path.write_text(text)
        with pytest.raises((ValueError, Compiled)) as caught:
            sweep.resume(directory, toy.task(), trials())
        refused.append(caught.type is not Compiled)
    assert sum(refused) > len(refused) / 4


def test_changed_notes_are_refused_or_shown(directory, request):
    path = directory / "record" / "segments" / "1.npz"
    kept = read_segment(path)
    for text in some(changes(json.loads(json.dumps(kept.notes))), 12, request):
        if "[[[[" in text or not text.startswith("{"):
            continue
        write_segment(path, json.loads(text), kept.arrays)
        opened(directory)


def test_curves_that_no_file_holds_are_not_allocated(directory):
    path = directory / "record" / "header.json"
    header = json.loads(path.read_text())
    header["asked"] |= {"steps": 10**9, "segments": 10**9 // 2}
    path.write_text(json.dumps(header))
    with pytest.raises(ValueError, match=r"its results would take \d+ GB"):
        sweep.load(directory)


@pytest.mark.parametrize("name", ["header.json", "segments", "end.json"])
def test_a_directory_or_a_file_in_the_others_place_is_named(directory, name):
    path = directory / "record" / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("no directory")
    else:
        path.unlink()
        path.mkdir()
    assert opened(directory)


@pytest.mark.parametrize("name", ["header.json", "end.json"])
def test_a_file_that_is_cut_anywhere_is_named(directory, name, request):
    path = directory / "record" / name
    whole = path.read_bytes()
    for size in some(range(len(whole) - 1), 16, request):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=re.escape(name)):
            sweep.load(directory)


def test_segments_in_another_order_are_named(directory):
    first, second = (directory / "record" / "segments" / f"{n}.npz" for n in (0, 1))
    held = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(held)
    with pytest.raises(ValueError, match=r"0\.npz is damaged .*of another segment"):
        sweep.load(directory)


def test_files_of_another_sweep_of_equal_shapes_are_named(kept, directory, tmp_path):
    other = shutil.copytree(kept, tmp_path / "other")
    sizes: dict[str, Any] = {**SIZES, "seeds": 2, "seed": 1, "overwrite": True}
    sweep.run(toy.task(), trials(), directory=other, **sizes)
    own, name = directory / "record", "segments/1.npz"
    shutil.copy(other / "record" / name, own / name)
    with pytest.raises(ValueError, match=r"1\.npz is damaged .*of another sweep"):
        sweep.load(directory)
    shutil.copy(kept / "record" / name, own / name)
    shutil.rmtree(own / "checkpoints")
    shutil.copytree(other / "record" / "checkpoints", own / "checkpoints")
    with pytest.warns(UserWarning, match="2 is the checkpoint of another sweep"):
        result = sweep.resume(directory, toy.task(), trials())
    was = sweep.load(kept).table
    assert result.table["valid_loss"].tolist() == was["valid_loss"].tolist()


def test_checkpoints_in_another_order_are_named(directory):
    first, second = (directory / "record" / "checkpoints" / n for n in ("1", "2"))
    first.rename(first.with_name("was"))
    second.rename(first)
    first.with_name("was").rename(second)
    with pytest.warns(UserWarning, match=r"2 is the checkpoint of segment 2\."):
        sweep.resume(directory, toy.task(), trials())


@pytest.mark.parametrize(
    "numbers", [*WRONG[1:], [0] * 8, [*range(7), 10**6], list(range(9)), {"sweep": 1}]
)
def test_parts_that_contradict_each_other_are_named(directory, numbers):
    part = directory / "batches" / "1"
    shutil.copytree(directory / "record", part / "record")
    whole = sweep.load(directory)
    assert len(whole.trials) == 8  # the part takes the place of the first
    header = json.loads((part / "record" / "header.json").read_text())
    if isinstance(numbers, dict):
        header["sweep"] = numbers or []
    else:
        header["sweep"]["options"]["numbers"] = numbers
    (part / "record" / "header.json").write_text(json.dumps(header))
    with pytest.raises(ValueError, match=r"header\.json is damaged"):
        sweep.load(directory)
