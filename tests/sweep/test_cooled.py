"""Promises of cooled copies: what they are, and that nothing else changes."""

import dataclasses
import signal
from typing import Any

import jax
import numpy as np
import pytest
import toy

import jopt
from jopt import sweep
from jopt.core import Schedule, pytree
from jopt.sweep.pruners import Observations, Rung

RATES = [0.01, 0.03, 0.1, 0.3, 1e38]
SIZES: dict[str, Any] = {"steps": 12, "segments": 6, "block": 2}


@dataclasses.dataclass(frozen=True, repr=False)
class Watching(sweep.Pruner):
    """A rule with rungs after the second and fourth segments, which ends nothing."""

    def check(self, segments: int, settings: int) -> None:
        assert segments > 4

    def rungs(self, segments: int, settings: int) -> list[Rung]:
        return [Rung(0, 2, settings, settings), Rung(0, 4, settings, settings)]

    def keep(self, observations: Observations) -> np.ndarray:
        return observations.alive & np.isfinite(observations.values[:, -1])


def falling(learning_rate):
    return jopt.adamw(jopt.cosine_decay_schedule(learning_rate, 40))


def trials(factory=jopt.adamw):
    return sweep.grid(factory, learning_rate=RATES)


@pytest.fixture(scope="module")
def plain():
    return sweep.run(toy.task(), trials(), **SIZES)


@pytest.fixture(scope="module")
def watched():
    sweep.clear_programs()
    rule = Watching(cooled=0.5)
    return sweep.run(toy.task(), trials(), pruner=rule, **SIZES)


def test_a_cooled_copy_does_not_change_its_trial(plain, watched):
    assert plain.curves.tobytes() == watched.curves.tobytes()
    for name, values in plain.valid.items():
        assert values.tobytes() == watched.valid[name].tobytes()
    for number in range(4):
        pair = plain.params(number), watched.params(number)
        for a, b in zip(*map(jax.tree.leaves, pair), strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert plain.cooled == {}
    assert plain.info["trial_steps"] == watched.info["trial_steps"]
    # Two steps after four of each of the four, and four after eight.
    more = 4 * (2 + 4)
    before = plain.info["trial_steps_this_run"]
    assert watched.info["trial_steps_this_run"] == before + more


def test_copies_are_judged_at_rungs_and_compile_once(watched):
    judged = np.isfinite(watched.cooled["loss"])
    assert judged.tolist() == [[False, True, False, True, False, False]] * 4 + [
        [False] * 6
    ]
    assert list(watched.cooled) == ["loss", "accuracy"]
    assert watched.info["segment_compiles"] == 2
    for share in (0.5, 0.25):  # a number: the program is filled again
        rule = Watching(cooled=share)
        again = sweep.run(toy.task(), trials(), pruner=rule, **SIZES)
    assert again.info["segment_compiles"] == 0
    assert np.isfinite(again.cooled["loss"]).tolist() == judged.tolist()
    assert (again.cooled["loss"] != watched.cooled["loss"])[judged].any()


@pytree
class Table(Schedule):
    """A schedule by hand: a value a step."""

    values: Any

    takes_integers = True

    def __call__(self, count):
        return self.values[count]


@pytest.mark.slow("a schedule is cooled by the same lines", but=1)
@pytest.mark.parametrize("factory", [jopt.adamw, falling])
def test_its_value_is_that_of_a_training_whose_rate_decays(factory):
    rule = Watching(cooled=0.5)
    found = sweep.run(toy.task(), trials(factory), pruner=rule, **SIZES)
    for segment, begin, steps in ((1, 4, 2), (3, 8, 4)):
        counts = np.arange(begin + steps)
        share = 1 - np.clip((counts - begin) / steps, 0, 1)
        if factory is falling:
            share = share * (1 + np.cos(np.pi * counts / 40)) / 2

        def by_hand(learning_rate, share=share):
            return jopt.adamw(Table(np.asarray(learning_rate * share, np.float32)))

        made = sweep.grid(by_hand, learning_rate=RATES[:4])
        sizes: dict[str, Any] = {"steps": begin + steps, "segments": 1, "block": 2}
        whole = sweep.run(toy.task(), made, **sizes)
        for name, values in found.cooled.items():
            wanted = whole.valid[name][:, 0]
            np.testing.assert_allclose(values[:4, segment], wanted, rtol=1e-5)
            # And is not that of the trial as it is.
            assert (values[:4, segment] != found.valid[name][:4, segment]).any()


def test_a_resumed_sweep_prunes_by_the_same_copies(tmp_path):
    def interrupt(now):
        if now.number == 3:
            signal.raise_signal(signal.SIGINT)

    given: dict[str, Any] = {
        **SIZES,
        "pruner": sweep.SuccessiveHalving(1, 2, metric="accuracy", cooled=0.5),
    }
    whole = sweep.run(toy.task(), trials(), **given)
    assert (whole.table["status"] == "complete").sum() == 1
    keep: dict[str, Any] = {"directory": tmp_path, "callbacks": [interrupt]}
    sweep.run(toy.task(), trials(), **given, **keep)
    result = sweep.resume(tmp_path, toy.task(), trials())
    assert result.info["resumed_after"] == 3
    loaded = sweep.load(tmp_path)
    for name, values in whole.cooled.items():
        assert values.tobytes() == result.cooled[name].tobytes()
        assert values.tobytes() == loaded.cooled[name].tobytes()
    assert whole.curves.tobytes() == result.curves.tobytes()
    assert repr(whole.table) == repr(result.table)


def test_the_cooled_values_decide():
    last, alive = np.asarray([[1.0], [2.0], [3.0], [4.0]]), np.ones(4, bool)
    cooled = {"loss": last[::-1].copy()}
    seen = Observations(last, last, alive, {"loss": last}, cooled=cooled)
    rule = sweep.SuccessiveHalving(1, 4)
    assert rule.kept(seen).tolist() == [True, False, False, False]
    rule = dataclasses.replace(rule, cooled=0.1)
    assert rule.kept(seen).tolist() == [False, False, False, True]
    assert repr(rule).endswith("cooled=0.1)")
    both, twice = np.hstack([last, last]), {"loss": last.repeat(2, 1)}
    two = Observations(both, both, alive, twice)
    gap = {"loss": np.asarray([[1.0, np.nan], [2.0, np.nan], [3, np.nan], [4, np.nan]])}
    assert rule.kept(two._replace(cooled=gap)).all()  # no rung: there are no copies
    nan = {"loss": np.asarray([[1.0], [2.0], [3.0], [np.nan]])}  # its copy diverged
    assert rule.kept(seen._replace(cooled=nan)).tolist() == [True, False, False, False]


def scaled(step_size):
    return jopt.chain(jopt.scale_by_adam(), jopt.scale(step_size))


RULE = Watching(cooled=0.5)
TWO = sweep.PatientPruner(sweep.MedianPruner(cooled=0.2), 1, cooled=0.1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"trials": sweep.grid(scaled, step_size=[-0.1, -0.2])},
            "needs a config with a learning_rate",
        ),
        (
            {"train": sweep.by_step(lambda step: toy.points(16, step))},
            "where none can be drawn twice",
        ),
        ({"pruner": Watching(cooled=0)}, "cooled above 0 and at most 1"),
        ({"pruner": Watching(cooled=2.0)}, "cooled above 0 and at most 1"),
        ({"pruner": TWO}, "the same wherever it is given, got 0.1 and 0.2"),
    ],
)
def test_what_cannot_be_cooled_is_a_sentence(options, sentence):
    task = toy.task(**{k: v for k, v in options.items() if k == "train"})
    given = {"trials": trials(), "pruner": RULE, **SIZES, **options}
    given.pop("train", None)
    with pytest.raises(ValueError, match=sentence):
        sweep.run(task, **given)
