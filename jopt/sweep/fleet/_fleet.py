"""`Fleet`: a worker's reads from a shared study, and its writes to it."""

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

FORMAT = 1  # version of the data that jopt keeps in a study
GRACE = 60.0  # seconds without a heartbeat after which a worker counts as dead
HEADER, TRIALS, BEAT = "jopt", "jopt:trials", "jopt:beat:"
RESULT, SHOWN = "jopt:result", "jopt:setting"  # attributes of a trial
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
    """Another worker has taken over a block, because this one stalled."""


class Row(NamedTuple):
    """A row of a block, and the Optuna trial that counts for it."""

    block: int
    row: int
    trial: Any  # a FrozenTrial

    @property
    def runs(self) -> bool:
        """Whether a worker, alive or dead, has claimed it and not finished it."""
        return self.trial.state.name == "RUNNING"

    @property
    def is_told(self) -> bool:
        """Whether its results are stored."""
        return self.trial.state.name in ("COMPLETE", "PRUNED")

    @property
    def is_free(self) -> bool:
        """Whether its worker died or released it."""
        return self.trial.state.name == "FAIL"


class Claim(NamedTuple):
    """The rows of a block that one worker trains."""

    block: int
    rows: list[int]
    ids: list[int]  # ids of Optuna's trials
    settings: list[dict[str, Any]]


class Fleet:
    """A study that several workers share, as seen by one of them.

    A setting is an Optuna trial, whose attributes `block` and `row` give its place. A
    worker claims rows by creating their trials. If two workers create the same row, the
    trial with the lower number counts. The storage gives out numbers one by one, so no
    lock is needed, and both workers agree. A dead worker's trials fail, and their rows
    are claimed again.

    Args:
      place: where the study is.
      modes: the modes of a new study's objectives; None to open an existing study.

    Raises:
      ImportError, OSError: as in `Place.opened`.
      ValueError: the study is not of jopt, or of another version.
    """

    def __init__(self, place: Place, modes: Sequence[Mode] | None = None):
        self.place = place
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._mutex = threading.RLock()  # another thread sends the heartbeats
        self._beats: dict[str, tuple[Any, float]] = {}  # the last, and since when
        self._places: dict[int, tuple[int, int]] = {}  # by the ids of trials
        self._opened: Opened | None = place.opened(new=modes is not None)
        self.id = self._found(modes)

    # The study

    def _found(self, modes: Sequence[Mode] | None) -> int:
        """Return the study's id; create the study if `modes` are given."""
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
        """Return the header that the study began with; None before that.

        Raises ValueError if it is of another version of jopt, or damaged.
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

        Raises ValueError if another study is there.
        """
        held = self.header()
        if held is None:
            held = {"format": FORMAT, "jopt": __version__, **header}
            self.set(HEADER, held)
            held = self.header() or held  # another worker may have begun it meanwhile
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
        """Return the total number of settings that the study asks for."""
        held = self.get(TRIALS)
        return held if misfit(held, range(2**31)) is None else 0

    def get(self, key: str) -> Any:
        """Return an attribute of the study; None if it is not set."""
        with self._use("be read") as storage:
            return storage.get_study_user_attrs(self.id).get(key)

    def set(self, key: str, value: Any) -> None:
        """Set an attribute of the study."""
        with self._use("be written") as storage:
            storage.set_study_user_attr(self.id, key, value)

    # The rows

    def rows(self) -> list[Row]:
        """Return the claimed rows in order, each with the trial that counts.

        A trial with results counts before a running one, and a running one before a
        failed one. Of equals, the lowest number counts.

        Raises ValueError if the study holds a trial that no worker made.
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
        """Claim the free rows of one block; None if there are none.

        Args:
          space: the space of the study.
          header: the header of the study.
          propose: (block, the rows of earlier blocks, known first settings, how many)
            -> settings. Other workers may claim while it runs.
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
        """Return the first block with free rows, its size, and the free rows."""
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
        """Create the trials of rows; return the rows that no other worker has."""
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
        """Return the trial ids of the rows of a block that are not free."""
        return {
            row.row: row.trial._trial_id
            for row in self.rows()
            if row.block == block and not row.is_free
        }

    def finished(self) -> bool:
        """Return whether the results of all rows are stored."""
        return all(row.is_told for row in self.rows())

    def observe(self, claim: Claim, values: Mapping[int, float], segment: int) -> None:
        """Store values of rows in training, by their places in the claim.

        Raises:
          Lost: another worker has taken over the block.
          StorageError: the values could not be written.
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
        """Store the results of a claim's rows, except rows that another worker took.

        Args:
          claim: the claim that was trained.
          outcomes: the outcomes of its settings.
          results: the results of the settings, as `told` returns them.
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
                    if known:  # the value of the last segment, which no pruner sees
                        step = max(known)
                        storage.set_trial_intermediate_value(id_, step, known[step])
                    storage.set_trial_system_attr(id_, RESULT, result)
                    storage.set_trial_state_values(id_, state, values)

    def give_back(self, claim: Claim) -> None:
        """Release the rows of a claim for other workers."""
        with self.group():
            self._fail(claim.ids)

    def _fail(self, ids: Sequence[int]) -> None:
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        with self.group() as storage:
            for id_ in ids:
                # The storage lets only one of several workers fail a trial.
                with contextlib.suppress(UpdateFinishedTrialError):
                    storage.set_trial_state_values(id_, TrialState.FAIL)

    # Heartbeats

    def beat(self) -> None:
        """Show the others that this worker is alive."""
        with self._use("be written") as storage:
            storage.set_study_user_attr(self.id, BEAT + self.name, time.time())

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Send heartbeats from a thread in the block: compiling may take minutes."""
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
        """Fail the trials of dead workers, and return their number.

        A worker is dead if this process has seen no new heartbeat of it for the grace
        time. This process's clock counts, so the machines' clocks need not agree.
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
        """Yield the storage; a journal writes the records of the block together."""
        with self._use("be written") as storage:
            assert self._opened is not None
            with self._opened.group():
                yield storage

    @contextlib.contextmanager
    def _use(self, what: str) -> Iterator[Any]:
        """Yield the storage to one thread; open it again after a failure."""
        with self._mutex:
            if self._opened is None:
                self._opened, self._places = self.place.opened(), {}
            try:
                with self.place.reached(what):
                    yield self._opened.storage
            except StorageError:
                self._opened = None  # its cache may differ from the file
                raise


def _finite(value: float) -> bool:
    return value - value == 0
