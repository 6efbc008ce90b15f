"""Numbers of the harness's model: as `hf` without a transplant, as the oracle with one."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance

from crosslatent import capture, transplant
from crosslatent.core.specs import Site
from crosslatent.engine import oracle
from crosslatent.engine.decoding import Decoded
from crosslatent.harness import CrosslatentLM
from crosslatent.harness.answerer import PromptPair
from crosslatent.harness.command import Arguments
from crosslatent.interventions.kinds.transplant import Transplant
from support.rows import wrapped

CHOICES = ("choice_sw", "owncontexts_sw", "mutual_sw")
TRANSPLANT = {"component": "attn", "source": -1, "target": 0, "aux": "en"}
SHOTS = {"num_fewshot": 1}
CHAT = {"apply_chat_template": True, "fewshot_as_multiturn": True}


@pytest.fixture(scope="module")
def transplanted(evaluate):
    return evaluate(*CHOICES, "generate_sw", **TRANSPLANT)


@pytest.fixture(scope="module")
def vanilla(evaluate):
    return evaluate(*CHOICES, "generate_sw", "long_sw", "longgenerate_sw", component="none")


def same(one, other, task):
    """Scores agree within rounding, and so does what is greedy."""
    pairs = [(outcome.scores(task), outcome.responses(task)) for outcome in (one, other)]
    np.testing.assert_allclose(pairs[0][0], pairs[1][0], atol=1e-4, rtol=0)
    flags = [[[flag for _, flag in doc] for doc in responses] for _, responses in pairs]
    assert flags[0] == flags[1]
    assert one.metric(task, "acc") == other.metric(task, "acc")


def test_without_a_transplant_it_is_hf(evaluate, vanilla):
    names = (*CHOICES, "generate_sw", "long_sw", "longgenerate_sw")
    hf = evaluate(*names, hf=True)
    for task in (*CHOICES, "long_sw"):
        same(vanilla, hf, task)
    for task in ("generate_sw", "longgenerate_sw"):
        assert vanilla.responses(task) == hf.responses(task)


@pytest.mark.parametrize("flags", [SHOTS, SHOTS | CHAT, CHAT], ids=["shots", "chat-shots", "chat"])
def test_without_a_transplant_it_is_hf_with_examples_and_chats(evaluate, flags):
    names = ("choice_sw", "generate_sw")
    one, hf = evaluate(*names, flags=flags), evaluate(*names, hf=True, flags=flags)
    same(one, hf, "choice_sw")
    assert one.responses("generate_sw") == hf.responses("generate_sw")


def test_what_is_greedy_is_what_hf_says():
    import torch
    from lm_eval.models.huggingface import HFLM

    from crosslatent.model import wrap
    from support.models import tiny_model

    network, tokenizer = tiny_model("llama", seed=3)
    with torch.no_grad():  # an end token, and tokens that are letters, win often enough
        network.lm_head.weight[tokenizer.eos_token_id] *= 2.5
        network.lm_head.weight[128:] *= 0.1
    model = wrap(network, tokenizer)
    ours = CrosslatentLM(model, Arguments("tiny"))
    hf = HFLM(pretrained=network, tokenizer=tokenizer, batch_size=4, device="cpu")

    requests = []
    for n in range(24):
        context = f"number {n * 37 % 101}"
        ids = tuple(ours.tok_encode(context))
        (answer,) = oracle.run_rows(model, ids, [()], max_new_tokens=4)
        best = model.text_of(list(answer.ids))
        end = "<eos>" if len(answer.ids) < 4 else ""
        texts = (best[:1], best[:2], best + end, best[:1] + "~", "~" + best, "<eos>", "<eos>a")
        requests += [
            Instance("loglikelihood", {}, (context, text), 0, ("any", n, 1))
            for text in texts
            if text
        ]
    expected, found = hf.loglikelihood(requests), ours.loglikelihood(requests)
    np.testing.assert_allclose([s for s, _ in found], [s for s, _ in expected], atol=1e-4, rtol=0)
    assert [flag for _, flag in found] == [flag for _, flag in expected]
    greedy = [r.args[1] for r, (_, flag) in zip(requests, found, strict=True) if flag]
    assert any(text.startswith("<eos>") for text in greedy)
    assert any(len(text) > 1 and "<" not in text for text in greedy)
    assert len(greedy) < len(requests) / 2


def directly(model, main, aux, option, component="attn", source=3, target=0, strength=1.0):
    """Log-probability of an option after a transplant, by the oracle."""
    vector = capture(model, aux, component)[component][source]
    row = (Transplant(Site(component, target), vector, strength),)
    ids, tokens = (model.tokenizer(text)["input_ids"] for text in (main, option))
    (decoded,) = oracle.run_rows(model, ids, [row], max_new_tokens=1, options=[tokens])
    return decoded.scores[0]


@pytest.fixture(scope="module")
def docs(tasks):
    import json

    def read(lang):
        lines = (tasks / f"choice_{lang}.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    return list(zip(read("sw"), read("en"), strict=True))


def test_a_transplant_gives_the_scores_and_accuracy_of_the_oracle(transplanted, model, docs):
    expected = [
        # The blank at the end of the context belongs to the option.
        [directly(model, main["q"], aux["q"], f" {choice}") for choice in main["choices"]]
        for main, aux in docs
    ]
    found = np.array(transplanted.scores("choice_sw")).reshape(len(docs), -1)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    right = [np.argmax(row) == main["gold"] for row, (main, _) in zip(expected, docs, strict=True)]
    assert transplanted.metric("choice_sw", "acc") == np.mean(right)


def test_a_choice_with_its_own_context_has_its_own_counterpart(transplanted, model, docs):
    expected = [
        directly(model, main_start, aux_start, f" {main['end']}")
        for main, aux in docs
        for main_start, aux_start in zip(main["starts"], aux["starts"], strict=True)
    ]
    found = transplanted.scores("owncontexts_sw")
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_choices_alone_are_scored_unmodified(transplanted, vanilla):
    for one, other in zip(
        transplanted.responses("mutual_sw"), vanilla.responses("mutual_sw"), strict=True
    ):
        assert [said[0] for said in one[3:]] == pytest.approx([said[0] for said in other[3:]])
        assert all(abs(a[0] - b[0]) > 1e-3 for a, b in zip(one[:3], other[:3], strict=True))


def test_a_transplant_changes_the_numbers(transplanted, vanilla):
    for task in CHOICES[:2]:
        moved = np.abs(np.subtract(transplanted.scores(task), vanilla.scores(task)))
        assert np.all(moved > 1e-3)
    texts = zip(
        transplanted.responses("generate_sw"), vanilla.responses("generate_sw"), strict=True
    )
    assert all(one != other for one, other in texts)


@pytest.mark.parametrize(
    "way", [{"batch_size": 1}, {"engine": "oracle"}, {"batch_size": 5}], ids=str
)
def test_the_batch_does_not_matter(evaluate, transplanted, way):
    one = evaluate(*CHOICES, "generate_sw", **TRANSPLANT, **way)
    for task in CHOICES:
        same(one, transplanted, task)
    assert one.responses("generate_sw") == transplanted.responses("generate_sw")


def test_strength_and_positions_are_those_of_the_api(evaluate, model, docs):
    ways = {"strength": 0.5, "positions": 3}
    found = evaluate("generate_sw", preset="generation", aux="generate_en", **ways)
    for (main, aux), (text,) in zip(docs, found.responses("generate_sw"), strict=True):
        prompts = {"main": f"{main['q']} A:", "aux": f"{aux['q']} A:"}
        edit = {"component": "ffn", "source": 0, "target": 0, "max_new_tokens": 40}
        whole = transplant(model, **prompts, **edit, **ways).output
        assert text == whole.partition("\n\n")[0]


def test_answers_end_before_the_first_stop(evaluate, model, docs):
    edit = {"component": "attn", "source": -1, "target": 0, "max_new_tokens": 40}
    whole = [
        transplant(model, main=f"{main['q']} A:", aux=f"{aux['q']} A:", **edit).output
        for main, aux in docs
    ]
    # One stop early in one text, and one after the first attempt of another.
    stops = [whole[0][3], whole[1][-1]]
    flags = {"gen_kwargs": {"until": stops}}
    found = evaluate("generate_sw", flags=flags, **TRANSPLANT).responses("generate_sw")
    expected = [text.partition(stops[0])[0].partition(stops[1])[0] for text in whole]
    assert [said[0] for said in found] == expected
    assert expected != whole


def test_settings_are_in_the_results(transplanted):
    config = transplanted.raw["config"]
    assert (config["component"], config["source"], config["target"]) == ("attn", 3, 0)
    assert config["aux"] == "en"


def test_a_model_in_training_mode_answers_as_in_evaluation_mode():
    def asked(kind, *arguments):
        return [Instance(kind, {"q": "x"}, arguments, 0, ("t", 0, 1))]

    model = wrapped("gpt2", resid_pdrop=0.5, embd_pdrop=0.5)
    lm = CrosslatentLM(model, Arguments.of({"pretrained": "unused", "component": "none"}))
    best = oracle.run_rows(model, lm.tok_encode("Mji ni"), [()], max_new_tokens=2)[0].ids

    def act():
        settings = {"until": ["\n\n"], "max_gen_toks": 4}
        greedy = lm._answers._is_greedy
        return (
            lm.loglikelihood(asked("loglikelihood", "Mji ni", " Nairobi"), disable_tqdm=True),
            lm.generate_until(asked("generate_until", "Mji ni", settings), disable_tqdm=True),
            greedy(
                PromptPair(tuple(lm.tok_encode("Mji ni"))), (), best, Decoded(best[:1], (), 0, True)
            ),
        )

    expected = act()
    assert expected[-1] is True
    model.hf.train()
    assert act() == expected
    assert all(module.training for module in model.hf.modules())
