"""``crosslatent lens train``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import crosslatent
from crosslatent.lens.training.record import read_record
from support.models import save_tiny
from support.training import made_up_space, parallel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, its space, parallel texts and a task."""
    place = tmp_path_factory.mktemp("lens")
    save_tiny(place / "model")
    made_up_space(crosslatent.load(place / "model")).save(place / "space")
    lines = [json.dumps(row) for row in [*parallel(10), {"en": "alone"}]]
    (place / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    items = [
        {
            "id": f"{lang}{number}",
            "lang": lang,
            "aux_lang": "en",
            "main": f"Swali {lang} {number}:",
            "aux": f"Question {number}:",
            "answer": "(1)" if number % 2 else "(2)",
            "options": ["(1)", "(2)"],
            "cluster": str(number),
            "split": "pilot" if number < 6 else "final",
        }
        for number in range(8)
        for lang in ("sw", "hi")
    ]
    (place / "items.jsonl").write_text("\n".join(map(json.dumps, items)), encoding="utf-8")
    (place / "task.yaml").write_text(
        "name: little\ntitle: Little\nrule: option\nitems: items.jsonl\nmax_new_tokens: 4\n",
        encoding="utf-8",
    )
    return place


@pytest.fixture
def train(cli, folder, tmp_path):
    """The command with what it needs; options given as words replace those by the same name."""

    def call(*arguments, out=None, data="texts.jsonl", space="space", model="model", langs="sw,hi"):
        options = ["--model", folder / model, "--out", out or tmp_path / "out"]
        options += ["--space", folder / space] if space else []
        options += ["--data", folder / data] if data else []
        options += ["--langs", langs] if langs else []
        return cli("lens", "train", *options, *arguments)

    return call


def test_trains_and_leaves_a_model_a_record_and_figures(train, tmp_path):
    result = train("--epochs", "2", "--lr", "1e-3", "--batch-size", "4")
    assert result.code == 0, result.err
    out = tmp_path / "out"
    assert result.out.splitlines()[-1] == str(out)
    assert "held out" in result.out
    assert "1 rows lack" in result.err
    record = read_record(out)
    assert (record.languages, record.central, record.blocks) == (["sw", "hi"], "en", [2, 3])
    assert record.rows == {"train": 9, "held_out": 1, "left_out": 1}
    assert record.steps == 6
    assert record.space.endswith("space")
    assert record.command
    assert (out / "training" / "curve.png").stat().st_size > 1000
    assert crosslatent.load(out).n_layers == 4
    again = train("--epochs", "2", "--lr", "1e-3", "--batch-size", "4")
    assert again.code == 0
    assert "finished already" in again.err
    train("--epochs", "3", "--lr", "1e-3", "--batch-size", "4").assert_refused(
        "spec.epochs: 2 there, 3 now", "--new"
    )
    assert train("--epochs", "1", "--new").code == 0
    assert read_record(out).steps == 2


def test_json_tells_everything(train, tmp_path):
    result = train("--json", "--strength", "sw=1.5,hi=0.5", "--at", "3,final", "--clip", "none")
    assert result.code == 0, result.err
    told = result.json
    assert told["out"] == str(tmp_path / "out")
    assert told["spec"]["strength"] == {"sw": 1.5, "hi": 0.5}
    assert told["spec"]["at"] == [3, "final"]
    assert told["spec"]["clip"] is None
    assert told["stopped"] == "finished"
    assert [point["step"] for point in told["held_out"]] == [0, 2]


def test_adapters(train, tmp_path):
    result = train("--lora", "--lora-rank", "2", "--blocks", "1,3")
    assert result.code == 0, result.err
    assert (tmp_path / "out" / "adapter_config.json").is_file()
    assert read_record(tmp_path / "out").spec["lora"]["rank"] == 2
    assert read_record(tmp_path / "out").blocks == [1, 3]


def test_a_task_serves_both_objectives(train, cli, folder, tmp_path):
    result = train("--task", folder / "task.yaml", "--json", data=None)
    assert result.code == 0, result.err
    # The pilot split alone; both languages of a fact are one row.
    assert sum(result.json["rows"].values()) == 6
    result = train(
        *("--objective", "answers", "--task", folder / "task.yaml", "--json", "--lr", "1e-3"),
        data=None,
        space=None,
        out=tmp_path / "answers",
    )
    assert result.code == 0, result.err
    assert sum(result.json["rows"].values()) == 18
    assert result.json["objective"] == "answers"
    assert result.json["cut"] == {"sw": 0, "en": 0, "hi": 0}


def test_states_are_kept_for_other_runs(train, tmp_path):
    cache = tmp_path / "cache"
    one = train("--cache", cache, "--json", langs="sw", out=tmp_path / "one").json
    other = train("--cache", cache, "--json", langs="hi", out=tmp_path / "other").json
    assert one["trunk"]["reused"] == 0
    assert other["trunk"]["reused"] == one["trunk"]["texts"] - other["trunk"]["computed"]
    assert other["trunk"]["reused"] > 0


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((), {"space": None}, ("--space is missing", "lens probe")),
        ((), {"data": None}, ("--data or --task",)),
        ((), {"langs": None}, ("--langs is missing",)),
        ((), {"langs": "en"}, ("no target language beside", "'en'")),
        ((), {"langs": "sw,zz"}, ("'zz'", "en, sw, hi")),
        ((), {"model": "texts.jsonl"}, ("texts.jsonl",)),
        (("--objective", "both"), {}, ("'both'", "lens or answers")),
        (("--objective", "answers"), {}, ("--task is missing",)),
        (("--objective", "answers", "--task", "x"), {}, ("--space", "leave it out")),
        (("--blocks", "two"), {}, ("'--blocks'", "'two'", "such as 20,22")),
        (("--blocks", "9"), {}, ("9 top blocks", "1 to 4")),
        (("--blocks", "4,"), {}, ("out of range", "0 to 3")),
        (("--at", "1"), {}, ("block 1", "first trained block is 2")),
        (("--at", "top"), {}, ("'top'",)),
        (("--strength", "sw="), {}, ("'--strength'", "'sw='", "such as sw=1.5")),
        (("--strength", "zz=1"), {}, ("'zz'", "sw, hi")),
        (("--strength", "much"), {}, ("'much'",)),
        (("--epochs", "0"), {}, ("0",)),
        (("--held-out", "1"), {}, ("'held out' is 1.0",)),
        (("--lr", "-1"), {}, ("'learning rate' is -1.0",)),
        (("--limit", "1"), {}, ("Training has 1 row",)),
        (("--split", "pilot"), {}, ("only a task has splits",)),
        (("--patience", "2", "--held-out", "0"), {}, ("no row is held out",)),
        (("--chat",), {}, ("no chat template",)),
        (("--field", "output"), {}, ("output",)),
        (("--precision", "half"), {}, ("'half'",)),
        (("--lora", "--lora-rank", "0"), {}, ("0",)),
    ],
)
def test_wrong_usage_is_one_sentence_and_writes_nothing(train, tmp_path, arguments, options, words):
    train(*arguments, **options).assert_refused(*words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--align", "1"), ("--separate", "2"), ("--retain", "0"), ("--strength", "2"), ("--at", "3")],
)
def test_options_that_answers_do_not_use_are_refused(train, folder, option, value):
    arguments = ("--objective", "answers", "--task", folder / "task.yaml", option, value)
    train(*arguments, data=None, space=None).assert_refused(f"{option} is", "leave it out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--no-central-answers",), ("--central-answers is False", "only training on answers")),
        (("--lora-rank", "8"), ("--lora-rank is 8", "without --lora")),
        (("--save-dtype", "int8"), ("'save dtype' is 'int8'", "auto, float32, model")),
        (("--max-steps", "0"), ("0",)),
        (("--checkpoint-every", "0"), ("0",)),
    ],
)
def test_other_options_that_count_for_nothing_or_make_no_sense(train, tmp_path, arguments, words):
    train(*arguments).assert_refused(*words)
    assert not (tmp_path / "out").exists()


def test_a_cache_that_cannot_be_written_is_refused_first(train, folder, tmp_path):
    (tmp_path / "cache").write_text("mine")
    for place in (tmp_path / "cache", tmp_path / "cache" / "below"):
        train("--cache", place).assert_refused("cache", "is a file")
    (tmp_path / "locked").mkdir(mode=0o500)
    if not os.access(tmp_path / "locked", os.W_OK):
        train("--cache", tmp_path / "locked").assert_refused("no permission")


def test_a_task_shares_its_central_states_between_languages(train, folder, tmp_path):
    options = ("--task", folder / "task.yaml", "--cache", tmp_path / "cache", "--json")
    told = [
        train(*options, data=None, langs=lang, out=tmp_path / lang).json["trunk"]
        for lang in ("sw", "hi")
    ]
    assert told[0] == {"texts": 12, "computed": 12, "reused": 0}
    assert told[1] == {"texts": 12, "computed": 6, "reused": 6}


def test_facts_that_are_asked_in_two_ways_are_held_out_together(train, folder, tmp_path):
    lines = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    twice = [
        item | {"id": f"{item['id']}-{way}", "aux": f"{way} {item['aux']}"}
        | {"main": f"{way} {item['main']}"}
        for way in ("First", "Second")
        for item in lines
    ]  # fmt: skip
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, twice)))
    (tmp_path / "task.yaml").write_text((folder / "task.yaml").read_text())
    result = train("--task", tmp_path / "task.yaml", "--json", "--held-out", "0.1", data=None)
    assert result.code == 0, result.err
    # 6 facts, each 2 rows: one fact is held out, not one row.
    assert result.json["rows"] == {"train": 10, "held_out": 2, "left_out": 0}


def test_rounding_is_told(train, folder, tmp_path):
    result = train("--dtype", "bfloat16", "--save-dtype", "model", "--json")
    assert result.code == 0, result.err
    assert result.json["saved"]["dtype"] == "bfloat16"
    assert result.json["saved"]["lost"] > 0.5
    assert "Saved in bfloat16, with a loss of" in result.err
    assert "% of what training changed was lost by rounding to bfloat16" in result.err
    result = train("--dtype", "bfloat16", "--json", out=tmp_path / "wide")
    assert result.json["saved"]["dtype"] == "float32"
    assert result.json["saved"]["lost"] == 0
    assert "Saved in float32" in result.err
    assert "lost by rounding" not in result.err


def test_experts_without_adapters_are_told(train, folder, tmp_path):
    if not (folder / "moe").exists():
        save_tiny(folder / "moe", family="qwen3_moe")
        made_up_space(crosslatent.load(folder / "moe")).save(folder / "moe-space")
    result = train("--lora", model="moe", space="moe-space")
    assert result.code == 0, result.err
    count = read_record(tmp_path / "out").not_adapted
    assert count > 0
    assert f"{count:,} matrices of these blocks are no linear layers" in result.err
    assert f"Left as they were: {count} matrices" in (tmp_path / "out" / "README.md").read_text()


def test_sigterm_keeps_what_is_done(train, folder, tmp_path, monkeypatch):
    from crosslatent.lens.training import lens_objective

    options = ("--batch-size", "2", "--lr", "1e-3")
    assert train(*options, out=tmp_path / "plain").code == 0
    whole, calls = lens_objective.retain, []

    def retain(now, then):
        calls.append(now.requires_grad)
        if sum(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(now, then)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(lens_objective, "retain", retain)
    result = train(*options)
    assert result.code == 143
    assert "Terminated: what is done is kept, and the same command again goes on" in result.err
    assert signal.getsignal(signal.SIGTERM) == before
    assert read_record(tmp_path / "out").stopped == "interrupted"
    monkeypatch.undo()
    result = train(*options)
    assert result.code == 0
    assert "Went on from step 2." in result.err
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "out"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_space_of_another_model_is_refused(train, folder, tmp_path):
    save_tiny(folder / "other", seed=1)
    train(model="other").assert_refused("was probed in", "another weights")


def test_a_folder_of_something_else_is_refused(train, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    for options in ((), ("--new",)):
        train(*options).assert_refused("holds something else", "thesis.tex")


def test_a_loss_that_is_no_number_is_a_failed_run(train, folder, tmp_path, monkeypatch):
    from crosslatent.lens.training import lens_objective

    whole = lens_objective.retain
    monkeypatch.setattr(
        lens_objective,
        "retain",
        lambda now, then: whole(now, then) * (float("nan") if now.requires_grad else 1),
    )
    result = train()
    assert result.code == 1
    assert "Training stopped at step 1, because the loss is nan (retain nan, align" in result.err
    assert "the one of step 0 is in" in result.err
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_two_processes_give_what_one_gives(train, folder, tmp_path):
    options = ("--epochs", "3", "--lr", "1e-3", "--batch-size", "3", "--accumulate", "2")
    assert train(*options, out=tmp_path / "one").code == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command = ["-m", "crosslatent", "lens", "train", "--model", folder / "model", "--space"]
    command += [folder / "space", "--data", folder / "texts.jsonl", "--langs", "sw,hi"]
    done = subprocess.run(
        [*map(str, (*launch, *command, "--out", tmp_path / "two", *options))],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines().count(str(tmp_path / "two")) == 1
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    before = load_file(folder / "model" / "model.safetensors")
    moved = max(float((one[name] - before[name]).abs().max()) for name in one)
    apart = max(float((one[name] - two[name]).abs().max()) for name in one)
    assert apart < 1e-3 * moved
    losses = [[p.loss for p in read_record(tmp_path / n).curve] for n in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
