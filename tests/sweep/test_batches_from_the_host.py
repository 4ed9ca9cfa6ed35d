"""Promises about training data that are functions of the step, or loaders."""

import shutil
from typing import Any

import chex
import numpy as np
import pytest
import toy

import jopt
from jopt import sweep
from jopt.sweep._plan import Plan, base_key

SIZES: dict[str, Any] = {"steps": 12, "segments": 3, "block": 2}
TRIALS = sweep.grid(jopt.adamw, learning_rate=[0.01, 0.1, 0.3])
INPUTS, LABELS = toy.points()


def rows_of_arrays():
    """The rows of the steps of a sweep of arrays."""
    plan = Plan(toy.task(), 16, 12, 3, base_key(0))
    return np.concatenate([plan.batches(segment)[0].rows for segment in range(3)])


BATCHES = [(INPUTS[rows], LABELS[rows]) for rows in rows_of_arrays()]


class Loader:
    """A loader of four batches an epoch, the same in every epoch of its kind."""

    def __init__(self, epochs):
        self.epochs, self.started, self.given = epochs, 0, 0

    def __len__(self):
        return 4

    def __iter__(self):
        epoch = self.epochs[self.started % len(self.epochs)]
        self.started += 1
        for batch in epoch:
            self.given += 1
            yield batch


def run(train, directory=None, **options) -> Any:
    given = {**SIZES, **options}
    return sweep.run(toy.task(train=train), TRIALS, **given, directory=directory)


@pytest.fixture(scope="module")
def whole():
    return run(toy.points())


WAYS = {
    "by step": lambda: sweep.by_step(BATCHES.__getitem__),
    "by epoch": lambda: sweep.by_epoch(lambda e: BATCHES[4 * e : 4 * e + 4]),
    "a loader": lambda: Loader([BATCHES[:4], BATCHES[4:8], BATCHES[8:]]),
}


@pytest.mark.slow("the other sources give batches by the same lines", but=3)
@pytest.mark.parametrize("way", WAYS)
def test_batches_from_the_host_train_as_rows_of_arrays_do(way, whole):
    result = run(WAYS[way]())
    np.testing.assert_allclose(result.curves, whole.curves, rtol=1e-6)
    chex.assert_trees_all_close(result.valid, whole.valid, rtol=1e-6)
    assert result.best.trial == whole.best.trial


def test_a_batch_is_drawn_once_for_all_blocks_and_groups():
    asked = []

    def batch(step):
        asked.append(step)
        return BATCHES[step]

    task = toy.task(train=sweep.by_step(batch))
    trials = sweep.grid(
        jopt.adamw, learning_rate=[0.01, 0.1, 0.3], nesterov=[False, True]
    )
    result = sweep.run(task, trials, **SIZES)
    assert result.info["groups"] == 2
    assert asked == list(range(12))


@pytest.mark.slow("a loader is started again as an epoch is", but=1)
@pytest.mark.parametrize("way", ["by epoch", "a loader"])
def test_a_resume_goes_on_at_the_right_batch(way, tmp_path):
    def stop(now):
        if now.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(WAYS[way](), tmp_path, callbacks=[stop])
    again = sweep.resume(tmp_path, toy.task(train=WAYS[way]()), TRIALS)
    through = run(WAYS[way]())
    np.testing.assert_array_equal(again.curves, through.curves)
    chex.assert_trees_all_equal(again.valid, through.valid)


class Cursor:
    """An iterator over four batches, which tells its state and takes it back."""

    def __init__(self, loader):
        self.loader, self.at = loader, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.at == 4:
            raise StopIteration
        self.at += 1
        self.loader.drawn.append(self.at - 1)
        return BATCHES[self.at - 1]

    def get_state(self):
        return self.loader.write(self.at)

    def set_state(self, state):
        self.at = self.loader.read(state)


class Stateful:
    """A loader of such iterators, and the batches that they were asked for."""

    def __init__(self, form):
        self.write, self.read = FORMS[form]
        self.drawn: list[int] = []

    def __iter__(self):
        return Cursor(self)


def refuse(state):
    raise KeyError("next_index")


FORMS: dict[str, Any] = {
    "bytes": (lambda at: b"\xff%d" % at, lambda state: int(state[1:])),
    "dict": (
        lambda at: {"at": (np.int64(at), [None])},
        lambda state: state["at"][0].item(),
    ),
    "object": (lambda at: object(), refuse),  # which no file can hold
    "refused": (lambda at: at, refuse),
}
FIVES: dict[str, Any] = {"steps": 15, "segments": 3}


def interrupted(directory, loader):
    """Train ten of fifteen steps."""

    def stop(now):
        if now.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(loader, directory, **FIVES, callbacks=[stop])
    assert getattr(loader, "drawn", FIRST) == FIRST


FIRST = [step % 4 for step in range(10)]
LAST = [step % 4 for step in range(10, 15)]


@pytest.fixture(scope="module")
def fifteen():
    return run(Stateful("bytes"), **FIVES)


@pytest.mark.slow("a state is a state", but=1)
@pytest.mark.parametrize("form", ["bytes", "dict"])
def test_an_iterator_with_a_state_draws_no_batch_again(form, fifteen, tmp_path):
    interrupted(tmp_path, Stateful(form))
    loader = Stateful(form)
    again = sweep.resume(tmp_path, toy.task(train=loader), TRIALS)
    assert loader.drawn == LAST
    np.testing.assert_array_equal(again.curves, fifteen.curves)
    chex.assert_trees_all_equal(again.valid, fifteen.valid)


@pytest.mark.slow("test_resume.py takes the checkpoint before a damaged one")
def test_without_the_last_checkpoint_the_state_before_it_is_taken(fifteen, tmp_path):
    interrupted(tmp_path, Stateful("bytes"))
    shutil.rmtree(tmp_path / "record" / "checkpoints" / "1")
    loader = Stateful("bytes")
    again = sweep.resume(tmp_path, toy.task(train=loader), TRIALS)
    assert again.info["resumed_after"] == 1
    assert loader.drawn == [*LAST, *FIRST[5:], *LAST]  # for their shapes, then again
    np.testing.assert_array_equal(again.curves, fifteen.curves)


@pytest.mark.slow("a loader without states is replayed in the quick run")
def test_an_iterator_whose_state_cannot_be_kept_is_replayed(fifteen, tmp_path):
    interrupted(tmp_path, Stateful("object"))
    loader = Stateful("object")
    again = sweep.resume(tmp_path, toy.task(train=loader), TRIALS)
    assert loader.drawn[-15:] == FIRST + LAST
    np.testing.assert_array_equal(again.curves, fifteen.curves)


def test_a_state_that_is_refused_is_a_sentence(tmp_path):
    interrupted(tmp_path, Stateful("refused"))
    sentence = r"cannot go on from .* kept at step 10 \(KeyError: 'next_index'\); give"
    with pytest.raises(ValueError, match=sentence):
        sweep.resume(tmp_path, toy.task(train=Stateful("refused")), TRIALS)


@pytest.mark.slow("one loader's states are in the quick run")
def test_tasks_of_their_own_have_states_of_their_own(tmp_path):
    def trials(*loaders):
        tasks = [
            toy.task(train=loader, name=f"{i}") for i, loader in enumerate(loaders)
        ]
        make = lambda rate, i: sweep.Setup(jopt.adamw(rate), tasks[i])  # noqa: E731
        return sweep.grid(make, rate=[0.01, 0.1], i=range(len(tasks)))

    def stop(now):
        raise KeyboardInterrupt

    sizes: dict[str, Any] = {**FIVES, "block": 2}
    task = toy.task()
    whole = sweep.run(task, trials(Stateful("bytes"), Stateful("dict")), **sizes)
    given = trials(Stateful("bytes"), Stateful("dict"))
    with pytest.raises(KeyboardInterrupt):
        sweep.run(task, given, directory=tmp_path, callbacks=[stop], **sizes)
    loaders = Stateful("bytes"), Stateful("dict")
    again = sweep.resume(tmp_path, task, trials(*loaders))
    assert [loader.drawn for loader in loaders] == [FIRST[5:] + LAST] * 2
    np.testing.assert_array_equal(again.curves, whole.curves)


def test_the_epochs_of_a_loader_are_its_lengths():
    loader = Loader([BATCHES[:4]])
    result = run(loader, steps=None, epochs=2, segments=2)
    assert result.info["steps"] == 8
    assert loader.started >= 2


@pytest.mark.slow("test_sweep.py has steps that segments do not divide")
def test_a_last_segment_may_be_shorter():
    result = run(WAYS["by step"](), steps=11)
    assert result.table["steps"].tolist() == [11] * 3
    through = run(toy.points(), steps=11)
    np.testing.assert_allclose(result.curves, through.curves, rtol=1e-6)


def test_a_validation_set_may_be_a_loader():
    inputs, labels = toy.points(30, seed=1)
    parts = [(inputs[:20], labels[:20]), (inputs[20:], labels[20:])]
    task = toy.task(valid=Loader([parts]), test=Loader([parts]))
    got: Any = sweep.run(task, TRIALS, **SIZES)
    wanted: Any = sweep.run(toy.task(test=toy.points(30, seed=1)), TRIALS, **SIZES)
    chex.assert_trees_all_close(got.valid, wanted.valid)
    chex.assert_trees_all_close(got.best.test, wanted.best.test)


def test_what_gives_no_batches_is_refused():
    with pytest.raises(ValueError, match="can be started again, got an iterator"):
        run(iter(BATCHES))
    with pytest.raises(ValueError, match="got none at step 0, in epoch 0"):
        run(Loader([[]]))
    with pytest.raises(ValueError, match="got none at step 4, in epoch 1"):
        run(sweep.by_epoch(lambda e: BATCHES[:4] if e == 0 else []))
    with pytest.raises(ValueError, match=r"must have an end, got sweep.by_step"):
        sweep.run(toy.task(valid=WAYS["by step"]()), TRIALS, **SIZES)
    with pytest.raises(ValueError, match="or does not say how many batches"):
        run(WAYS["by step"](), steps=None)
    with pytest.raises(ValueError, match="folds needs training and validation"):
        run(WAYS["by step"](), folds=2)


def test_a_batch_of_another_shape_is_refused_by_its_step():
    ragged = [*BATCHES[:3], tuple(part[:5] for part in BATCHES[3])]
    with pytest.raises(
        ValueError, match=r"got float32\[5,2\]|at step 3; drop the last"
    ):
        run(Loader([ragged]))


def test_an_error_of_the_loader_names_the_step():
    def batch(step):
        if step == 5:
            raise OSError("no such shard")
        return BATCHES[step]

    with pytest.raises(OSError, match="no such shard") as raised:
        run(sweep.by_step(batch))
    assert "at step 5" in "".join(raised.value.__notes__)


def test_a_loader_of_torchs_is_one():
    data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")
    tensors = data.TensorDataset(
        *(torch.from_numpy(np.concatenate(part)) for part in zip(*BATCHES, strict=True))
    )
    result = run(data.DataLoader(tensors, batch_size=16))
    through = run(WAYS["by step"]())
    np.testing.assert_array_equal(result.curves, through.curves)


def test_a_loader_of_grains_is_one():
    grain = pytest.importorskip("grain")
    loader = grain.MapDataset.source(rows_of(BATCHES)).batch(16).to_iter_dataset()
    result = run(loader)
    through = run(WAYS["by step"]())
    np.testing.assert_array_equal(result.curves, through.curves)


def rows_of(batches):
    return [tuple(part[i] for part in batch) for batch in batches for i in range(16)]


class Source:
    """The rows of an epoch, and which of them grain asked for."""

    def __init__(self, batches=4):
        self.rows, self.asked = rows_of(BATCHES[:batches]), []

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, at):
        self.asked.append(int(at))
        return self.rows[at]

    def __repr__(self):
        return f"Source({len(self.rows)})"


def dataset(source):
    """A pipeline, whose state is a dict."""
    grain = pytest.importorskip("grain")
    rows = grain.MapDataset.source(source).batch(16)
    return rows.to_iter_dataset(grain.ReadOptions(num_threads=0))


def data_loader(source):
    """A loader, whose state is bytes."""
    grain = pytest.importorskip("grain.python")
    sampler = grain.IndexSampler(len(source), grain.NoSharding(), num_epochs=1, seed=0)
    return grain.DataLoader(
        data_source=source,
        sampler=sampler,
        operations=[grain.Batch(16)],
        read_options=grain.ReadOptions(num_threads=0),
    )


@pytest.mark.parametrize("make", [dataset, data_loader])
def test_a_loader_of_grains_goes_on_where_it_was(make, tmp_path):
    """Fifteen steps are three epochs of four batches, and three batches."""
    whole = run(make(Source()), **FIVES)
    interrupted(tmp_path, make(Source()))
    source = Source()
    again = sweep.resume(tmp_path, toy.task(train=make(source)), TRIALS)
    rows = [16 * step + i for step in LAST for i in range(16)]
    assert source.asked == rows
    np.testing.assert_array_equal(again.curves, whole.curves)
    chex.assert_trees_all_equal(again.valid, whole.valid)

    other = toy.task(train=make(Source(batches=1)))
    with pytest.raises(
        ValueError, match=r"(?s)was kept at step 15 \(\w+: .* loader that"
    ):
        sweep.resume(tmp_path, other, TRIALS)
