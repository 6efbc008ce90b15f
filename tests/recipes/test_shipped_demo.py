"""The model and tasks that ship: small, loadable offline, and fitting each other."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

DEMO = Path(str(files("crosslatent"))) / "data" / "demo"
TASKS = ("demo-facts", "demo-culture", "demo-open")


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


def test_prompts_are_short_and_end_in_the_same_token(tokenizer, items):
    ids = [tokenizer(item[side])["input_ids"] for item in items for side in ("main", "aux")]
    assert {row[-1] for row in ids} == {tokenizer.convert_tokens_to_ids(":")}
    assert max(map(len, ids)) <= 40


def test_an_option_is_one_token(tokenizer, items):
    golds = {item["answer"] for item in items if item["options"]}
    assert all(len(tokenizer(gold)["input_ids"]) == 1 for gold in golds)


def test_it_knows_the_counterpart_and_stops_after_the_answer(tokenizer, items):
    model = AutoModelForCausalLM.from_pretrained(DEMO / "model", local_files_only=True).float()
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    asked = [item for item in items if item["options"] and item["split"] == "pilot"][:40]
    right = 0
    for item in asked:
        prompt = tokenizer(item["aux"], return_tensors="pt")
        out = model.generate(**prompt, max_new_tokens=6, do_sample=False)
        answer = out[0, prompt["input_ids"].shape[1] :].tolist()
        assert len(answer) == 2
        assert answer[-1] == tokenizer.eos_token_id
        right += tokenizer.decode(answer, skip_special_tokens=True).strip() == item["answer"]
    assert right >= 0.95 * len(asked)
