"""Answers have the token ids that follow their prompt, whatever kind of tokenizer writes them."""

from __future__ import annotations

import copy
import json
import math
import unicodedata

import pytest
import torch
from transformers import AutoTokenizer

import crosslatent as xl
from crosslatent.analysis import summarise
from crosslatent.answering.scoring import ItemScorer, spell
from crosslatent.cli.app import main as command
from crosslatent.core.errors import PromptError
from crosslatent.lens.training.answer_objective import spelling
from crosslatent.model.chat import Prompt
from crosslatent.model.continuation import context_of, written
from crosslatent.model.prompts import encode_many
from crosslatent.report.sections import notes
from crosslatent.tasks import Item
from crosslatent.tasks.item import Shot
from support.models import tiny_model
from support.tokenizers_of_all_kinds import KINDS, SLOW, tokenizer_of
from support.two_stacks import tiny_two_stacks

ALL = (*KINDS, *SLOW)
PROMPTS = (
    "Sky?\nA blue\nB red\nAnswer:\n", "Answer:", "Answer: ", "Answer:\n\n", "Answer:\n ",
    "Jibu: (", "（", "答案", "答案：", "un", "play", "Year: 19", "उत्तर:", "उत्तर: ",
    "الجواب:", "คำตอบ", "คำตอบ: ", "e", "Ответ:", "A",
)  # fmt: skip
ANSWERS = (
    "A", "B", "(1)", "（1）", "是", "1963", "62", "हाँ", "نعم", "ใช่", "\u0301x", "happy",
    "ing", "yes", "да", "the sea", "A)", "ि",
)  # fmt: skip
LOSSY = ("wordpiece", "unigram", "unigram-t5", "words", "ends-of-words", "sentencepiece-slow")
"""Kinds that cannot write every text after every other one, or not to the letter."""


def model_of(kind, **overrides):
    tokenizer = tokenizer_of(kind)
    hf, _ = tiny_model("llama", vocab_size=len(tokenizer), **overrides)
    return xl.wrap(hf, tokenizer)


def text_of(model, ids):
    return model.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)


def together(model, context, text):
    """Ids of both as one text, without what the tokenizer puts at the end of every text."""
    ids = model.tokenizer(context.text + text, add_special_tokens=context.special)["input_ids"]
    ended = (
        context.special and model.tokenizer("a")["input_ids"][-1] == model.tokenizer.eos_token_id
    )
    return tuple(ids[:-1] if ended else ids)


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_what_follows_the_prompt_decodes_to_the_answer(kind, chat):
    model = model_of(kind)
    joined = 0
    for prompt in map(Prompt, PROMPTS):
        (asked,) = encode_many(model, [prompt], chat=chat)
        context = context_of(model, prompt, asked, chat=chat)
        texts = [blank + answer for answer in ANSWERS for blank in ("", " ")]
        for text, found in zip(texts, written(model, [(context, t) for t in texts]), strict=True):
            whole = together(model, context, text)
            before = tuple(asked)
            if whole[: len(before)] == before and len(whole) > len(before):
                assert not found.moved
                assert found.ids == whole[len(before) :]
                joined += 1
                continue
            assert found.moved
            said = {text_of(model, before) + text, text_of(model, whole)}
            written_text = text_of(model, before + found.ids)
            if kind not in LOSSY:
                said = {unicodedata.normalize("NFKC", each) for each in said}
                assert unicodedata.normalize("NFKC", written_text) in said
    assert joined > len(PROMPTS) * len(ANSWERS) // 2


@pytest.mark.parametrize(
    ("kind", "prompt", "answer", "expected"),
    [
        # The blank of SentencePiece stands before a text alone, and not after a line break.
        ("llama-2", "Answer:\n", "B", ["B"]),
        ("metaspace-always", "Jibu:\n", "B", ["B"]),
        ("metaspace-first", "Jibu:\n", "B", ["B"]),
        ("metaspace-never", "Jibu:\n", "B", ["B"]),
        ("sentencepiece-slow", "Jibu: (", "B", ["B"]),
        ("unigram", "Jibu\n", "B", ["B"]),
        ("byte-level-blank", "Jibu:\n", "B", ["B"]),
        # A blank at the prompt's end stays there.
        ("llama-2", "Jibu: ", "B", ["B"]),
        ("metaspace-first", "Jibu: ", "B", ["B"]),
        ("byte-level", "Jibu: ", "B", ["B"]),
        ("byte-level-llama-3", "Jibu: ", "B", ["B"]),
        # A word that goes on is none that begins.
        ("wordpiece", "play", "ing", ["##ing"]),
        ("wordpiece", "Jibu:", "B", ["B"]),
        # ":A" is one token.
        ("byte-level-llama-3", "Answer:", "A", ["A"]),
        ("unigram-t5", "Jibu: ", "B", ["▁", "B"]),
        ("words", "Jibu:", "(1)", ["(", "1", ")"]),
    ],
)
def test_pieces(kind, prompt, answer, expected):
    model = model_of(kind)
    (asked,) = encode_many(model, [Prompt(prompt)])
    context = context_of(model, Prompt(prompt), asked, chat=False)
    (found,) = written(model, [(context, answer)])
    assert model.tokenizer.convert_ids_to_tokens(list(found.ids)) == expected


@pytest.mark.parametrize("kind", ALL)
def test_long_prompts_give_what_they_give_as_a_whole(kind, monkeypatch):
    model = model_of(kind)
    before = "Sky?\nA blue\nB red\nAnswer: (1)\n\nJibu: नहीं 答案：是 الجواب:لا\n" * 9
    prompts = [Prompt(before + prompt) for prompt in PROMPTS]
    for chat in (False, True):
        asked = encode_many(model, prompts, chat=chat)
        contexts = [
            context_of(model, prompt, ids, chat=chat)
            for prompt, ids in zip(prompts, asked, strict=True)
        ]
        pairs = [(context, text) for context in contexts for text in ANSWERS]
        found = written(model, pairs)
        with monkeypatch.context() as patch:
            patch.setattr("crosslatent.model.continuation._TAIL", 10**6)
            assert found == written(model, pairs)


def test_few_letters_of_long_prompts_are_read(monkeypatch):
    model = model_of("llama-2")
    prompt = Prompt("Sky?\nA blue\nB red\nAnswer: (1)\n\n" * 100)
    (asked,) = encode_many(model, [prompt])
    context = context_of(model, prompt, asked, chat=False)
    read = []
    real = type(model.tokenizer).__call__

    def counting(self, text=None, **settings):
        read.append(sum(map(len, text)))
        return real(self, text, **settings)

    monkeypatch.setattr(type(model.tokenizer), "__call__", counting)
    written(model, [(context, answer) for answer in ANSWERS])
    assert sum(read) < 200 * (len(ANSWERS) + 1)


def answer_ids(model, prompt, option):
    """Spellings of an option after a prompt, where nothing is retokenised."""
    start = tuple(model.tokenizer(prompt)["input_ids"])
    found = [tuple(model.tokenizer(prompt + blank + option)["input_ids"]) for blank in ("", " ")]
    assert all(ids[: len(start)] == start for ids in found)
    return start, [ids[len(start) :] for ids in found]


def logprobs(model, start, ids):
    """Log-probabilities of ids after others, from one forward over both."""
    with torch.no_grad():
        probs = model.hf(torch.tensor([[*start, *ids]])).logits[0].log_softmax(-1)
    return [probs[len(start) - 1 + at, token].item() for at, token in enumerate(ids)]


SWEPT = (
    "llama-2", "metaspace-always", "metaspace-first", "unigram", "byte-level-llama-3", "wordpiece",
    "sentencepiece-slow",
)  # fmt: skip
ITEM = {
    "id": "q", "lang": "en", "aux_lang": "en", "aux": "Sky?\nAnswer yes or no\n", "answer": "yes",
    "options": ["yes", "no"],
}  # fmt: skip


@pytest.mark.parametrize("engine", ["auto", "oracle"])
@pytest.mark.parametrize("kind", SWEPT)
@pytest.mark.parametrize("score_only", [False, True])
def test_scores_of_a_sweep_are_those_of_whole_forwards(tmp_path, kind, engine, score_only):
    model = model_of(kind)
    prompt = "Year? B red (1)\nJibu\n"
    run = xl.sweep(
        model,
        [ITEM | {"main": prompt}],
        pairs="0:0",
        component="ffn",
        score_options=True,
        score_only=score_only,
        max_new_tokens=None if score_only else 2,
        engine=engine,
        out=tmp_path / "run",
    )
    rows = {row["control"]: row for row in run.to_pandas().to_dict("records")}
    starts = {}
    for name, text in (("vanilla", prompt), ("translate_test", ITEM["aux"])):
        expected, means = [], []
        for option in ITEM["options"]:
            start, found = answer_ids(model, text, option)
            sums = [
                (sum(values), len(values)) for values in (logprobs(model, start, i) for i in found)
            ]
            best = max(sums)
            expected.append(best[0])
            means.append(best[0] / best[1])
            starts[name, option] = {ids[0] for ids in found}, start
        assert list(rows[name]["option_scores"]) == pytest.approx(expected, abs=2e-4)
        assert list(rows[name]["option_means"]) == pytest.approx(means, abs=2e-4)
        assert rows[name]["gold_score"] == pytest.approx(expected[0], abs=2e-4)
        assert rows[name]["correct_by_rule"]["likelihood"] == (expected[0] > expected[1])
    yes, start = starts["vanilla", "yes"]
    no, _ = starts["vanilla", "no"]
    own = sorted(yes - no)
    if own:
        probs = [logprobs(model, start, [token])[0] for token in own]
        total = math.log(sum(math.exp(value) for value in probs))
        assert rows["vanilla"]["gold_logprob"] == pytest.approx(total, abs=2e-4)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"]["respelled"] == 0


@pytest.mark.parametrize("kind", ["llama-2", "metaspace-first", "byte-level-llama-3"])
def test_scores_after_shots_and_through_a_chat_template(tmp_path, kind):
    model = model_of(kind)
    shots = [["Year?\nJibu\n", "no", "Year?\n", "no"]]
    for chat in (False, True):
        run = xl.sweep(
            model,
            [ITEM | {"main": "Sky?\nJibu\n", "shots": shots}],
            pairs="0:0",
            score_only=True,
            chat=chat,
            out=tmp_path / str(chat),
        )
        row = next(r for r in run.to_pandas().to_dict("records") if r["control"] == "vanilla")
        text = "Year?\nJibu\n no\n\nSky?\nJibu\n"
        if chat:
            turns = [("user", "Year?\nJibu\n"), ("assistant", "no"), ("user", "Sky?\nJibu\n")]
            text = model.tokenizer.apply_chat_template(
                [{"role": role, "content": content} for role, content in turns],
                tokenize=False,
                add_generation_prompt=True,
            )
        special = {"add_special_tokens": not chat}
        start = model.tokenizer(text, **special)["input_ids"]
        scores = []
        for option in ITEM["options"]:
            both = [model.tokenizer(text + b + option, **special)["input_ids"] for b in ("", " ")]
            assert all(ids[: len(start)] == start for ids in both)
            scores.append(max(sum(logprobs(model, start, ids[len(start) :])) for ids in both))
        assert list(row["option_scores"]) == pytest.approx(scores, abs=2e-4)


def test_a_prompt_whose_end_would_change_is_counted(tmp_path, capsys):
    model = model_of("byte-level-llama-3")
    folder = tmp_path / "model"
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    items = [ITEM | {"id": "blank", "main": "Jibu: "}, ITEM | {"id": "line", "main": "Jibu\n"}]
    prompts = tmp_path / "q.jsonl"
    prompts.write_text("".join(json.dumps(item) + "\n" for item in items))
    arguments = ["sweep", "--model", str(folder), "--prompts", str(prompts), "--score-options",
                 "--max-new-tokens", "1", "--pairs", "0:0", "--device", "cpu"]  # fmt: skip
    assert command([*arguments, "--out", str(tmp_path / "run")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "In 1 of 2 items an answer would be other tokens together with its prompt" in said
    run = xl.Run(tmp_path / "run")
    row = next(
        r
        for r in run.to_pandas().to_dict("records")
        if (r["control"], r["item"]) == ("vanilla", "blank")
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    start = tokenizer("Jibu: ")["input_ids"]
    bare = [tokenizer("\n" + text)["input_ids"][2:] for text in ("yes", "no", " yes", " no")]
    found = [sum(logprobs(model, start, ids)) for ids in bare]
    expected = [max(found[0], found[2]), max(found[1], found[3])]
    assert list(row["option_scores"]) == pytest.approx(expected, abs=2e-4)
    (summary,) = summarise([tmp_path / "run"]).runs
    assert summary.coverage.respelled == 1
    assert any("In 1 question an option or gold answer" in note for note in notes(summary))


def test_an_answer_without_tokens_is_said():
    model = model_of("unigram-t5")
    item = Item("q", "en", "en", "Jibu:", "x", options=("yes", " "))
    assert ItemScorer(model, item, "option").watch  # nothing is lost where it is not scored
    with pytest.raises(PromptError, match="drops the option ' ', so it cannot be scored"):
        ItemScorer(model, item, "option", whole=True)


@pytest.mark.parametrize("kind", ["byte-level-ended", "unigram-t5", "byt5"])
def test_an_end_token_is_no_part_of_an_answer(kind):
    model = model_of(kind)
    item = Item("q", "en", "en", "Jibu:", "x", options=("yes", "no"))
    scorer = ItemScorer(model, item, "option", whole=True)
    end = model.tokenizer.eos_token_id
    assert scorer.continuations
    assert all(end not in ids for ids in scorer.continuations)


class TestDecoders:
    """The decoder of an encoder-decoder writes from a start of its own."""

    @staticmethod
    def spelled(tokenizer, **settings):
        hf = tiny_two_stacks("bart", vocab_size=len(tokenizer), **settings)
        model = xl.wrap(hf, tokenizer)
        asked = [(context_of(model, Prompt("Jibu: "), [5], chat=False), ("yes", "no"))]
        (found,) = spell(model, asked)
        return [
            [tokenizer.convert_ids_to_tokens(list(ids)) for ids in spellings]
            for _, spellings in found.answers
        ]

    def test_a_blank_begins_a_text(self):
        found = self.spelled(tokenizer_of("unigram-t5"), decoder_start_token_id=0)
        assert all(len(spellings) == 1 for spellings in found)  # " yes" is the same text
        assert [spellings[0][0][0] for spellings in found] == ["▁", "▁"]

    def test_a_begin_token_that_is_not_forced_is_written(self):
        tokenizer = tokenizer_of("byte-level-llama-3")
        spelled = self.spelled(tokenizer, decoder_start_token_id=tokenizer.eos_token_id)
        assert {ids[0] for found in spelled for ids in found} == {"<s>"}

    @pytest.mark.parametrize("name", ["forced_bos_token_id", "decoder_start_token_id"])
    def test_one_that_is_read_already_is_not(self, name):
        tokenizer = tokenizer_of("byte-level-llama-3")
        found = self.spelled(tokenizer, **{name: tokenizer.bos_token_id})
        assert "<s>" not in {ids[0] for spellings in found for ids in spellings}


@pytest.mark.parametrize("kind", ["llama-2", "metaspace-first", "byte-level-llama-3", "wordpiece"])
def test_training_on_answers_takes_what_follows_the_prompt(kind):
    model = model_of(kind)
    for text, chat in (("Jibu\n", False), ("Jibu:", False), ("Jibu:", True), ("答案：", False)):
        prompt = Prompt(text)
        (asked,) = encode_many(model, [prompt], chat=chat)
        ids = spelling(model, prompt, asked, "yes", chat=chat)
        blank = " " if text == "Jibu:" and not chat else ""
        context = context_of(model, prompt, asked, chat=chat)
        whole = together(model, context, blank + "yes")
        if whole[: len(asked)] == tuple(asked):
            assert ids == whole[len(asked) :]
        else:
            assert text_of(model, [*asked, *ids]) == text_of(model, whole)


def test_the_harness_keeps_the_context(caplog):
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra: lm-eval)")
    from lm_eval.api.instance import Instance

    from crosslatent.harness.command import Arguments
    from crosslatent.harness.lm import CrosslatentLM

    model = model_of("byte-level-llama-3")
    lm = CrosslatentLM(model, Arguments("tiny"))
    requests = [
        Instance("loglikelihood", {}, ("Answer:", text), 0, ("t", 0, 1)) for text in ("A", " A")
    ]
    start = model.tokenizer("Answer:")["input_ids"]
    joined = model.tokenizer("Answer:A")["input_ids"]
    assert joined[: len(start)] != start  # what the harness's own model would cut in two
    with caplog.at_level("WARNING"):
        found = lm.loglikelihood(requests, disable_tqdm=True)
    for text, (score, _) in zip(("A", " A"), found, strict=True):
        ids = model.tokenizer("\n" + text)["input_ids"][2:]
        assert score == pytest.approx(sum(logprobs(model, start, ids)), abs=2e-4)
    assert "In 1 of 2 requests context and continuation would have other tokens" in caplog.text


def test_tokens_that_the_model_lacks_are_said_for_one_item_alone():
    tokenizer = copy.deepcopy(tokenizer_of("byte-level"))
    size = len(tokenizer)
    tokenizer.add_tokens(["<image>"])
    hf, _ = tiny_model("llama", vocab_size=size)
    model = xl.wrap(hf, tokenizer)
    item = Item(
        "q", "en", "en", "Jibu:", "x", options=("<image>", "no"), shots=(Shot("a", "b", "c", "d"),)
    )
    with pytest.raises(PromptError, match="The option '<image>' holds the token"):
        ItemScorer(model, item, "option")
