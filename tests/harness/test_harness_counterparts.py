"""Which document is the counterpart of which, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance

from crosslatent import capture
from crosslatent.core.errors import PairError, PromptError, TaskError, UsageError
from crosslatent.core.specs import Site
from crosslatent.engine import oracle
from crosslatent.interventions.kinds.transplant import Transplant

TRANSPLANT = {"component": "attn", "source": -1, "target": 0, "aux": "en"}


@pytest.fixture(scope="module")
def whole(evaluate):
    return evaluate("choice_sw", **TRANSPLANT)


def test_a_language_code_and_a_task_name_mean_the_same(evaluate, whole):
    named = evaluate("choice_sw", **(TRANSPLANT | {"aux": "choice_en"}))
    assert named.scores("choice_sw") == pytest.approx(whole.scores("choice_sw"))


def test_prompts_that_end_otherwise_are_pointed_out(evaluate, caplog):
    evaluate("choice_sw", **TRANSPLANT)
    assert "In 4 of 6 prompts, main and aux end in different tokens" in caplog.text


def test_a_code_of_two_parts_replaces_two_parts():
    from crosslatent.harness.aux_tasks import AuxTasks
    from crosslatent.harness.command import Building

    finder = AuxTasks("eng_Latn", Building(), str, "")
    assert finder._aux_name("belebele_swh_Latn") == "belebele_eng_Latn"


@pytest.mark.parametrize("flags", [{"limit": 4}, {"samples": {"choice_sw": [1, 4, 5]}}], ids=str)
def test_part_of_the_documents_have_the_same_counterparts(evaluate, whole, flags):
    part = evaluate("choice_sw", flags=flags, **TRANSPLANT).responses("choice_sw")
    chosen = [1, 4, 5] if "samples" in flags else range(4)
    expected = [whole.responses("choice_sw")[at] for at in chosen]
    assert [said[0] for doc in part for said in doc] == pytest.approx(
        [said[0] for doc in expected for said in doc], abs=1e-4
    )


CHAT = {"apply_chat_template": True, "system_instruction": "Be."}


@pytest.mark.parametrize(
    "flags", [{"num_fewshot": 1}, CHAT, CHAT | {"num_fewshot": 1}], ids=["shots", "chat", "both"]
)
def test_counterparts_have_the_same_examples_and_chats(evaluate, model, flags):
    """The aux context is what the harness itself gives for the same document of the aux task."""
    (main, aux) = (evaluate(name, flags=flags) for name in ("choice_sw", "choice_en"))
    expected = [
        scored(model, *(sample["arguments"][0][0].rstrip() for sample in pair), choice)
        for pair in zip(main.samples("choice_sw"), aux.samples("choice_en"), strict=True)
        for _, choice in pair[0]["arguments"]
    ]
    found = evaluate("choice_sw", flags=flags, **TRANSPLANT, **flags)
    np.testing.assert_allclose(found.scores("choice_sw"), expected, atol=1e-4, rtol=0)


def scored(model, main, aux, choice):
    """Log-probability of a choice after a transplant, by the oracle."""
    edit = Transplant(Site("attn", 0), capture(model, aux, "attn")["attn"][-1])
    ids = model.tokenizer(main)["input_ids"]
    # The blank at the end of the plain contexts, or none at the end of a chat.
    blank = "" if main.endswith(">") else " "
    option = model.tokenizer(blank + choice)["input_ids"]
    return oracle.run_rows(model, ids, [(edit,)], max_new_tokens=1, options=[option])[0].scores[0]


@pytest.mark.parametrize(
    "flags",
    [{"num_fewshot": 1}, {"apply_chat_template": True}, {"system_instruction": "Be brief."}],
    ids=str,
)
def test_flags_that_the_model_was_not_told_are_noticed(evaluate, flags):
    with pytest.raises(TaskError, match=r"'choice_sw' has another context.*num_fewshot=None"):
        evaluate("choice_sw", flags=flags, **TRANSPLANT)


def test_a_seed_that_the_model_was_not_told_is_noticed(evaluate):
    flags = {"num_fewshot": 2, "fewshot_random_seed": 7}
    with pytest.raises(TaskError, match="fewshot_seed=1234"):
        evaluate("choice_sw", flags=flags, num_fewshot=2, **TRANSPLANT)
    evaluate("choice_sw", flags=flags, num_fewshot=2, fewshot_seed=7, **TRANSPLANT)


def test_a_document_without_counterpart_is_named(evaluate):
    with pytest.raises(TaskError, match="Document 4 of task 'choice_sw'.*'choice_short' has 4"):
        evaluate("choice_sw", **(TRANSPLANT | {"aux": "short"}))


def test_a_sample_that_is_there_twice_has_no_clear_counterpart(evaluate):
    flags = {"samples": {"twice_sw": [1, 3]}}
    with pytest.raises(TaskError, match="Document 1 of task 'twice_sw' is 2 times in its data"):
        evaluate("twice_sw", flags=flags, **(TRANSPLANT | {"aux": "choice_en"}))


def test_a_longer_counterpart_is_doubted(evaluate, caplog):
    evaluate("choice_sw", **(TRANSPLANT | {"aux": "long"}))
    assert "'choice_sw' has 6 documents and its counterpart 'choice_long' has 8" in caplog.text


@pytest.mark.parametrize(
    ("task", "changes", "error", "words"),
    [
        ("choice_sw", {"aux": "xx"}, TaskError, "neither 'xx' nor 'choice_xx' is a task"),
        (
            "empty_sw",
            {"aux": "choice_en"},
            PromptError,
            "Document 0 of task 'empty_sw' has an empty",
        ),
        ("choice_sw", {"source": 9}, PairError, "source layer 9 is out of range"),
        ("choice_sw", {"positions": 200}, PromptError, "last 200 tokens"),
        ("rolling_sw", {}, UsageError, "rolling_sw asks for the likelihood of whole texts"),
    ],
)
def test_what_cannot_be_is_refused(evaluate, task, changes, error, words):
    with pytest.raises(error, match=words):
        evaluate(task, **(TRANSPLANT | changes))


@pytest.mark.parametrize("settings", [{"do_sample": True, "temperature": 0.7}, {"num_beams": 2}])
def test_sampling_is_refused(evaluate, settings):
    with pytest.raises(UsageError, match="decoded greedily"):
        evaluate("generate_sw", flags={"gen_kwargs": settings}, **TRANSPLANT)


def test_a_cache_of_answers_is_for_the_unmodified_model_only(evaluate, tmp_path):
    flags = {"use_cache": str(tmp_path / "answers")}
    with pytest.raises(UsageError, match="--use_cache"):
        evaluate("choice_sw", flags=flags, **TRANSPLANT)
    first, second = (evaluate("choice_sw", flags=flags, component="none") for _ in range(2))
    assert first.scores("choice_sw") == second.scores("choice_sw")


def test_a_request_of_no_task_is_refused(model, tasks):
    from crosslatent.harness import CrosslatentLM
    from crosslatent.harness.command import Arguments

    given = {"pretrained": "tiny", "aux_path": str(tasks)} | TRANSPLANT
    lm = CrosslatentLM(model, Arguments.of(given))
    with pytest.raises(TaskError, match="does not say its task"):
        lm.loglikelihood([Instance("loglikelihood", {}, ("a", "b"), 0)])
    unknown = Instance("loglikelihood", {}, ("a", "b"), 0, ("choice_nowhere", 0, 1))
    with pytest.raises(TaskError, match="'choice_nowhere' cannot be found by its name"):
        lm.loglikelihood([unknown])
    with pytest.raises(PromptError, match="no tokens"):
        CrosslatentLM(model, Arguments("tiny")).loglikelihood(
            [Instance("loglikelihood", {}, ("a", ""), 0)]
        )
