"""What a condition was trained on is refused, or stands beside every figure."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from crosslatent.cli import lens_eval
from crosslatent.core.errors import ModelError, UsageError
from crosslatent.core.seen import read_seen
from crosslatent.lens.evaluation.evaluated_conditions import Combined, Steered, Transplanted, Tuned
from crosslatent.lens.evaluation.evaluating import evaluate
from crosslatent.lens.evaluation.evaluation_record import ALL, Evaluation
from crosslatent.lens.probing import probe
from crosslatent.lens.space import MARKER, load_space
from crosslatent.lens.text_streams import parallel_of_items, texts_of_items
from crosslatent.lens.training.answer_objective import train_answers
from crosslatent.lens.training.lens_objective import train
from crosslatent.lens.training.train_spec import LoraSpec, TrainSpec
from crosslatent.model import load
from crosslatent.report.lens import write_evaluation_report
from crosslatent.report.lens.evaluation_words import OPEN, state, verdict
from crosslatent.tasks import Item, task_of
from crosslatent.tasks.item import Shot
from support.models import save_tiny

SPEC = TrainSpec(blocks=1, max_steps=1, held_out=0.25)
MAINS = {
    "sw": "Swali la {} ni lipi? Jibu:",
    "es": "¿Cuál es la Pregunta {}? Respuesta:",
    "hi": "प्रश्न {} क्या है? उत्तर:",
    "zh": "问题 {} 是什么？答案：",
}
TEXTS = ["The sky is blue.", "Water boils."]


def item(lang="sw", fact=0, **changes):
    fields = {
        "id": f"{lang}{fact}",
        "lang": lang,
        "aux_lang": "en",
        "main": MAINS[lang].format(fact),
        "aux": f"What is question {fact}? Answer:",
        "answer": "AB"[fact % 2],
        "options": ("A", "B"),
        "cluster": f"fact-{fact}",
        "split": "pilot" if fact < 4 else "final",
    }
    return Item(**(fields | changes))


PILOT = tuple(item(lang, fact) for fact in range(4) for lang in ("sw", "es"))
FINAL = tuple(item(lang, fact) for fact in range(4, 8) for lang in ("sw", "es"))
ELSEWHERE = {"main": "Jambo?", "aux": "Hello?", "cluster": "none", "id": "x"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


@pytest.fixture(scope="module")
def quiz():
    return task_of([*PILOT, *FINAL], "quiz")


@pytest.fixture(scope="module")
def pilot(quiz):
    return quiz.select(splits=("pilot",))


@pytest.fixture(scope="module")
def tuned(model, pilot, tmp_path_factory):
    out = tmp_path_factory.mktemp("answers") / "out"
    return train_answers(model, pilot.items, spec=SPEC, out=out, task=pilot)


@pytest.fixture(scope="module")
def space(model, pilot):
    texts = texts_of_items(pilot.items, ("en", "es", "sw"))
    return probe(model, texts, held_out=0, task=pilot)


def run(model, condition, items, **options):
    options = {"max_new_tokens": 2, "rule": "first_token"} | options
    task = items if hasattr(items, "items") else task_of(items, options.pop("name", "quiz"))
    return evaluate(model, [condition], task, **options)


def refused(model, condition, items, **options):
    with pytest.raises(UsageError, match="were trained on") as told:
        run(model, condition, items, **options)
    assert "--allow-training-data (allow_training_data=True in Python)" in str(told.value)
    return str(told.value)


def test_the_same_questions_are_refused_and_others_are_not(model, tuned, pilot):
    said = refused(model, Tuned("lens", tuned.path), pilot)
    assert said.startswith("8 of 8 questions were trained on for the condition 'lens' (8 by token")
    assert refused(model, Tuned("lens", tuned.model), pilot) == said
    found = run(model, Tuned("lens", tuned.path), FINAL).condition("lens")
    assert (found.fitted, found.trained_on[ALL].n, found.trained_on[ALL].of) == ("known", 0, 8)
    assert not any("trained on" in note for note in found.notes)


@pytest.mark.parametrize(
    ("changes", "by"),
    [
        # The same text, otherwise written.
        ({"main": MAINS["sw"].format(0).upper()}, "normalised text"),
        ({"main": "  Swali  la 0\tni\u00a0lipi ?\nJibu:"}, "normalised text"),
        ({"main": "Swali la 0 ni lipi? Jibu:\n"}, "normalised text"),
        ({"main": "Swali la \u0660 ni lipi\uff1f Jibu\uff1a"}, "normalised text"),
        ({"main": "\u200fSwali la 0 ni lipi? Jibu:"}, "normalised text"),
        ({"main": MAINS["es"].format(0).casefold(), "lang": "es"}, "normalised text"),
        (
            {"lang": "es", "main": "¿Cua\u0301l es la Pregunta 0? Respuesta:"},  # in two characters
            "normalised text",
        ),
        (
            {"main": MAINS["sw"].format(0), "shots": (Shot("a", "A", "b", "B"),)},
            "normalised text",
        ),
        # Under another id and split.
        ({"main": MAINS["sw"].format(0), "id": "zz", "split": "test"}, "token ids"),
        ({"main": MAINS["sw"].format(0), "answer": None}, "token ids"),
        # The same fact, in another language, in other words, or by its counterpart.
        ({"lang": "hi", "main": MAINS["hi"].format(0), "cluster": "fact-0"}, "fact"),
        ({"lang": "zh", "main": MAINS["zh"].format(3), "cluster": "fact-3"}, "fact"),
        ({"main": "Nambari sufuri?", "cluster": "fact-0"}, "fact"),
        ({"lang": "hi", "main": "प्रश्न?", "aux": "What is question 0? Answer:"}, "fact"),
        ({"aux": "WHAT is question 2?  Answer:"}, "fact"),
        ({"paraphrase": MAINS["sw"].format(1)}, "fact"),
    ],
)  # fmt: skip
def test_one_question_is_known_again(model, tuned, changes, by):
    said = refused(model, Tuned("lens", tuned.path), [*FINAL, item(**(ELSEWHERE | changes))])
    assert said.startswith(f"1 of 9 questions were trained on for the condition 'lens' (1 by {by})")


def test_the_chat_form_of_a_question_is_known_again(model, tuned):
    template = "{% for m in messages %}<u>{{ m.content }}</u>{% endfor %}<a>"
    talking = load(model.name)
    talking.tokenizer.chat_template = template
    again = load(tuned.path)
    again.tokenizer.chat_template = template
    said = refused(talking, Tuned("lens", again), PILOT, chat=True)
    assert "8 of 8" in said
    assert "(8 by normalised text)" in said


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "quiz"),
        ({"cluster": "fact-0"}, "another"),  # facts of another task have the same names
        ({"id": "fact-0", "cluster": "fact-0"}, "quiz"),  # a number of a line is no fact
        ({"main": "Swali la 01 ni lipi? Jibu:"}, "quiz"),
        ({"main": "", "aux": "Hello?"} | {"main": "\u200e 7"}, "quiz"),
    ],
)
def test_other_questions_are_not_taken_for_trained_ones(model, tuned, changes, name):
    run(model, Tuned("lens", tuned.path), [item(**(ELSEWHERE | changes))], name=name)


def test_shots_before_a_trained_prompt_were_trained_on(model):
    shot = Shot(MAINS["sw"].format(6), "A", "What is question 6? Answer:", "A")
    before = [replace(one, shots=(shot,)) for one in PILOT]
    trained = train_answers(model, before, spec=SPEC)
    assert "(1 by normalised text)" in refused(model, Tuned("few", trained.model), [item(fact=6)])


def test_without_a_task_facts_are_known_by_their_names_alone(model):
    trained = train_answers(model, PILOT, spec=SPEC)
    one = item("hi", 1, aux="What else?", id="y")
    assert "(1 by fact)" in refused(model, Tuned("t", trained.model), [one], name="whatever")


@pytest.mark.parametrize("lora", [None, LoraSpec(rank=2)])
def test_lens_and_what_its_space_was_fitted_on(model, space, pilot, quiz, tmp_path, lora):
    rows = parallel_of_items(item("sw", fact) for fact in (4, 5, 6))
    out = tmp_path / "lens"
    train(model, space, rows, languages=("sw",), spec=replace(SPEC, lora=lora), out=out, task=quiz)
    for items, count in ((FINAL, "6 of 8"), (PILOT, "8 of 8"), ([item(fact=9)], None)):
        if count is None:
            assert run(model, Tuned("lens", out), items).condition("lens").fitted == "known"
        else:
            assert refused(model, Tuned("lens", out), items).startswith(count)
    loaded = load(out)
    again = train_answers(loaded, [item(fact=one) for one in (10, 11, 12)], spec=SPEC)
    assert refused(model, Tuned("twice", again.model), FINAL).startswith("6 of 8")
    assert "the condition 'unmodified'" in refused(loaded, Transplanted("t", "ffn", 0, 1), FINAL)


def test_the_same_call_again_finds_its_record_or_writes_it(model, tuned, pilot):
    marker = tuned.path / "training" / "seen.json"
    before = marker.read_bytes()
    marker.unlink()
    assert read_seen(tuned.path) is None
    again = train_answers(model, pilot.items, spec=SPEC, out=tuned.path, task=pilot)
    assert marker.read_bytes() == before
    assert again.model.seen is not None


def test_every_figure_says_what_was_trained_on(model, tuned, tmp_path, capsys):
    items = [*PILOT[:2], *FINAL]
    texts = [*TEXTS, "What is question 0?  answer:"]
    known = Tuned("lens", tuned.path)
    said = refused(model, known, FINAL, central_texts=texts)
    assert said.startswith("1 of 3 texts of the divergence were trained on")
    found = run(model, known, items, central_texts=texts, allow_training_data=True)
    one = found.condition("lens")
    assert {key: str(n) for key, n in one.trained_on.items()} == {
        "all": "2 of 10", "sw": "1 of 5", "es": "1 of 5", "en": "1 of 5",
    }  # fmt: skip
    assert str(one.kl_trained_on) == "1 of 3"
    assert one.is_exposed
    assert state(found, one) == OPEN
    assert verdict(found, one) == (
        "2 of 10 questions in the target languages, 1 of 5 questions in English and "
        "1 of 3 texts of the divergence were trained on: nothing is concluded from these figures."
    )
    found.save(tmp_path)
    assert Evaluation.load(tmp_path) == found
    plain = json.loads((tmp_path / "evaluation.json").read_text())["conditions"][1]
    assert plain["trained_on"]["all"] == {"n": 2, "of": 10, "by": {"token ids": 2}}
    write_evaluation_report(found, tmp_path)
    page = (tmp_path / "evaluation.html").read_text()
    for figure in ("2 of 10", "1 of 5", "1 of 3"):
        assert f"{figure} " in page
    assert page.count("were trained on") >= 8  # sentence, notes, both tables, every line of figures
    table = pd.read_csv(tmp_path / "tables" / "conditions.csv").iloc[1]
    columns = ("target_trained_on", "central_trained_on", "kl_trained_on")
    assert list(table[list(columns)]) == ["2 of 10", "1 of 5", "1 of 3"]
    assert (
        list(pd.read_csv(tmp_path / "tables" / "languages.csv")["trained_on"])[1::2]
        == ["1 of 5"] * 3
    )
    for name in ("conditions", "languages"):
        assert "were trained on" in (tmp_path / "tables" / f"{name}.tex").read_text()
    assert "2 of 10 were trained on" in (tmp_path / "figures" / "changes-target.svg").read_text()
    lens_eval.print_evaluation(found)
    shown = capsys.readouterr().out
    assert "target 2 of 10; en 1 of 5; KL 1 of 3" in shown
    assert "(1 of 5 trained on)" in shown
    assert "lens: 2 of 10 questions were trained on (2 by token ids)." in shown


def test_a_model_without_a_record_is_not_known(folder, model, pilot, tmp_path, capsys):
    found = run(model, Tuned("other", folder), pilot)
    one = found.condition("other")
    assert one.fitted == "unknown"
    assert "It is not known what it was trained on." in one.notes
    assert "nothing is concluded" not in verdict(found, one)
    write_evaluation_report(found, tmp_path)
    assert "not known what it was trained on" in (tmp_path / "evaluation.html").read_text()
    lens_eval.print_evaluation(found)
    assert "not known" in capsys.readouterr().out.splitlines()[2]


def test_an_evaluation_of_an_older_version_is_not_known(model, tuned, tmp_path):
    run(model, Tuned("lens", tuned.path), FINAL).save(tmp_path)
    file = tmp_path / "evaluation.json"
    data = json.loads(file.read_text())
    for one in data["conditions"]:
        for name in ("trained_on", "kl_trained_on", "fitted"):
            del one[name]
    file.write_text(json.dumps(data))
    assert Evaluation.load(tmp_path).condition("lens").fitted == "unknown"


def test_spaces_are_refused_like_trained_models(model, space, pilot, tmp_path):
    space.save(tmp_path / "space")
    steering = Steered("s", load_space(tmp_path / "space"), 0.5, (1,))
    carried = Transplanted("t", "ffn", 0, 1)
    for condition in (steering, Combined("both", steering, carried)):
        assert "8 of 8 questions" in refused(model, condition, pilot)
        other = [item("sw", 0, **(ELSEWHERE | {"cluster": "fact-0"})), *FINAL]
        assert "1 of 9 questions" in refused(model, condition, other)
        assert run(model, condition, FINAL).conditions[1].fitted == "known"
    run(model, carried, pilot)  # nothing is fitted
    marked = run(model, steering, pilot, allow_training_data=True).condition("s")
    assert str(marked.trained_on[ALL]) == "8 of 8"


def test_a_space_of_an_older_version_is_not_known(model, space, pilot, tmp_path):
    replace(space, seen=None).save(tmp_path)
    file = tmp_path / MARKER
    data = json.loads(file.read_text())
    del data["seen"]
    file.write_text(json.dumps(data))
    old = load_space(tmp_path)
    assert old.seen is None
    assert run(model, Steered("s", old, 0.5, (1,)), pilot).condition("s").fitted == "unknown"
    trained = train(model, old, parallel_of_items(FINAL), spec=SPEC)
    found = run(model, Tuned("lens", trained.model), pilot).condition("lens")
    assert found.fitted == "partly"
    assert "It is not known what all of it was trained on." in found.notes


@pytest.mark.parametrize("harm", ["json", "arrays", "swapped", "version", "field", "pickle"])
def test_a_damaged_record_is_refused(model, pilot, tmp_path, harm):
    out = tmp_path / "out"
    train_answers(model, pilot.items, spec=SPEC, out=out, task=pilot)
    marker, arrays = (out / "training" / f"seen.{end}" for end in ("json", "safetensors"))
    data = json.loads(marker.read_text())
    if harm == "json":
        marker.write_text("{")
    elif harm == "arrays":
        arrays.unlink()
    elif harm == "swapped":
        arrays.write_bytes(arrays.read_bytes()[:-8] + bytes(8))
    elif harm == "version":
        marker.write_text(json.dumps(data | {"version": 99}))
    elif harm == "field":
        marker.write_text(json.dumps(data | {"complete": "perhaps"}))
    else:
        arrays.write_bytes(b"\x80\x04N.")
    with pytest.raises(ModelError, match="What the model in .* was trained on cannot be read"):
        load(out)
    with pytest.raises(ModelError, match="was trained on cannot be read"):
        run(model, Tuned("lens", out), FINAL)


def test_models_for_one_language_each_have_seen_their_own(model):
    parts = {}
    for lang, facts in (("sw", (0, 1)), ("es", (2, 3))):
        items = [item(lang, fact, aux="") for fact in facts]
        parts[lang] = train_answers(model, items, spec=SPEC, task=task_of(PILOT, "quiz")).model
    mine = [item("sw", 0), item("es", 2)]
    crossed = [item("sw", 2, aux="Two?", cluster="a"), item("es", 0, aux="Nil?", cluster="b")]
    assert refused(model, Tuned("each", parts), mine).startswith("2 of 2")
    run(model, Tuned("each", parts), crossed)
