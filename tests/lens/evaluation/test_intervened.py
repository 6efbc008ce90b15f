"""Interventions as a condition: neurons and heads changed while questions and texts are read."""

from __future__ import annotations

import pytest
import torch

from crosslatent.core.errors import PairError, UsageError
from crosslatent.engine import oracle
from crosslatent.interventions.condition import conditions_of
from crosslatent.interventions.intervention import ALL
from crosslatent.interventions.kinds.ablate import Ablate
from crosslatent.interventions.patched import everywhere
from crosslatent.lens.evaluation.evaluating import evaluate
from crosslatent.lens.evaluation.evaluation_record import Evaluation
from crosslatent.tasks import Item, task_of
from support.rows import ids_of, wrapped

NEW_TOKENS = 4
TEXTS = ["The sky is blue.", "Water boils.", "Trees are green, mostly."]
NEURONS = "neurons=ablate:neurons:1:" + ",".join(map(str, range(40)))
HEAD = "head=ablate:heads:-1:0,2:3.0"


def make_item(lang, fact):
    return Item(
        id=f"{lang}{fact}",
        lang=lang,
        aux_lang="en",
        main=f"Swali la {fact} ni lipi? {lang}:",
        aux=f"What is question {fact}? Answer:",
        answer="AB"[fact % 2],
        options=("A", "B"),
        cluster=f"fact-{fact}",
    )


@pytest.fixture(scope="module")
def model():
    return wrapped()


@pytest.fixture(scope="module")
def task():
    return task_of([make_item(lang, fact) for fact in range(4) for lang in ("sw", "es")])


@pytest.fixture(scope="module")
def evaluation(model, task):
    return evaluate(
        model,
        [NEURONS, HEAD, "ablate:ffn:0:all@last"],
        task,
        central_texts=TEXTS,
        max_new_tokens=NEW_TOKENS,
        rule="first_token",
    )


def test_answers_are_those_of_the_oracle_under_the_same_intervention(model, task, evaluation):
    questions = {item.id: item for item in task.items}
    changed = 0
    for name, row in (
        ("neurons", Ablate.of(model, "neurons", 1, range(40), tokens=ALL)),
        ("head", Ablate.of(model, "heads", 3, (2, 0), scale=3.0, tokens=ALL)),
    ):
        answers = [row for row in evaluation.rows if row.condition == name]
        assert {answer.role for answer in answers} == {"target", "central"}
        for answer in answers:
            item = questions[answer.item]
            text = item.aux if answer.role == "central" else item.main
            (right,) = oracle.run_rows(
                model, ids_of(model, text), [(row,)], max_new_tokens=NEW_TOKENS
            )
            assert answer.output == model.text_of(list(right.ids))
            (plain,) = oracle.run_rows(model, ids_of(model, text), [()], max_new_tokens=NEW_TOKENS)
            changed += plain.ids != right.ids
    assert changed > 5


def test_the_divergence_is_that_of_forwards_under_it(model, evaluation):
    row = (Ablate.of(model, "neurons", 1, range(40), tokens=ALL),)
    values = []
    for text in TEXTS:
        ids = torch.tensor([ids_of(model, text)])
        with torch.no_grad():
            before = model.hf(ids).logits[0, :-1].log_softmax(-1)
            with everywhere(model, row):
                after = model.hf(ids).logits[0, :-1].log_softmax(-1)
        values += (before.exp() * (before - after)).sum(-1).tolist()
    found = next(one for one in evaluation.conditions if one.name == "neurons")
    assert found.kl is not None
    assert found.kl.value == pytest.approx(sum(values) / len(values), rel=1e-3)


def test_the_folder_says_what_was_done(model, evaluation, tmp_path):
    (head_row,) = conditions_of(model, [HEAD])
    evaluation.save(tmp_path / "out")
    again = Evaluation.load(tmp_path / "out")
    neurons, head, everywhere = again.conditions[1:]
    assert neurons.kind == head.kind == "intervention"
    assert neurons.about == "40 neurons of block 1 set to zero, at every token."
    assert head.about == "16 dimensions of heads of block 3 scaled by 3, at every token."
    assert everywhere.about == "All ffn of block 0 set to zero, at the last token of the prompt."
    assert everywhere.kl is None
    assert any("the divergence is not measured" in note for note in everywhere.notes)
    assert head.settings["id"] == head_row.id
    (plain,) = head.settings["interventions"]
    assert plain["kind"] == "ablate"
    assert plain["site"] == {"component": "heads", "layer": 3}


def test_what_the_model_does_not_have_is_refused_before_anything_is_answered(model, task):
    asked = {"max_new_tokens": NEW_TOKENS, "rule": "first_token"}
    for condition, reason in (
        ("ablate:heads:0:4", "no head 4: this block has 4"),
        ("ablate:neurons:9:0", "ablated layer 9 is out of range"),
        ("ablate:ffn:0:32", "no dimension 32: ffn has 32"),
        ("ablate:ffn:0", "COMPONENT:LAYERS:UNITS"),
        ("off:0", "no kind 'off'"),
    ):
        with pytest.raises(UsageError, match=reason):
            evaluate(model, [condition], task, **asked)
    with pytest.raises(PairError, match="no 'neurons' that could be proven"):
        evaluate(wrapped("mixtral"), ["ablate:neurons:0:all"], task, **asked)
    with pytest.raises(UsageError, match=r"two|Two conditions"):
        evaluate(model, ["a=ablate:heads:0:1", "a=ablate:heads:0:2"], task, **asked)
    with pytest.raises(UsageError, match="'a' and 'b' change the same"):
        evaluate(model, ["a=ablate:heads:0:1", "b=ablate:heads:0:1"], task, **asked)
