"""Sweeps that are killed and run again give the rows of those that are not."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from support.disasters import KILL, POWER
from support.faults import (
    assert_equal_runs,
    environment,
    exported,
    manifest,
    parts,
    rows_there,
)

TABLES = ("rows", "attribution", "samples")


@dataclass(frozen=True)
class Hit:
    """What was there when a kill hit.

    Attributes:
        begun: run.json was there.
        rows: rows that were on disk.
        parts: parts by table.
        half: files that were being written.
        finished: run.json said how the run stands.
    """

    begun: bool
    rows: int
    parts: tuple[int, ...]
    half: tuple[str, ...]
    finished: bool

    @classmethod
    def of(cls, run):
        begun = (run / "run.json").is_file()
        half = sorted(p.name for p in run.rglob(".*") if p.name.endswith(".tmp"))
        return cls(
            begun,
            rows_there(run),
            tuple(len(parts(run, table)) for table in TABLES),
            tuple(half),
            begun and "status" in manifest(run),
        )


def kill_at_random(forks, command, whole, folder, kills, seed):
    """Runs that are killed after a random time, until so many kills hit; returns what they hit."""
    path, *seconds = whole
    random_ = random.Random(seed)
    # One delay from each part of the run's life, so that chance leaves no phase of it out; every
    # other one counts from when the folder is open, since most of a short life is spent before.
    delays = [(n % 2, (n + random_.random()) / kills * seconds[n % 2]) for n in range(kills)]
    random_.shuffle(delays)
    hits, number = [], 0
    while len(hits) < kills:
        run, number = folder / f"run-{number}", number + 1
        assert number < 3 * kills, "hardly any kill hits"
        for _ in range(4):
            opened, delay = delays[len(hits)]
            child = forks.start(*command(run))
            if opened:
                child.opened(run)
            time.sleep(delay)
            child.send(9)
            if not child.ended().killed:
                # It was faster, and so must the next kill be.
                delays[len(hits)] = (opened, delay * random_.random())
                break
            hits.append(Hit.of(run))
            print(f"seed {seed}, {('start', 'open')[opened]} + {delay:.3f} s: {hits[-1]}")
            if len(hits) == kills:
                break
        ended = forks.run(*command(run))
        assert ended.code == 0, ended.err
        assert_equal_runs(run, path)
    return hits


def test_the_rows_that_are_compared_really_differ(whole):
    rows = exported(whole[0])
    assert len(rows) == 8 * (2 + 2 * 9 * 7)  # seven kinds of vectors; two of them are shuffled
    assert len({row["output"] for row in rows}) > 50
    # Answers that hang on the last bits may differ between batches, which is another matter.
    assert min(row["min_margin"] for row in rows) > 2e-5


def test_a_killed_sweep_goes_on_where_it_was(forks, command, whole, tmp_path):
    hits = kill_at_random(forks, command, whole, tmp_path, kills=3, seed=time.time_ns())
    assert len(hits) == 3


@pytest.mark.slow
def test_twenty_kills_at_random_moments(forks, command, whole, tmp_path):
    hits = kill_at_random(forks, command, whole, tmp_path, kills=20, seed=time.time_ns())
    all_rows = len(exported(whole[0]))
    assert sum(0 < hit.rows < all_rows for hit in hits) >= 3
    assert len({hit.parts for hit in hits}) >= 5


@pytest.mark.slow
def test_kills_of_a_process_of_its_own(command, whole, tmp_path):
    run, seed = tmp_path / "run", time.time_ns()
    random_ = random.Random(seed)
    argv = [sys.executable, "-m", "crosslatent", *command(run)]
    hits = 0
    for at in range(4):
        process = subprocess.Popen(argv, env=environment(), stderr=subprocess.DEVNULL)
        delay = (at + random_.random()) * 3
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            hits += 1
            print(f"seed {seed}, after {delay:.3f} s: {Hit.of(run)}")
    assert hits
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_equal_runs(run, whole[0])


SMALL = ("--pairs=0:1", "--controls=noise", "--component=ffn", "--limit=2")
"""Fewer rows in as many files: what is tried is every step by which a run folder is changed."""


@pytest.fixture(scope="module")
def small(forks, command, tmp_path_factory):
    """A small run that nothing happened to, and the number of steps that it took."""
    out = tmp_path_factory.mktemp("small") / "run"
    ended = forks.run(*command(out, *SMALL))
    assert ended.code == 0, ended.err
    return out


def strike_at_every_step(forks, command, small, folder, how, stride=1):
    """Strike a fresh run at step 1, 2, 3, ... and complete it; returns what was struck."""
    struck, at = Counter(), 1
    while True:
        run = folder / f"run-{at}"
        ended = forks.run(*command(run, *SMALL), folder=run, at=at, how=how)
        if ended.struck is None:
            assert ended.code == 0, ended.err
            assert_equal_runs(run, small)
            return struck
        assert ended.killed
        place = ended.struck["path"].replace(str(run), "RUN")
        struck[ended.struck["what"]] += 1
        again = forks.run(*command(run, *SMALL))
        assert again.code == 0, (at, ended.struck["what"], place, again.err)
        assert "damaged" not in again.err, (at, ended.struck["what"], place, again.err)
        assert_equal_runs(run, small)
        at += stride


def assert_all_kinds(struck):
    assert set(struck) >= {"make", "sync", "rename"}, struck
    print(dict(struck))


def test_a_kill_at_some_steps(forks, command, small, tmp_path):
    struck = strike_at_every_step(forks, command, small, tmp_path, KILL, stride=17)
    assert struck.total() >= 4


@pytest.mark.slow
def test_a_kill_at_every_step(forks, command, small, tmp_path):
    assert_all_kinds(strike_at_every_step(forks, command, small, tmp_path, KILL))


def test_power_that_goes_at_some_steps(forks, command, small, tmp_path):
    """What was not synced is lost, so a file that was renamed must have been synced before."""
    struck = strike_at_every_step(forks, command, small, tmp_path, POWER, stride=19)
    assert struck.total() >= 4


@pytest.mark.slow
def test_power_that_goes_at_more_steps(forks, command, small, tmp_path):
    strike_at_every_step(forks, command, small, tmp_path, POWER, stride=3)


@pytest.mark.slow
def test_a_kill_at_steps_of_starting_over(forks, command, small, tmp_path):
    """A run of other arguments is thrown away: at no moment do its rows pass for those of this."""

    run, at = tmp_path / "run", 1
    assert forks.run(*command(run, *SMALL, "--seed=1")).code == 0
    while True:
        ended = forks.run(*command(run, *SMALL, "--new"), folder=run, at=at, how=KILL)
        again = forks.run(*command(run, *SMALL))
        if again.code == 2:  # nothing of the old run was gone yet, or run.json alone was left
            assert "seed" in again.sentence
            again = forks.run(*command(run, *SMALL, "--new"))
        assert again.code == 0, (at, ended.struck, again.err)
        assert_equal_runs(run, small)
        if ended.struck is None:
            break
        at += 2
        assert forks.run(*command(run, *SMALL, "--seed=1", "--new")).code == 0
    assert at > 10


def test_kills_in_one_folder_again_and_again(forks, command, small, tmp_path):
    """Every call comes some steps further than the one before, and in the end it is done."""
    run, at = tmp_path / "run", 1
    while True:
        ended = forks.run(*command(run, *SMALL), folder=run, at=at, how=(KILL, POWER)[at % 2])
        if not ended.killed:
            break
        at += 9
    assert ended.code == 0, ended.err
    assert at > 30
    assert_equal_runs(run, small)
