"""Small local tasks for the harness, in two "languages", and a model folder; all offline."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

pytest.importorskip("lm_eval")

WORDS = ["maji", "moto", "jua", "mti", "nyumba", "samaki", "mbwa", "kiti"]
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def documents(lang: str, count: int = 6) -> list[dict]:
    return [
        {
            "q": f"{lang} {WORDS[n]} ni {WORDS[n - 1]}?" + lang * (n % 3),
            "choices": [WORDS[n][:2], WORDS[(n + 3) % 8], f"{WORDS[n][:2]} {n}"],
            "starts": [f"{lang} {WORDS[n]} {word}" for word in ("la", "ndiyo")],
            "end": f"sana {n}",
            "gold": n % 2,
        }
        for n in range(count)
    ]


def long_documents(lang: str) -> list[dict]:
    """Questions that are longer than the context of the tiny model."""
    return [{**doc, "q": f"{lang} " * 120 + doc["q"]} for doc in documents(lang, 3)]


def write_task(folder: Path, name: str, docs: list[dict], **fields) -> None:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(doc) + "\n" for doc in docs), encoding="utf-8")
    config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "fewshot_split": "test",
        "metadata": {"version": 1},
    }
    text = yaml.safe_dump(config | fields, sort_keys=False)
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


CHOICE = {
    "output_type": "multiple_choice",
    # Ends in a blank, which belongs to the continuation.
    "doc_to_text": "{{q}} ",
    "doc_to_target": "gold",
    "doc_to_choice": "choices",
    "target_delimiter": "",
    "metric_list": [{"metric": "acc"}],
}
OWN_CONTEXTS = CHOICE | {
    "doc_to_text": "gold",
    "doc_to_target": "end",
    "doc_to_choice": "starts",
    "target_delimiter": " ",
}
GENERATE = {
    "output_type": "generate_until",
    "doc_to_text": "{{q}} A:",
    "doc_to_target": "{{choices[gold]}}",
    "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 40, "do_sample": False},
    "metric_list": [{"metric": "exact_match"}],
}
MUTUAL = CHOICE | {"metric_list": [{"metric": "acc"}, {"metric": "acc_mutual_info"}]}


@pytest.fixture(scope="session")
def tasks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    for lang in ("sw", "en"):
        docs = documents(lang)
        write_task(folder, f"choice_{lang}", docs, **CHOICE)
        write_task(folder, f"owncontexts_{lang}", docs, **OWN_CONTEXTS)
        write_task(folder, f"generate_{lang}", docs, **GENERATE)
        write_task(folder, f"mutual_{lang}", docs, **MUTUAL)
        write_task(folder, f"long_{lang}", long_documents(lang), **CHOICE)
        write_task(folder, f"longgenerate_{lang}", long_documents(lang), **GENERATE)
    write_task(folder, "choice_short", documents("so", 4), **CHOICE)
    write_task(folder, "choice_long", documents("lo", 8), **CHOICE)
    twice = documents("sw")
    twice[5] = twice[3]
    write_task(folder, "twice_sw", twice, **CHOICE)
    write_task(folder, "empty_sw", documents("sw"), **(CHOICE | {"doc_to_text": ""}))
    rolling = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{q}}"}
    metrics = {"metric_list": [{"metric": "word_perplexity"}]}
    write_task(folder, "rolling_sw", documents("sw"), **rolling, **metrics)
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A tiny Llama with a chat template."""
    from transformers import AutoTokenizer

    from support.models import save_tiny

    path = save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama")
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def model(folder):
    from crosslatent import load

    return load(folder)


@dataclass(frozen=True)
class Outcome:
    """What the harness returned."""

    raw: dict

    def samples(self, task: str) -> list[dict]:
        return sorted(self.raw["samples"][task], key=lambda sample: sample["doc_id"])

    def responses(self, task: str) -> list[list]:
        """By document, what the model said to each of its requests."""
        return [[said[0] for said in sample["resps"]] for sample in self.samples(task)]

    def scores(self, task: str) -> list[float]:
        return [score for said in self.responses(task) for score, _ in said]

    def metric(self, task: str, name: str) -> float:
        return self.raw["results"][task][f"{name},none"]


@pytest.fixture(scope="session")
def evaluate(folder, model, tasks):
    """Run tasks through the harness."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from crosslatent.harness import CrosslatentLM
    from crosslatent.harness.command import Arguments

    manager = TaskManager(include_path=str(tasks), include_defaults=False)

    def run(*names: str, hf: bool = False, flags: dict | None = None, **arguments) -> Outcome:
        lm, given = "hf", {"pretrained": str(folder), "device": "cpu", "dtype": "float32"}
        if not hf:
            given = {"pretrained": str(folder), "aux_path": str(tasks)} | arguments
            lm, given = CrosslatentLM(model, Arguments.of(given)), None
        settings = {"tasks": list(names), "task_manager": manager, "bootstrap_iters": 0}
        return Outcome(simple_evaluate(lm, model_args=given, **settings, **(flags or {})))

    return run
