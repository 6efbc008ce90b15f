"""Work units go to free workers; lost workers are replaced, and their units done again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from crosslatent.core.errors import ModelError, RunFolderError, SweepError, UsageError
from crosslatent.distributed import worker_pool as module
from crosslatent.distributed.cluster import (
    Cluster,
    RayWorkers,
    Resources,
    connected,
    resources,
)
from crosslatent.distributed.worker import About, WrittenPart, versions
from crosslatent.distributed.worker_pool import WorkerPool
from crosslatent.sweeps.work_units import RowRange, WorkUnit

SLICES = [WorkUnit(n, "rows", (RowRange(f"q{n}", range(3)),)) for n in range(20)]
ABOUT = About("here", 1, versions(), ("cpu",))


class LostError(Exception):
    """What Ray raises when a worker is gone."""


class KilledError(Exception):
    """What Ray raises when its memory monitor has killed a worker; no RayActorError."""


class RaisedError(Exception):
    """What Ray raises when a worker raised."""

    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


@dataclass
class FakeRay:
    """The part of Ray that a pool uses; `behave(worker, method, arguments)` is what workers do."""

    behave: object
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    started: int = 0
    waited: int = 0
    killed: list = field(default_factory=list)
    pending: dict = field(default_factory=dict)
    exceptions = SimpleNamespace(
        RayActorError=LostError,
        OutOfMemoryError=KilledError,
        NodeDiedError=LostError,
        WorkerCrashedError=LostError,
        ObjectLostError=LostError,
        RayTaskError=RaisedError,
        RayError=LostError,
    )

    def put(self, value):
        return value

    def remote(self, _kind):
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._start))

    def _start(self, _source):
        self.started += 1
        return _Worker(self, self.started)

    def wait(self, references, num_returns, timeout):
        ready = [one for one in references if self.pending[one] != "never"]
        if not ready:
            self.waited += 1
            assert self.waited < 3, "everything hangs"
            return [], references
        return [self.chance.choice(ready)], []

    def get(self, reference):
        outcome = self.pending.pop(reference)
        if isinstance(outcome, Exception):
            gone = isinstance(outcome, LostError | KilledError)
            raise outcome if gone else RaisedError(outcome)
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
    return WrittenPart(3, (), (), 0.0) if method == "do" else None


def crew_of(behave, workers=2, **settings):
    ray = FakeRay(behave)
    return WorkerPool(RayWorkers(ray, "source", Resources(workers, 1.0, 0.0)), **settings), ray


def done(pool):
    return sorted((r.piece.number, r.part is not None) for r in pool.do(iter(SLICES), 1))


ALL = [(n, True) for n in range(20)]


@pytest.mark.parametrize("workers", [1, 2, 7, 40])
def test_every_slice_is_done_once(workers):
    pool, ray = crew_of(good, workers)
    pool.first()
    pool.greet("check", "job", 1, {})
    assert done(pool) == ALL
    assert (ray.started, ray.killed, pool.lost) == (workers, [], 0)


def test_a_pool_that_was_dismissed_starts_again_when_it_is_asked():
    pool, ray = crew_of(good)
    pool.first()
    pool.dismiss()
    assert pool.size == 0
    pool.first()
    assert pool.size > 0
    assert done(pool) == ALL
    assert ray.started == 3


@pytest.mark.parametrize("error", [LostError, KilledError])
def test_a_lost_worker_is_replaced_and_its_slice_done_again(error):
    tries = []

    def behave(worker, method, arguments):
        if method == "do" and arguments[0].number == 4:
            tries.append(worker)
            if len(tries) < 3:
                return error("killed")
        return good(worker, method, arguments)

    pool, ray = crew_of(behave)
    assert done(pool) == ALL
    assert len(tries) == 3
    assert (ray.started, len(ray.killed), pool.lost) == (4, 2, 2)


def killing(bad):
    """Workers that die of some items, whatever slice they are in."""

    def behave(worker, method, arguments):
        if method == "do" and any(block.item in bad for block in arguments[0].ranges):
            return LostError("out of memory")
        return good(worker, method, arguments)

    return behave


def test_an_item_that_kills_its_workers_is_left_out_alone():
    items = [RowRange(f"q{n}", range(3)) for n in range(60)]
    slices = [WorkUnit(n, "rows", tuple(items[3 * n : 3 * n + 3])) for n in range(20)]
    pool, _ = crew_of(killing({"q4", "q31"}))
    done, lost, numbers = [], [], []
    for result in pool.do(iter(slices), 1):
        into = lost if result.part is None else done
        into += [block.item for block in result.piece.ranges]
        numbers.append(result.piece.number)
    assert sorted(lost) == ["q31", "q4"]
    assert sorted(done) == sorted({block.item for block in items} - {"q4", "q31"})
    assert len(numbers) == len(set(numbers)) == 18 + 2 * 3
    assert pool.lost == 2 * 3
    pieces = [n for n in numbers if n >= 20]
    assert len(pieces) == 6


def test_the_pieces_of_a_slice_take_the_place_of_its_part():
    seen = []

    def behave(worker, method, arguments):
        if method == "do":
            seen.append(arguments[0])
        return killing({"q1"})(worker, method, arguments)

    pool, _ = crew_of(behave)
    whole = WorkUnit(7, "rows", (RowRange("q1", range(3)), RowRange("q2", range(3))))
    list(pool.do(iter([whole]), 1))
    assert [piece.instead_of for piece in seen] == [None, None, 7, 7]


def test_workers_that_die_of_everything_end_the_sweep():
    pool, _ = crew_of(killing({f"q{n}" for n in range(20)}))
    with pytest.raises(SweepError, match=r"each of 5 work units in a row \(out of memory\)"):
        done(pool)
    assert pool.lost == module.LOST_IN_A_ROW * module.TRIES


def test_what_a_worker_raises_that_is_not_ours_is_one_sentence():
    def behave(worker, method, arguments):
        if method == "about":
            return RuntimeError("CUDA out of memory\nwith\nmany\nlines")
        return good(worker, method, arguments)

    pool, _ = crew_of(behave)
    with pytest.raises(SweepError, match=r"failed \(RuntimeError: CUDA out of memory with many"):
        pool.first()


def test_waiting_for_room_is_told():
    told = []

    def behave(worker, method, arguments):
        return "never"

    pool, _ = crew_of(behave, tell=told.append)
    with pytest.raises(AssertionError, match="everything hangs"):
        pool.first()
    assert "No worker has answered for 60 s" in told[0]
    pool.dismiss()


def test_a_worker_that_cannot_be_placed_holds_nothing_up():
    def behave(worker, method, arguments):
        return "never" if worker == 2 else good(worker, method, arguments)

    pool, _ = crew_of(behave)
    assert done(pool) == ALL


def test_workers_that_die_while_they_load_end_the_sweep():
    pool, ray = crew_of(lambda *_: LostError("no memory for the model"))
    with pytest.raises(SweepError, match="while they loaded the model"):
        pool.first()
    assert ray.started < (module.STARTS + 1) * 2


def test_what_a_worker_raises_of_ours_is_raised():
    pool, _ = crew_of(lambda *_: ModelError("no such model"))
    with pytest.raises(ModelError, match="no such model"):
        pool.first()

    def full(worker, method, arguments):
        if method == "do" and arguments[0].number == 3:
            return RunFolderError("the disk is full")
        return good(worker, method, arguments)

    pool, _ = crew_of(full)
    with pytest.raises(RunFolderError, match="the disk is full"):
        done(pool)


def test_a_worker_of_another_version_is_refused():
    other = About("there", 1, {**versions(), "crosslatent": "0.0.1"}, ("cpu",))
    pool, _ = crew_of(lambda *_: other)
    with pytest.raises(UsageError, match=r"'there' has crosslatent 0.0.1"):
        pool.first()


def cluster(*nodes):
    """Ray with these (cores, GPUs) on its machines."""
    named = [
        {"Alive": True, "Resources": {"CPU": float(cpus), **({"GPU": float(gpus)} if gpus else {})}}
        for cpus, gpus in nodes
    ]
    gone = {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 99.0}}
    return SimpleNamespace(nodes=lambda: [*named, gone])


@pytest.mark.parametrize(
    ("nodes", "asked", "expected"),
    [
        ([(2, 0)], Cluster(), Resources(2, 1.0, 0.0)),
        ([(2, 0)], Cluster(workers=1), Resources(1, 2.0, 0.0)),
        ([(16, 0)], Cluster(), Resources(4, 4.0, 0.0)),
        # Two machines of two cores each hold no worker of four.
        ([(2, 0), (2, 0)], Cluster(workers=1), Resources(1, 2.0, 0.0)),
        ([(16, 0)] * 3, Cluster(), Resources(4, 8.0, 0.0)),
        ([(2, 0)], Cluster(workers=4), Resources(4, 1.0, 0.0)),
        ([(8, 2), (8, 2), (4, 0)], Cluster(), Resources(4, 4.0, 1.0)),
        ([(8, 4)], Cluster(gpus=2), Resources(2, 4.0, 2.0)),
        ([(8, 1)], Cluster(gpus=0), Resources(4, 2.0, 0.0)),
        ([(8, 1)], Cluster(gpus=0.5), Resources(2, 4.0, 0.5)),
    ],
)
def test_each_worker_fits_on_one_machine(nodes, asked, expected):
    assert resources(cluster(*nodes), asked) == expected


def test_more_gpus_than_any_machine_has_are_refused():
    with pytest.raises(UsageError, match="get 2 GPUs, but no machine .* than 1"):
        resources(cluster((8, 1), (8, 1)), Cluster(gpus=2))


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

    pool, _ = crew_of(behave)
    pool.first()
    pool.greet("check", "job", 1, {})
    assert done(pool) == ALL
    assert sorted(asked) == sorted(set(asked))
    assert set(asked) >= {1, 2, 3}


def test_workers_that_answer_late_are_asked_about_the_sweep_of_now():
    """One that was asked about the sweep before, or not yet, gets no work of this one."""
    asked = []

    def behave(worker, method, arguments):
        if method == "check":
            asked.append((worker, arguments[0]))
        if method == "do":
            assert (worker, "second") in asked
        return good(worker, method, arguments)

    pool, _ = crew_of(behave, workers=5)
    pool.first()
    pool.greet("check", "first", 1, {})
    pool.greet("check", "second", 2, {})
    assert done(pool) == ALL
    assert (1, "second") in asked or (2, "second") in asked


def test_an_error_ends_the_workers_and_only_that():
    pool, ray = crew_of(good)
    with pool.ended_by_errors():
        assert done(pool) == ALL
    assert not ray.killed
    with pytest.raises(KeyboardInterrupt), pool.ended_by_errors():
        raise KeyboardInterrupt
    assert sorted(ray.killed) == [1, 2]


def test_a_sweep_is_prepared_by_another_worker_if_one_dies_over_it():
    def behave(worker, method, arguments):
        if method == "prepare":
            return "prepared" if worker > deadly else LostError("out of memory")
        return good(worker, method, arguments)

    deadly = 2
    pool, _ = crew_of(behave, workers=1)
    assert pool.ask("prepare", "job") == "prepared"
    assert pool.lost == 2
    assert done(pool) == ALL
    deadly = 99
    with pytest.raises(SweepError, match=r"died while the sweep was prepared \(out of memory\)"):
        pool.ask("prepare", "job")
