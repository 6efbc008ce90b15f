"""What is printed cannot steer a terminal: not from a model, not from a file, not from a name."""

from __future__ import annotations

import json
import re
import sys
from io import StringIO
from pathlib import Path

import pytest

from crosslatent.cli.app import main
from crosslatent.cli.terminal import console, print_json, print_plain, print_text, progresses
from crosslatent.core.untrusted import MOST_NESTED, json_text, parse_json, shown
from support.hostile import BAD, LABELS, bad, hostile_run

STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066\u2067]|\r(?!\n)")


def test_what_steers_is_spelled_and_the_rest_stays() -> None:
    assert shown("\x1b[31m\x9b\x07\r\x00\u202e\ud800") == (
        "\\x1b[31m\\x9b\\x07\\x0d\\x00\\u202e\\ud800"
    )
    plain = "a\tb\r\nc \u0928\u094d\u200d\u0926\u0940 \u2068\u0627\u2069 \U0001f468\u200d\U0001f469"
    assert shown(plain) == plain
    assert shown(shown(BAD)) == shown(BAD)


def test_json_for_programs_is_the_same_data(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": BAD})
    told = capsys.readouterr().out
    assert not STEERING.search(told)
    assert json.loads(told) == {"a": BAD}
    with pytest.raises(ValueError, match="JSON"):
        json_text(float("nan"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * (MOST_NESTED + 1) + "]" * (MOST_NESTED + 1), "deep"),
        ("[" * 100_000, "deep"),
        ('{"a": NaN}', "NaN"),
        ('["\\ud83d"]', "half"),
        ('{"\\udc00": 1}', "half"),
        ("9" * 5000, "digit"),
        ("{", "Expecting"),
    ],
)
def test_json_that_nobody_can_use_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_json(text)


def test_ordinary_json_is_read() -> None:
    assert parse_json('{"a": [1, 2.5, null, "\\ud83d\\ude00"]}') == {
        "a": [1, 2.5, None, "\U0001f600"]
    }
    assert parse_json(b'"\xc3\xbc"') == "ü"
    assert parse_json("3") == 3


def test_tables_texts_and_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    table = Table(bad("title"), title=BAD)
    table.add_row(BAD)
    console().print(table)
    print_text(BAD, style="bold")
    print_plain(BAD)
    told = capsys.readouterr().out
    assert "\\x1b" in told
    assert "[red]x[/red][/]" in told, "no markup"
    assert not STEERING.search(told)


def test_the_name_of_a_task_is_no_markup_of_a_progress_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    class State:
        stage, done, total, rows, all_rows, seconds = "answer", 1, 2, 3.0, 6, 1.0
        workers = 0
        unmodified = transplanted = (0, 0)

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progresses() as show:
        show(f"[/] [link=x]{BAD}", State())
    assert "]0;pwned\x07" not in stream.getvalue()
    assert "\x1b[31mred" not in stream.getvalue()


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "=tasks \u202e.jsonl"
    items = [
        {
            "id": f"{bad('id')}{place}",
            "lang": "sw",
            "main": f"{BAD}{place}?",
            "aux": f"{BAD} aux {place}?",
            "answer": f"(1){BAD}",
            "options": [f"(1){BAD}", f"(2){BAD}"],
            "labels": LABELS,
            "split": bad("split"),
            "cluster": bad("cluster"),
            "strata": {bad("key"): bad("value")},
        }
        for place in range(2)
    ]
    file.write_text("".join(json.dumps(each) + "\n" for each in items), encoding="utf-8")
    return file


@pytest.mark.parametrize("command", ["show", "validate"])
@pytest.mark.parametrize("as_json", [False, True])
def test_tasks_are_shown_as_text(
    prompts: Path, command: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["tasks", command, str(prompts), *(["--json"] if as_json else [])])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert not STEERING.search(told.out + told.err)
    if as_json:
        json.loads(told.out)
    elif command == "show":
        assert "<script>window.pwned=1</script>" in told.out


def test_mistakes_in_tasks_are_said_without_steering(
    prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tasks", "show", str(prompts), "--item", BAD]) == 2
    text = prompts.read_text(encoding="utf-8").replace('"lang"', '"\x7fl\u009bang"')
    prompts.write_text(text, encoding="utf-8")
    assert main(["tasks", "show", str(prompts)]) == 2
    prompts.write_text('{"a": ' + "[" * 100_000, encoding="utf-8")
    assert main(["tasks", "show", str(prompts)]) == 2
    told = capsys.readouterr().err
    assert told.count("Error: ") == 3
    assert told.count("\n") == 3
    assert not STEERING.search(told)


def test_a_run_is_told_of_without_steering(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "chosen.json"
    asked = [
        ["select", str(run), "--save", str(file)],
        ["select", str(run), "--strategy", "vote", "--json"],
        ["select", str(run), "--strategy", "confidence", "--test", bad("split")],
        ["select", str(run), "--tune", BAD.replace("\x00", "")],
        ["export", str(run), "--format", "csv", "--out", str(tmp_path / "rows \x1b[31m.csv")],
        ["report", str(tmp_path / "none \x1b[31m"), "--out", str(tmp_path / "out")],
        ["tasks", "show", bad("task")],
        ["check", BAD.replace("\x00", "")],
    ]
    codes = [main(arguments) for arguments in asked]
    told = capsys.readouterr()
    assert codes[:2] == [0, 0], told.err
    assert set(codes) <= {0, 2}
    assert not STEERING.search(told.out + told.err)


def test_exports_hold_what_the_model_said(tmp_path: Path) -> None:
    import csv

    import pyarrow.parquet as pq

    folder = hostile_run(tmp_path / "run")
    for kind in ("csv", "jsonl", "parquet"):
        assert main(["export", str(folder), "--format", kind, "--out", str(tmp_path / kind)]) == 0
    there = pq.read_table(tmp_path / "parquet")["output"].to_pylist()
    lines = (tmp_path / "jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line)["output"] for line in lines] == there
    csv.field_size_limit(10**6)
    with (tmp_path / "csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["output"] for row in rows] == there, "data for programs is not changed"
    assert json.loads(rows[0]["strata"]).keys() == {"relation", bad("group")}
