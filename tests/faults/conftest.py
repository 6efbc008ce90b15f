"""A warm process to fork sweeps from, a model, and a run that nothing happened to."""

from __future__ import annotations

import time

import pytest

from support.faults import EVERYTHING, Forks, questions, write_questions
from support.models import save_tiny


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    server = Forks(tmp_path_factory.mktemp("forks"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def given(tmp_path_factory):
    """Where the model and the questions are that all sweeps here are about."""
    place = tmp_path_factory.mktemp("given")
    save_tiny(place / "model", num_hidden_layers=3)
    write_questions(place / "questions.jsonl", questions())
    return place


@pytest.fixture(scope="session")
def command(given):
    """The arguments of a sweep that makes every table, into a folder."""

    def arguments(out, *options):
        fixed = (f"--model={given / 'model'}", f"--prompts={given / 'questions.jsonl'}")
        return ("sweep", *fixed, f"--out={out}", *EVERYTHING, *options)

    return arguments


@pytest.fixture(scope="session")
def whole(forks, command, tmp_path_factory):
    """A finished run that nothing happened to, and the seconds that it took: all, and to write."""
    out = tmp_path_factory.mktemp("whole") / "run"
    started = time.monotonic()
    child = forks.start(*command(out))
    child.opened(out)
    opened = time.monotonic()
    ended = child.ended()
    assert ended.code == 0, ended.err
    done = time.monotonic()
    return out, done - started, done - opened
