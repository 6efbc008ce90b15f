"""Other tools read a run folder as it is: datasets, polars, pandas, DuckDB, and we ourselves."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

import crosslatent as xl
from crosslatent.core.errors import UsageError
from crosslatent.runs import RunFolder, RunReader
from crosslatent.runs.manifest import CARD
from crosslatent.runs.schema import ATTRIBUTION, FAILURES, ITEMS, ROWS, Failure
from support.runs import item
from support.store import MANIFEST, record

NAMES = ["plain", "with blank", "it's", 'a"b', "r[1]*?", "ünï", "#1", "a%20b", "{a,b}"]

ODD = record("a", first_logprob=-0.0, first_entropy=math.nan, first_margin=math.inf, output="")
ALL_NULL = record("b", output_ids=[], correct_by_rule={}, scores=None, option_logprobs=[])
FULL = record(
    "c",
    control="shuffled",
    stratum="same_answer",
    donor="a",
    component="ffn",
    source=1,
    target=2,
    output_lang="sw",
    scores={"f1": 0.5, "chrf": None},
    correct_by_rule={"exact": True, "first": False},
    option_logprobs=[-0.5, None],
)


def write(path):
    """Two parts: in the first, columns of repeated texts are all null; their texts differ."""
    with RunFolder.open(path, MANIFEST) as folder:
        folder.write_items([item(name, strata={"relation": "capital"}) for name in "abc"])
        folder.rows.write(folder.part_name(0), [ODD, ALL_NULL])
        folder.rows.write(folder.part_name(1), [FULL, record("c", lang="fi", path="exact")])
        folder.extras["samples"].write(
            folder.part_name(0), [{"item": "a", "number": 0, "output": "x"}]
        )
        folder.extras["attribution"].write(
            folder.part_name(0),
            [{"item": "a", "component": "ffn", "source": 0, "target": 0, "score": 0.25}],
        )
        folder.write_failures([Failure("d", "prompt", "too long")])
        folder.write_status({"rows": 4})
    return path


@pytest.fixture(scope="module", params=NAMES)
def run(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp("runs") / request.param)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write(tmp_path_factory.mktemp("runs") / "run")


def test_views_hold_what_was_written(run):
    with RunReader(run).connect() as connection:
        rows = connection.sql("SELECT * FROM rows ORDER BY item, control, lang").df()
        assert list(rows.columns) == ROWS.names
        maps = connection.sql(
            "SELECT map_extract(scores, 'f1'), map_extract(correct_by_rule, 'exact'), "
            "map_extract(scores, 'none') FROM rows WHERE control = 'shuffled'"
        )
        assert maps.fetchall() == [([0.5], [True], [])]
        strata = connection.sql("SELECT map_extract(strata, 'relation') FROM items LIMIT 1")
        assert strata.fetchall() == [(["capital"],)]
        failures = connection.sql("SELECT * FROM failures").fetchall()
    assert failures == [("d", "prompt", "too long")]
    odd, nothing = rows.iloc[0], rows.iloc[1]
    assert math.copysign(1, odd.first_logprob) == -1
    assert math.isnan(odd.first_entropy)
    assert odd.first_margin == math.inf
    assert len(nothing.output_ids) == len(nothing.option_logprobs) == 0


def test_python_gets_the_rows_as_pandas_and_polars(run):
    frame, other = xl.Run(run).to_pandas(), xl.Run(str(run)).to_polars()
    assert list(frame.columns) == other.columns == ROWS.names
    assert frame["item"].tolist() == other["item"].to_list() == ["a", "b", "c", "c"]
    assert other["lang"].dtype == pl.String
    assert other["scores"].to_list()[2] == [
        {"key": "f1", "value": 0.5}, {"key": "chrf", "value": None}
    ]  # fmt: skip
    assert other.schema["source"] == pl.Int16


def test_pandas_polars_and_duckdb_read_the_files_themselves(plain):
    pattern = f"{plain}/rows/*.parquet"
    frame = pd.read_parquet(plain / "rows")
    assert frame["lang"].astype(str).tolist() == ["sw", "sw", "sw", "fi"]
    assert pl.read_parquet(pattern).height == pl.scan_parquet(pattern).collect().height == 4
    counted = duckdb.sql(f"SELECT count(*), count(stratum) FROM '{pattern}'").fetchall()
    assert counted == [(4, 1)]


def test_datasets_reads_the_folder_and_its_files(plain, tmp_path):
    datasets = pytest.importorskip("datasets")

    def load(*name, **options):
        return datasets.load_dataset(*name, split="train", cache_dir=str(tmp_path), **options)

    by_card = load(str(plain))
    by_files = load("parquet", data_files=f"{plain}/rows/*.parquet")
    by_folder = load("parquet", data_dir=f"{plain}/rows")
    for rows in (by_card, by_files, by_folder):
        assert rows.column_names == ROWS.names
        assert rows["item"][:] == ["a", "b", "c", "c"]
        assert rows["lang"][:] == ["sw", "sw", "sw", "fi"]
        assert rows["stratum"][:] == [None, None, "same_answer", None]
        assert rows[2]["correct_by_rule"] == [
            {"key": "exact", "value": True}, {"key": "first", "value": False}
        ]  # fmt: skip
    for name, schema in (("items", ITEMS), ("failures", FAILURES), ("attribution", ATTRIBUTION)):
        assert load(str(plain), name).column_names == schema.names
    assert load(str(plain), "samples")["output"][:] == ["x"]


def test_the_card_names_the_tables_that_there_are(tmp_path):
    with RunFolder.open(tmp_path / "run", MANIFEST) as folder:
        card = (tmp_path / "run" / CARD).read_text()
        assert "config_name: rows" in card
        assert "items" not in card.split("---")[1]
        folder.write_items([])
        folder.write_status({})
    assert "path: items.parquet" in (tmp_path / "run" / CARD).read_text()


def test_a_readme_of_ones_own_stays(tmp_path):
    RunFolder.open(tmp_path, MANIFEST).close()
    (tmp_path / CARD).write_text("my notes")
    with RunFolder.open(tmp_path, MANIFEST, new=True) as folder:
        folder.write_status({})
    assert (tmp_path / CARD).read_text() == "my notes"


def test_floats_come_back_bit_by_bit(tmp_path):
    values = np.array([0.0, -0.0, 1e-45, 3.4e38, math.inf, -math.inf, math.nan, 0.1], np.float32)
    with RunFolder.open(tmp_path, MANIFEST) as folder:
        rows = [record(f"q{n}", gold_score=float(value)) for n, value in enumerate(values)]
        folder.rows.write(folder.part_name(0), rows)
    frame = xl.Run(tmp_path).to_pandas()
    assert frame["gold_score"].to_numpy().astype(np.float32).tobytes() == values.tobytes()


def test_polars_that_is_missing_is_named(plain, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(UsageError, match=r"need polars, .* pip install .*\[polars\]"):
        xl.Run(plain).to_polars()
