"""`Fleet`: what a worker reads from a shared study, and writes to it."""

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jopt._version import __version__
from jopt.sweep._shown_values import shown_settings
from jopt.sweep._task import Mode
from jopt.sweep._trial import Trial
from jopt.sweep.fleet._place import Opened, Place, StorageError
from jopt.sweep.proposals import Earlier, parameters, quiet, setting_of
from jopt.sweep.space import Space
from jopt.sweep.store import misfit

FORMAT = 1  # of what jopt keeps in a study
GRACE = 60.0  # seconds without a beat after which a worker counts as dead
HEADER, TRIALS, BEAT = "jopt", "jopt:trials", "jopt:beat:"
RESULT, SHOWN = "jopt:result", "jopt:setting"  # of a trial
_HEADER = {
    "format": range(FORMAT, FORMAT + 1),
    "jopt": str,
    "asked": {str: {"shown": str, "digest": str}},
    "batch": range(1, 2**31),
    "seed": range(2**64),
    "modes": [str],
    "objectives": [str],
    "command": (dict, None),
}
_ATTRS = {"block": range(2**31), "row": range(2**31), "of": range(1, 2**31)}
_ATTRS |= {"worker": str}


class Lost(Exception):
    """A block that another worker has taken over, because this one stood still."""


class Row(NamedTuple):
    """A setting's place: the row of a block, and the trial of Optuna's that counts."""

    block: int
    row: int
    trial: Any  # a FrozenTrial

    @property
    def runs(self) -> bool:
        """Whether a worker has it, dead or not."""
        return self.trial.state.name == "RUNNING"

    @property
    def is_told(self) -> bool:
        """Whether it was trained."""
        return self.trial.state.name in ("COMPLETE", "PRUNED")

    @property
    def is_free(self) -> bool:
        """Whether its worker died or gave it back."""
        return self.trial.state.name == "FAIL"


class Claim(NamedTuple):
    """The rows of a block that one worker trains."""

    block: int
    rows: list[int]
    ids: list[int]  # of Optuna's trials
    settings: list[dict[str, Any]]


class Fleet:
    """A study that several workers share, as one of them.

    A setting is a trial of Optuna's; `block` and `row`, attributes of the trial, say
    which. A worker claims rows by creating their trials. If two workers create one row,
    the trial with the lower number counts, which the storage gives out one by one: no
    lock is needed, and both see the same. A dead worker's trials fail, and their rows
    are claimed again.

    Args:
      place: of the study.
      modes: of the objectives of a new study; None to open one that is there.

    Raises:
      ImportError, OSError: as `Place.opened`.
      ValueError: the study is not of jopt, or of another version.
    """

    def __init__(self, place: Place, modes: Sequence[Mode] | None = None):
        self.place = place
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._mutex = threading.RLock()  # the beats come from another thread
        self._beats: dict[str, tuple[Any, float]] = {}  # the last, and since when
        self._places: dict[int, tuple[int, int]] = {}  # of trials, by their ids
        self._opened: Opened | None = place.opened(new=modes is not None)
        self.id = self._found(modes)

    # The study

    def _found(self, modes: Sequence[Mode] | None) -> int:
        """Return the number of the study in the storage; make it if `modes` say how."""
        from optuna.exceptions import DuplicatedStudyError
        from optuna.study import StudyDirection

        with self._use("be read") as storage, quiet():
            if modes is not None:
                known = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}
                directions = [known[mode] for mode in modes]
                with contextlib.suppress(DuplicatedStudyError):
                    return storage.create_new_study(directions, self.place.study)
            try:
                return storage.get_study_id_from_name(self.place.study)
            except KeyError:
                names = [study.study_name for study in storage.get_all_studies()]
        has = f"; it has {', '.join(names)}" if names else ""
        raise ValueError(
            f"{self.place} has no study {self.place.study}{has}. jopt search --storage "
            "begins one; a URL that ends in #NAME names it."
        )

    def header(self) -> dict[str, Any] | None:
        """Return what the study was begun with; None for one that is not begun.

        Raises a ValueError if it is of another version of jopt, or damaged.
        """
        with self._use("be read") as storage:
            held = storage.get_study_user_attrs(self.id).get(HEADER)
            if held is None and storage.get_all_trials(self.id, deepcopy=False):
                raise ValueError(
                    f"The study {self.place.study} in {self.place} is not one that "
                    "jopt search --storage began; give another name or storage."
                )
        if held is not None and (said := misfit(held, _HEADER)) is not None:
            raise ValueError(
                f"The study {self.place.study} in {self.place} is of another version "
                f"of jopt, or damaged ({said}); go on with that version, or begin "
                "another study."
            )
        return held

    def begin(self, header: Mapping[str, Any], trials: int) -> dict[str, Any]:
        """Begin the study, or join it, and return its header.

        Raises a ValueError if another one is there.
        """
        held = self.header()
        if held is None:
            held = {"format": FORMAT, "jopt": __version__, **header}
            self.set(HEADER, held)
            held = self.header() or held  # of another that began it at this moment
        for name, now in header["asked"].items():
            then = held["asked"].get(name, {"shown": "not given", "digest": ""})
            if then["digest"] != now["digest"]:
                raise ValueError(
                    f"sweep.search: the study in {self.place} cannot be joined as "
                    f"another one: {name} was {then['shown']}, now {now['shown']}; "
                    "give the same, or another storage."
                )
        if trials > self.trials():
            self.set(TRIALS, trials)
        return held

    def trials(self) -> int:
        """Return how many settings the study is to have."""
        held = self.get(TRIALS)
        return held if misfit(held, range(2**31)) is None else 0

    def get(self, key: str) -> Any:
        """Return an attribute of the study; None without."""
        with self._use("be read") as storage:
            return storage.get_study_user_attrs(self.id).get(key)

    def set(self, key: str, value: Any) -> None:
        """Set an attribute of the study."""
        with self._use("be written") as storage:
            storage.set_study_user_attr(self.id, key, value)

    # Its rows

    def rows(self) -> list[Row]:
        """Return the rows that were claimed, in order, with the trials that count.

        A row counts as what was told of it first; one without is that of the lowest
        number that has not failed, or else has.

        Raises a ValueError if the study holds a trial that no worker made.
        """
        with self._use("be read") as storage:
            trials = storage.get_all_trials(self.id, deepcopy=False)
        found: dict[tuple[int, int], Row] = {}
        rank = {"COMPLETE": 0, "PRUNED": 0, "RUNNING": 1, "FAIL": 2}
        for trial in trials:
            row = Row(*self._place(trial), trial)
            known = found.setdefault(row[:2], row)
            if rank[trial.state.name] < rank[known.trial.state.name]:
                found[row[:2]] = row
        return [found[place] for place in sorted(found)]

    def _place(self, trial: Any) -> tuple[int, int]:
        """Return the block and the row of a trial."""
        found = self._places.get(trial._trial_id)
        if found is None:
            attrs = trial.user_attrs
            if (said := misfit(attrs, _ATTRS)) is not None:
                raise ValueError(
                    f"Trial {trial.number} of the study in {self.place} is not a "
                    f"worker's ({said}); keep other programs from adding trials."
                )
            found = self._places[trial._trial_id] = attrs["block"], attrs["row"]
        return found

    def claim(
        self,
        space: Space,
        header: Mapping[str, Any],
        propose: Callable[[int, list[Row], list[dict[str, Any]], int], list[Any]],
    ) -> Claim | None:
        """Claim the rows of a block that nobody has; None if there are none.

        Args:
          space: of the study.
          header: of the study.
          propose: (block, the rows of earlier blocks, known first settings, how many)
            -> settings. It is called while others may claim.
        """
        while True:
            rows = self.rows()
            block, size, free = self._free(rows, header["batch"])
            if size == 0:
                return None
            known = {
                row.row: setting_of(space, row.trial.params)
                for row in rows
                if row.block == block
            }
            first = [known[row] for row in sorted(known)]
            if len(known) < size:
                earlier = [row for row in rows if row.block < block]
                settings = propose(block, earlier, first, size)
                free = [row for row in free if row < len(settings)]
            else:
                settings = first
            if not free:
                return None
            wanted = {row: settings[row] for row in free}
            claim = self._claimed(space, block, wanted, len(settings))
            if claim.rows:
                return claim

    def _free(self, rows: Sequence[Row], batch: int) -> tuple[int, int, list[int]]:
        """Return the first block with free rows, its size, and these."""
        blocks: dict[int, list[Row]] = {}
        for row in rows:
            blocks.setdefault(row.block, []).append(row)
        asked = 0
        for block in range(max(blocks, default=-1) + 1):
            there = blocks.get(block, [])
            size = there[0].trial.user_attrs["of"] if there else batch
            asked += size
            taken = {r.row for r in there if not r.is_free}
            if free := [row for row in range(size) if row not in taken]:
                return block, size, free
        size = max(min(batch, self.trials() - asked), 0)
        return len(blocks), size, list(range(size))

    def _claimed(
        self, space: Space, block: int, wanted: Mapping[int, dict[str, Any]], of: int
    ) -> Claim:
        """Create the trials of rows, and return those that nobody else has."""
        from optuna.trial import TrialState, create_trial

        ids: dict[int, int] = {}
        settings = [Trial(setting, {}) for setting in wanted.values()]
        shown = dict(zip(wanted, shown_settings(settings), strict=True))
        with self.group() as storage:
            taken = self._taken(block)
            for row in sorted(wanted.keys() - taken.keys()):
                params, distributions = parameters(space, wanted[row])
                attrs = {"block": block, "row": row, "of": of, "worker": self.name}
                made = create_trial(
                    state=TrialState.RUNNING,
                    params=params,
                    distributions=distributions,
                    user_attrs=attrs,
                    system_attrs={SHOWN: shown[row]},
                )
                ids[row] = storage.create_new_trial(self.id, template_trial=made)
            taken = self._taken(block)
            lost = [row for row in ids if taken[row] != ids[row]]
            self._fail([ids.pop(row) for row in lost])
        rows = sorted(ids)
        return Claim(block, rows, [ids[r] for r in rows], [wanted[r] for r in rows])

    def _taken(self, block: int) -> dict[int, int]:
        """Return the trials' ids of the rows of a block that somebody has."""
        return {
            row.row: row.trial._trial_id
            for row in self.rows()
            if row.block == block and not row.is_free
        }

    def finished(self) -> bool:
        """Return whether all rows are told."""
        return all(row.is_told for row in self.rows())

    def observe(self, claim: Claim, values: Mapping[int, float], segment: int) -> None:
        """Tell values of rows that train, by their places in the claim.

        Raises:
          Lost: another worker has taken the block over.
          StorageError: they could not be written.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            with self.group() as storage:
                for place, value in values.items():
                    at = claim.ids[place], segment, value
                    storage.set_trial_intermediate_value(*at)
        except UpdateFinishedTrialError as error:
            raise Lost from error

    def tell(
        self, claim: Claim, outcomes: Sequence[Earlier], results: Sequence[str]
    ) -> None:
        """Tell what became of a claim's rows; a row that another took over is left.

        Args:
          claim: that was trained.
          outcomes: of its settings.
          results: of the settings, as `told` returns them.
        """
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        with self.group() as storage:
            for id_, one, result in zip(claim.ids, outcomes, results, strict=True):
                values, state = one.values, TrialState.COMPLETE
                known = {step: v for step, v in one.observed.items() if v == v}
                if one.state != "complete" or not all(map(_finite, values or [])):
                    last = [known[max(known)]] if known else None
                    values, state = last, TrialState.PRUNED
                with contextlib.suppress(UpdateFinishedTrialError):
                    if known:  # of the last segment, which no pruner sees
                        step = max(known)
                        storage.set_trial_intermediate_value(id_, step, known[step])
                    storage.set_trial_system_attr(id_, RESULT, result)
                    storage.set_trial_state_values(id_, state, values)

    def give_back(self, claim: Claim) -> None:
        """Let another worker claim the rows of a claim."""
        with self.group():
            self._fail(claim.ids)

    def _fail(self, ids: Sequence[int]) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        with self.group() as storage:
            for id_ in ids:
                # Of several workers, the storage lets one do it.
                with contextlib.suppress(UpdateFinishedTrialError):
                    storage.set_trial_state_values(id_, TrialState.FAIL)

    # Who is alive

    def beat(self) -> None:
        """Show the others that this worker is alive."""
        with self._use("be written") as storage:
            storage.set_study_user_attr(self.id, BEAT + self.name, time.time())

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Beat in the block, in a thread: a compilation may take minutes."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(GRACE / 4):
                with contextlib.suppress(StorageError):  # the next one may arrive
                    self.beat()

        thread = threading.Thread(target=beat, name="jopt-beat", daemon=True)
        self.beat()
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def reap(self) -> int:
        """Fail the trials of dead workers, and return how many they were.

        A worker is dead if this process has seen no new beat of it for the grace time,
        by its own clock: the clocks of machines need not agree.
        """
        running = [row.trial for row in self.rows() if row.runs]
        owners = {trial.user_attrs["worker"] for trial in running} - {self.name}
        if not owners:
            return 0
        with self._use("be read") as storage:
            attrs = storage.get_study_user_attrs(self.id)
        now, dead = time.monotonic(), set[str]()
        for owner in owners:
            beat = attrs.get(BEAT + owner)
            known, since = self._beats.setdefault(owner, (beat, now))
            if known != beat:
                self._beats[owner] = beat, now
            elif now - since > GRACE:
                dead.add(owner)
        ids = [t._trial_id for t in running if t.user_attrs["worker"] in dead]
        self._fail(ids)
        return len(ids)

    # The storage

    @contextlib.contextmanager
    def group(self) -> Iterator[Any]:
        """Yield the storage, whose records are written together in a journal."""
        with self._use("be written") as storage:
            assert self._opened is not None
            with self._opened.group():
                yield storage

    @contextlib.contextmanager
    def _use(self, what: str) -> Iterator[Any]:
        """Yield the storage to one thread; open it anew after a failure."""
        with self._mutex:
            if self._opened is None:
                self._opened, self._places = self.place.opened(), {}
            try:
                with self.place.reached(what):
                    yield self._opened.storage
            except StorageError:
                self._opened = None  # what it knows may not be what was written
                raise


def _finite(value: float) -> bool:
    return value - value == 0
