"""Run folders without a sweep: the least that a manifest and a row have, and processes that die."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from crosslatent.runs import RunFolder

MANIFEST = {"model": {"name": "a"}, "task": {"name": "t", "title": "T"}, "spec": {"seed": 0}}
KILLED = 77


def record(item, **changes):
    """A row of `schema.ROWS`; what may be null is left out."""
    return {
        "item": item,
        "lang": "sw",
        "control": "vanilla",
        "output": "x",
        "output_ids": [1],
        "correct_by_rule": {"exact": True},
        "min_margin": 1.0,
        "finite": True,
        "path": "oracle",
        "seconds": 0.5,
    } | changes


def made(place, *parts, manifest=MANIFEST):
    """A run folder with one part for each list of items."""
    with RunFolder.open(place, manifest) as folder:
        for number, items in enumerate(parts):
            folder.rows.write(folder.part_name(number), [record(item) for item in items])
    return place


def items_of(place, manifest=MANIFEST):
    """The items that have rows, and what was set aside, as the next session sees them."""
    with RunFolder.open(place, manifest) as folder:
        return sorted(folder.inventory.counts), folder.set_aside


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do some work in a process of its own that dies at its `step`-th touch of a file.

    Returns:
        Whether it died; if not, the work has fewer steps.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, KILLED), code
        return code == KILLED
    code = 1
    try:
        _die_at(step)
        work()
        code = 0
    finally:
        os._exit(code)


def _die_at(step: int) -> None:
    left = step

    def passed() -> None:
        nonlocal left
        if left == 0:
            os._exit(KILLED)
        left -= 1

    write, replace, unlink, fsync = Path.write_bytes, Path.replace, Path.unlink, os.fsync

    def write_slowly(path, data):
        passed()
        write(path, bytes(data)[: len(data) // 2])
        passed()
        write(path, data)
        passed()

    def between(call):
        def replacement(*args, **kwargs):
            passed()
            result = call(*args, **kwargs)
            passed()
            return result

        return replacement

    Path.write_bytes = write_slowly
    Path.replace = between(replace)
    Path.unlink = between(unlink)
    os.fsync = between(fsync)
