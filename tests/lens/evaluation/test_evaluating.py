"""Answers under conditions are those of the oracle and of a sweep; figures are paired."""

from __future__ import annotations

import json
import weakref
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from crosslatent.core.errors import (
    ModelError,
    PairError,
    PromptError,
    SpaceError,
    TaskError,
    UsageError,
)
from crosslatent.core.specs import Site
from crosslatent.engine import oracle
from crosslatent.interventions.activations import capture_ids
from crosslatent.interventions.kinds.transplant import Transplant
from crosslatent.lens.evaluation.asking import central_prompts
from crosslatent.lens.evaluation.checks import opened
from crosslatent.lens.evaluation.evaluated_conditions import (
    Combined,
    Steered,
    Transplanted,
    Tuned,
    Unmodified,
)
from crosslatent.lens.evaluation.evaluating import compare, evaluate
from crosslatent.lens.evaluation.evaluation_record import ALL, AnswerRow, Evaluation
from crosslatent.lens.evaluation.retention import divergences, held_out_of, pooled
from crosslatent.lens.space import SpaceRecord
from crosslatent.lens.steering import Steering, steered
from crosslatent.model import load
from crosslatent.runs import RunReader
from crosslatent.stats import cluster_permutation, clustered_mean, paired_difference
from crosslatent.sweeps import SweepSpec, run_sweep
from crosslatent.tasks import Item, task_of
from support.models import save_tiny
from support.rows import ids_of, wrapped

NEW_TOKENS = 4
FACTS = 6
MAINS = {"sw": "Swali la {} ni lipi? Jibu:", "es": "Cual es la pregunta {}? Respuesta:"}
TEXTS = ["The sky is blue.", "Water boils.", "Trees are green, mostly."]
TRANSPLANT = Transplanted("ffn:1:2", "ffn", 1, 2)


def make_item(lang, fact, **changes):
    fields = {
        "id": f"{lang}{fact}",
        "lang": lang,
        "aux_lang": "en",
        "main": MAINS.get(lang, "{} in " + lang).format(fact),
        "aux": f"What is question {fact}? Answer:",
        "answer": "AB"[fact % 2],
        "options": ("A", "B"),
        "cluster": f"fact-{fact}",
        "split": "pilot" if fact < 2 else "final",
    }
    return Item(**(fields | changes))


ITEMS = [make_item(lang, fact) for fact in range(FACTS) for lang in ("sw", "es")]


@pytest.fixture(scope="module")
def model():
    return wrapped()


@pytest.fixture(scope="module")
def other():
    return wrapped(seed=1)


@pytest.fixture
def space(make_space):
    return make_space(("en", "es", "sw"))


@pytest.fixture
def task():
    return task_of(ITEMS)


def run(model, conditions, task, **options):
    options = {"max_new_tokens": NEW_TOKENS, "rule": "first_token"} | options
    return evaluate(model, conditions, task, **options)


def outputs(evaluation, condition, role="target"):
    return {
        row.item: row.output
        for row in evaluation.rows
        if (row.condition, row.role) == (condition, role)
    }


def oracle_text(model, prompt, row=()):
    (answer,) = oracle.run_rows(model, ids_of(model, prompt), [row], max_new_tokens=NEW_TOKENS)
    return model.text_of(list(answer.ids))


def edit(model, item, source=1, target=2):
    vectors = capture_ids(model, [ids_of(model, item.aux)], ["ffn"])["ffn"]
    return (Transplant(Site("ffn", target), vectors[0, source]),)


def test_a_transplant_gives_what_it_gives_in_a_sweep(model, task, tmp_path):
    evaluation = run(model, [TRANSPLANT], task, rule=None)
    spec = SweepSpec(component=("ffn",), pairs=((1, 2),), max_new_tokens=NEW_TOKENS)
    run_sweep(model, task, spec, tmp_path / "run")
    with RunReader(tmp_path / "run").connect() as connection:
        columns = "item, output, prediction, correct, correct_by_rule, output_lang"
        swept = {
            control: connection.execute(
                f"SELECT {columns} FROM rows WHERE control = '{control}' ORDER BY item"
            ).fetchall()
            for control in ("vanilla", "none", "translate_test")
        }
    for control, condition in (("vanilla", "unmodified"), ("none", "ffn:1:2")):
        found = sorted(
            (r.item, r.output, r.prediction, r.correct, dict(r.correct_by_rule), r.output_lang)
            for r in evaluation.rows
            if (r.condition, r.role) == (condition, "target")
        )
        assert [(*row[:4], dict(row[4]), row[5]) for row in swept[control]] == found
    assert len({row[1] for row in swept["none"]}) > FACTS  # the answers really differ
    assert sum(a[1] != b[1] for a, b in zip(swept["none"], swept["vanilla"], strict=True)) > 2
    central = outputs(evaluation, "unmodified", "central")
    aux = {row[0]: row[1] for row in swept["translate_test"]}
    assert central == {name: aux[name] for name in central}


def test_steering_is_towards_the_language_of_each_question(model, space, task):
    evaluation = run(model, [Steered("s", space, 2.0, (1, -1))], task)
    for item in ITEMS:
        with steered(model, space, Steering(item.lang, 2.0, (1, 3))):
            assert outputs(evaluation, "s")[item.id] == oracle_text(model, item.main)
    plain = outputs(evaluation, "unmodified")
    assert sum(plain[name] != text for name, text in outputs(evaluation, "s").items()) > FACTS


def test_central_questions_are_steered_towards_each_language(model, space, task):
    steering = Steered("s", space, 2.0, (1, -1))
    evaluation = run(model, [steering], task, central_texts=TEXTS)
    rows = [r for r in evaluation.rows if (r.condition, r.role) == ("s", "central")]
    assert Counter(row.variant for row in rows) == {"sw": FACTS, "es": FACTS}
    for row in rows:
        with steered(model, space, Steering(row.variant, 2.0, (1, 3))):
            assert row.output == oracle_text(model, f"What is question {row.item[2:]}? Answer:")
    plain = outputs(evaluation, "unmodified", "central")
    assert sum(row.output != plain[row.item] for row in rows) > FACTS
    found = evaluation.condition("s")
    assert (found.accuracy["en"].n, found.change["en"].clusters) == (2 * FACTS, FACTS)
    assert found.repaired["en"] + found.broken["en"] > 0
    texts = held_out_of(model, TEXTS)
    parts = [
        divergences(
            model,
            model,
            texts,
            around=lambda lang=lang: steered(model, space, Steering(lang, 2.0, (1, 3))),
        )
        for lang in ("sw", "es")
    ]
    assert found.kl == pooled(parts).estimate()
    assert found.kl.value > 0
    assert found.kl.clusters == 3
    assert any("towards each language of sw, es" in note for note in found.notes)
    assert evaluation.missing(found) == []


def test_the_shared_part_is_moved_once_for_all_languages(model, space, task):
    evaluation = run(model, [Steered("g", space, 2.0, (1,), "agnostic")], task, central_texts=TEXTS)
    rows = [r for r in evaluation.rows if (r.condition, r.role) == ("g", "central")]
    assert Counter(row.variant for row in rows) == {None: FACTS}
    for row in rows:
        with steered(model, space, Steering("en", 2.0, (1,), "agnostic")):
            assert row.output == oracle_text(model, f"What is question {row.item[2:]}? Answer:")
    assert outputs(evaluation, "g", "central") != outputs(evaluation, "unmodified", "central")
    assert evaluation.condition("g").kl.value > 0


@pytest.mark.parametrize("both", [False, True])
def test_a_counterpart_has_nothing_to_transplant_and_is_not_measured(model, space, task, both):
    steering = Steered("s", space, 2.0, (0,))
    condition = Combined("c", steering, TRANSPLANT) if both else replace(TRANSPLANT, name="c")
    evaluation = run(model, [condition], task, central_texts=TEXTS)
    assert outputs(evaluation, "c", "central") == {}
    found = evaluation.condition("c")
    for figures in (found.accuracy, found.change, found.repaired, found.p_value):
        assert set(figures) == {ALL, "es", "sw"}
    assert found.kl is None
    assert evaluation.missing(found) == ["en", "kl"]
    assert evaluation.missing(evaluation.condition("unmodified")) == []
    assert any("no counterpart of its own" in note for note in found.notes)
    assert any("divergence is not measured" in note for note in found.notes)


def test_both_at_once_takes_the_vector_from_the_unmodified_model(model, space, task):
    steering = Steered("s", space, 2.0, (0,))
    evaluation = run(model, [steering, TRANSPLANT, Combined("b", steering, TRANSPLANT)], task)
    by_name = {item.id: item for item in ITEMS}
    for name, text in outputs(evaluation, "b").items():
        item = by_name[name]
        row = edit(model, item)
        with steered(model, space, Steering(item.lang, 2.0, (0,))):
            assert text == oracle_text(model, item.main, row)
            inside = edit(model, item)
        assert not torch.equal(row[0].vector, inside[0].vector)
    found = [tuple(outputs(evaluation, name).values()) for name in ("s", "ffn:1:2", "b")]
    assert len(set(found)) == 3


def test_a_trained_model_answers_everything(model, other, task, tmp_path):
    folder = save_tiny(tmp_path / "tuned", seed=1)
    evaluation = run(
        model, [Tuned("held", other), Tuned("read", folder)], task, central_texts=TEXTS
    )
    for item in ITEMS:
        assert outputs(evaluation, "held")[item.id] == oracle_text(other, item.main)
    central = outputs(evaluation, "held", "central")
    assert central == {
        f"sw{k}": oracle_text(other, f"What is question {k}? Answer:") for k in range(FACTS)
    }
    assert central != outputs(evaluation, "unmodified", "central")
    right = divergences(model, other, held_out_of(model, TEXTS)).estimate()
    held, read = evaluation.conditions[1:]
    assert held.kl == right
    assert (read.kl, read.accuracy, read.change) == (held.kl, held.accuracy, held.change)
    assert evaluation.central_texts == 3
    assert evaluation.conditions[0].kl is None


def test_one_trained_model_for_each_language(model, other, task):
    third = wrapped(seed=2)
    tuned = Tuned("each", {"sw": other, "es": third})
    evaluation = run(model, [tuned], task, central_texts=TEXTS)
    for item in ITEMS:
        answers = oracle_text({"sw": other, "es": third}[item.lang], item.main)
        assert outputs(evaluation, "each")[item.id] == answers
    rows = [r for r in evaluation.rows if (r.condition, r.role) == ("each", "central")]
    assert Counter(row.variant for row in rows) == {"sw": FACTS, "es": FACTS}
    for row in rows:
        aux = f"What is question {row.item[2:]}? Answer:"
        assert row.output == oracle_text({"sw": other, "es": third}[row.variant], aux)
    found = evaluation.condition("each")
    assert found.accuracy["en"].n == 2 * FACTS
    assert found.accuracy["en"].clusters == found.change["en"].clusters == FACTS
    texts = held_out_of(model, TEXTS)
    both = pooled([divergences(model, one, texts) for one in (other, third)])
    assert found.kl == both.estimate()
    alone = run(model, [Tuned("each", {"sw": other})], task)
    assert set(alone.condition("each").accuracy) == {ALL, "sw", "en"}
    assert alone.condition("each").change[ALL] == alone.condition("each").change["sw"]
    assert any("es" in note for note in alone.condition("each").notes)


def test_one_loaded_model_at_a_time(model, task, tmp_path, monkeypatch):
    folders = [save_tiny(tmp_path / name, seed=k) for k, name in enumerate(("a", "b"), start=1)]
    loaded = []

    def watched(source, base):
        assert not any(known() for known in loaded)
        found = opened(source, base)
        loaded.append(weakref.ref(found.hf))
        return found

    monkeypatch.setattr("crosslatent.lens.evaluation.running.opened", watched)
    each = Tuned("each", dict(zip(("sw", "es"), folders, strict=True)))
    run(model, [each, Tuned("again", folders[0])], task, central_texts=TEXTS)
    assert [known() for known in loaded] == [None, None, None]


def test_figures_are_the_statistics_of_the_rows(model, other, task):
    evaluation = run(model, [Tuned("t", other)], task, seed=5)
    found = evaluation.condition("t")

    def column(condition, role, langs):
        return [
            (row.item, float(row.correct), row.cluster)
            for row in evaluation.rows
            if row.condition == condition and row.role == role and row.lang in langs
        ]

    for key, role, langs in (
        (ALL, "target", ("sw", "es")),
        ("sw", "target", ("sw",)),
        ("es", "target", ("es",)),
        ("en", "central", ("en",)),
    ):
        after, before = column("t", role, langs), sorted(column("unmodified", role, langs))
        after = sorted(after)
        assert [row[0] for row in after] == [row[0] for row in before]
        now, then = (np.array([row[1] for row in rows]) for rows in (after, before))
        clusters = [row[2] for row in after]
        assert found.accuracy[key] == clustered_mean(now, clusters, seed=5)
        assert found.change[key] == paired_difference(now, then, clusters, seed=5)
        assert found.repaired[key] - found.broken[key] == (now - then).sum()
        assert found.repaired[key] == ((now == 1) & (then == 0)).sum()
        p = cluster_permutation(now, then, clusters, seed=5).p_two_sided
        assert found.p_value[key] == p
    assert found.repaired[ALL] > 0 < found.broken[ALL]
    unmodified = evaluation.condition("unmodified")
    assert (unmodified.change, unmodified.repaired, unmodified.p_value) == ({}, {}, {})
    assert evaluation.questions == {"en": FACTS, "es": FACTS, "sw": FACTS}
    assert (evaluation.languages, evaluation.central) == (["es", "sw"], "en")
    assert evaluation.splits == ["final", "pilot"]


def test_an_evaluation_is_read_back_equal(model, other, space, task, tmp_path):
    conditions = [Tuned("t", other), Steered("s", space, 1.0, (0,)), TRANSPLANT]
    evaluation = run(model, conditions, task, central_texts=TEXTS, notes=["So it was."])
    evaluation.save(tmp_path)
    assert Evaluation.load(tmp_path) == evaluation
    assert evaluation.notes == ["The divergence counts 49 tokens of 3 texts.", "So it was."]


def row_of(item, correct, output_lang, **changes):
    fields = {
        "condition": "c",
        "item": item,
        "lang": "sw",
        "role": "target",
        "output": "",
        "prediction": None,
        "correct": correct,
        "correct_by_rule": {},
        "output_lang": output_lang,
        "cluster": item,
        "split": None,
    }
    return AnswerRow(**(fields | changes))


def test_fidelity_and_what_is_undefined():
    before = [
        row_of("a", True, "sw"),
        row_of("b", None, "en"),
        row_of("c", False, None),
        row_of("d", False, "sw"),
        row_of("e", True, "en", lang="qaa"),
        row_of("f", True, "en", role="central", lang="en"),
        row_of("g", True, "zh", lang="zh-CN"),
    ]
    after = [
        replace(before[0], correct=False, output_lang="en"),
        replace(before[1], output_lang="sw"),
        replace(before[2], correct=True, output_lang="sw"),
        replace(before[3], output_lang=None),
        *before[4:],
    ]
    found = compare(after, before, "en", 0)
    assert list(found.accuracy) == [ALL, "qaa", "sw", "zh-CN", "en"]
    assert (found.fidelity["sw"].value, found.fidelity["sw"].n) == (2 / 3, 3)
    # a lost it and b won it; c and d have no language on one of the sides.
    assert (found.fidelity_change["sw"].value, found.fidelity_change["sw"].n) == (0.0, 2)
    assert (found.fidelity["qaa"].value, found.fidelity["qaa"].n) == (None, 0)
    assert found.fidelity["zh-CN"].value == found.fidelity["en"].value == 1
    assert (found.accuracy["sw"].n, found.change["sw"].n) == (3, 3)
    assert (found.repaired["sw"], found.broken["sw"]) == (1, 1)
    assert found.p_value["sw"] == 1.0
    assert found.p_value["en"] is None


@pytest.mark.parametrize("rule", ["likelihood", "likelihood_mean", "first_token"])
def test_option_letters_are_scored(model, task, rule):
    evaluation = run(model, [TRANSPLANT], task, rule=rule)
    by_name = {item.id: item for item in ITEMS}
    for row in evaluation.rows:
        item = by_name[row.item]
        prompt = item.main if row.role == "target" else item.aux
        edits = edit(model, item) if row.role == "target" and row.condition != "unmodified" else ()
        spelled = {
            option: [tuple(ids_of(model, text)) for text in (option, f" {option}")]
            for option in ("A", "B")
        }
        flat = [ids for every in spelled.values() for ids in every]
        watch = sorted({ids[0] for ids in flat})
        (decoded,) = oracle.run_rows(
            model, ids_of(model, prompt), [edits], max_new_tokens=1, watch=watch, options=flat
        )
        scores = dict(zip(flat, decoded.scores, strict=True))
        first = dict(zip(watch, decoded.watched, strict=True))
        values = {}
        for option, every in spelled.items():
            best = max(every, key=scores.__getitem__)
            # " A" and " B" begin with the same token, which tells nothing.
            values[option] = {
                "likelihood": scores[best],
                "likelihood_mean": scores[best] / len(best),
                "first_token": first[every[0][0]],
            }[rule]
        chosen = max(values, key=values.__getitem__)
        assert row.prediction == chosen
        assert row.correct == (chosen == item.answer) == row.correct_by_rule[rule]
        assert {"first_token", "option", "contains", "exact"} <= set(row.correct_by_rule)
    assert 0 < evaluation.conditions[0].accuracy[ALL].value < 1


def test_the_rule_of_the_task_is_the_default(model, task):
    assert run(model, [TRANSPLANT], task, rule=None).rule == task.rule == "option"


def test_a_counterpart_is_judged_by_what_is_right_in_its_language(model):
    items = [
        make_item("sw", 0, options=None, answer="mbili", aux_answer=None),
        make_item("sw", 1, options=None, answer="mbili", aux_answer="two"),
    ]
    found = run(model, [TRANSPLANT], task_of(items), rule=None)
    central = {r.item: r.correct for r in found.rows if r.role == "central"}
    assert central["sw0"] is None
    assert central["sw1"] is False
    assert any("1 of 4 questions have no gold answer" in note for note in found.notes)


def test_main_prompts_in_the_central_language_are_central(model, space):
    items = [
        make_item("en", k, main=f"Town {k}? Answer:", aux=f"Mji {k}? Jibu:", aux_lang="sw")
        for k in range(4)
    ]
    evaluation = run(
        model, [TRANSPLANT, Steered("s", space, 2.0, (0,))], task_of(items), central_texts=TEXTS
    )
    assert evaluation.languages == []
    assert {row.role for row in evaluation.rows} == {"central"}
    assert ALL not in evaluation.conditions[0].accuracy
    moved = outputs(evaluation, "ffn:1:2", "central")
    for item in items:
        assert moved[item.id] == oracle_text(model, item.main, edit(model, item))
    assert moved != outputs(evaluation, "unmodified", "central")
    rows = [r for r in evaluation.rows if (r.condition, r.role) == ("s", "central")]
    assert Counter(row.variant for row in rows) == {"es": 4, "sw": 4}  # the space's languages
    assert evaluation.condition("s").kl.value > 0
    assert any("central language 'en'" in note for note in evaluation.notes)


def test_without_counterparts(model, other):
    task = replace(task_of(ITEMS), items=tuple(replace(item, aux="") for item in ITEMS))
    evaluation = run(model, [Tuned("t", other)], task)
    assert {row.role for row in evaluation.rows} == {"target"}
    assert "en" not in evaluation.conditions[0].accuracy
    assert any("No question has a counterpart" in note for note in evaluation.notes)
    with pytest.raises(PromptError, match="'sw0'"):
        run(model, [TRANSPLANT], task)


def test_central_prompts_each_once():
    culture = make_item("en", 9, main="Town? Answer:", aux="Mji?", aux_lang="sw")
    prompts = central_prompts([*ITEMS, culture], "en")
    assert prompts == [*(f"What is question {k}? Answer:" for k in range(FACTS)), "Town? Answer:"]
    assert central_prompts(ITEMS, "hi") == []


def test_chat(task, tmp_path):
    template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"
    folder = save_tiny(tmp_path / "chat")
    (folder / "chat_template.jinja").write_text(template)
    model = load(folder)
    tuned = save_tiny(tmp_path / "tuned", seed=1)
    with pytest.raises(ModelError, match="no chat template"):
        run(model, [Tuned("t", tuned)], task, chat=True)
    (tuned / "chat_template.jinja").write_text(template.replace("<assistant>", "<bot>"))
    with pytest.raises(ModelError, match="reads the questions otherwise"):
        run(model, [Tuned("t", tuned)], task, chat=True)
    (tuned / "chat_template.jinja").write_text(template)
    evaluation = run(model, [Tuned("t", tuned), TRANSPLANT], task, chat=True, central_texts=["Sky"])
    after = load(tuned)
    for item in ITEMS:
        main = f"<user>{item.main}<assistant>"
        assert outputs(evaluation, "t")[item.id] == oracle_text(after, main)
        row = edit(model, replace(item, aux=f"<user>{item.aux}<assistant>"))
        assert outputs(evaluation, "ffn:1:2")[item.id] == oracle_text(model, main, row)
    assert evaluation.condition("t").kl.n == len("Sky")
    assert (
        "The divergence counts 3 tokens of 1 text, and not the 16 of the chat template around."
        in evaluation.notes
    )


def test_items_that_cannot_be_asked_are_named(model, other, task):
    long = make_item("sw", 8, main="x" * 300)
    evaluation = run(model, [Tuned("t", other)], task_of([*ITEMS, long]))
    assert list(evaluation.failures) == ["sw8"]
    assert "sw8" not in {row.item for row in evaluation.rows}
    assert any("1 items" in note for note in evaluation.notes)
    with pytest.raises(TaskError, match="None of the 1"):
        run(model, [Tuned("t", other)], task_of([long]))


def test_the_model_is_as_it_was(model, space, task):
    before = {name: value.clone() for name, value in model.hf.state_dict().items()}
    run(model, [Steered("s", space, 2.0, (0, 1)), TRANSPLANT], task)
    assert all(torch.equal(value, before[name]) for name, value in model.hf.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())


def test_progress_is_told_for_each_condition(model, other, space, task):
    told = []
    steering = Steered("s", space, 1.0, (0,))
    conditions = [Tuned("t", {"sw": other, "es": other}), steering, TRANSPLANT]
    run(model, conditions, task, progress=lambda name, state: told.append((name, state)))
    assert list(dict.fromkeys(name for name, _ in told)) == ["unmodified", "t", "s", "ffn:1:2"]
    for name, rows in (("unmodified", 18), ("t", 24), ("s", 24), ("ffn:1:2", 12)):
        states = [state for label, state in told if label == name]
        assert states[-1].rows == states[-1].all_rows == states[-1].done == rows
        assert [s.rows for s in states] == sorted(s.rows for s in states)
    assert {s.stage for label, s in told if label == "ffn:1:2"} == {"capture", "answer"}


def test_conditions_and_rules_that_cannot_be(model, task):
    with pytest.raises(UsageError, match="nothing to compare"):
        run(model, [Unmodified()], task)
    with pytest.raises(UsageError, match="'best'"):
        run(model, [TRANSPLANT], task, rule="best")
    with pytest.raises(UsageError, match=r"'option_or_label'.* option, contains, exact"):
        run(model, [TRANSPLANT], task, rule="option_or_label")
    same = task_of([replace(item, options=("(1)", "(2)"), answer="(1)") for item in ITEMS])
    with pytest.raises(UsageError, match="first_token"):
        run(model, [TRANSPLANT], same, rule="first_token")
    opened = task_of([replace(item, options=None) for item in ITEMS])
    with pytest.raises(UsageError, match="likelihood"):
        run(model, [TRANSPLANT], opened, rule="likelihood")
    with pytest.raises(TaskError, match="max_new_tokens"):
        run(model, [TRANSPLANT], task, max_new_tokens=0)


def test_transplants_that_the_model_cannot_have(model, task):
    for transplant in (Transplanted("t", "ffn", 4, 0), Transplanted("t", "ffn", 0, -5)):
        with pytest.raises(PairError, match="4 blocks"):
            run(model, [transplant], task)
    with pytest.raises(PairError, match="'mlp'"):
        run(model, [Transplanted("t", "mlp", 0, 0)], task)


def test_spaces_that_do_not_fit(model, make_space, task):
    def steer(space, layers=(0,)):
        run(model, [Steered("s", space, 1.0, layers)], task)

    with pytest.raises(SpaceError, match="no language 'es'"):
        steer(make_space(("en", "sw")))
    with pytest.raises(SpaceError, match="probe this model"):
        steer(make_space(n_layers=3))
    with pytest.raises(PairError, match="4 blocks"):
        steer(make_space(), (9,))
    with pytest.raises(SpaceError, match="central language of the space is 'en'"):
        run(model, [Steered("s", make_space(), 1.0, (0,))], task, central="es")
    found = make_space()
    for name, word in (("weights_hash", "weights"), ("tokenizer_hash", "tokenizer")):
        identity = model.identity | {name: "0"}
        record = SpaceRecord(model={"name": "another", "identity": identity})
        with pytest.raises(SpaceError, match=f"another .*{word}.*probe this model"):
            steer(replace(found, record=record))
    # In another type of numbers the same weights have another hash.
    identity = model.identity | {"weights_hash": "0", "dtype": "bfloat16"}
    steer(replace(found, record=SpaceRecord(model={"name": "x", "identity": identity})))


def test_the_central_language_comes_from_the_space(model, make_space):
    space = make_space(("es", "sw"))
    items = [make_item("sw", k, aux_lang="es") for k in range(2)]
    evaluation = run(model, [Steered("s", space, 1.0, (0,))], task_of(items))
    assert evaluation.central == "es"
    assert evaluation.questions == {"es": 2, "sw": 2}


def test_every_trained_model_is_looked_at_before_anything_is_answered(
    model, task, tmp_path, monkeypatch
):
    """Also what only its files can tell, and in the last condition."""
    good = save_tiny(tmp_path / "good", seed=1)
    wide = save_tiny(tmp_path / "wide", vocab_size=300)
    broken = save_tiny(tmp_path / "broken")
    (broken / "config.json").write_text("{")
    pickled = save_tiny(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    named = {"base_model_name_or_path": str(tmp_path / "a" / "gone"), "peft_type": "LORA"}
    (adapter / "adapter_config.json").write_text(json.dumps(named))
    (adapter / "adapter_model.safetensors").write_text("")
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    told = []
    for source, word in (
        (wide, "300 tokens"),
        (broken, "Cannot load"),
        (pickled, "pickled"),
        (adapter, "gone"),
        ("runs/typo", "no folder 'runs/typo'"),
        ("./typo", "no folder"),
        ("a\\b", "no folder"),
        ("no-such-model", "Cannot load"),
    ):
        with pytest.raises(ModelError, match=word):
            run(
                model,
                [Tuned("good", good), Tuned("bad", source)],
                task,
                progress=lambda name, _: told.append(name),
            )
    assert told == []


def test_trained_models_that_do_not_fit(model, other, task, tmp_path):
    with pytest.raises(UsageError, match="'hi'"):
        run(model, [Tuned("t", {"hi": other})], task)
    with pytest.raises(ModelError, match="no folder"):
        run(model, [Tuned("t", tmp_path / "nowhere")], task)
    with pytest.raises(ModelError, match="300 tokens"):
        run(model, [Tuned("t", wrapped(vocab_size=300))], task)
    reading = type(model.tokenizer)(
        tokenizer_object=model.tokenizer.backend_tokenizer, eos_token="<eos>"
    )
    from tokenizers import normalizers

    backend = type(reading.backend_tokenizer).from_str(reading.backend_tokenizer.to_str())
    backend.normalizer = normalizers.Lowercase()
    lower = type(model.tokenizer)(tokenizer_object=backend, eos_token="<eos>")
    with pytest.raises(ModelError, match="reads the questions otherwise"):
        run(model, [Tuned("t", replace(other, tokenizer=lower))], task)
    run(model, [Tuned("t", replace(other, tokenizer=reading))], task)
