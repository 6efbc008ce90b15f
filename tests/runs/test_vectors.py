"""Captured vectors in a run folder: the numbers that were captured, whole parts, no code run."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file

import crosslatent as xl
from crosslatent.core.errors import PairError, RunFolderError
from crosslatent.runs.vector_parts import CapturedVectors, VectorParts
from crosslatent.sweeps import SweepSpec, run_sweep
from crosslatent.tasks import task_of
from support.rows import wrapped


def vectors(items, seed=0):
    draw = np.random.default_rng(seed)
    arrays = {kind: draw.normal(size=(len(items), 3, 4)).astype("f4") for kind in ("attn", "ffn")}
    return CapturedVectors(items, arrays)


@pytest.fixture
def parts(tmp_path):
    return VectorParts(tmp_path / "vectors")


def test_what_is_written_is_read(parts):
    assert (parts.files(), parts.items(), parts.read("ffn")) == ([], set(), {})
    first, second = vectors(["a", 'b "/%\n']), vectors(["c"], 1)
    parts.write("part-00001-000000", first)
    parts.write("part-00001-000001", second)
    assert parts.items() == {"a", 'b "/%\n', "c"}
    found = parts.read("ffn")
    assert np.array_equal(found['b "/%\n'], first.arrays["ffn"][1])
    assert np.array_equal(found["c"], second.arrays["ffn"][0])
    assert parts.read("block") == {}
    assert set(load_file(parts.files()[0])) == {"attn", "ffn"}  # any reader of safetensors will do


def header(metadata):
    text = json.dumps({"__metadata__": metadata}).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: b"\x80\x04.",  # a pickle
        lambda data: struct.pack("<Q", 2**60) + data[8:],
        lambda data: header({}),
        lambda data: header({"items": "[1]"}),
        lambda data: header({"items": "{"}),
        lambda data: data.replace(b'[\\"a\\"]', b"[       ]"[:7]),
    ],
)
def test_damaged_parts_are_set_aside(parts, damage):
    parts.write("part-00001-000000", vectors(["a"]))
    parts.write("part-00001-000001", vectors(["b"]))
    file = parts.files()[0]
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(RunFolderError, match="run the same sweep command again"):
        parts.items()
    (aside,) = parts.check_items()
    assert aside.name == "vectors/part-00001-000000.parquet".replace("parquet", "safetensors")
    assert parts.items() == {"b"}
    assert file.with_suffix(".damaged").exists()


def test_every_flipped_byte_is_found(parts):
    parts.write("part-00001-000000", vectors(["a"]))
    (file,) = parts.files()
    data = file.read_bytes()
    unnoticed = []
    for at in range(len(data)):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            parts.read("ffn")
        except RunFolderError:
            continue
        unnoticed.append(data[at : at + 1])
    # Where the name of the checksum is hit, nothing says that there was one.
    assert len(unnoticed) <= len('"crosslatent.crc32":"')
    file.write_bytes(data[:-3] + bytes([data[-3] ^ 16]) + data[-2:])
    (aside,) = parts.check_items()
    assert "checksum" in aside.reason


def test_a_sweep_keeps_what_it_carries_over(tmp_path):
    model = wrapped()
    items = [
        {"id": f"q{n}", "main": f"Swali {n}:", "aux": f"Question {n}:", "answer": "a"}
        for n in range(5)
    ]
    out = tmp_path / "run"
    spec = SweepSpec(component=("attn", "ffn"), pairs="0:0", max_new_tokens=1, keep_vectors=True)
    run_sweep(model, task_of(items), spec, out)
    run = xl.Run(out)
    found = run.vectors("ffn")
    assert set(found) == {f"q{n}" for n in range(5)}
    expected = xl.capture(model, "Question 3:", ["ffn"])["ffn"]
    np.testing.assert_allclose(found["q3"], expected.numpy(), atol=1e-5)
    with pytest.raises(PairError, match="no vectors of 'block'"):
        run.vectors("block")
    (part,) = (out / "vectors").iterdir()
    part.write_bytes(part.read_bytes()[:100])
    again = run_sweep(model, task_of(items), spec, out)
    assert [aside.name for aside in again.faults.set_aside] == [f"vectors/{part.name}"]
    np.testing.assert_allclose(run.vectors("ffn")["q3"], found["q3"], atol=1e-5)
    run_sweep(model, task_of(items), SweepSpec(pairs="0:0", max_new_tokens=1), out, new=True)
    with pytest.raises(PairError, match="--keep-vectors"):
        run.vectors("ffn")
