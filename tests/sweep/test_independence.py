"""A trial's row is the same, bit by bit, whatever else is in the sweep."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import bitwise
import hypothesis
import hypothesis.strategies as st
import pytest
import toy
from bitwise import NEVER, SEGMENTS, SETTINGS

from jopt import sweep
from jopt.sweep import _group as group
from jopt.sweep.engine import Pool

# A failing sweep is small enough as it is drawn, and shrinking it takes minutes.
PHASES = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
FEW: dict[str, Any] = {"deadline": None, "database": None, "derandomize": True}
FEW["phases"] = PHASES


@st.composite
def settings_and_ends(draw):
    """Settings in any order and number, and the segment after which each is ended."""
    settings = draw(
        st.lists(st.sampled_from(SETTINGS), min_size=1, max_size=10, unique=True)
    )
    end = st.sampled_from([NEVER, NEVER, *range(1, SEGMENTS)])
    return settings, draw(st.tuples(*[end] * len(settings)))


def pool(on_host):
    """Of trials that wait on the host, or on the device."""
    return lambda program: Pool(program, on_host=on_host)


@pytest.mark.slow("tests/sweep/test_sweep.py compares trials with other neighbours")
@hypothesis.settings(max_examples=10, **FEW)
@hypothesis.given(drawn=settings_and_ends(), on_host=st.booleans())
def test_a_row_is_that_of_the_trial_alone(drawn, on_host):
    settings, ends = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group, "Pool", pool(on_host))
        result = bitwise.run(settings, pruner=bitwise.Ends(ends))

    bitwise.check(result, settings, ends)


@pytest.mark.slow("tests/sweep/test_resume.py interrupts sweeps")
@hypothesis.settings(max_examples=6, **FEW)
@hypothesis.given(
    drawn=settings_and_ends(),
    stops=st.lists(st.integers(1, SEGMENTS - 1), min_size=1, unique=True),
    on_host=st.lists(st.booleans(), min_size=SEGMENTS, max_size=SEGMENTS),
)
def test_a_row_survives_interrupts(drawn, stops, on_host):
    settings, ends = drawn
    first, *later = sorted(stops)
    with (
        tempfile.TemporaryDirectory() as place,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(group, "Pool", pool(on_host[0]))
        result = bitwise.run(
            settings,
            pruner=bitwise.Ends(ends),
            directory=place,
            callbacks=[bitwise.interrupt_after(first)],
        )
        for stop, there in zip([*later, SEGMENTS], on_host[1:], strict=False):
            patch.setattr(group, "Pool", pool(there))
            callbacks = [bitwise.interrupt_after(stop)] if stop < SEGMENTS else []
            task, trials = toy.task(), bitwise.trials(settings)
            result = sweep.resume(place, task, trials, trust=True, callbacks=callbacks)

    assert not result.info["interrupted"]
    bitwise.check(result, settings, ends, resumed_after=max(stops))


@pytest.mark.slow("a set on the device has it in the quick run")
def test_a_row_is_the_same_where_the_training_set_is_streamed(monkeypatch):
    seen = []
    plan_of = group.Group.compiled.__func__

    def compiled(cls, plan, *rest, **given):
        seen.append(plan.streams)
        return plan_of(cls, plan, *rest, **given)

    monkeypatch.setattr(group.Group, "compiled", classmethod(compiled))
    task = toy.task(train=toy.points(60_000))
    settings, ends = SETTINGS[3:9], [NEVER] * 6
    here = bitwise.run(settings, task, pruner=bitwise.Ends(tuple(ends)))
    there = bitwise.run(
        settings, task, pruner=bitwise.Ends(tuple(ends)), memory=1_000_000
    )

    assert seen == [False, True]
    for trial in range(6):
        assert bitwise.row(here, trial) == bitwise.row(there, trial)
        assert bitwise.model(here, trial) == bitwise.model(there, trial)


@pytest.mark.slow("a setting alone has it in the quick run")
def test_a_row_of_a_seed_and_fold_is_that_of_the_setting_alone():
    folds = {"seeds": 2, "folds": 3}
    result = bitwise.run(SETTINGS[4:9], **folds)
    for place, setting in enumerate(SETTINGS[4:9]):
        once = bitwise.run([setting], **folds)
        for trial in range(6):
            assert bitwise.row(result, 6 * place + trial) == bitwise.row(once, trial)
            assert bitwise.model(result, 6 * place + trial) == bitwise.model(
                once, trial
            )
    assert len({curve.tobytes() for curve in result.curves}) == 30


@pytest.mark.slow("one device has the same promise in the quick run")
def test_a_row_is_the_same_on_two_devices():
    """In one process, for the number of CPU devices is set before anything else."""
    done = subprocess.run(
        [sys.executable, Path(__file__).parents[1] / "support" / "two_devices.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 4


def test_settings_do_differ():
    """What the others compare is no constant."""
    result = bitwise.run(SETTINGS)
    found = {str(bitwise.row(result, trial)) for trial in range(len(SETTINGS))}
    assert len(found) == len(SETTINGS)
    statuses = result.table["status"].tolist()
    assert statuses == ["complete"] * 6 + ["diverged"] * 4
