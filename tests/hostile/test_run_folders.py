"""A run folder that somebody else made: whatever is in it, it gives a report or a sentence."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from crosslatent.analysis import Headline, declaration
from crosslatent.api import Run
from crosslatent.cli.app import main
from crosslatent.core.errors import RunFolderError
from crosslatent.report import drawing
from crosslatent.runs.reader import RunReader
from support.hostile import BAD
from support.simulated import simulate

Change = Callable[[pa.Table], pa.Table]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that everything can be made of; copied by `folder`."""
    headline = declaration(Headline(task="world"))
    path = tmp_path_factory.mktemp("whole") / "run"
    return simulate(path, languages=("sw",), layers=2, facts=2, headline=headline)


@pytest.fixture
def folder(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(drawing, "FORMATS", ())
    return Path(shutil.copytree(whole, tmp_path / "run"))


def commands(folder: Path) -> Iterator[list[str]]:
    out = folder.parent
    yield ["report", str(folder), "--out", str(out / "report")]
    yield ["select", str(folder)]
    yield ["select", str(folder), "--strategy", "confidence"]
    yield ["export", str(folder), "--format", "csv", "--out", str(out / "rows.csv")]
    yield ["export", str(folder), "--format", "jsonl"]


def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said by every command, which must be one sentence and the same for all."""
    capsys.readouterr()
    for arguments in commands(folder):
        assert main(arguments) == 2, arguments
        told = capsys.readouterr().err
        assert told.startswith("Error: "), told
        assert told.count("\n") == 1, told
        assert len(told) < 900, told
    return told


def accepted(folder: Path) -> None:
    for arguments in commands(folder):
        assert main(arguments) == 0, arguments


def manifest_with(folder: Path, place: str, value: Any) -> None:
    file = folder / "run.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    *above, last = place.split(".")
    inner = manifest
    for name in above:
        inner = inner.setdefault(name, {})
    inner[last] = value
    file.write_text(json.dumps(manifest), encoding="utf-8")


def changed(folder: Path, pattern: str, change: Change) -> None:
    files = sorted(folder.glob(pattern))
    assert files
    for file in files:
        pq.write_table(change(pq.read_table(file)), file)


# run.json

OBJECTS = ("model", "task", "spec", "headline", "versions", "status")
TEXTS = ("created", "model.name", "model.dtype", "task.name", "task.title", "task.direction",
         "task.rule", "task.metric", "task.type", "headline.task", "headline.tune")  # fmt: skip
NUMBERS = ("model.n_layers", "spec.seed", "spec.positions", "spec.strength", "headline.least_gain")


@pytest.mark.parametrize("place", [*OBJECTS, *TEXTS, *NUMBERS, "headline.controls"])
@pytest.mark.parametrize("value", [[[]], True, {"a": [1]}, "x", 7.5], ids=repr)
def test_fields_of_other_kinds_are_refused(folder: Path, place: str, value: Any) -> None:
    fits = {str: TEXTS, float: ("spec.strength", "headline.least_gain"), dict: OBJECTS}
    manifest_with(folder, place, value)
    if place in fits.get(type(value), ()) and (place, value) != ("versions", {"a": [1]}):
        if place != "headline":
            RunReader(folder)
        return
    with pytest.raises(RunFolderError, match=place.split(".", maxsplit=1)[0]):
        RunReader(folder)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model.n_layers", -1),
        ("model.n_layers", 10**9),
        ("model.n_layers", 1),
        ("model", None),
        ("task", [1, 2]),
        ("spec.seed", "zero"),
        ("spec.strength", 1e999),
        ("headline", {"component": "heart"}),
        ("headline", {"unheard": 1}),
        ("task.name", "half \ud800 of a character"),
        ("requested", {"number": float("nan")}),
        ("schema_version", {}),
        ("schema_version", "9" * 4000),
    ],
)
def test_values_that_nothing_can_be_made_of_are_one_sentence(
    folder: Path, place: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest_with(folder, place, value)
    if place == "headline":
        assert main(next(commands(folder))) == 2
        assert capsys.readouterr().err.count("\n") == 1
    elif (place, value) == ("model.n_layers", 1):
        refused_tables = list(commands(folder))[:3]
        assert [main(arguments) for arguments in refused_tables] == [2, 2, 2]
    else:
        refused(folder, capsys)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "3", "[" * 100_000, '{"a":' * 50_000, "\x00", "{'a': 1}",
     '{"schema_version": 1' + "0" * 5000 + "}", '{"a": ' + "[" * 150 + "]" * 150 + "}"],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_a_run_json_that_is_none_is_one_sentence(
    folder: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "run.json").write_text(text, encoding="utf-8")
    refused(folder, capsys)


def test_a_run_json_in_no_encoding_or_that_is_a_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "run.json").write_bytes(b"\xff\xfe\x00")
    refused(folder, capsys)
    (folder / "run.json").unlink()
    (folder / "run.json").mkdir()
    refused(folder, capsys)


# Tables


def without(name: str) -> Change:
    return lambda table: table.drop_columns([name])


def with_column(name: str, values: Callable[[pa.Table], Any]) -> Change:
    def change(table: pa.Table) -> pa.Table:
        made = values(table)
        return table.set_column(table.schema.get_field_index(name), name, made)

    return change


def of_type(name: str, kind: pa.DataType) -> Change:
    return with_column(name, lambda table: pa.nulls(len(table), kind))


def all_of(name: str, value: Any, kind: pa.DataType) -> Change:
    return with_column(name, lambda table: pa.array([value] * len(table), kind))


def twice(name: str) -> Change:
    return lambda table: table.append_column(name, table[name])


UNSOUND = {
    "no items": ("rows/*.parquet", without("item")),
    "no outputs": ("rows/*.parquet", without("output")),
    "no scores": ("rows/*.parquet", without("scores")),
    "no prompts": ("items.parquet", without("main")),
    "no groups": ("items.parquet", without("strata")),
    "items as numbers": ("rows/*.parquet", all_of("item", 1, pa.int64())),
    "layers as texts": ("rows/*.parquet", all_of("source", "0", pa.string())),
    "right as texts": ("rows/*.parquet", of_type("correct", pa.string())),
    "outputs as bytes": ("rows/*.parquet", all_of("output", b"\xff", pa.binary())),
    "scores as texts": ("rows/*.parquet", of_type("scores", pa.string())),
    "groups as texts": ("items.parquet", of_type("strata", pa.string())),
    "options as one text": ("items.parquet", of_type("options", pa.string())),
    "nulls": ("rows/*.parquet", of_type("output", pa.string())),
    "nulls for items": ("items.parquet", of_type("item", pa.string())),
    "layers that are none": ("rows/*.parquet", all_of("source", -3, pa.int16())),
    "layers beyond the last": ("rows/*.parquet", all_of("target", 32767, pa.int16())),
    "half a place": ("rows/*.parquet", of_type("target", pa.int16())),
    "unknown components": ("rows/*.parquet", all_of("component", BAD, pa.string())),
    "time without end": ("rows/*.parquet", all_of("seconds", float("inf"), pa.float32())),
    "items twice": ("items.parquet", lambda table: pa.concat_tables([table, table])),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_unsound_tables_are_one_sentence(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern, change = UNSOUND[name]
    changed(folder, pattern, change)
    assert "sweep" in refused(folder, capsys)
    with pytest.raises(RunFolderError):
        Run(folder).to_pandas()


@pytest.mark.parametrize("pattern", ["rows/*.parquet", "items.parquet"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\x00" * 100 + b"PAR1", b"x" * 1000])
def test_files_that_are_no_tables_are_one_sentence(
    folder: Path, pattern: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in folder.glob(pattern):
        file.write_bytes(content)
    refused(folder, capsys)


def test_a_table_that_is_cut_or_flipped_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next(folder.glob("rows/*.parquet"))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(folder, capsys)
    for place in range(4, len(whole) - 8, len(whole) // 12):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        for arguments in list(commands(folder))[-3:]:
            capsys.readouterr()
            # Bits of a number that no checksum covers give another number.
            if main(arguments):
                assert capsys.readouterr().err.count("\n") == 1


SOUND = {
    "a column twice": ("items.parquet", twice("main")),
    "no labels": ("items.parquet", of_type("labels", pa.list_(pa.string()))),
    "no answers": ("items.parquet", of_type("answer", pa.string())),
    "other options": ("items.parquet", all_of("options", [BAD], pa.list_(pa.string()))),
    "no options": ("items.parquet", all_of("options", [], pa.list_(pa.string()))),
    "a split that is called all": ("items.parquet", all_of("split", "all", pa.string())),
    "no splits": ("items.parquet", of_type("split", pa.string())),
    "a language that is called all": ("items.parquet", all_of("lang", "all", pa.string())),
    "an empty language": ("items.parquet", all_of("lang", "", pa.string())),
    "empty prompts": ("items.parquet", all_of("main", "", pa.string())),
    "no prediction": ("rows/*.parquet", of_type("prediction", pa.string())),
    "others are right": ("rows/*.parquet", of_type("correct", pa.bool_())),
    "no probabilities": ("rows/*.parquet", all_of("option_logprobs", [], pa.list_(pa.float32()))),
    "endless probabilities": (
        "rows/*.parquet",
        all_of("option_logprobs", [float("inf"), float("nan")] * 9, pa.list_(pa.float32())),
    ),
    "gold without end": ("rows/*.parquet", all_of("gold_logprob", float("-inf"), pa.float32())),
    "donors that are none": ("rows/*.parquet", all_of("donor", BAD, pa.string())),
    "other items": ("rows/*.parquet", all_of("donor", "", pa.string())),
    "wider numbers": (
        "rows/*.parquet",
        with_column("source", lambda table: pc.cast(table["source"], pa.int64())),
    ),
}


SLOW = sorted(set(SOUND) - {"other options", "no labels", "endless probabilities"})


@pytest.mark.parametrize(
    "name",
    [name if name not in SLOW else pytest.param(name, marks=pytest.mark.slow) for name in SOUND],
)
def test_strange_tables_give_a_result_or_one_sentence(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(folder, *SOUND[name])
    for arguments in commands(folder):
        capsys.readouterr()
        code = main(arguments)
        told = capsys.readouterr().err
        assert code in (0, 2), told
        assert not code or told.count("\n") == 1, told


def test_items_that_no_table_has_and_no_items_at_all(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(folder, "items.parquet", lambda table: table.slice(0, 0))
    for arguments in commands(folder):
        capsys.readouterr()
        code = main(arguments)
        told = capsys.readouterr().err
        assert code in (0, 2), told
        assert not code or told.count("\n") == 1, told


# Nothing is executed


class Bomb:
    """Pickled, it makes a file when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


def armed(table: pa.Table, payload: bytes) -> pa.Table:
    """The table with every extension type that arrow ever unpickled, in every column."""
    fields = [
        field.with_metadata(
            {
                b"ARROW:extension:name": b"arrow.py_extension_type",
                b"ARROW:extension:metadata": payload,
            }
        )
        for field in table.schema
    ]
    more = {b"pandas": payload, b"huggingface": payload, b"geo": payload, b"pickle": payload}
    return table.cast(pa.schema(fields, metadata=more))


# What earlier versions of pyarrow say of a type in Python that they do not make.
@pytest.mark.filterwarnings("ignore:pyarrow.PyExtensionType:FutureWarning")
@pytest.mark.filterwarnings("ignore:pickle-based deserialization:RuntimeWarning")
def test_pickles_in_a_run_folder_are_never_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    executed = tmp_path / "executed"
    payload = pickle.dumps(Bomb(executed))
    pickle.loads(payload)
    assert executed.exists(), "the bomb works"
    executed.unlink()
    for file in [*folder.glob("rows/*.parquet"), folder / "items.parquet"]:
        pq.write_table(armed(pq.read_table(file), payload), file)
    raw = pq.read_metadata(folder / "items.parquet").metadata
    assert payload in raw[b"pandas"]
    for name in ("rows/part-00001.npy", "rows/part-00001.pkl", "run.pkl", "x.pt", "vectors.joblib"):
        (folder / name).write_bytes(payload)
    accepted(folder)
    Run(folder).to_pandas()
    assert not executed.exists()
    for name in ("attribution", "samples"):
        (folder / name).mkdir()
        (folder / name / "part-00001-000000.parquet").write_bytes(payload)
    for arguments in commands(folder):
        main(arguments)
    assert not executed.exists()


def test_names_of_folders_are_no_columns_and_no_patterns(whole: Path, tmp_path: Path) -> None:
    odd = tmp_path / "lang=xx" / "item=1; DROP" / "it's [a-z]* {x} %s $HOME \u202e"
    shutil.copytree(whole, odd)
    assert Run(odd).to_pandas().equals(Run(whole).to_pandas())
    for kind in ("csv", "jsonl", "parquet"):
        files = [tmp_path / f"one.{kind}", odd / f"two '{kind}'.{kind}"]
        for run, file in zip((whole, odd), files, strict=True):
            arguments = ["export", str(run), "--format", kind, "--out", str(file)]
            assert main(arguments) == 0
        assert files[0].read_bytes() == files[1].read_bytes()
