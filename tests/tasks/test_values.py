"""Values of rows as texts: whole numbers are whole, what is missing is missing."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from crosslatent.core.errors import TaskError
from crosslatent.tasks import load_task
from crosslatent.tasks.expressions import Expression, Template
from crosslatent.tasks.judging import text
from crosslatent.tasks.row_values import plain, written

BIG = 2**53 + 1
WHOLE = [
    (1963.0, "1963"),
    (1963, "1963"),
    (-0.0, "0"),
    (-7.0, "-7"),
    (1e15, "1000000000000000"),
    (BIG, str(BIG)),
    (10**30, str(10**30)),
    (np.float64(1963.0), "1963"),
    (np.float32(1963.0), "1963"),
    (np.float16(3.0), "3"),
    (np.int64(BIG), str(BIG)),
    (np.uint8(200), "200"),
    (Decimal("1963.00"), "1963"),
    (Decimal("2.50"), "2.50"),
    (Decimal(10) ** 25, "1" + "0" * 25),
    (0.5, "0.5"),
    (np.float32(0.1), "0.1"),
    (0.1 + 0.2, "0.30000000000000004"),
    (1e-7, "1e-07"),
    ("007", "007"),
    ("1963.0", "1963.0"),
    ("1_000", "1_000"),
    ("nan", "nan"),
    (date(1963, 12, 12), "1963-12-12"),
    (datetime(1963, 12, 12, 1, 2), "1963-12-12 01:02:00"),
]


@pytest.mark.parametrize(("value", "shown"), WHOLE, ids=repr)
def test_every_way_to_a_text_gives_the_same(value, shown):
    assert written(value) == shown
    assert text(value, "row 1") == shown
    assert plain([{"x": (value,)}]) == [{"x": (plain(value),)}]
    row = {"x": value, "several": [value, value]}
    for template, told in [
        ("{{ x }}", shown),
        ("{{ '(' ~ x ~ ')' }}", f"({shown})"),
        ("{{ several | join('+') }}", f"{shown}+{shown}"),
        ("{{ [{'a': x}] | join(attribute='a') }}", shown),
        ("{{ x | string }}", shown),
        ("{{ several | map('string') | join }}", shown * 2),
        ("{% for one in several %}{{ one }};{% endfor %}", f"{shown};" * 2),
        ("{{ {'k': x}.k ~ '' }}", shown),
    ]:
        assert Template(template, "t.yaml:1")(row, "row 1") == told
    assert text(Expression("x", "t.yaml:1")(row, "row 1"), "row 1") == shown


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("x * 3926 / 3", "1963"),
        ("x * 2", "3"),
        ("x | round", "2"),
        ("t | float", "8"),
        ("[x * 2]", "[3]"),
    ],
)
def test_numbers_that_are_computed(code, shown):
    assert Template(f"{{{{ {code} }}}}|{{{{ ({code}) ~ '' }}}}", "t")(
        {"x": 1.5, "t": "8"}, "r"
    ) == (f"{shown}|{shown}")


@pytest.mark.parametrize(
    "value",
    [float("nan"), np.float32("nan"), Decimal("NaN"), None, float("inf"), 1e21, 2.0**53, len],
    ids=repr,
)
def test_what_has_no_text_is_refused(value):
    with pytest.raises(ValueError, match="missing|no number to write|method"):
        written(value)
    with pytest.raises(TaskError, match="row 1"):
        text(value, "row 1")
    for template in ("{{ x }}", "{{ 'a' ~ x }}", "{{ [x] | join }}"):
        with pytest.raises(TaskError, match="t.yaml:1: this fails on row 1"):
            Template(template, "t.yaml:1")({"x": value}, "row 1")


def test_missing_numbers_are_none():
    assert plain([float("nan"), {"a": np.float32("nan")}, Decimal("NaN")]) == [
        None, {"a": None}, None
    ]  # fmt: skip
    assert plain(True) is True
    with pytest.raises(TaskError, match="True is given where a text belongs"):
        text(True, "row 1")


TASK = """\
name: t
options: options
answer: gold
labels: labels
cluster: fact
strata: {{year: year}}
template: "{{{{ year }}}} {{{{ '(' ~ year ~ ')' }}}}|"
languages: {{en: {{}}, sw: {{}}}}
rows: {{files: "{{code}}.{kind}", key: id}}
"""


def rows_of(as_float):
    kind = float if as_float else int
    return [
        {
            "id": kind(number),
            "year": kind(1962 + number),
            "gold": kind(number),
            "options": [kind(1), kind(2)],
            "labels": [kind(10), kind(20)],
            "fact": kind(5),
        }
        for number in (1, 2)
    ]


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize("floats", ["sw", "en", "both"])
def test_a_language_whose_numbers_are_floats_is_the_same(tmp_path, kind, floats):
    for code in ("en", "sw"):
        rows = rows_of(floats in (code, "both"))
        path = tmp_path / f"{code}.{kind}"
        if kind == "parquet":
            pd.DataFrame(rows).to_parquet(path)
        elif kind == "json":
            path.write_text(json.dumps(rows))
        else:
            path.write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "t.yaml").write_text(TASK.format(kind=kind))
    first, second = load_task(tmp_path / "t.yaml", languages=["sw"]).items
    assert (first.id, second.id) == ("sw-en/1", "sw-en/2")
    assert (second.main, second.aux) == ("1964 (1964)|", "1964 (1964)|")
    assert (second.answer, second.options, second.labels) == ("2", ("1", "2"), ("10", "20"))
    assert (second.cluster, second.strata) == ("5", {"year": "1964"})


def test_parquet_with_missing_single_decimal_and_dates(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table(
        {
            "whole": pa.array([1963.0, None], pa.float64()),
            "nan": pa.array([1963.0, float("nan")], pa.float64()),
            "single": pa.array([0.1, 2.0], pa.float32()),
            "money": pa.array([Decimal("3.00"), Decimal("0.25")], pa.decimal128(9, 2)),
            "day": pa.array([date(1963, 12, 12)] * 2),
            "big": pa.array([BIG, BIG + 1]),
        }
    )
    for code in ("en", "sw"):
        parquet.write_table(table, tmp_path / f"{code}.parquet")
    task = tmp_path / "t.yaml"
    lines = (
        'name: t\nanswer: whole\ntemplate: "{{ single }} {{ money }} {{ day }} {{ big }}|"\n'
        "languages: {en: {}, sw: {}}\nrows: {files: '{code}.parquet', where: 'WHERE'}\n"
    )
    task.write_text(lines.replace("WHERE", "nan is not none"))
    (item,) = load_task(task, languages=["sw"]).items
    assert item.answer == "1963"
    assert item.main == f"0.1 3 1963-12-12 {BIG}|"
    task.write_text(lines.replace("WHERE", "nan is none"))
    (item,) = load_task(task, languages=["sw"]).items
    assert item.answer is None
    assert item.main == f"2 0.25 1963-12-12 {BIG + 1}|"
    task.write_text(lines.replace("WHERE", "true").replace("{{ big", "{{ nan"))
    with pytest.raises(TaskError, match=r"row 2 of .*sw.parquet \(a value .* is missing"):
        load_task(task, languages=["sw"])


def test_columns_twice_in_parquet(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["a", "a"])
    parquet.write_table(table, tmp_path / "x.parquet")
    (tmp_path / "t.yaml").write_text(
        "name: t\ntemplate: '{{ a }}'\nlanguages: {en: {}, sw: {}}\nrows: {files: x.parquet}\n"
    )
    with pytest.raises(TaskError, match="the column 'a' is there more than once"):
        load_task(tmp_path / "t.yaml", languages=["sw"])


@pytest.mark.parametrize(
    ("values", "code", "answers"),
    [
        (["1963.0", "1964.0"], "gold", None),
        (["1963.0", ""], "gold", None),
        (["-3.0", "0.0"], "'' ~ gold", None),
        (["1963.0", "1964.0"], "gold | int", ["1963", "1964"]),
        (["1963.0", "1964.0"], "gold | trim", ["1963.0", "1964.0"]),
        (["1963.0", "3.5"], "gold", ["1963.0", "3.5"]),
        (["007", "010"], "gold", ["007", "010"]),
        (["1.50", "2.00"], "gold", ["1.50", "2.00"]),
        (["nan", "Infinity"], "gold", ["nan", "Infinity"]),
        (["1_000", "1,5"], "gold", ["1_000", "1,5"]),
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_whole_numbers_that_a_text_table_kept_as_floats_are_asked_for(
    tmp_path, values, code, answers, name
):
    import csv

    with (tmp_path / name).open("w", newline="") as file:
        writer = csv.writer(file, delimiter="," if name == "x.csv" else "\t")
        writer.writerows([["id", "gold"], *([str(k), value] for k, value in enumerate(values))])
    (tmp_path / "t.yaml").write_text(
        f"name: t\nanswer: {json.dumps(code)}\ntemplate: '{{{{ id }}}}|'\n"
        f"languages: {{en: {{}}, sw: {{}}}}\nrows: {{files: {name}}}\n"
    )
    if answers is None:
        with pytest.raises(TaskError, match=r"all end in .0: write COLUMN \| int"):
            load_task(tmp_path / "t.yaml", languages=["sw"])
    else:
        items = load_task(tmp_path / "t.yaml", languages=["sw"]).items
        assert [item.answer for item in items] == answers


def test_values_of_each_end_the_id(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"years": [1963.0, 1.5], "gaps": [1, null]}')
    yaml = (
        "name: t\ntemplate: '{{ y }}'\nlanguages: {en: {}, sw: {}}\n"
        "rows: {files: x.jsonl, each: {y: years}}\n"
    )
    (tmp_path / "t.yaml").write_text(yaml)
    items = load_task(tmp_path / "t.yaml", languages=["sw"]).items
    assert [(item.id, item.main) for item in items] == [
        ("sw-en/0/1963", "1963"),
        ("sw-en/0/1.5", "1.5"),
    ]
    (tmp_path / "t.yaml").write_text(yaml.replace("years", "gaps"))
    with pytest.raises(TaskError, match=r"x.jsonl:1: a value .* is missing"):
        load_task(tmp_path / "t.yaml", languages=["sw"])


def test_released_files_with_floats(tmp_path):
    folder = tmp_path / "data" / "s"
    folder.mkdir(parents=True)
    for code in ("en", "sw"):
        (folder / f"{code}.json").write_text('"Je? (1) a (2) b:"\n"Ni? (1) c (2) d:"\n')
        (folder / f"{code}.gold.json").write_text("1.0\n2\n")
        (folder / f"{code}.words.json").write_text('{\n "1": "a",\n "2": "b"\n}\n')
    (tmp_path / "t.yaml").write_text(
        """\
name: t
direction: en->x
options: ["(1)", "(2)"]
languages: {en: {}, sw: {}}
released:
  splits: {pilot: s}
  main: "{code}.json"
  aux: "{aux_code}.json"
  columns: {gold: "{code}.gold.json"}
  once: {said: "{code}.words.json"}
  answer: "'(' ~ gold ~ ')'"
  labels: "[said['1'], said['2']]"
"""
    )
    items = load_task(tmp_path / "t.yaml", data=tmp_path / "data", languages=["sw"]).items
    assert [item.answer for item in items] == ["(1)", "(2)"]
    assert items[0].labels == ("a", "b")
