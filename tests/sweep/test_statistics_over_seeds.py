"""Means and the like over the seeds and folds of a setting, whatever their number."""

import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from jopt.sweep._history import History, means, reduced
from jopt.sweep._result import winner

PLACES = st.lists(st.integers(0, 4), min_size=1, max_size=30)


def rows_of(places):
    """The trials at each place, as `settings_of` gives them."""
    return [np.flatnonzero(np.asarray(places) == p) for p in dict.fromkeys(places)]


@hypothesis_settings(deadline=None)
@given(places=PLACES, infinite=st.sets(st.integers(0, 29)))
def test_they_are_those_of_a_loop(places, infinite):
    settings = rows_of(places)
    values = np.random.default_rng(0).normal(size=(len(places), 3))
    values[[row for row in infinite if row < len(places)]] = np.inf
    looped = np.stack([values[rows].mean(axis=0) for rows in settings])
    np.testing.assert_allclose(means(values, settings), looped, rtol=1e-12)
    least = np.stack([values[rows].min(axis=0) for rows in settings])
    np.testing.assert_array_equal(reduced(np.minimum, values, settings), least)


@hypothesis_settings(deadline=None)
@given(places=PLACES, data=st.data())
def test_the_winner_is_that_of_a_loop(places, data):
    settings, count = rows_of(places), len(places)
    some = st.sampled_from([0.5, 1.0, 2.0, np.inf, np.nan])
    losses = np.asarray(data.draw(st.lists(some, min_size=count, max_size=count)))
    status = st.sampled_from(["complete", "pruned"])
    statuses = np.asarray(data.draw(st.lists(status, min_size=count, max_size=count)))
    values = np.where(np.isfinite(losses), losses, np.inf)

    def rank(rows):
        pruned = (statuses[rows] == "pruned").all()
        least = values[rows].min()
        return bool(pruned or least == np.inf), values[rows].mean(), least

    rows = min(settings, key=rank)
    best = rows[np.argmin(values[rows])]
    expected = int(best) if np.isfinite(values[best]) else None
    assert winner(settings, {"valid_loss": losses, "status": statuses}) == expected


@pytest.mark.parametrize("made", [0, 1, 3, 4, 6, 10])
def test_the_training_loss_is_the_mean_over_the_last_segments_worth_of_steps(made):
    history = History(2, 10, 3, 4)
    losses = np.random.default_rng(0).normal(size=10).astype(np.float32)
    history.losses[0, :made], history.steps[0] = losses[:made], made
    if made < 10:
        history.losses[0, made] = np.inf  # that it diverged by
    (found, never) = history.train_loss()
    assert found.dtype == np.float32
    assert np.isnan(never)
    if made:
        assert found == pytest.approx(losses[max(0, made - 4) : made].mean(), rel=1e-6)
    else:
        assert np.isnan(found)
