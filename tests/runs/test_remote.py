"""Run folders behind URLs: written, resumed, exported and read as on this machine."""

from __future__ import annotations

import os
import uuid

import pyarrow.parquet as pq
import pytest

import crosslatent as xl
from crosslatent.core.errors import RunFolderError
from crosslatent.runs import RunFolder, RunReader, locks
from crosslatent.runs.reader import export_rows
from crosslatent.runs.run_path import names_in, read_bytes, run_path
from crosslatent.sweeps import SweepSpec, run_sweep
from crosslatent.tasks import task_of
from support.rows import wrapped
from support.runs import item
from support.store import MANIFEST, items_of, made, record

KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def s3():
    """The URL of a bucket of a real S3 server of this process."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        server = moto.ThreadedMotoServer(port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        run_path("s3://bucket").fs.mkdir("bucket")
        yield "s3://bucket"
        server.stop()


@pytest.fixture(params=["memory", "s3"])
def url(request, monkeypatch):
    monkeypatch.setattr(locks, "SETTLE_SECONDS", 0.0)
    base = "memory://runs" if request.param == "memory" else request.getfixturevalue("s3")
    return f"{base}/{uuid.uuid4().hex}/a run [1]*"


def test_a_folder_is_written_and_taken_up(url):
    made(url, ["a"], ["b"])
    assert items_of(url) == (["a", "b"], [])
    with RunFolder.open(url, MANIFEST) as folder:
        folder.write_items([item("a"), item("b")])
        folder.rows.write(folder.part_name(0), [record("c")])
        folder.write_status({"rows": 3})
        assert folder.session == 3
        assert folder.totals(1.5)["rows"] == 3
    assert names_in(run_path(url)) == ["README.md", "items.parquet", "rows", "run.json"]
    with RunReader(url).connect() as connection:
        assert connection.sql("SELECT count(*) FROM rows").fetchall() == [(3,)]
        assert connection.sql("SELECT max(strata) FROM items").fetchall()
    assert len(xl.Run(url).to_pandas()) == len(xl.Run(url).to_polars()) == 3


def test_faults_are_found_as_on_a_disk(url):
    made(url, ["a"], ["b"], ["c"])
    rows = run_path(url) / "rows"
    half = read_bytes(rows / "part-00001-000000.parquet")[:500]
    rows.fs.pipe_file((rows / "part-00001-000000.parquet").path, half)
    again = read_bytes(rows / "part-00001-000001.parquet")
    rows.fs.pipe_file((rows / "part-00001-000009.parquet").path, again)
    found, set_aside = items_of(url)
    assert found == ["b", "c"]
    assert [one.name for one in set_aside] == [
        "rows/part-00001-000000.parquet", "rows/part-00001-000009.parquet"
    ]  # fmt: skip
    assert "part-00001-000000.damaged" in names_in(rows)
    assert "part-00001-000009.doubled" in names_in(rows)
    with pytest.raises(RunFolderError, match=r"spec\.seed: 0 there, 1 now"):
        RunFolder.open(url, {**MANIFEST, "spec": {"seed": 1}})
    with RunFolder.open(url, {**MANIFEST, "spec": {"seed": 1}}, new=True) as folder:
        assert not folder.inventory.counts
    assert names_in(rows) == []
    with pytest.raises(RunFolderError, match="no rows yet"):
        RunReader(url)


def test_a_damaged_part_is_a_sentence_for_readers(url):
    made(url, ["a"])
    part = run_path(url) / "rows" / "part-00001-000000.parquet"
    part.fs.pipe_file(part.path, b"PAR1 no more")
    with pytest.raises(RunFolderError, match="run the same sweep command again"):
        RunReader(url)


def test_something_else_is_left_alone(url):
    notes = run_path(url) / "notes.md"
    notes.fs.pipe_file(notes.path, b"mine")
    with pytest.raises(RunFolderError, match=r"something else \(notes\.md\)"):
        RunFolder.open(url, MANIFEST)
    assert names_in(run_path(url)) == ["notes.md"]


def test_a_sweep_into_a_url_gives_the_rows_of_one_into_a_folder(url, tmp_path):
    model = wrapped()
    task = task_of(
        [
            {"main": f"Swali {n}:", "aux": f"Question {n}:", "answer": "a", "split": "final"}
            for n in range(3)
        ]
    )
    spec = SweepSpec(pairs="0:0,0:1", max_new_tokens=2, attribution=True, samples=2)

    class StoppedError(Exception):
        pass

    def stop(state):
        if state.stage == "answer" and state.done == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        run_sweep(model, task, spec, url, progress=stop)
    assert run_sweep(model, task, spec, url).rows > 0
    assert run_sweep(model, task, spec, url).rows == 0
    run_sweep(model, task, spec, tmp_path / "run")
    for run, name in ((url, "far"), (tmp_path / "run", "near")):
        export_rows(run, tmp_path / f"{name}.parquet", "parquet")
    far, near = (pq.read_table(tmp_path / f"{n}.parquet").to_pandas() for n in ("far", "near"))
    same = [name for name in far if name not in ("seconds", "path")]
    assert far[["item", "output"]].equals(near[["item", "output"]])
    assert set(same) == set(near) - {"seconds", "path"}
    assert len(RunReader(url).samples()) == 6
    assert RunReader(url).attribution().num_rows > 0
    assert not xl.Run(url).upper_bound().empty


@pytest.mark.parametrize(
    "url", ["memory", pytest.param("s3", marks=pytest.mark.slow)], indirect=True
)
def test_commands_read_urls(url, tmp_path, capsys):
    from crosslatent.cli.app import main

    model = wrapped()
    task = task_of([{"main": f"Swali {n}:", "aux": f"Q {n}:", "answer": "a"} for n in range(3)])
    run_sweep(model, task, SweepSpec(pairs="0:0", max_new_tokens=2), url)
    assert main(["export", url, "--format", "csv", "--out", str(tmp_path / "x.csv")]) == 0
    assert main(["report", url, "--out", str(tmp_path / "report")]) == 0
    assert "a run [1]*" in (tmp_path / "report" / "report.html").read_text()
    assert main(["export", f"{url}-none", "--format", "csv"]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_a_bucket_that_is_not_there(s3):
    with pytest.raises(RunFolderError, match="Cannot write 's3://no-such-bucket/run"):
        RunFolder.open("s3://no-such-bucket/run", MANIFEST)
    with pytest.raises(RunFolderError, match="is not a run folder"):
        RunReader("s3://no-such-bucket/run")


def test_a_server_that_does_not_answer(monkeypatch):
    s3fs = pytest.importorskip("s3fs")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(RunFolderError, match=r"Cannot (reach|read|write)"):
            RunReader("s3://bucket/run")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
    assert os.environ["AWS_ENDPOINT_URL"].endswith(":9")
