"""Large runs: written, damaged, taken up again and aggregated in processes of their own."""

from __future__ import annotations

import pytest

from benchmarks.scale import __main__ as scale
from benchmarks.scale import synthetic
from benchmarks.scale.limits import MOST_MEMORY, broken
from benchmarks.scale.measure import Step, run_step
from benchmarks.scale.synthetic import COMPONENTS, FULL, SMALL, known_bounds
from crosslatent.runs.reader import RunReader


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(SMALL, id="50,000 rows"),
        pytest.param(FULL, id="5 million rows", marks=pytest.mark.slow),
    ],
)
def shape(request):
    return request.param


@pytest.fixture(scope="module")
def run(shape, tmp_path_factory):
    path = tmp_path_factory.mktemp("scale") / "run"
    written = step("write", path, shape)
    assert written.found["rows"] == shape.rows
    return path


def step(name, run, shape):
    done = run_step(name, run, shape)
    assert done.peak_bytes < MOST_MEMORY, name
    return done


def counts(run):
    """Rows, and rows that are not the only ones with their key."""
    with RunReader(run).connect() as connection:
        connection.execute("SET memory_limit = '1GB'")
        return connection.execute(
            "SELECT sum(n), sum(n - 1) FROM (SELECT count(*) AS n FROM rows "
            "GROUP BY item, control, stratum, component, source, target)"
        ).fetchall()[0]


def test_bounds_are_those_that_are_known(run, shape):
    found = step("aggregate", run, shape).found["bounds"]
    assert list(found) == list(COMPONENTS)
    for component in COMPONENTS:
        known, bound = known_bounds(shape, component), found[component]
        assert bound["overall"]["value"] == known["overall"] / shape.items
        assert bound["overall"]["low"] < bound["overall"]["value"] < bound["overall"]["high"]
        for side in ("by_source", "by_target"):
            solved = [layer["value"] for layer in bound[side]]
            assert solved == [count / shape.items for count in known[side]]
        assert {lang: one["value"] for lang, one in bound["by_language"].items()} == {
            lang: count / shape.questions for lang, count in known["by_language"].items()
        }
        assert bound["attempts"] == [shape.layers**2] * 2


def test_one_file_of_it(run, shape):
    assert step("export", run, shape).found["rows"] == shape.rows


def test_a_step_over_its_limit_is_named():
    good = [Step("aggregate", 9.9, 1_900_000_000, {}), Step("report", 1e3, 5_000_000_000, {})]
    assert broken([*good, Step("write", 100.0, 1, {})]) == []
    assert broken([Step("aggregate", 10.04, 1, {}), Step("frame", 1.0, 2_100_000_000, {})]) == [
        "aggregate took 10.0 s: the limit is 10 s.",
        "frame held 2.1 GB: the limit is 2 GB.",
    ]


@pytest.mark.parametrize(("seconds", "status"), [(3.0, 0), (30.0, 1)])
def test_the_benchmark_fails_where_a_limit_is_broken(tmp_path, monkeypatch, seconds, status):
    monkeypatch.setattr(scale, "run_step", lambda name, *_: Step(name, seconds, 10**9, {}))
    monkeypatch.setattr(scale, "rows_bytes", lambda run: 10**8)
    assert scale.main([f"--out={tmp_path}", f"--space={tmp_path}"]) == status
    assert (tmp_path / "scale.md").exists()  # what was measured is said all the same


@pytest.mark.slow
def test_the_interface_for_notebooks(run, shape):
    frame = step("frame", run, shape).found["bounds"]
    assert [row["value"] for row in frame] == [
        known_bounds(shape, component)["overall"] / shape.items for component in COMPONENTS
    ]
    assert step("heatmap", run, shape).found["traces"] == 1


def test_half_of_it_lost_and_a_part_damaged(run, shape):
    """Exactly what is missing is found, and written again."""
    assert step("resume", run, shape).found["missing"] == []
    files, parts = sorted((run / "rows").glob("part-*.parquet")), list(synthetic.parts(shape))
    assert len(files) == len(parts)
    for file in files[1::2]:
        file.unlink()
    content = files[0].read_bytes()
    files[0].write_bytes(content[: len(content) // 2])
    missing = sorted(question for part in [parts[0], *parts[1::2]] for question in part)
    found = step("resume", run, shape).found
    assert found == {"missing": missing, "set_aside": [f"rows/{files[0].name}"]}
    again = step("write", run, shape)
    assert again.found["rows"] == len(missing) * shape.rows_per_item
    assert counts(run) == (shape.rows, 0)
    assert step("resume", run, shape).found["missing"] == []
