"""Ask and tell in a loop of one's own, and the log that keeps it."""

import json
import multiprocessing
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jopt
from jopt import sweep
from jopt.sweep.space import Distribution

SPACE = sweep.Space(
    jopt.adamw,
    learning_rate=sweep.log_uniform(1e-4, 1),
    b2=sweep.uniform(0.9, 0.999),
)


def value(trial):
    setting = trial.hyperparameters
    return abs(np.log10(setting["learning_rate"]) + 2) + setting["b2"]


def trained(study, rounds=4, n=4):
    for _ in range(rounds):
        trials = study.ask(n)
        study.observe(trials, [2.0] * n, step=1)
        study.tell(trials, list(map(value, trials)))
    return study


def settings(trials):
    return [trial.hyperparameters for trial in trials]


def test_a_study_asks_stacks_and_is_told():
    study = sweep.Study(SPACE, sampler=sweep.TPE(n_startup_trials=4))
    trials = study.ask(8)
    configs = sweep.stack(trials)
    assert {leaf.shape for leaf in jax.tree.leaves(configs)} == {(8,)}
    params = np.ones(3, np.float32)
    states = jax.vmap(lambda tx: tx.init(params))(configs)
    assert jax.tree.leaves(states)[0].shape[0] == 8

    values = np.asarray(list(map(value, trials)))
    study.tell(trials[:4], values[:4])
    assert settings(study.waiting) == settings(trials[4:])
    study.observe(trials[4:6], [0.5, np.inf], step=10)
    study.tell(trials[4:5], state="pruned")
    study.tell(trials[5:6], [np.nan])
    study.tell(trials[6:], state="failed")

    states = [told.state for told in study.told]
    assert states == ["complete"] * 4 + ["pruned"] * 2 + ["failed"] * 2
    assert [told.value for told in study.told[4:]] == [0.5, None, None, None]
    assert study.best is not None
    assert study.best.value == values[:4].min()
    assert study.waiting == []
    most = sweep.Study(SPACE, sampler=sweep.Sobol(), mode="max")
    most.tell(most.ask(4), [1.0, 3.0, 2.0, -1.0])
    assert most.best is not None
    assert most.best.value == 3


@pytest.mark.parametrize(
    "sampler",
    [sweep.TPE(n_startup_trials=4), sweep.NSGA2(), sweep.Sobol(), sweep.CMAES()],
    ids=lambda sampler: type(sampler).__name__,
)
def test_a_study_goes_on_from_its_log_as_if_there_had_been_no_stop(sampler, tmp_path):
    if isinstance(sampler, sweep.CMAES):
        pytest.importorskip("cmaes")
    whole = trained(sweep.Study(SPACE, sampler=sampler), rounds=6)
    with sweep.Study(SPACE, sampler=sampler, directory=tmp_path) as study:
        trained(study, rounds=3)
        asked = study.ask(4)
    path = tmp_path / "study.jsonl"
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    torn = len(content) - len(lines[-1])
    for cut in (torn + 1, len(content) - 1):  # of the last line, the ask
        path.write_bytes(content[:cut])
        with sweep.Study(SPACE, sampler=sampler, directory=tmp_path) as study:
            assert study.waiting == []
    path.write_bytes(content)
    with sweep.Study(SPACE, sampler=sampler, directory=tmp_path) as study:
        assert settings(study.waiting) == settings(asked)
        study.observe(asked, [2.0] * 4, step=1)
        study.tell(study.waiting, list(map(value, asked)))
        trained(study, rounds=2)
        assert settings(study.trials) == settings(whole.trials)
        assert study.best == whole.best


def test_the_liar_keeps_a_batch_apart_and_nothing_is_asked_twice():
    space = sweep.Space(dict, a=sweep.integers(0, 7), b=sweep.choice(list("wxyz")))
    study = sweep.Study(space, sampler=sweep.TPE(n_startup_trials=4))
    seen = []
    for n in (12, 12, 12):
        trials = study.ask(n)
        study.tell(trials, [float(t.hyperparameters["a"]) for t in trials])
        seen += [tuple(setting.values()) for setting in settings(trials)]
    assert len(seen) == len(set(seen)) == 32  # the whole space: there is no more
    assert study.ask(1) == []


class Square(Distribution):
    """A distribution of the user's own."""

    def at(self, u):
        return u * u

    def clip(self, value):
        return min(max(value, 0.0), 1.0)


def test_a_distribution_of_ones_own_is_learned_by_its_share():
    space = sweep.Space(dict, x=Square(), y=sweep.uniform(0, 1))
    study = sweep.Study(space, sampler=sweep.TPE(n_startup_trials=4))
    for _ in range(4):
        trials = study.ask(8)
        study.tell(trials, [t.hyperparameters["x"] for t in trials])
    assert study.best is not None
    assert study.best.value is not None
    assert 0 <= study.best.value < 1e-3


def test_bad_input_is_one_sentence(tmp_path):
    make: Any = sweep.Study
    study: Any = sweep.Study(SPACE, sampler=sweep.Random())
    one, other = study.ask(2)
    stack: Any = sweep.stack
    for call, sentence in [
        (lambda: make(jopt.adamw), "space must be a sweep.Space"),
        (lambda: make(SPACE, sampler=sweep.TPE), "sampler must be a sampler"),
        (lambda: make(SPACE, mode="best"), 'mode must be "min" or "max"'),
        (lambda: study.ask(0), "n must be an integer from 1 to 1,000,000"),
        (lambda: study.ask(10**12), "n must be an integer from 1 to 1,000,000"),
        (lambda: make(3), "Study: space must be"),
        (lambda: study.tell([one], 3), "Study.tell: values must be a number for"),
        (lambda: study.observe(3, [1], step=1), "Study.observe: trials must be a list"),
        (lambda: stack([3]), "stack: trials must be a list of trials"),
        (lambda: study.tell([one]), "values must be given of complete trials"),
        (lambda: study.tell([one], [1, 2]), "a number for each of 1 trials"),
        (lambda: study.tell([one], ["x"]), "a number for each of 1 trials"),
        (lambda: study.tell([one, one], [1, 2]), "each trial must be told of once"),
        (lambda: study.tell([one], [1], state="ok"), "state must be one of complete"),
        (lambda: study.tell([3], [1]), "trials must be a list of trials"),
        (lambda: study.observe([one], [1], step=-1), "step must be an integer"),
        (lambda: sweep.stack([]), "trials must be at least one"),
        (lambda: study.tell(sweep.grid(dict, a=[1]), [1]), "of this study's ask"),
    ]:
        with pytest.raises((TypeError, ValueError), match=sentence):
            call()
    study.tell([one, other], [1, 2])
    with pytest.raises(ValueError, match="told of once"):
        study.tell([other], [1])
    several = sweep.grid(dict, learning_rate=[0.1], nesterov=[False, True])
    with pytest.raises(ValueError, match="one structure, got 2"):
        sweep.stack(several)

    random = sweep.Random()
    with sweep.Study(SPACE, sampler=random, directory=tmp_path) as open_:
        process = multiprocessing.get_context("spawn").Process(
            target=_opens_too, args=(tmp_path,)
        )
        process.start()
        process.join()
        assert process.exitcode == 0
        open_.ask(1)
    with pytest.raises(ValueError, match="another study: its seed was 0, now 1"):
        sweep.Study(SPACE, sampler=random, seed=1, directory=tmp_path)
    path = Path(tmp_path) / "study.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], json.dumps({"ask": 1, "settings": "x"}), ""]))
    with pytest.raises(ValueError, match="other settings than it did before"):
        sweep.Study(SPACE, sampler=random, directory=tmp_path)
    path.write_text("{}}\n")
    with pytest.raises(ValueError, match=r"study\.jsonl is damaged"):
        sweep.Study(SPACE, sampler=random, directory=tmp_path)


def _opens_too(directory):
    warnings.simplefilter("ignore")
    with pytest.raises(BlockingIOError, match="Another process has the study"):
        sweep.Study(SPACE, sampler=sweep.Random(), directory=directory)
