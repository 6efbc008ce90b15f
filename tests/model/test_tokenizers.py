"""Tokenizers as models come with them: without padding, slow, with a begin token, too large."""

from __future__ import annotations

import copy

import pytest
import torch
from tokenizers import processors
from transformers import ByT5Tokenizer

import crosslatent as xl
from crosslatent import engine
from crosslatent.answering.scoring import ItemScorer
from crosslatent.contracts import CONTRACTS, Subject, run
from crosslatent.core.errors import ModelError, PromptError
from crosslatent.core.specs import canonical_hash
from crosslatent.engine import oracle
from crosslatent.model.chat import Prompt, rendered
from crosslatent.model.prompts import encode, encode_many
from crosslatent.tasks import Item
from support.models import byte_tokenizer, save_tiny, tiny_model
from support.two_stacks import wrapped_stacks

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}"
)
IGNORES_SYSTEM = (
    "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
)
SYSTEM = [{"role": "system", "content": "Answer in Swahili."}, {"role": "user", "content": "Mji?"}]


def model_with(tokenizer, **overrides):
    hf, _ = tiny_model("llama", **({"vocab_size": len(tokenizer)} | overrides))
    return xl.wrap(hf, tokenizer)


def beginning():
    """A tokenizer that puts a begin token before every text, and a template that does, too."""
    tokenizer = copy.deepcopy(byte_tokenizer())
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    tokenizer.chat_template = "{{ bos_token }}" + TURNS
    return tokenizer


def plain_with(template):
    tokenizer = copy.deepcopy(byte_tokenizer())
    tokenizer.chat_template = template
    return tokenizer


def test_there_is_one_begin_token():
    tokenizer = beginning()
    model, begin = model_with(tokenizer), tokenizer.bos_token_id
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Mji?"}], tokenize=False)
    assert tokenizer(text)["input_ids"][:2] == [begin, begin]  # what would go wrong
    chat = encode(model, "Mji?", chat=True)
    assert encode(model, text) == chat
    assert encode_many(model, [Prompt(text), Prompt("Mji?")])[0] == chat
    for ids in (chat, encode(model, "Mji?")):
        assert ids[0] == begin
        assert ids.count(begin) == 1
    assert model.text_of(chat) == "<user>Mji?</>"


def test_a_template_may_add_what_it_likes_but_two_begin_tokens():
    tokenizer = beginning()
    tokenizer.chat_template = "{{ bos_token }}{{ bos_token }}" + TURNS
    model = model_with(tokenizer)
    assert encode(model, "Mji?", chat=True).count(tokenizer.bos_token_id) == 1
    tokenizer.chat_template = TURNS
    assert encode(model, "Mji?", chat=True).count(tokenizer.bos_token_id) == 0


def test_no_padding_token_is_needed():
    tokenizer = copy.deepcopy(byte_tokenizer())
    tokenizer.pad_token = None
    model = model_with(tokenizer, pad_token_id=None)
    assert model.tokenizer.pad_token_id is None
    for contract in ("padding", "generate"):
        outcome = run(contract, Subject.of(model, new_tokens=2))
        assert (outcome.status, outcome.reason) == ("passed", "")


def test_no_end_token_is_needed():
    model = model_with(byte_tokenizer(), eos_token_id=None)
    assert model.hf.generation_config.eos_token_id is None
    assert model.eos_ids == frozenset()
    ids = encode(model, "Mji mkuu?")
    (row,) = oracle.run_rows(model, ids, [()], max_new_tokens=6)
    assert len(row.ids) == 6
    (fast,) = engine.run_rows(model, ids, [()], max_new_tokens=6)
    assert fast.ids == row.ids
    outcome = run("generate", Subject.of(model, new_tokens=3))
    assert (outcome.status, outcome.reason) == ("passed", "")


@pytest.mark.parametrize(
    "contract", [pytest.param(name, marks=pytest.mark.slow) for name in CONTRACTS]
)
def test_contracts_with_a_slow_tokenizer(contract):
    outcome = run(contract, Subject.of(model_with(ByT5Tokenizer())))
    assert (outcome.status, outcome.reason) == ("passed", "")


def test_slow_tokenizers(tmp_path):
    slow = ByT5Tokenizer()
    assert not slow.is_fast
    folder = save_tiny(tmp_path / "model", vocab_size=len(slow))
    for path in folder.glob("tokenizer*"):
        path.unlink()
    slow.chat_template = TURNS
    slow.save_pretrained(folder)
    model = xl.load(folder, device="cpu")
    assert not model.tokenizer.is_fast
    assert model.text_of(encode(model, "Mji?", chat=True)).startswith("<user>Mji?")
    one = xl.transplant(
        model, main="Mji?", aux="City?", component="ffn", source=1, target=0, max_new_tokens=4
    )
    assert isinstance(one.output, str)
    # Another vocabulary is another tokenizer, also where nothing but Python knows it.
    fewer = xl.wrap(model.hf, ByT5Tokenizer(extra_ids=100))
    assert fewer.identity["tokenizer_hash"] != model.identity["tokenizer_hash"]


@pytest.mark.parametrize("make", [byte_tokenizer, beginning])
def test_a_tokenizer_used_in_between_is_the_same_tokenizer(make):
    tokenizer = copy.deepcopy(make())
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    hf, _ = tiny_model("llama", vocab_size=len(tokenizer))

    def known() -> str:
        return xl.wrap(hf, tokenizer).identity["tokenizer_hash"]

    before = known()
    # What run folders of earlier versions hold: the whole of a tokenizer that pads nothing.
    whole = [tokenizer.backend_tokenizer.to_str(), getattr(tokenizer, "chat_template", None)]
    assert before == canonical_hash(whole)
    tokenizer(["Mji", "Mji mkuu"], padding="max_length", truncation=True, max_length=6)
    assert tokenizer.backend_tokenizer.padding is not None
    assert tokenizer.backend_tokenizer.truncation is not None
    assert known() == before
    assert tokenizer.backend_tokenizer.truncation is not None, "hashing changes nothing"
    tokenizer.add_tokens(["<image>"])
    assert known() != before


def test_tokens_that_the_model_does_not_know_are_said(tmp_path):
    tokenizer = copy.deepcopy(byte_tokenizer())
    size = len(tokenizer)
    tokenizer.add_tokens(["<image>"])
    model = model_with(tokenizer, vocab_size=size)
    assert encode(model, "Mji?")
    said = rf"token {size} .'<image>'., but the model has embeddings for the tokens 0 to {size - 1}"
    with pytest.raises(PromptError, match="The aux prompt holds the " + said):
        encode(model, "<image> Mji?", role="aux")
    with pytest.raises(PromptError, match="The option '<image>' holds the " + said):
        ItemScorer(
            model, Item("q", "sw", "en", "Mji?", "City?", options=("<image>", "b")), "option"
        )
    run_of = xl.sweep(
        model,
        [{"id": "a", "main": "Mji?", "aux": "City?"}, {"id": "b", "main": "<image>", "aux": "x"}],
        pairs="0:0",
        max_new_tokens=2,
        out=tmp_path / "run",
    )
    assert set(run_of.to_pandas()["item"]) == {"a"}


@pytest.mark.parametrize("make", [byte_tokenizer, ByT5Tokenizer])
def test_ids_that_the_tokenizer_does_not_know_are_no_text(make):
    tokenizer = make()
    model = model_with(tokenizer, vocab_size=len(tokenizer) + 20)
    beyond = len(tokenizer) + 7
    known = tokenizer("Mji", add_special_tokens=False)["input_ids"]
    assert model.text_of([beyond]) == model.token_text(beyond) == ""
    assert model.text_of([*known, beyond, *known]) == "MjiMji"
    # Rows beside those of tokens can be the answer, too: of the likeliest token, make one likelier.
    main = encode(model, "Mji?")
    (row,) = oracle.run_rows(model, main, [()], max_new_tokens=1)
    with torch.no_grad():
        model.hf.lm_head.weight[beyond] = 2 * model.hf.lm_head.weight[row.ids[0]]
    (row,) = oracle.run_rows(model, main, [()], max_new_tokens=1)
    assert row.ids == (beyond,)
    one = xl.transplant(
        model, main="Mji?", aux="City?", component="ffn", source=1, target=0, max_new_tokens=1
    )
    assert one.vanilla == ""


def test_a_system_role_that_the_template_has():
    model = model_with(plain_with(TURNS))
    text = rendered(model, SYSTEM, tokenize=False)
    assert text == "<system>Answer in Swahili.</><user>Mji?</>"
    assert model.text_of(rendered(model, SYSTEM, tokenize=True)) == text


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (NO_SYSTEM + TURNS, "refuses the prompt .System role not supported.: leave out"),
        (IGNORES_SYSTEM, "leaves out the system instruction 'Answer in Swahili.': put it into"),
        ("{{ messages[0].content + none }}", "refuses the prompt .can only concatenate str"),
        ({"tool_use": TURNS}, "refuses the prompt .This model has multiple chat templates"),
    ],
)
@pytest.mark.parametrize("tokenize", [False, True])
def test_a_system_role_that_the_template_has_not(template, says, tokenize):
    model = model_with(plain_with(template))
    with pytest.raises(ModelError, match=says):
        rendered(model, SYSTEM, tokenize=tokenize)
    if template in (NO_SYSTEM + TURNS, IGNORES_SYSTEM):
        assert model.text_of(encode(model, "Mji?", chat=True)) == "<user>Mji?</>"


def test_the_harness_says_what_a_template_cannot():
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (extra: lm-eval)")
    from crosslatent.harness.command import Arguments
    from crosslatent.harness.lm import CrosslatentLM

    lm = CrosslatentLM(model_with(plain_with(NO_SYSTEM + TURNS)), Arguments("tiny"))
    with pytest.raises(ModelError, match="System role not supported"):
        lm.apply_chat_template(SYSTEM)
    assert lm.apply_chat_template(SYSTEM[1:]) == "<user>Mji?</>"
    open_turn = [*SYSTEM[1:], {"role": "assistant", "content": "Ni"}]
    assert lm.apply_chat_template(open_turn, add_generation_prompt=False).endswith(">Ni")


@pytest.mark.parametrize(("role", "subject"), [("", "The prompt"), ("aux", "The aux prompt")])
def test_messages_name_the_prompt_once(role, subject):
    model = model_with(byte_tokenizer())
    with pytest.raises(PromptError, match=rf"^{subject} is empty: "):
        encode(model, " ", role=role)
    with pytest.raises(PromptError, match=rf"^{subject} has \d+ tokens, "):
        encode(model, "x" * 10_000, role=role)


def ending(single):
    """A tokenizer that puts something around every text."""
    tokenizer = copy.deepcopy(byte_tokenizer())
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.add_tokens(["[SEP]"])
    known = {"<s>", "<eos>", "[SEP]"} & set(single.split())
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single,
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in known],
    )
    return tokenizer


ENDINGS = ["$A <eos>", "<s> $A <eos>", "$A [SEP]", "<s> $A <eos> <eos>", "[SEP] $A [SEP] <eos>"]
PROMPTS = ["Mji mkuu?", "Jibu: ", "नमस्ते", "首都", "a", "ends in <eos>"]


@pytest.mark.parametrize("single", ENDINGS)
def test_a_prompt_that_is_gone_on_with_does_not_end_in_an_added_end(single):
    tokenizer = ending(single)
    model = model_with(tokenizer)
    before = [tokenizer.convert_tokens_to_ids(each) for each in single.split("$A")[0].split()]
    for text in PROMPTS:
        own = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer(text)["input_ids"][-1] != own[-1] or text.endswith("<eos>")
        assert encode(model, text) == [*before, *own]
    together = encode_many(model, [Prompt(text) for text in PROMPTS])
    assert together == [encode(model, text) for text in PROMPTS]
    one = xl.transplant(
        model, main="Mji?", aux="City?", component="ffn", source=1, target=0, max_new_tokens=2
    )
    assert (one.main_token, one.aux_token) == ("?", "?")


def test_the_end_of_what_an_encoder_reads_stays():
    model = wrapped_stacks("t5")
    tokenizer = ending("$A <eos>")
    model = xl.wrap(model.hf, tokenizer)
    assert encode(model, "Mji?")[-1] == tokenizer.eos_token_id


def test_python_tokenizers_that_end_every_text():
    tokenizer = ByT5Tokenizer()
    model = model_with(tokenizer)
    assert tokenizer("Mji?")["input_ids"][-1] == tokenizer.eos_token_id
    assert encode(model, "Mji?") == tokenizer("Mji?", add_special_tokens=False)["input_ids"]


def test_examples_and_chats_end_as_they_are_written():
    tokenizer = ending("<s> $A <eos>")
    tokenizer.chat_template = TURNS + "<eos>"
    model = model_with(tokenizer)
    shots = Prompt("Mto?", (("Mji?", "Nairobi"),))
    assert model.text_of(encode(model, shots)) == "Mji? Nairobi\n\nMto?"
    assert encode(model, shots)[-1] != tokenizer.eos_token_id
    # Here it is the template that says so.
    assert encode(model, "Mji?", chat=True)[-1] == tokenizer.eos_token_id
