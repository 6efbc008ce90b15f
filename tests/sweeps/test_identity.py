"""A run is what its prompts' token ids are; what else may differ is refused, or stays as it was."""

from __future__ import annotations

import copy
import datetime as dt
import json
import time
import warnings
from pathlib import Path

import pytest

import crosslatent as xl
from crosslatent import api
from crosslatent.core import specs
from crosslatent.core.errors import ModelError, RunFolderError, SweepError, UsageError
from crosslatent.core.specs import Chat, chat_of
from crosslatent.model import wrap
from crosslatent.model.chat import Prompt, put_as_chat
from crosslatent.model.prompts import encode
from crosslatent.runs.manifest import clock_of
from crosslatent.sweeps import SweepSpec, plan_sweep, run_sweep
from crosslatent.sweeps.tokens import PromptTokens, mark_of
from crosslatent.tasks import task_of
from support.models import tiny_model

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}<assistant>"
DATED = {
    "llama": "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}"
    "{% endif %}{{ date_string }}\n" + TURNS,
    "clock": "{{ strftime_now('%Y-%m-%d %H:%M:%S') }}" + TURNS,
    "no padding": "{{ strftime_now('%-d. %B %Y, %A') }}" + TURNS,
    "in a macro": "{% macro day() %}{{ strftime_now(format='%j') }}{% endmacro %}{{ day() }}"
    + TURNS,
    "asked first": "{% if strftime_now is defined %}{{ strftime_now('%c') }}{% endif %}" + TURNS,
    "after the question": TURNS + "{{ strftime_now('%x %X') }}",
    "seconds since 1970": "{{ strftime_now('%s') }}" + TURNS,
    "percent": "\n  {{ strftime_now('100%% %%d %d%') | upper }}" + TURNS,
}
ITEMS = [{"id": f"q{k}", "main": f"Mji {k}?", "aux": f"City {k}?"} for k in range(3)]
TASK = task_of(ITEMS)
SPEC = SweepSpec(pairs="0:0,1:1", max_new_tokens=3, chat=True)


def model_of(template: str | None):
    hf, tokenizer = tiny_model("llama")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = template
    return wrap(copy.deepcopy(hf), tokenizer)


def on(monkeypatch, text: str) -> None:
    """From now on, it is this time wherever anybody asks."""
    moment = dt.datetime.fromisoformat(text)

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return moment if tz is None else moment.astimezone(tz)

    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Clock)
    monkeypatch.setattr(specs, "right_now", lambda: moment.astimezone().isoformat())
    monkeypatch.setattr("crosslatent.sweeps.sweep_run.right_now", specs.right_now)


def half(place: Path) -> None:
    """Take away what the run has answered."""
    for part in (place / "rows").glob("part-*"):
        part.unlink()


def rows_of(place: Path):
    return xl.Run(place).to_pandas().set_index(["item", "control", "source"])[["output"]]


@pytest.mark.parametrize("name", DATED)
def test_a_template_with_a_date_goes_on_with_the_day_it_began(name, tmp_path, monkeypatch):
    model = model_of(DATED[name])
    on(monkeypatch, "2026-03-01T23:50:00")
    whole = xl.sweep(model, ITEMS, pairs="0:0", chat=True, max_new_tokens=3, out=tmp_path / "a")
    as_it_was = put_as_chat(model, Prompt("Mji?"), tokenize=False)
    on(monkeypatch, "2026-03-12T04:05:00")
    assert put_as_chat(model, Prompt("Mji?"), tokenize=False) != as_it_was  # another day, really
    clock = clock_of(tmp_path / "a")
    assert put_as_chat(model, Prompt("Mji?"), tokenize=False, chat=Chat({}, clock)) == as_it_was
    before = rows_of(tmp_path / "a")
    half(tmp_path / "a")
    xl.sweep(model, ITEMS, pairs="0:0", chat=True, max_new_tokens=3, out=tmp_path / "a")
    assert rows_of(tmp_path / "a").equals(before)
    assert len(whole._reader.manifest["sessions"]) == 1
    anew = run_sweep(model, TASK, SPEC, tmp_path / "a", new=True)
    assert anew.rows
    assert clock_of(tmp_path / "a") != clock


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles", "Pacific/Kiritimati"])
@pytest.mark.parametrize("name", ["clock", "seconds since 1970", "asked first"])
def test_the_time_zone_of_who_goes_on_does_not_matter(zone, name, monkeypatch):
    model = model_of(DATED[name])
    chat = Chat({}, "2026-07-26T23:30:00+02:00")
    before = encode(model, "Mji?", chat=chat)
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        from crosslatent.model.chat import _clock

        _clock.cache_clear()
        assert encode(model, "Mji?", chat=chat) == before
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_time_is_told_as_transformers_tells_it():
    formats = [
        "%d %b %Y",
        "%-d %e|%y %m %H:%M:%S %p %I",
        "%%d %% %%%d",
        "%A %a %j %U %W %u",
        "x%",
        "%G-%V",
    ]
    for text in formats:
        model = model_of(f"{{{{ strftime_now('{text}') }}}}" + TURNS)
        for moment in ("2026-03-01T09:05:07", "2024-12-31T23:59:59"):
            told = str(put_as_chat(model, Prompt("a"), tokenize=False, chat=Chat({}, moment)))
            assert (
                told == dt.datetime.fromisoformat(moment).strftime(text) + "<user>a</><assistant>"
            )


@pytest.mark.parametrize("before", ["", "\n", "  ", "\n\n  ", " x\n  "])
def test_a_template_with_a_clock_keeps_its_blanks(before):
    rest = "{% if true %}\n a\n  {% endif %}\n{{ strftime_now('%Y') }}" + TURNS
    model = model_of(before + rest)
    asked = {"tokenize": False}
    this_year = put_as_chat(model, Prompt("a"), **asked)
    assert put_as_chat(
        model, Prompt("a"), chat=chat_of(True, None, specs.right_now()), **asked
    ) == (this_year)


def changed(model, how):
    """The model as another call may find it."""
    if how == "template":
        return model_of(model.tokenizer.chat_template.replace("<assistant>", "<helper>"))
    again = model_of(model.tokenizer.chat_template)
    if how == "ends":
        again.hf.generation_config.eos_token_id = [1, 7]
    elif how == "one end more in the config":
        again.hf.generation_config.eos_token_id = None
        again.hf.config.eos_token_id = [1, 9]
    elif how == "modules":
        again = wrap(again.hf, again.tokenizer, modules={"attn": "self_attn.o_proj"})
    elif how == "a tokenizer that says otherwise":
        inner = again.tokenizer.apply_chat_template
        again.tokenizer.apply_chat_template = lambda *a, **k: [*inner(*a, **k), 5]
    return again


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("template", "another tokenizer or chat template"),
        ("ends", r"inputs.ends: \[1\] there, \[1, 7\] now"),
        ("one end more in the config", r"inputs.ends: \[1\] there, \[1, 9\] now"),
        ("modules", "inputs.modules.attn: None there, 'self_attn.o_proj' now"),
        ("a tokenizer that says otherwise", "inputs.prompts: the prompts give other token ids"),
    ],
)
def test_what_changes_the_inputs_is_refused(how, said, tmp_path):
    model = model_of(TURNS)
    run_sweep(model, TASK, SPEC, tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_text()
    half(tmp_path / "run")
    with pytest.raises(RunFolderError, match=said):
        run_sweep(changed(model, how), TASK, SPEC, tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_text() == before


@pytest.mark.parametrize(
    "template",
    [
        "{{ ['a', 'bb', 'ccc', 'dddd'] | random }}" + TURNS,
        "{{ range(1000) | random }}" + TURNS,
        "{{ lipsum(n=1, html=false, min=5, max=9) }}" + TURNS,
        TURNS + "{{ 'abcdefgh' | list | random }}",
        "{% if range(2) | random %}x{% else %}y{% endif %}" + TURNS,
    ],
)
def test_a_template_that_draws_at_random_is_refused(template, tmp_path):
    short = SweepSpec(pairs="0:0", max_new_tokens=2, chat=True)
    items = [{"id": str(k), "main": f"M{k}", "aux": f"C{k}"} for k in range(8)]
    with pytest.raises((ModelError, SweepError), match="other token ids now than a moment ago"):
        run_sweep(model_of(template), task_of(items), short, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_what_differs_only_later_stops_the_sweep(monkeypatch):
    model = model_of(TURNS)
    tokens = PromptTokens(model, TASK.items, new_tokens=2, chat=True)
    model.tokenizer.chat_template = "x" + TURNS
    with pytest.raises(SweepError, match="'q1' give other token ids now than a moment ago"):
        tokens["q1"]


def test_a_hash_tells_prompts_apart():
    assert mark_of([[1, 2], [3]]) != mark_of([[1], [2, 3]])
    assert mark_of([[1, 2]]) != mark_of([[2, 1]])
    assert mark_of([[]]) != mark_of([])
    assert mark_of([(1, 2)]) == mark_of([[1, 2]])
    model = model_of(TURNS)
    spec = SweepSpec(pairs="0:0", chat=True)
    found = set()
    for items in (
        ITEMS,
        ITEMS[:2],
        ITEMS[::-1],
        [{**one, "paraphrase": "Jiji?"} for one in ITEMS],
        [{**one, "options": ["(1)", "(2)"], "answer": "(1)"} for one in ITEMS],
    ):
        for more in ({"controls": ("paraphrase",)}, {"score_options": True}):
            asked = SweepSpec(pairs="0:0", chat=True, **more)
            found.add(plan_sweep(model, task_of(items), asked).tokens.hash)
    assert len(found) == 5  # paraphrases and options count where they are read
    assert plan_sweep(model, TASK, spec).tokens.hash in found


def test_an_old_run_goes_on_with_a_warning(tmp_path, monkeypatch):
    model = model_of(DATED["llama"])
    on(monkeypatch, "2026-03-01T12:00:00")
    run_sweep(model, TASK, SPEC, tmp_path / "run")
    before = rows_of(tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    manifest = json.loads(file.read_text())
    inputs = manifest.pop("inputs")
    manifest["created"] = "2026-03-01T12:00:00+00:00"
    file.write_text(json.dumps(manifest))
    half(tmp_path / "run")
    on(monkeypatch, "2026-03-09T12:00:00")
    heard = []
    again = run_sweep(model, TASK, SPEC, tmp_path / "run", warned=heard.append)
    assert heard == list(again.notes)
    assert "did not record the token ids" in heard[0]
    assert rows_of(tmp_path / "run").equals(before)  # told the day on which it was made
    now = json.loads(file.read_text())["inputs"]
    assert now["since"] == 2
    assert now["prompts"] == inputs["prompts"]
    assert run_sweep(model, TASK, SPEC, tmp_path / "run").notes == ()
    with pytest.raises(RunFolderError, match="other token ids"):
        run_sweep(model, TASK, SweepSpec(pairs="0:0,1:1", max_new_tokens=3, chat=True,
                  clock="2026-03-09T12:00:00"), tmp_path / "run")  # fmt: skip


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("versions", "transformers", "5.0.0"),
        ("versions", "tokenizers", "0.21.0"),
        ("versions", "torch", "2.6.0+cu124"),
        ("versions", "crosslatent", "0.0.1"),
        ("environment", "device", "cuda"),
        ("environment", "attention", "flash_attention_2"),
        ("environment", "CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
    ],
)
def test_other_software_is_said_and_recorded(part, name, value, tmp_path):
    model = model_of(TURNS)
    run_sweep(model, TASK, SPEC, tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    manifest = json.loads(file.read_text())
    now = manifest["sessions"][-1][part].get(name)
    manifest["sessions"][-1][part][name] = value
    file.write_text(json.dumps(manifest))
    half(tmp_path / "run")
    (note,) = run_sweep(model, TASK, SPEC, tmp_path / "run").notes
    assert f"{name} {value} there, {now} now" in note
    sessions = json.loads(file.read_text())["sessions"]
    assert [one[part].get(name) for one in sessions] == [value, now]
    with warnings.catch_warnings():
        warnings.simplefilter("error", api.SweepWarning)  # what is the same again is not said again
        xl.sweep(model, ITEMS, pairs="0:0,1:1", max_new_tokens=3, chat=True, out=tmp_path / "run")
    manifest["sessions"][-1][part][name] = value
    file.write_text(json.dumps(manifest))
    with pytest.warns(api.SweepWarning, match="goes on with other software or settings"):
        xl.sweep(model, ITEMS, pairs="0:0,1:1", max_new_tokens=3, chat=True, out=tmp_path / "run")


def test_arguments_of_a_template_are_part_of_the_run(tmp_path):
    model = model_of("{% if not loud %}q{% endif %}{{ name }}" + TURNS)

    def asked(**told):
        return SweepSpec(pairs="0:0", max_new_tokens=2, chat=True, chat_args=told)

    run_sweep(model, TASK, asked(loud=True), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["spec"]["chat_args"] == {
        "loud": True
    }
    assert run_sweep(model, TASK, asked(loud=True), tmp_path / "run").rows == 0
    for other in (asked(), asked(loud=False), asked(loud=True, name="x"), asked(name="x")):
        with pytest.raises(RunFolderError, match="spec.chat_args"):
            run_sweep(model, TASK, other, tmp_path / "run")
    assert "chat_args" not in plan_sweep(model, TASK, asked()).to_dict()


@pytest.mark.parametrize(
    ("told", "error", "said"),
    [
        ({"lowd": True}, ModelError, "does not use 'lowd': beside messages it reads loud"),
        ({"messages": []}, ModelError, "'messages' by every call itself"),
        ({"add_generation_prompt": False}, ModelError, "by every call itself"),
        ({"strftime_now": "1"}, ModelError, "by every call itself"),
        ({"loud": {1}}, UsageError, "values of JSON"),
        ({"loud": float("nan")}, UsageError, "values of JSON"),
        ({"inner": 1}, ModelError, "does not use 'inner'"),
    ],
)
def test_arguments_that_no_template_can_be_told(told, error, said):
    model = model_of("{% set inner = 1 %}{% generation %}{{ loud }}{% endgeneration %}" + TURNS)
    with pytest.raises(error, match=said):
        xl.transplant(
            model, main="a", aux="b", component="ffn", source=0, target=0, chat=True, chat_args=told
        )


def test_arguments_need_a_chat(tmp_path):
    model = model_of("{{ loud }}" + TURNS)
    what = {"component": "ffn", "source": 0, "target": 0}
    with pytest.raises(UsageError, match="give --chat"):
        xl.transplant(model, main="a", aux="b", chat_args={"loud": 1}, **what)
    with pytest.raises(UsageError, match="give --chat"):
        xl.sweep(model, ITEMS, pairs="0:0", chat_args={"loud": 1}, out=tmp_path / "run")
    quiet, loud = (
        xl.transplant(model, main="a", aux="b", chat=True, chat_args=told, **what)
        for told in (None, {"loud": "LOUD"})
    )
    assert loud.main_length == quiet.main_length + 4
    with pytest.raises(UsageError, match="none of ISO 8601"):
        chat_of(True, None, "yesterday")
