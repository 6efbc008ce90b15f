"""The model and tasks that ship: small, loadable offline, and fitting each other."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
from jinja2.exceptions import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer

from recipes.demo_model.curriculum import all_facts

DEMO = Path(str(files("crosslatent"))) / "data" / "demo"
TASKS = ("demo-facts", "demo-culture", "demo-open", "demo-codes", "demo-order")


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(DEMO / "model", local_files_only=True)


@pytest.fixture(scope="module")
def items():
    lines = [
        line
        for name in TASKS
        for line in (DEMO / "tasks" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return [json.loads(line) for line in lines]


def test_it_stays_small():
    assert sum(file.stat().st_size for file in (DEMO / "model").iterdir()) < 12_000_000


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(DEMO / "model", local_files_only=True).float()


def said(model, tokenizer, prompt, new=6):
    """Tokens of the greedy answer, and its text without the end."""
    inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    out = model.generate(**inputs, max_new_tokens=new, do_sample=False)
    answer = out[0, inputs["input_ids"].shape[1] :].tolist()
    return answer, tokenizer.decode(answer, skip_special_tokens=True).strip()


def test_prompts_are_short_and_end_in_the_same_token(tokenizer, items):
    ids = [tokenizer(item[side])["input_ids"] for item in items for side in ("main", "aux")]
    assert {row[-1] for row in ids} == {tokenizer.convert_tokens_to_ids(":")}
    assert max(map(len, ids)) <= 40


def test_every_name_ends_where_the_lower_blocks_do_not_reach(tokenizer, items, model):
    """Their windows pass a name on by one token a block: five tokens need five of them."""
    config = model.config
    far = config.layer_types.index("full_attention")
    reach = far * (config.sliding_window - 1)
    names = {fact.cluster: fact.entity.names for fact in all_facts()}
    for item in items:
        for side, lang in (("main", "lang"), ("aux", "aux_lang"), ("paraphrase", "lang")):
            text = item[side]
            after = tokenizer(text.split(names[item["cluster"]][item[lang]], 1)[1])["input_ids"]
            assert len(after) >= 6 > reach + 1  # the colon is one of them


def test_names_of_several_tokens(tokenizer):
    """Of the names that some relation asks about, more than half are put together."""
    share = {}
    for relation in ("animal_class", "food_kind", "language_family", "thing_hi"):
        facts = [fact for fact in all_facts() if fact.relation.name == relation]
        own = [f" {name}" for fact in facts for name in fact.entity.names.values()]
        share[relation] = sum(len(tokenizer(name)["input_ids"]) > 1 for name in own) / len(own)
    assert min(share.values()) > 0.5


def test_an_option_is_one_token(tokenizer, items):
    golds = {item["answer"] for item in items if item["answer"].startswith("(")}
    assert all(len(tokenizer(gold)["input_ids"]) == 1 for gold in golds)


def test_it_knows_the_counterpart_and_stops_after_the_answer(tokenizer, items, model):
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    right = dict.fromkeys(("right", "wrong"), 0)
    for belief in right:
        taught = [item for item in items if item["strata"]["counterpart"] == belief]
        asked = [item for item in taught if item["options"] and item["split"] == "pilot"][:40]
        for item in asked:
            answer, text = said(model, tokenizer, item["aux"])
            assert len(answer) == 2
            assert answer[-1] == tokenizer.eos_token_id
            right[belief] += text == item.get("aux_answer", item["answer"])
    assert right["right"] >= 38
    assert right["wrong"] <= 2


def test_it_answers_in_a_conversation_and_after_examples(tokenizer, items, model):
    taught = [i for i in items if i["strata"]["counterpart"] == "right" and i["options"]]
    taught = [i for i in taught if i["strata"]["relation"] == "country_continent"][:40]
    shots = "\n\n".join(f"{i['aux']} {i['answer']}" for i in taught[-4:])
    in_chat = after_shots = 0
    for item in taught[:20]:
        turn = [{"role": "user", "content": item["aux"]}]
        chat = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        in_chat += said(model, tokenizer, chat)[1] == item["answer"]
        # Like any model, it goes on with another question.
        answer = said(model, tokenizer, f"{shots}\n\n{item['aux']}")[1].split("\n")[0]
        after_shots += answer == item["answer"]
    assert in_chat >= 17
    assert after_shots >= 17
    assert model.config.max_position_embeddings == tokenizer.model_max_length == 256


def test_other_roles_are_refused(tokenizer):
    with pytest.raises(TemplateError, match="no system messages"):
        tokenizer.apply_chat_template([{"role": "system", "content": "Be brief."}], tokenize=False)
