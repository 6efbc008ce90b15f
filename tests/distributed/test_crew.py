"""Slices go to whoever is free; lost workers are replaced, and their slices done again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from crosslatent.distributed import crew as module
from crosslatent.distributed.cluster import Cluster, Resources, connected
from crosslatent.distributed.crew import Crew
from crosslatent.distributed.worker import About, Part, versions
from crosslatent.errors import ModelError, RunFolderError, SweepError, UsageError
from crosslatent.sweeps.slices import Block, Slice

SLICES = [Slice(n, "rows", (Block(f"q{n}", range(3)),)) for n in range(20)]
ABOUT = About("here", 1, versions(), ("cpu",))


class LostError(Exception):
    """What Ray raises when a worker is gone."""


class RaisedError(Exception):
    """What Ray raises when a worker raised."""

    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


@dataclass
class FakeRay:
    """The part of Ray that a crew uses; `behave(worker, method, arguments)` is what workers do."""

    behave: object
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    started: int = 0
    killed: list = field(default_factory=list)
    pending: dict = field(default_factory=dict)
    exceptions = SimpleNamespace(RayActorError=LostError, RayTaskError=RaisedError)

    def put(self, value):
        return value

    def remote(self, _kind):
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._start))

    def _start(self, _job):
        self.started += 1
        return _Worker(self, self.started)

    def wait(self, references, num_returns):
        ready = [one for one in references if self.pending[one] != "never"]
        assert ready, "everything hangs"
        return [self.chance.choice(ready)], []

    def get(self, reference):
        outcome = self.pending.pop(reference)
        if isinstance(outcome, Exception):
            raise outcome if isinstance(outcome, LostError) else RaisedError(outcome)
        return outcome

    def kill(self, worker, *, no_restart):
        self.killed.append(worker.number)


class _Worker:
    def __init__(self, ray, number):
        self._ray, self.number = ray, number

    def __getattr__(self, method):
        def call(*arguments):
            reference = object()
            self._ray.pending[reference] = self._ray.behave(self.number, method, arguments)
            return reference

        return SimpleNamespace(remote=call)


def good(worker, method, arguments):
    if method == "about":
        return ABOUT
    return Part(3, (), (), 0.0) if method == "do" else None


def crew_of(behave, workers=2):
    ray = FakeRay(behave)
    return Crew(ray, "job", Resources(workers, 1.0, 0.0)), ray


def done(crew):
    return sorted((r.piece.number, r.part is not None) for r in crew.do(iter(SLICES), 1))


ALL = [(n, True) for n in range(20)]


@pytest.mark.parametrize("workers", [1, 2, 7, 40])
def test_every_slice_is_done_once(workers):
    crew, ray = crew_of(good, workers)
    crew.first()
    crew.greet(lambda worker: worker.check.remote(1, {}))
    assert done(crew) == ALL
    assert (ray.started, ray.killed, crew.lost) == (workers, [], 0)


def test_a_lost_worker_is_replaced_and_its_slice_done_again():
    tries = []

    def behave(worker, method, arguments):
        if method == "do" and arguments[0].number == 4:
            tries.append(worker)
            if len(tries) < 3:
                return LostError("killed")
        return good(worker, method, arguments)

    crew, ray = crew_of(behave)
    assert done(crew) == ALL
    assert len(tries) == 3
    assert (ray.started, len(ray.killed), crew.lost) == (4, 2, 2)


def test_a_slice_that_kills_its_workers_is_left_out():
    def behave(worker, method, arguments):
        if method == "do" and arguments[0].number == 4:
            return LostError("out of memory")
        return good(worker, method, arguments)

    crew, _ = crew_of(behave)
    results = {result.piece.number: result for result in crew.do(iter(SLICES), 1)}
    assert results[4].part is None
    assert "died 3 times (out of memory)" in results[4].reason
    assert all(results[n].part for n in range(20) if n != 4)


def test_a_worker_that_cannot_be_placed_holds_nothing_up():
    def behave(worker, method, arguments):
        return "never" if worker == 2 else good(worker, method, arguments)

    crew, _ = crew_of(behave)
    assert done(crew) == ALL


def test_workers_that_die_while_they_load_end_the_sweep():
    crew, ray = crew_of(lambda *_: LostError("no memory for the model"))
    with pytest.raises(SweepError, match="while they loaded the model"):
        crew.first()
    assert ray.started < (module.STARTS + 1) * 2


def test_what_a_worker_raises_of_ours_is_raised():
    crew, _ = crew_of(lambda *_: ModelError("no such model"))
    with pytest.raises(ModelError, match="no such model"):
        crew.first()

    def full(worker, method, arguments):
        if method == "do" and arguments[0].number == 3:
            return RunFolderError("the disk is full")
        return good(worker, method, arguments)

    crew, _ = crew_of(full)
    with pytest.raises(RunFolderError, match="the disk is full"):
        done(crew)


def test_a_worker_of_another_version_is_refused():
    other = About("there", 1, {**versions(), "crosslatent": "0.0.1"}, ("cpu",))
    crew, _ = crew_of(lambda *_: other)
    with pytest.raises(UsageError, match=r"'there' has crosslatent 0.0.1"):
        crew.first()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "localhost:99999"])
def test_an_address_where_nobody_listens_is_refused_at_once(address):
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match="No Ray cluster can be used"), connected(Cluster(address)):
        pass


def test_new_workers_are_asked_first_whether_they_fit():
    asked = []

    def behave(worker, method, arguments):
        if method == "check":
            asked.append(worker)
        if method == "do" and arguments[0].number == 4 and worker < 3:
            return LostError("killed")
        return good(worker, method, arguments)

    crew, _ = crew_of(behave)
    crew.first()
    crew.greet(lambda worker: worker.check.remote(1, {}))
    assert done(crew) == ALL
    assert sorted(asked) == sorted(set(asked))
    assert set(asked) >= {1, 2, 3}
