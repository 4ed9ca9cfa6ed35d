"""Searches: batches proposed from earlier ones, confirmed, resumed, and read again."""

import json
import sys
import time
from typing import Any

import numpy as np
import optuna
import pytest
import toy
from compile_counts import compiled_anew
from killed_sweeps import PROCESSES

import jopt
from jopt import report, sweep
from jopt.sweep._interrupts import end_sweeps
from jopt.sweep._search import _begin
from jopt.sweep.proposals import Proposals

SPACE = sweep.Space(
    jopt.adamw,
    learning_rate=sweep.log_uniform(1e-4, 1e8),  # the upper end diverges
    b2=sweep.uniform(0.9, 0.999),
    weight_decay=[0.0, 0.1],
)
SIZES: dict[str, Any] = {"steps": 8, "segments": 2, "block": 4}
SEARCH: dict[str, Any] = {**SIZES, "trials": 16, "batch": 4}
TASK = toy.task()


LEARNS: Any = sweep.TPE(n_startup_trials=4)


def search(sampler=LEARNS, space=SPACE, **options):
    return sweep.search(TASK, space, sampler=sampler, **{**SEARCH, **options})


@pytest.fixture(scope="module")
def unbroken():
    return search(confirm=2)


def assert_same(one, other):
    assert one.table.keys() == other.table.keys()
    for name, column in one.table.items():
        np.testing.assert_array_equal(column, other.table[name], err_msg=name)
    np.testing.assert_array_equal(one.curves, other.curves)
    assert one.best == other.best


def settings(result, count=16):
    return [trial.hyperparameters for trial in result.trials[:count]]


def test_all_batches_fill_one_program_and_no_setting_comes_twice():
    with compiled_anew():
        result = search()
    assert result.info["segment_compiles"] == 1
    assert result.info["search"]["batches"] == 4
    assert len({tuple(setting.values()) for setting in settings(result)}) == 16
    assert set(result.table["status"]) == {"complete", "diverged"}


def test_a_batch_is_one_sweep_of_its_settings_bit_for_bit(unbroken):
    alone = sweep.run(TASK, unbroken.trials[8:12], **SIZES)
    np.testing.assert_array_equal(alone.curves, unbroken.curves[8:12])


def test_batch_k_is_proposed_from_the_batches_up_to_k_less_2(unbroken):
    """Asked and told by hand, with the ask for a batch before the tell of the last."""
    proposals = Proposals(SPACE, sweep.TPE(n_startup_trials=4), ["min"], seed=0)
    asked = [proposals.ask(4), proposals.ask(4)]
    for batch in range(2):
        for row, (number, _) in enumerate(asked[batch], start=4 * batch):
            seen = unbroken.valid["loss"][row].astype(float)
            diverged = unbroken.table["status"][row] == "diverged"
            observed = {s + 1: v for s, v in enumerate(seen) if np.isfinite(v)}
            value = np.nan if diverged else seen[-1]
            proposals.tell(number, [value], "complete", observed)
        asked.append(proposals.ask(4))
    assert [s for batch in asked for _, s in batch] == settings(unbroken)


def test_a_search_learns():
    """TPE comes nearer to the optimum of a known function than chance does."""

    def distance(sampler, seed):
        space = sweep.Space(dict, x=sweep.uniform(0, 1), y=sweep.log_uniform(1e-4, 1))
        study = sweep.Study(space, sampler=sampler, seed=seed)
        for _ in range(8):
            trials = study.ask(8)
            configs = sweep.stack(trials)
            x, y = np.asarray(configs["x"]), np.log10(np.asarray(configs["y"])) / 4
            study.tell(trials, (x - 0.3) ** 2 + (y + 0.5) ** 2)
        assert study.best is not None
        return np.asarray(study.best.value, float)

    learned = [distance(sweep.TPE(), seed) for seed in range(5)]
    chance = [distance(sweep.Random(), seed) for seed in range(5)]
    assert np.mean(learned) < np.mean(chance) / 2


def test_the_winner_is_chosen_among_those_that_fresh_seeds_confirm(unbroken):
    table = unbroken.table
    confirmed = np.flatnonzero(table["confirmed"])
    assert confirmed.tolist() == list(range(16, 24))  # 2 settings, 4 seeds each
    assert table["seed"][confirmed].tolist() == [1, 2, 3, 4] * 2
    means = table["valid_loss"][confirmed].reshape(2, 4).mean(axis=1)
    assert unbroken.best.trial in confirmed[4 * means.argmin() :][:4]
    best = np.sort(table["valid_loss"][:16])[:2]
    chosen = [unbroken.trials[row].hyperparameters for row in (16, 20)]
    places = [settings(unbroken).index(setting) for setting in chosen]
    np.testing.assert_array_equal(table["valid_loss"][places], best)
    assert set(unbroken.top(5)) <= set(confirmed.tolist())
    assert unbroken.best.test


def test_a_search_goes_on_after_a_stop_bit_for_bit(unbroken, tmp_path):
    """It stops in the middle of a batch, then after one, and has two trials more."""

    def stop(now):
        if (tmp_path / "batches/1/record/segments/0.npz").exists():
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        search(directory=tmp_path, confirm=2, callbacks=[stop])
    seen = sweep.load(tmp_path)
    assert seen.info["interrupted"]
    np.testing.assert_array_equal(seen.curves[:4], unbroken.curves[:4])
    search(directory=tmp_path, trials=12, confirm=1)

    result = search(directory=tmp_path, confirm=2)

    assert_same(result, unbroken)
    assert result.info["trial_steps_this_run"] < unbroken.info["trial_steps"]
    assert_same(sweep.load(tmp_path), unbroken)
    result.save(tmp_path, keep=2)
    assert_same(sweep.load(tmp_path), unbroken)
    page = (tmp_path / "report.html").read_text()
    assert len(report.Record.of(sweep.load(tmp_path)).table["trial"]) == 24
    assert "confirmed" in page
    predicts = sweep.load(tmp_path, task=TASK)
    assert predicts.best == unbroken.best


def test_an_interrupt_ends_the_segment_and_the_search(unbroken, tmp_path):
    def interrupt(now):
        if (tmp_path / "batches/1/record/header.json").exists():
            end_sweeps()

    part = search(directory=tmp_path, confirm=2, callbacks=[interrupt])
    assert part.info["interrupted"]
    assert len(part.trials) == 8
    assert "interrupted" in part.table["status"][4:]
    np.testing.assert_array_equal(part.curves[:4], unbroken.curves[:4])
    assert_same(search(directory=tmp_path, confirm=2), unbroken)


def searched(directory):
    """What a process runs that is killed."""
    for name in ("matplotlib", "plotly"):
        sys.modules[name] = None  # pyright: ignore[reportArgumentType]
    search(directory=directory, confirm=2)


@pytest.mark.slow("a search that stops by an error goes on in the same way")
def test_a_search_is_killed_at_any_moment_and_ends_with_the_same_table(
    unbroken, tmp_path
):
    moments = [
        "search.json",
        "batches/0/record/header.json",
        "batches/1/record/segments/0.npz",
        "batches/2/record/end.json",
        "confirmed/record/header.json",
    ]
    for moment in moments:
        process = PROCESSES.Process(target=searched, args=(tmp_path,))
        process.start()
        while process.is_alive() and not (tmp_path / moment).exists():
            time.sleep(1e-4)
        process.kill()
        process.join()
        assert process.exitcode == -9, f"it had ended before {moment}"
    assert_same(search(directory=tmp_path, confirm=2), unbroken)


@pytest.mark.slow("other samplers give points by the same method", but=1)
@pytest.mark.parametrize(
    "sampler",
    [sweep.Random(), sweep.Sobol(), sweep.Halton()],
    ids=lambda sampler: type(sampler).__name__,
)
def test_a_search_by_points_trains_what_a_sample_does(sampler):
    result = search(sampler)
    trials = sweep.sample(SPACE, 16, sampler=sampler)
    assert settings(result) == [trial.hyperparameters for trial in trials]


def test_a_finite_space_is_used_up_and_then_the_search_ends():
    space = sweep.Space(jopt.adamw, learning_rate=[1e-3, 1e-2], b2=[0.9, 0.99, 0.999])
    for sampler in (sweep.TPE(n_startup_trials=2), sweep.Sobol()):
        result = search(sampler, space)
        assert len({tuple(s.values()) for s in settings(result)}) == 6
        assert len(result.trials) == 6


def test_a_conditional_space_has_each_branchs_own_numbers():
    rate = sweep.log_uniform(1e-3, 1)
    branches = {
        "adamw": sweep.Space(jopt.adamw, learning_rate=rate, b2=[0.9, 0.99]),
        "sgd": sweep.Space(jopt.sgd, learning_rate=rate),
    }
    space = sweep.Space(sweep.Supervised, tx=sweep.choice(branches))
    result = search(sweep.TPE(n_startup_trials=4), space)
    names = {tuple(setting) for setting in settings(result)}
    assert names == {
        ("tx", "tx.adamw.learning_rate", "tx.adamw.b2"),
        ("tx", "tx.sgd.learning_rate"),
    }
    because = [group["because"] for group in result.info["grouped_by"]]
    assert sorted(each["tx"] for each in because) == ["adamw", "sgd"]
    assert sum(group["trials"] for group in result.info["grouped_by"]) == 16


@pytest.mark.slow("another sampler learns the same front", but=1)
@pytest.mark.parametrize(
    "sampler", [sweep.NSGA2(), sweep.TPE(4)], ids=lambda s: type(s).__name__
)
def test_several_objectives_give_a_front(sampler):
    goals: Any = {"loss": "min", "accuracy": "max"}
    result = search(sampler, objectives=goals)
    assert result.front
    assert len(result.trials) == 16


def test_known_settings_come_first_and_an_earlier_result_is_learned_from(unbroken):
    known = {"learning_rate": 0.01, "b2": 0.95, "weight_decay": 0.1}
    result = search(enqueue=[known, known], warm_start=unbroken, trials=8)
    assert settings(result)[0] == known
    others = [s for s in settings(result, 8)[1:] if s in settings(unbroken)]
    assert others == []

    study = optuna.create_study()
    ranges: Any = {
        "learning_rate": optuna.distributions.FloatDistribution(1e-4, 1, log=True),
        "b2": optuna.distributions.FloatDistribution(0.9, 0.999),
        "weight_decay": optuna.distributions.CategoricalDistribution([0.0, 0.1]),
    }
    study.add_trial(optuna.create_trial(params=known, distributions=ranges, value=0.1))
    begun = search(warm_start=study, trials=4)
    assert known not in settings(begun, 4)
    rates = sweep.log_uniform(1e-4, _below_largest(unbroken))
    space = sweep.Space(SPACE, learning_rate=rates)
    with pytest.warns(UserWarning, match="1 of 16 settings of warm_start are not"):
        search(space=space, warm_start=sweep_of(unbroken), trials=4)


def _below_largest(result):
    return np.sort([s["learning_rate"] for s in settings(result)])[-2:].mean()


def sweep_of(result):
    """The search's settings as a sweep, without what confirms."""
    return sweep.run(TASK, result.trials[:16], **SIZES)


def test_a_timeout_begins_no_batch_and_changes_no_number(unbroken):
    result = search(timeout=1e-9)
    assert len(result.trials) == 4
    np.testing.assert_array_equal(result.curves, unbroken.curves[:4])
    assert not result.info["interrupted"]
    assert result.info["timed_out"]
    assert not unbroken.info["timed_out"]


def test_a_pruner_ends_settings_of_a_batch_and_seeds_are_averaged():
    halving = sweep.SuccessiveHalving(reduction_factor=2)
    result = search(pruner=halving, seeds=2)
    assert result.info["rungs"][0]["settings"] == 16
    assert (result.table["status"] == "pruned").sum() > 0
    assert len(result.trials) == 32
    assert len(result.settings()["trial"]) == 16


def test_progress_has_the_number_of_the_batch():
    seen = []
    search(trials=8, progress=seen.append)
    assert [(now.batch, now.batches) for now in seen if now.last_block] == [
        (1, 2),
        (1, 2),
        (2, 2),
        (2, 2),
    ]


OTHER = sweep.Space(jopt.adamw, learning_rate=sweep.log_uniform(1e-4, 1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"space": jopt.adamw}, "space must be a sweep.Space"),
        ({"trials": 0}, "trials must be an integer of at least 1, got 0"),
        ({"batch": True}, "batch must be an integer of at least 1"),
        ({"sampler": sweep.TPE}, "sampler must be a sampler.*got the class TPE"),
        ({"confirm": -1}, "confirm must be an integer of at least 0"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0"),
        ({"enqueue": {"b2": 0.9}}, "enqueue must be a list of dicts"),
        ({"enqueue": [{"b2": 0.95}]}, "must have a value of learning_rate"),
        (
            {"enqueue": [{"learning_rate": 1e-9, "b2": 0.95, "weight_decay": 0.0}]},
            "learning_rate within LogUniform",
        ),
        (
            {"enqueue": [{"learning_rate": 1, "b2": 0.95, "weight_decay": 0.3}]},
            "weight_decay of 0.0, 0.1, got 0.3",
        ),
        (
            {"enqueue": [{"learning_rate": 1.0}], "space": OTHER, "warm_start": 3},
            "warm_start must be a SweepResult",
        ),
        (
            {"enqueue": [{"learning_rate": 1.0, "b3": 1}], "space": OTHER},
            "has b3, which the space has not",
        ),
        (
            {"sampler": sweep.CMAES()},
            "CMAES takes ranges of numbers alone|needs the package cmaes",
        ),
        ({"space": sweep.Space(jopt.adamw, learning_rate=1e-3)}, "nothing|something"),
        ({"steps": 5, "epochs": 5}, "sweep.search: steps or epochs must be left out"),
    ],
)
def test_bad_input_is_one_sentence(options, sentence):
    with pytest.raises((TypeError, ValueError, ImportError), match=sentence):
        search(**options)


def test_a_sampler_says_what_it_lacks(monkeypatch):
    for sampler, package in [(sweep.TPE(), "optuna"), (sweep.GP(), "torch")]:
        monkeypatch.setattr(
            "importlib.util.find_spec",
            lambda name, missing=package: None if name == missing else object(),
        )
        extra = "search" if package == "optuna" else "gp"
        with pytest.raises(ImportError, match=rf"{package}.*jopt\[{extra}\]"):
            search(sampler)
    monkeypatch.undo()
    bad: Any
    for bad in ({"n_startup_trials": -1}, {"n_ei_candidates": 0.5}):
        with pytest.raises(ValueError, match=r"TPE: n_.* must be an integer"):
            sweep.TPE(**bad)
    with pytest.raises(ValueError, match=r"NSGA2: crossover_prob must be .* got 2"):
        sweep.NSGA2(crossover_prob=2)


def test_a_directory_takes_one_search(tmp_path):
    search(trials=4, directory=tmp_path / "search")
    with pytest.raises(ValueError, match=r"another one: steps was 8, now 9"):
        search(trials=4, steps=9, directory=tmp_path / "search")
    with pytest.raises(ValueError, match=r"another one: sampler was TPE"):
        search(sweep.Sobol(), trials=4, directory=tmp_path / "search")
    with pytest.raises(ValueError, match=r"holds a search; go on with it by"):
        sweep.resume(tmp_path / "search")
    trials = sweep.grid(jopt.adamw, learning_rate=[0.1])
    with pytest.raises(FileExistsError, match="has a search"):
        sweep.run(TASK, trials, **SIZES, directory=tmp_path / "search")
    sweep.run(TASK, trials, **SIZES, directory=tmp_path / "sweep")
    with pytest.raises(FileExistsError, match="has the record of a sweep"):
        search(trials=4, directory=tmp_path / "sweep")
    search(trials=4, directory=tmp_path / "sweep", overwrite=True)
    assert len(sweep.load(tmp_path / "sweep").trials) == 4
    (tmp_path / "search" / "search.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(ValueError, match=r"search\.json is damaged"):
        search(trials=4, directory=tmp_path / "search")


def test_a_search_that_is_older_than_an_argument_has_its_default(tmp_path):
    asked: dict[str, Any] = {"batch": 4, "keep": "last"}
    _begin(tmp_path, asked, overwrite=False)
    held = json.loads((tmp_path / "search.json").read_text())
    del held["asked"]["keep"]
    (tmp_path / "search.json").write_text(json.dumps(held))
    _begin(tmp_path, asked, overwrite=False)
    with pytest.raises(ValueError, match="keep was 'last', now 'best'; give another"):
        _begin(tmp_path, {**asked, "keep": "best"}, overwrite=False)
