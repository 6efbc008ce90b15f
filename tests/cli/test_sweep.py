"""`crosslatent sweep`: run, resume, limit, dry run, and what is said meanwhile."""

from __future__ import annotations

import io
import json
import re

import pytest

from crosslatent.cli.terminal import progress, sweep_pace
from crosslatent.core.bars import fitting
from crosslatent.core.costs import duration
from crosslatent.runs.reader import RunReader
from crosslatent.sweeps import Progress
from support.models import CONTEXT, save_tiny

ROWS = [
    {"id": f"{lang}{k}", "lang": lang, "aux_lang": "en", "main": f"Mji {k}?", "aux": f"City {k}?",
     "options": ["(1)", "(2)"], "answer": f"({k % 2 + 1})"}
    for lang in ("sw", "hi") for k in range(2)
]  # fmt: skip


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def sweep(cli, tiny_folder, tmp_path):
    prompts = write(tmp_path / "prompts.jsonl", ROWS)

    def call(*options, out=tmp_path / "run", prompts=prompts):
        fixed = [f"--model={tiny_folder}", f"--prompts={prompts}", f"--out={out}"]
        return cli("sweep", *fixed, "--max-new-tokens=3", *options)

    return call


def count(path, where="TRUE"):
    with RunReader(path).connect() as connection:
        return connection.execute(f"SELECT count(*) FROM rows WHERE {where}").fetchone()[0]


def test_run_and_resume(sweep, tmp_path):
    run = tmp_path / "run"
    first = sweep("--component=attn,ffn", "--pairs=0:1,-1:0")
    assert first.code == 0
    assert first.out.strip() == str(run)
    assert "24 rows" in first.err
    assert count(run) == 4 * (2 + 2 * 2)  # vanilla, translate-test, two pairs of two components
    assert count(run, "control = 'none' AND source = 3 AND target = 0") == 8
    again = sweep("--component=attn,ffn", "--pairs=0:1,-1:0")
    assert again.code == 0
    assert "Nothing was missing." in again.err
    assert count(run) == 24


def test_run_json_keeps_what_was_asked(sweep, tmp_path):
    sweep("--pairs=preset:understanding", "--limit=1", "--seed=7")
    manifest = RunReader(tmp_path / "run").manifest
    assert manifest["requested"]["pairs"] == "preset:understanding"
    assert manifest["requested"]["limit"] == 1
    assert manifest["spec"]["pairs"] == {"all": "3:0"}
    assert manifest["spec"]["seed"] == 7


def test_languages_limit_and_controls(sweep, tmp_path):
    done = sweep(
        "--lang=hi", "--aux-lang=en", "--limit=1", "--pairs=0:0,1:1", "--controls=noise,self"
    )
    assert done.code == 0
    run = tmp_path / "run"
    assert count(run, "lang <> 'hi'") == 0
    assert count(run, "control = 'noise'") == count(run, "control = 'self'") == 2


def test_other_arguments_need_another_folder_or_new(sweep, tmp_path):
    sweep("--pairs=0:0")
    sweep("--pairs=1:1").assert_refused("--new")
    assert count(tmp_path / "run", "source = 0") == 4
    assert sweep("--pairs=1:1", "--new").code == 0
    assert count(tmp_path / "run", "source = 0") == 0


def test_dry_run_writes_nothing(sweep, tmp_path):
    result = sweep("--pairs=all", "--component=attn", "--dry-run")
    assert result.code == 0
    assert not (tmp_path / "run").exists()
    assert f"rows    up to {4 * (2 + 16)}" in result.out
    assert "tokens" in result.out


def test_dry_run_estimates_storage(sweep):
    def disk(*options):
        line = sweep("--dry-run", "--pairs=all", *options).out.split("disk ")[1]
        low, high = re.findall(r"([0-9.]+) kB", line)
        return float(low), float(high)

    low, high = disk()
    assert low < high
    assert disk("--score-options")[0] > low
    assert disk("--score-only")[0] == disk("--score-only")[1]


@pytest.fixture
def too_long(tmp_path):
    long = ROWS[0] | {"id": "long", "main": "x" * CONTEXT}
    return write(tmp_path / "long.jsonl", [*ROWS, long])


def test_item_that_cannot_be_run_is_left_out_and_named(sweep, tmp_path, too_long):
    result = sweep("--pairs=0:0", prompts=too_long)
    assert result.code == 1
    assert "item 'long' was left out" in result.err
    assert "Failed: 1 item could not be asked; the first, 'long'" in result.err
    assert count(tmp_path / "run", "control = 'none'") == 4


def test_strict_refuses_it_before_anything_is_written(sweep, tmp_path, too_long):
    sweep("--pairs=0:0", "--strict", prompts=too_long).assert_refused("'long'", "context")
    assert not (tmp_path / "run").exists()


def state(done, total, rows, all_rows, seconds, stage="answer"):
    return Progress(stage, done, total, rows, all_rows, seconds)


def test_pace_counts_only_what_this_run_does():
    # 80 of the 100 items were done by an earlier run.
    assert sweep_pace(state(81, 100, 50, 1000, 2.0))[1] == "81 of 100 items, 38 s left, 25 rows/s"
    # Half of a large batch is progress too.
    assert sweep_pace(state(80, 100, 500.4, 1000, 20))[1].endswith("20 s left, 25 rows/s")
    assert sweep_pace(state(80, 100, 0, 1000, 0.0))[1].endswith("some time left, 0 rows/s")
    assert (
        sweep_pace(state(32, 128, 0, 1000, 3.0, "capture"))[1] == "read 32 of 128 prompts, 9 s left"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (11400, "3 h 10 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys):
    with progress("facts") as show:
        show(state(8, 16, 0, 40, 16.0, "capture"))
        show(state(1, 4, 10, 40, 1.0))
        show(state(2, 4, 20, 40, 16.0))
        show(state(3, 4, 30, 40, 17.0))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "facts: read 8 of 16 prompts, 16 s left",
        "facts: 2 of 4 items, 16 s left, 1 rows/s",
    ]


def test_right_answers_so_far_are_part_of_it():
    told = Progress("answer", 1, 2, 10.0, 20, 1.0, 0, (1, 4), (3, 4))
    assert sweep_pace(told)[1] == "1 of 2 items, 1 s left, 25% right, 75% transplanted, 10 rows/s"
    assert fitting("1 of 2 items, 1 s left, 25% right", 25) == "1 of 2 items, 1 s left"
    assert fitting("1 of 2 items", 3) == "1 of 2 items"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_a_bar(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("facts") as show:
        show(state(2, 4, 20, 40, 16.0))
    assert "facts" in terminal.getvalue()
    assert "2 of 4 items" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def rows_of(path):
    with RunReader(path).connect() as connection:
        return connection.execute("SELECT * FROM rows ORDER BY item, control, source, target").df()


def test_scores_without_decoding(sweep, tmp_path):
    assert sweep("--score-only", "--pairs=target-first").code == 0
    rows = rows_of(tmp_path / "run")
    assert set(rows.prediction) <= {"(1)", "(2)"}
    assert rows.prediction.notna().all()
    assert (rows.output_ids.str.len() <= 1).all()
    best = [
        ("(1)", "(2)")[int(means[1] > means[0])] for means in rows.option_means
    ]  # what the two options say per token
    assert list(rows.prediction) == best
    # An option has three bytes, or four with a blank before it.
    tokens = rows.option_scores.explode().astype(float) / rows.option_means.explode().astype(float)
    assert set(tokens.round(3)) <= {3.0, 4.0}
    manifest = RunReader(tmp_path / "run").manifest
    assert manifest["task"]["rule"] == "likelihood_mean"
    assert manifest["spec"]["score_only"]


def test_options_are_scored_beside_decoding(sweep, tmp_path):
    assert sweep("--score-options", "--pairs=0:1").code == 0
    rows = rows_of(tmp_path / "run")
    assert (rows.output_ids.str.len() > 1).any()
    assert rows.gold_score.notna().all()
    assert all(
        {"likelihood", "likelihood_mean"} < dict(each).keys() for each in rows.correct_by_rule
    )


def test_near_ties_are_counted_and_settled(sweep, tmp_path, monkeypatch):
    from crosslatent.engine import near_ties
    from crosslatent.sweeps import prepared

    for module in (near_ties, prepared):
        monkeypatch.setattr(module, "near_tie_margin", lambda dtype: 0.5)
    plain = sweep("--pairs=target-first")
    assert "decided by less than 0.5 logits" in plain.err
    exact = sweep("--pairs=target-first", "--exact", out=tmp_path / "exact")
    assert "of them answered again in float32, one by one" in exact.err
    rows = rows_of(tmp_path / "exact")
    assert ((rows.path == "exact") == (rows.min_margin < 0.5)).all()
    assert set(rows.path) == {"exact", "shared-prefix"}
    assert list(rows.output) == list(rows_of(tmp_path / "run").output)
    status = RunReader(tmp_path / "exact").manifest["status"]
    close = int((rows.path == "exact").sum())
    assert status["near_ties"] == {"rows": close, "settled": close, "margin": 0.5}
    assert status["paths"]["exact"]["seconds"] > 0


def test_strength_and_positions_decide_the_rows(sweep, tmp_path):
    outputs = {}
    for name, options in {
        "plain": [],
        "weak": ["--strength=0.1"],
        "two": ["--positions=3"],
    }.items():
        assert sweep("--component=ffn", *options, out=tmp_path / name).code == 0
        outputs[name] = list(rows_of(tmp_path / name).output)
    assert outputs["plain"] != outputs["weak"]
    assert outputs["plain"] != outputs["two"]
    refused = sweep("--component=ffn", "--strength=0.2", out=tmp_path / "plain")
    assert refused.code == 2
    assert "spec.strength: 1.0 there, 0.2 now" in refused.err


def test_every_engine_gives_the_same_rows(sweep, tmp_path):
    outputs = []
    for engine in ("auto", "shared-prefix", "expanded-cache", "oracle"):
        out = tmp_path / engine
        assert sweep(f"--engine={engine}", "--batch-rows=5", out=out).code == 0
        rows = rows_of(out)
        assert set(rows.path) == {"shared-prefix" if engine == "auto" else engine}
        outputs.append(list(rows.output))
    assert all(one == outputs[0] for one in outputs)
    refused = sweep("--engine=fast", out=tmp_path / "fast")
    assert refused.code == 2
    assert "Unknown engine 'fast': use auto, shared-prefix" in refused.err


def test_a_slower_path_is_said_with_its_reason(cli, tmp_path):
    prompts = write(tmp_path / "prompts.jsonl", ROWS)
    scaled = {
        "rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0, "long_factor": [2.0] * 4,
        "short_factor": [1.0] * 4, "original_max_position_embeddings": 14,
    }  # fmt: skip
    long = save_tiny(tmp_path / "long", rope_parameters=scaled)
    falcon = save_tiny(tmp_path / "falcon", family="falcon")
    said = {}
    for model in (long, falcon):
        run = f"--out={tmp_path / 'runs' / model.name}"
        said[model] = cli("sweep", f"--model={model}", f"--prompts={prompts}", run, "--pairs=0:1")
    assert "rows took the oracle path (rotary embeddings of this model change" in said[long].err
    assert "again in float32" not in said[long].err
    assert (
        "rows took the expanded-cache path (shared-prefix: its attention does" in said[falcon].err
    )


def test_options_must_fit_into_the_context(sweep, tmp_path):
    long = [ROWS[0] | {"main": "a" * (CONTEXT - 5), "options": ["(1)", "(2), and more"]}, *ROWS[1:]]
    prompts = write(tmp_path / "long.jsonl", long)
    result = sweep("--pairs=0:1", "--score-options", prompts=prompts)
    assert "with 14 new ones that is more than the model's context" in result.err
    assert count(tmp_path / "run") == 9


def test_estimates_count_the_tokens_of_options(sweep):
    def tokens(*options):
        line = sweep("--dry-run", "--pairs=0:1", *options).out.split("tokens  up to ")[1]
        return int(line.split()[0].replace(",", ""))

    # Of "(1)", " (1)", "(2)" and " (2)": a tree of "(", "1", "2", " ", " (", " (1", " (2".
    assert tokens("--score-options") - tokens() == 12 * 7


@pytest.mark.parametrize(("signal", "code"), [("Interrupted", 130), ("Terminated", 143)])
def test_a_stop_says_how_to_go_on(sweep, tmp_path, monkeypatch, signal, code):
    from crosslatent.cli.terminal import Terminated
    from crosslatent.sweeps.work import AskedPrompt

    right, calls = AskedPrompt.records, []

    def stops(question, answered):
        calls.append(question)
        if len(calls) == 5:
            raise KeyboardInterrupt if signal == "Interrupted" else Terminated
        return right(question, answered)

    monkeypatch.setattr(AskedPrompt, "records", stops)
    stopped = sweep("--pairs=0:1")
    assert stopped.code == code
    assert f"{signal}: what is done is kept, and the same command again" in stopped.err
    assert count(tmp_path / "run") == 6
    assert sweep("--pairs=0:1").code == 0
    assert count(tmp_path / "run") == 12


@pytest.mark.parametrize("blank", [" ", "\u3000", "\u00a0", "\t", "\u200b"])
def test_prompts_that_both_end_in_a_blank_are_counted(sweep, cli, tmp_path, blank):
    rows = [dict(ROWS[0], id=str(k), main=f"Mji {k}?", aux=f"City {k}?") for k in range(3)]
    for row in rows[:2]:
        row["main"], row["aux"] = row["main"] + blank, row["aux"] + blank
    rows[2]["main"] += blank  # one of the two alone
    prompts = write(tmp_path / "blank.jsonl", rows)
    for options in ((), ("--dry-run",)):
        result = sweep("--pairs=0:1", *options, prompts=prompts, out=tmp_path / f"r{len(options)}")
        assert result.code == 0
        assert "Warning: 2 items end in a blank in main and in aux (such as '0')" in result.err
    validated = cli("tasks", "validate", prompts)
    assert "2 items end in a blank in main and in aux" in " ".join(
        (validated.out + validated.err).split()
    )


@pytest.mark.parametrize("end", ["", "\n", ":", "\u2028"])
def test_other_ends_are_no_blanks(sweep, tmp_path, end):
    prompts = write(tmp_path / "other.jsonl", [dict(ROWS[0], main="Mji?" + end, aux="City?" + end)])
    assert "end in a blank" not in sweep("--pairs=0:1", prompts=prompts).err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--ray-workers=2"], "--ray-workers is about workers of Ray: add --ray"),
        (["--slice-rows=9"], "--slice-rows is about workers: add --processes or --ray"),
        (["--processes=2", "--ray"], "--processes is 2, but with --ray the number of workers is"),
        (["--processes=0"], "0 is too small: give 1 or more"),
        (["--ray", "--ray-gpus=-1"], "-1 GPUs cannot be given: give 0 or more"),
    ],
)
def test_settings_of_workers_ask_for_ray(sweep, options, says):
    found = sweep("--pairs=0:1", *options)
    assert found.code == 2
    assert says in found.err


def test_json_says_what_came_of_it(sweep, tmp_path):
    done = sweep("--pairs=0:0", "--json")
    assert (done.code, done.json["rows"], done.json["out"]) == (0, 12, str(tmp_path / "run"))
    assert done.json["status"]["items"] == 4
    assert done.json["said"][-1].startswith("Next: crosslatent report")
    again = sweep("--pairs=0:0", "--json")
    assert again.json["rows"] == 0


def test_a_dry_run_answers_a_few_rows_and_keeps_none(sweep, tmp_path):
    shown = sweep("--pairs=all", "--dry-run")
    assert shown.code == 0
    assert "in one process of this machine, as it is now" in shown.out
    found = sweep("--pairs=all", "--dry-run", "--json").json
    assert found["rows"] == 4 * (2 + 16)
    assert found["trial"]["low"] <= found["trial"]["high"]
    assert not (tmp_path / "run").exists()


def test_the_tracker_counts_right_answers(sweep, tmp_path, monkeypatch):
    states = []
    monkeypatch.setattr(
        "crosslatent.sweeps.sweep_run.Tracker.finished",
        lambda tracker: states.append(dict(tracker.judged)),
    )
    sweep("--pairs=0:0,1:1")
    with RunReader(tmp_path / "run").connect() as rows:
        found = rows.execute("SELECT control, correct, count(*) FROM rows GROUP BY ALL").fetchall()
    assert states[-1] == {(control, right): n for control, right, n in found}
