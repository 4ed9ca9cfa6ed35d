"""Promises of what a sweep leaves on the disk: segments, checkpoints, fingerprint."""

import dataclasses
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from hypothesis import given, settings, strategies as st

import jopt
from jopt import sweep
from jopt.sweep import (
    PopulationBasedTraining,
    _object_names as object_names,
    choice,
    log_uniform,
)
from jopt.sweep._json import NOT_FINITE, decode, encode
from jopt.sweep.pruners import PatientPruner, SuccessiveHalving
from jopt.sweep.store import (
    Store,
    _checkpoints as checkpoints,
    read_header,
    read_segments,
)
from jopt.sweep.store._checkpoints import Checkpoints, by_name
from jopt.sweep.store._fingerprint import (
    differences,
    fingerprint,
    surroundings_differences,
)
from jopt.sweep.store._forms import DamagedRecord, misfit
from jopt.sweep.store._segments import read_segment, write_segment

NOTES = {"steps": 3, "name": "ünï\n", "loss": float("inf")}
ARRAYS = {
    "losses": np.arange(6, dtype=np.float32).reshape(2, 3),
    "steps": np.asarray([3, 2]),
    "pruned": np.asarray([False, True]),
    "none": np.zeros((0, 2)),
}
TREE = {"w": jnp.arange(600, dtype=jnp.float32), "steps": np.arange(3)}


def bits(tree):
    """Everything of a tree's leaves: type, kind, bytes."""

    def leaf(value):
        data = jax.random.key_data(value) if "key" in str(value.dtype) else value
        return type(value), value.dtype, value.shape, np.asarray(data).tobytes()

    hold = (bool, int, float)
    return [
        (type(v), v) if isinstance(v, hold) and not hasattr(v, "dtype") else leaf(v)
        for v in jax.tree.leaves(tree)
    ]


KEYS = st.text().filter(lambda key: key != NOT_FINITE)  # which is refused
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(KEYS, VALUES))
def test_a_record_comes_back_from_one_line_of_strict_json(record):
    line = encode(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    json.loads(line, parse_constant=pytest.fail)
    assert repr(decode(line)) == repr(record)


def test_numbers_of_numpy_and_jax_come_back_exactly():
    values = np.asarray([0.1, np.nan, -0.0, np.inf, 1e-45], np.float32)
    record = {
        "a": values,
        "b": jnp.asarray(values),
        "c": jnp.asarray(values, jnp.bfloat16),
        "d": np.float64(0.1),
        "e": np.bool_(True),
        "f": (np.int64(2**62), np.str_("x")),
    }
    back = decode(encode(record))
    assert np.asarray(back["a"], np.float32).tobytes() == values.tobytes()
    assert back["a"][0] == float(np.float32(0.1)) != 0.1
    assert repr(back["b"]) == repr(back["a"])
    assert (
        np.asarray(back["c"], jnp.bfloat16).tobytes()
        == np.asarray(record["c"]).tobytes()
    )
    assert (back["d"], back["e"], back["f"]) == (0.1, True, [2**62, "x"])


@pytest.mark.parametrize("value", [{1: 2}, {"a": {1, 2}}, {"$float": "nan"}, {"a": 1j}])
def test_what_is_no_json_is_refused(value):
    with pytest.raises(TypeError, match="A record"):
        encode(value)


def test_a_segment_comes_back_bit_for_bit(tmp_path):
    write_segment(tmp_path / "3.npz", NOTES, ARRAYS)
    notes, arrays = read_segment(tmp_path / "3.npz")
    assert notes == NOTES
    assert list(arrays) == list(ARRAYS)
    for name, wanted in ARRAYS.items():
        found = arrays[name]
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        assert found.tobytes() == wanted.tobytes()
    with np.load(tmp_path / "3.npz") as by_numpy:
        assert by_numpy["losses"].tolist() == ARRAYS["losses"].tolist()


def test_a_segment_cut_or_changed_at_any_byte_is_damaged_or_the_same(tmp_path):
    path = tmp_path / "0.npz"
    write_segment(path, NOTES, ARRAYS)
    whole = path.read_bytes()

    def differs():
        try:
            notes, arrays = read_segment(path)
        except DamagedRecord as error:
            return str(path) in str(error)
        # A byte that no one reads, such as a date, or the archive's count of arrays.
        assert notes == NOTES
        for name, array in arrays.items():
            assert array.tobytes() == ARRAYS[name].tobytes()
        return False

    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert differs()
    for place in range(len(whole)):
        for bit in (1, 128):
            changed = bytearray(whole)
            changed[place] ^= bit
            path.write_bytes(changed)
            differs()


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "(" * 5000,
        "{'descr': '<f4'}",
    ],
)
def test_an_array_that_claims_what_is_not_there_is_damaged(tmp_path, header):
    held = header.encode().ljust(6000)
    array = b"\x93NUMPY\x01\x00" + len(held).to_bytes(2, "little") + held + b"\0" * 8
    with zipfile.ZipFile(tmp_path / "0.npz", "w") as file:
        file.writestr("notes.json", b"{}")
        file.writestr("losses.npy", array)
    with pytest.raises(DamagedRecord, match=r"0\.npz is damaged"):
        read_segment(tmp_path / "0.npz")


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "directory"):
        with pytest.raises(DamagedRecord, match=f"{path.name} is no file"):
            read_segment(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "Expecting value"),
        (b"3", "must be a JSON object, got int"),
        (b"[" * 100_000, "nested more than 64 deep"),
        (b'{"a": ' * 70 + b"1" + b"}" * 70, "nested more than 64 deep"),
        (b'{"a": NaN}', "not strict JSON"),
        (b'{"a": {"$float": "x"}}', "must be nan, inf or -inf"),
        (b'{"a": ' + b"9" * 5000 + b"}", "integer string conversion"),
        (b"\xff{}", "codec can't decode"),
    ],
)
def test_what_is_not_written_by_a_sweep_is_no_record(text, why):
    with pytest.raises(ValueError, match=why):
        decode(text)


def test_a_misfit_is_named_by_its_place():
    form = {"steps": range(1, 9), "names": [str], "more?": {str: (float, None)}}
    fine = {"steps": 3, "names": ["a"], "more": {"x": 1, "y": None}, "other": object}
    assert misfit(fine, form) is None
    for change, said in (
        ({"steps": 9}, "steps must be an integer from 1 to 8, got 9"),
        ({"steps": True}, "steps must be an integer from 1 to 8, got True"),
        ({"names": "a"}, "names must be a list, got 'a'"),
        ({"names": ["a", 3]}, "names[1] must be str, got 3"),
        ({"more": {"x": "1"}}, "more.x must be float, got '1'"),
        ({"more": 3}, "more must be an object, got 3"),
    ):
        assert misfit({**fine, **change}, form) == said
    assert misfit({"names": []}, form) == "it lacks steps"


def test_one_sweep_at_a_time_writes_a_record(tmp_path):
    with Store(tmp_path) as store:
        store.begin({"name": "ünï"})
        with pytest.raises(BlockingIOError, match="Another process is"):
            Store(tmp_path)
    Store(tmp_path).close()
    assert decode((tmp_path / "record" / "header.json").read_bytes())["name"] == "ünï"


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    segments, elsewhere = tmp_path / "record" / "segments", tmp_path / "elsewhere"
    elsewhere.mkdir()
    segments.mkdir(parents=True)
    mine = [segments / ".notes", segments / ".0123456789.npz", segments / "0.npz"]
    partial = [segments.parent / ".0a1b2c3d.json", segments / ".0a1b2c3d.npz"]
    for path in [*mine, *partial, elsewhere / ".0a1b2c3d.npz"]:
        path.touch()
    Store(tmp_path).close()
    assert all(path.exists() for path in mine)
    assert not any(path.exists() for path in partial)
    for path in mine:
        path.unlink()
    segments.rmdir()
    segments.symlink_to(elsewhere)
    Store(tmp_path).close()
    assert [path.name for path in elsewhere.iterdir()] == [".0a1b2c3d.npz"]


def test_a_store_in_which_nothing_was_begun_leaves_nothing(tmp_path):
    Store(tmp_path / "new").close()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_that_does_not_fit_the_disk_leaves_the_one_before(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Store(tmp_path) as store:
        store.begin({"a": 1})
        store.keep(0, NOTES, ARRAYS)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            for write in (
                lambda: store.rewrite({"a": 2}),
                lambda: store.keep(0, {}, ARRAYS),
            ):
                with pytest.raises(
                    OSError, match=r"record cannot be .*: No space left"
                ):
                    write()
        assert decode((store.path / "header.json").read_bytes())["a"] == 1
        notes = read_segment(store.path / "segments" / "0.npz").notes
        assert notes == {**NOTES, "sweep": store.id}
        left = {path.name for path in store.path.rglob("*")}
        assert left == {"lock", "header.json", "segments", "0.npz"}


def test_checkpoints_come_back_bit_for_bit(tmp_path):
    numbers = np.asarray([0.1, -0.0, np.nan, 3])
    dtypes = ("bfloat16", "float16", "float8_e4m3fn", "int4", "uint32", "bool")
    tree = {
        "jax": [jnp.asarray(np.nan_to_num(numbers)).astype(dtype) for dtype in dtypes],
        "nan": jnp.asarray([0x7FC1, 0xFFA0], jnp.uint16).view(jnp.bfloat16),
        "empty": (jnp.zeros((2, 0), jnp.bfloat16), np.zeros((0, 3), bool)),
        "keys": jax.random.split(jax.random.key(1), 3),
        "no keys": jax.random.split(jax.random.key(1), 3)[:0],
        "rbg": jax.random.key(7, impl="rbg"),
        "numpy": [numbers, np.arange(3), np.float32(0.1), np.asarray(2)],
        "python": (0.1, 3, True, None),
        "placed": jax.device_put(jnp.ones(2), jax.devices()[0]),
    }
    Checkpoints(tmp_path).save(4, {"tree": [tree]})
    back = Checkpoints(tmp_path).restore({"tree": [tree]}, 4)["tree"][0]
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert bits(back) == bits(tree)
    assert not back["keys"].committed
    assert back["placed"].committed
    back["numpy"][0][0] = 5.0  # may be written to
    shapes = {"w": jax.ShapeDtypeStruct((600,), jnp.float32), "steps": np.zeros(3, int)}
    Checkpoints(tmp_path).save(5, TREE)
    assert bits(Checkpoints(tmp_path).restore(shapes, 5)) == bits(TREE)


def test_leaves_of_one_name_stay_apart():
    @jax.tree_util.register_pytree_with_keys_class
    class Pair:
        def tree_flatten_with_keys(self):
            return [(jax.tree_util.GetAttrKey("twin"), value) for value in (1, 2)], None

        @classmethod
        def tree_unflatten(cls, aux, children):
            raise NotImplementedError

    assert list(by_name({"x": Pair()}).values()) == [1, 2]


def test_the_last_two_checkpoints_are_kept(tmp_path):
    kept = Checkpoints(tmp_path)
    assert kept.segments() == []
    assert kept.newest(lambda segment: TREE) == (None, None, [])
    for segment in (8, 9, 10):
        kept.save(segment, {**TREE, "steps": np.full(3, segment)})
    assert kept.segments() == [9, 10]
    segment, tree, said = kept.newest(lambda segment: TREE)
    assert (segment, tree["steps"].tolist(), said) == (10, [10] * 3, [])
    assert kept.newest(lambda segment: TREE, upto=9).segment == 9
    kept.save(9, TREE)  # gone back: what came after is of another time
    assert kept.segments() == [9]


def test_a_checkpoint_of_another_tree_is_refused_with_what_differs(tmp_path):
    Checkpoints(tmp_path).save(0, TREE)
    for like, leaf, kinds in (
        (
            {**TREE, "w": jnp.zeros(601)},
            r"1 \['w'\]",
            "float32.600., and here it is fl",
        ),
        ({"w": TREE["w"]}, r"0 \['w'\]", "missing, and here it is float32"),
        ({**TREE, "steps": 1}, r"0 \['steps'\]", "int64.3., and here it is int"),
    ):
        with pytest.raises(ValueError, match=f"its leaf {leaf} is {kinds}"):
            Checkpoints(tmp_path).newest(lambda segment, like=like: like)


def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path, capfd):
    kept = Checkpoints(tmp_path)
    kept.save(1, TREE)
    kept.save(2, TREE)
    newest = kept.directory / "2"
    files = [path for path in newest.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        half = len(content) // 2
        flipped = bytearray(content or b"x")
        flipped[half] ^= 1
        for damage in (None, content[:half] or b"x", bytes(flipped)):
            path.unlink(missing_ok=True)
            if damage is not None:
                path.write_bytes(damage)
            segment, tree, said = kept.newest(lambda segment: TREE)
            assert segment == 1
            assert bits(tree) == bits(TREE)
            assert len(said) == 1
            assert str(newest) in said[0]
            assert path.name in said[0]
        path.write_bytes(content)
    assert kept.newest(lambda segment: TREE).segment == 2
    shutil.rmtree(newest / "d")
    shutil.rmtree(kept.directory / "1")
    (kept.directory / "1").mkdir()
    segment, tree, said = kept.newest(lambda segment: TREE)
    assert (segment, tree, len(said)) == (None, None, 2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (checkpoints.array_files, "write_arrays"),
        (checkpoints, "write_manifest"),
        (Path, "rename"),
        (checkpoints, "to_disk"),
    ],
)
def test_a_save_that_stops_anywhere_leaves_a_whole_checkpoint(
    tmp_path, monkeypatch, owner, name
):
    class Stop(BaseException):
        pass

    before, calls = getattr(owner, name), []

    def stop(*args):
        calls.append(before(*args) if owner is checkpoints.array_files else None)
        raise Stop

    kept = Checkpoints(tmp_path)
    kept.save(1, TREE)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stop)
        with pytest.raises(Stop):
            kept.save(2, TREE)
    assert calls
    segment, tree, said = kept.newest(lambda segment: TREE)
    assert segment in (1, 2)
    assert bits(tree) == bits(TREE)
    assert said == []
    kept.save(2, TREE)
    assert sorted(os.listdir(kept.directory)) == ["1", "2"]


def test_a_checkpoint_that_cannot_be_written_is_one_sentence(tmp_path, capfd, caplog):
    (tmp_path / "checkpoints").touch()
    sentence = r"^The checkpoint of segment 4 cannot be written to .* exists$"
    with pytest.raises(OSError, match=sentence):
        Checkpoints(tmp_path).save(3, TREE)
    kept = Checkpoints(tmp_path / "full")
    kept.save(2, TREE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(OSError, match=r"checkpoints: File too large$"):
            kept.save(3, {"big": np.ones(1 << 18)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept.newest(lambda segment: TREE).segment == 2
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


WRITER = """
import sys
import jax.numpy as jnp, numpy as np
from jopt.sweep.store import Store, read_header
assert not any(name.startswith("orbax") for name in sys.modules), "orbax is slow"
store = Store(sys.argv[1])
made = store.checkpoints.segments()
if made:
    store.id = read_header(sys.argv[1])["id"]
else:
    store.begin({})
for segment in range(max(made, default=-1) + 1, 10**6):
    arrays = {"losses": np.full(2000, segment)}
    tree = {"w": jnp.full(20000, segment), "n": np.full(3, segment)}
    store.save(segment, {"segment": segment}, arrays, tree)
    print(segment, flush=True)
"""


def test_what_was_saved_before_a_kill_is_there_after_it(tmp_path):
    like = {"w": jnp.zeros(20000, int), "n": np.zeros(3, int)}
    waits = np.random.default_rng().uniform(0, 0.1, size=2)
    for wait in waits:
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            done = int([writer.stdout.readline() for _ in range(3)][-1])
            with pytest.raises(BlockingIOError):
                Store(tmp_path)
            time.sleep(wait)
            writer.kill()
            done = int((writer.stdout.read().split() or [done])[-1])
        sweep = read_header(tmp_path)["id"]
        segments, said = read_segments(tmp_path, sweep, lambda number, kept: None)
        assert said is None
        seen = [kept.notes["segment"] for kept in segments]
        assert seen == list(range(len(seen)))
        assert seen[-1] in (done, done + 1), waits
        assert segments[-1].arrays["losses"].tolist() == [seen[-1]] * 2000
        found = Checkpoints(tmp_path / "record").newest(
            lambda segment: like, sweep=sweep
        )
        assert found.segment in (done, done + 1), waits
        assert {*found.tree["w"].tolist(), *found.tree["n"].tolist()} == {found.segment}
        assert found.said == []


@dataclasses.dataclass(frozen=True)
class Rule:
    """Of plain fields, and others."""

    rate: float
    inner: Any = None
    made: int = dataclasses.field(default=0, init=False)


PRUNER = PatientPruner(SuccessiveHalving(reduction_factor=3), patience=2)
POPULATION = PopulationBasedTraining(
    {"learning_rate": log_uniform(1e-4, 0.1), "optimizer": choice([jopt.sgd, "x", 2])}
)


def factory(learning_rate, momentum=0.9):
    return jopt.sgd(learning_rate, momentum)


@pytest.mark.parametrize("known", [jopt.adamw, jax.nn.relu, sweep.Trial.changed, Rule])
def test_what_can_be_imported_has_a_name(known):
    found = object_names.name(known)
    assert found is not None
    assert object_names.find(found, trust=True) is known


def test_what_is_not_of_jopt_is_found_only_if_the_record_is_trusted():
    assert object_names.find("jopt:adamw", trust=False) is jopt.adamw
    for foreign in ("os:getcwd", "jopt.sweep._run:os.getcwd", "jopt.sweep._run:jax"):
        with pytest.raises(ValueError, match=f"{foreign}, which is not jopt's"):
            object_names.find(foreign, trust=False)
    with pytest.raises(ValueError, match="resume with trust=True, or give the task"):
        object_names.from_json([{"$object": "os:getcwd"}])


def test_what_cannot_be_imported_has_no_name(monkeypatch):
    monkeypatch.setattr(factory, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "factory", factory, raising=False)
    method = Checkpoints(".").segments
    for unknown in (lambda: 1, factory, method, PRUNER, 3, None):
        assert object_names.name(unknown) is None


@pytest.mark.parametrize(
    "value",
    [
        *(0.1, -0.0, float("nan"), float("-inf"), 2**70, True, "x", None),
        b"\xff\x00",
        *(np.float32(0.1), np.int8(3), np.bool_(True), (1, (2.5, [None])), {"a": (1,)}),
        *(
            jopt.adamw,
            Rule(0.5, inner=[Rule]),
            PRUNER,
            POPULATION,
            (PRUNER, [POPULATION]),
        ),
    ],
)
def test_a_value_comes_back_through_a_line(value):
    held = decode(encode({"v": object_names.to_json(value)}))["v"]
    back = object_names.from_json(held, trust=True)
    assert repr(back) == repr(value)
    assert type(back) is type(value)
    if value == value:
        assert back == value


def test_a_value_that_cannot_come_back_is_a_sentence():
    for unknown in (lambda: 1, {3: 4}, Rule(0.1, inner=object()), np.ones(2)):
        with pytest.raises(ValueError, match=r"^momentum is .* cannot be written down"):
            object_names.to_json(unknown, "momentum")
    for gone in ("no_such_module:f", "jopt:no_such", "nothing", "jopt.sweep:Trial.x"):
        with pytest.raises(
            ValueError, match=f"started with {gone}, which cannot be im"
        ):
            object_names.find(gone, trust=True)
    for made_by, reason in (
        ("jopt.sweep.pruners:SuccessiveHalving", "has other fields than"),
        ("os:system", "is no dataclass any more"),
    ):
        written = {"$dataclass": made_by, "fields": {"command": "exit 1"}}
        with pytest.raises(ValueError, match=f"{made_by} {reason}"):
            object_names.from_json(written, trust=True)
    assert object_names.written({"f": jopt.sgd}) == object_names.to_json(
        {"f": jopt.sgd}
    )
    with pytest.raises(ValueError, match=r"started with {'f': <built-in .* of dict ob"):
        object_names.from_json([object_names.written({"f": {}.get})])


OPTIONS = {"steps": 12, "pruner": PRUNER, "key": jax.random.key(3)}


def print_of(task=None, rates=(0.1, 0.2), make=jopt.sgd, **options):
    trials = sweep.grid(make, learning_rate=list(rates))
    return fingerprint(task or toy.task(), trials, {**OPTIONS, **options})


def changed_points():
    inputs, labels = toy.points()
    inputs = inputs.copy()
    inputs[-1, 1] = np.nextafter(inputs[-1, 1], 2)
    return inputs, labels


def wide(key):
    params, state = toy.init(key)
    return {**params, "hidden": jnp.zeros((2, 6)), "out": jnp.zeros((6, 2))}, state


def other_loss(params, model_state, batch, key):
    value, state = toy.loss(params, model_state, batch, key)
    return 1.5 * value, state


def shifted(by):
    def evaluate(params, model_state, batch):
        return toy.evaluate(params, model_state, (batch[0] + by, batch[1]))

    return toy.task(evaluate=evaluate)


CHANGES = [
    ({"task": toy.task(name="lines")}, "task was 'points', now 'lines'."),
    (
        {"task": toy.task(train=changed_points())},
        "train has the same shapes, but",
    ),
    (
        {"task": toy.task(valid=toy.points(31))},
        "valid[0] was 'float32[30,2]', now",
    ),
    ({"task": toy.task(test=None)}, "task points: test is missing."),
    (
        {"task": toy.task(init=wide)},
        "state.packed['hidden'] was 'float32[2,5]', now 'f",
    ),
    (
        {"task": toy.task(loss=other_loss)},
        "task points: step is another function.",
    ),
    ({"task": toy.task(diverged_above=9.0)}, "diverged_above was inf, now 9.0."),
    ({"rates": (0.1, 0.2, 0.3)}, "space: learning_rate had 2 values, now 3."),
    ({"rates": (0.1, 0.3)}, "space: learning_rate had the value 0.2, now 0.3."),
    ({"rates": (0.2, 0.1)}, "trial 0 was {setting={learning_rate=0.1}, seed=0"),
    ({"make": jopt.adam}, "trial 0: the same setting, {learning_rate=0.1}, makes an"),
    ({"steps": 13}, "steps was 12, now 13."),
    ({"pruner": None}, "wrapped_pruner=SuccessiveHalving("),
    ({"key": jax.random.key(4)}, "key was {key='key<fry>', words=[0, 3]}, now {key="),
    ({"folds": 3}, "folds is new."),
]


@pytest.mark.parametrize(("change", "sentence"), CHANGES, ids=[s for _, s in CHANGES])
def test_each_change_of_a_sweep_is_said(change, sentence):
    then, now = print_of(), print_of(**change)
    assert then == decode(encode(then))
    assert any(sentence in said for said in differences(then, now))
    assert differences(then, print_of()) == []
    assert surroundings_differences(then, now) == []


def test_numbers_that_a_function_holds_belong_to_it():
    shift = np.zeros((2, 2), np.float32)
    then = print_of(shifted(shift))
    assert differences(then, print_of(shifted(shift.copy()))) == []
    said = differences(then, print_of(shifted(shift + 1)))
    assert said == ["task points: evaluate is another function."]


def test_functions_are_not_compared_between_versions_of_jax():
    then = print_of()
    then["task"]["code"]["step"] = then["trials"][0]["config"] = "of another"
    then["surroundings"]["versions"]["jax"] = "0.9"
    then["surroundings"]["device"]["kind"] = "abacus"
    then["surroundings"]["matmul_precision"] = "high"
    now = print_of()
    assert differences(then, now) == []
    assert surroundings_differences(then, now) == [
        f"jax was '0.9', now '{jax.__version__}'.",
        f"device kind was 'abacus', now '{jax.devices()[0].device_kind}'.",
        "matmul_precision was 'high', now None.",
    ]


FINGERPRINT = """
import json, sys
import jax, jopt, toy
from jopt import sweep
from jopt.sweep import _object_names as object_names
from jopt.sweep.store._fingerprint import fingerprint
@jax.custom_vjp
def same(x): return x
same.defvjp(lambda x: (x, None), lambda _, g: (jax.pure_callback(abs, g, g),))
def loss(params, state, batch, key):
    return same(toy.loss(params, state, batch, key)[0]), state
task = toy.task(loss=loss)
mask = lambda params: jax.tree.map(lambda x: x.ndim > 1, params)
make = lambda learning_rate, f: jopt.adamw(learning_rate, mask=mask)
trials = sweep.grid(make, learning_rate=[0.1], f=[print, lambda: 1])
made = fingerprint(task, trials, {"f": lambda: 1})
"""


@pytest.mark.slow("one process makes it twice")
def test_another_process_makes_the_same_fingerprint():
    here: dict[str, Any] = {"__name__": "__main__"}
    exec(FINGERPRINT, here)
    there = subprocess.run(
        [sys.executable, "-c", FINGERPRINT + "print(json.dumps(made))"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")},
        check=True,
        capture_output=True,
    )
    assert json.loads(there.stdout) == here["made"]
    assert differences(json.loads(there.stdout), here["made"]) == []
