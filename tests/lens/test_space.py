"""Spaces on disk: what is read back is what was written, and damage is seen."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from crosslatent.core.errors import PairError, RunFolderError, SpaceError
from crosslatent.core.specs import FINAL
from crosslatent.lens.space import (
    ARRAYS,
    MARKER,
    LayerSeparability,
    Points,
    Space,
    SpaceRecord,
    load_space,
)
from crosslatent.stats import Estimate

Make = Callable[..., Space]


@pytest.fixture
def space(make_space: Make) -> Space:
    made = make_space(rank=1)
    told = LayerSeparability(FINAL, Estimate(0.9, 0.8, 1.0, 30, 30, 0), None, 1 / 3, 30)
    record = SpaceRecord(
        model={"name": "tiny", "identity": {"d_model": 32}},
        texts={"en": 5, "es": 6, "sw": 7},
        between=[0.5, None, 0.25, 0.125, 0.1],
        separability=[told],
        max_tokens=12,
    )
    values = np.random.default_rng(0).normal(size=(4, 5, 1)).astype(np.float32)
    return replace(made, record=record, points=Points(("en", "en", "es", "sw"), values))


def test_what_is_read_is_what_was_written(space: Space, tmp_path: Path) -> None:
    space.save(tmp_path / "space")
    again = load_space(tmp_path / "space")
    assert again.record == space.record
    assert again.languages == ("en", "es", "sw")
    assert again.targets == ("es", "sw")
    assert (again.central, again.rank, again.n_layers, again.d_model) == ("en", 1, 4, 32)
    for first, second in zip(space.subspaces, again.subspaces, strict=True):
        for name in ("means", "agnostic", "specific", "singular_values"):
            assert np.array_equal(getattr(first, name), getattr(second, name))
            assert getattr(second, name).dtype == np.float64
    assert again.points is not None
    assert space.points is not None
    assert again.points.langs == space.points.langs
    assert np.array_equal(again.points.values, space.points.values)


def test_a_space_is_replaced_and_other_folders_are_not(space: Space, tmp_path: Path) -> None:
    space.save(tmp_path / "space")
    replace(space, points=None).save(tmp_path / "space")
    assert load_space(tmp_path / "space").points is None
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"something else"):
        space.save(tmp_path)


def test_layers_are_named_from_either_end(space: Space) -> None:
    assert space.at(-1) is space[3] is space.blocks[3]
    assert space.at(FINAL) is space.final
    assert space.layers == (0, 1, 2, 3, FINAL)
    with pytest.raises(PairError, match="out of range"):
        space.at(4)
    with pytest.raises(SpaceError, match="Unknown layer 'last'"):
        space.at("last")


def test_a_folder_without_a_space(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="is not a language space"):
        load_space(tmp_path)
    (tmp_path / MARKER).write_text("[1]")
    (tmp_path / ARRAYS).write_bytes(b"")
    with pytest.raises(SpaceError, match="is not a language space's"):
        load_space(tmp_path)


def test_arrays_of_another_space_are_refused(
    space: Space, make_space: Make, tmp_path: Path
) -> None:
    space.save(tmp_path / "a")
    make_space(seed=1).save(tmp_path / "b")
    (tmp_path / "a" / ARRAYS).write_bytes((tmp_path / "b" / ARRAYS).read_bytes())
    with pytest.raises(SpaceError, match="is not the one that space.json was written with"):
        load_space(tmp_path / "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "of version 2"),
        ({"rank": 2}, "specific has shape"),
        ({"record": {"texts": "many"}}, "damaged"),
        ({"languages": None}, "damaged"),
        ({"languages": [1, 2, 3]}, "not names"),
        ({"languages": ["en", "en", "sw"]}, "damaged"),
        ({"central": "fr"}, "central 'fr'"),
    ],
)
def test_damage_is_named(
    space: Space, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    space.save(tmp_path / "s")
    plain = json.loads((tmp_path / "s" / MARKER).read_text())
    (tmp_path / "s" / MARKER).write_text(json.dumps(plain | change))
    with pytest.raises(SpaceError, match=message):
        load_space(tmp_path / "s")


def test_reading_a_space_takes_no_torch() -> None:
    code = "import sys, crosslatent.lens.space; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("agnostic", lambda a: a * 0, "agnostic direction is zero"),
        ("agnostic", lambda a: a * np.nan, "agnostic is not made of finite numbers"),
        ("specific", lambda a: a * 2, "not orthonormal"),
        ("means", lambda a: a.astype(np.float32), "float64"),
    ],
)
def test_arrays_that_are_no_space_are_refused(
    space: Space, tmp_path: Path, name: str, change: Callable[..., Any], message: str
) -> None:
    space.save(tmp_path / "s")
    arrays = load_file(tmp_path / "s" / ARRAYS)
    save_file(arrays | {name: np.ascontiguousarray(change(arrays[name]))}, tmp_path / "s" / ARRAYS)
    plain = json.loads((tmp_path / "s" / MARKER).read_text())
    digest = hashlib.sha256((tmp_path / "s" / ARRAYS).read_bytes()).hexdigest()
    (tmp_path / "s" / MARKER).write_text(json.dumps(plain | {"arrays_sha256": digest}))
    with pytest.raises(SpaceError, match=message):
        load_space(tmp_path / "s")
