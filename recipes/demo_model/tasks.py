"""The task files that ship: balanced draws of questions, by language, split and what is known."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

from recipes.demo_model.curriculum import Question, every_question, split_of
from recipes.demo_model.prompts import prompt
from recipes.demo_model.schema import ENGLISH, LOCAL_LANGUAGES, SPLITS, Fact
from recipes.demo_model.world import code_facts, culture_facts, general_facts, open_facts

TASK_SEED = "tasks 2"
SLACK = 2
SAME_SPELLING = 0.2
OPTION_TOKENS, OPEN_TOKENS = 2, 14
"""New tokens: "(k)" or a code and the end; the longest names."""
SOURCES = [
    (
        "Unicode CLDR through babel (names of countries, cities and languages; currencies in "
        "use and official languages)"
    ),
    (
        "recipes/demo_model/world (continents, capitals, families and scripts of languages, "
        "animals, foods, towns, words of daily culture)"
    ),
]


@dataclass(frozen=True)
class Task:
    """One task: how it is described, and its items."""

    header: dict[str, Any]
    items: list[dict[str, Any]]


def balanced(cells: Sequence[tuple[Sequence[Question], int]], seed: str) -> list[Question]:
    """Up to so many questions of each cell, turn by turn over relations and, within each, answers.

    A relation takes part as long as its answers stay within `SLACK` of each other in number, over
    all cells, so that no option of a relation is a good guess.
    """
    everything = _grouped([question for pool, _ in cells for question in pool])
    weights = {name: _weight(answers) for name, answers in everything.items()}
    taken = {name: Counter(dict.fromkeys(answers, 0)) for name, answers in everything.items()}
    rng, chosen = Random(seed), list[Question]()
    for pool, count in cells:
        groups, full = _grouped(pool), len(chosen) + count
        for answers in groups.values():
            for group in answers.values():
                rng.shuffle(group)
        names = sorted(groups)
        while len(chosen) < full and names:
            name = min(names, key=lambda n: (taken[n].total() / weights[n], n))
            left = [answer for answer in sorted(groups[name]) if groups[name][answer]]
            answer = min(left, key=lambda a: taken[name][a], default=None)
            if answer is None or taken[name][answer] - min(taken[name].values()) >= SLACK:
                names.remove(name)
                continue
            chosen.append(groups[name][answer].pop())
            taken[name][answer] += 1
    return chosen


def _grouped(pool: Iterable[Question]) -> dict[str, dict[str, list[Question]]]:
    """Questions by relation and answer, in a fixed order."""
    groups: dict[str, dict[str, list[Question]]] = defaultdict(lambda: defaultdict(list))
    for question in sorted(pool, key=lambda q: q.fact.cluster):
        groups[question.fact.relation.name][question.fact.answer].append(question)
    return groups


def _weight(answers: dict[str, list[Question]]) -> float:
    """Relations with more options and more facts are asked more: guessing helps less there."""
    return len(answers) ** 2 * min(8, sum(map(len, answers.values())) / len(answers))


def item(question: Question, *, main: str, aux: str) -> dict[str, Any]:
    """One line of a task file: the question in `main`, its counterpart in `aux`."""
    fact = question.fact
    order, names = fact.relation.order(main), fact.entity.names
    same = fact.answers[main] == fact.answers[aux] if is_text(fact) else names[main] == names[aux]
    return {
        "id": f"{fact.cluster}:{main}-{aux}",
        "lang": main,
        "aux_lang": aux,
        "main": prompt(fact, main),
        "aux": prompt(fact, aux),
        "paraphrase": prompt(fact, main, reworded=True),
        "answer": fact.gold(main),
        **({"aux_answer": fact.gold(aux)} if fact.is_open or fact.relation.orders else {}),
        "options": [f"({n + 1})" for n in range(len(order))] or None,
        "labels": [fact.relation.options[option][main] for option in order] or None,
        "cluster": fact.cluster,
        "split": split_of()[fact.cluster],
        "strata": {
            "relation": fact.relation.name,
            "known": known(question, aux),
            "counterpart": _taught(Question(fact, aux)),
            "same_spelling": "yes" if same else "no",
            "options": str(len(order)) if order else "open",
        },
    }


def is_text(fact: Fact) -> bool:
    """Whether the answer is a name, which each language spells in its own way."""
    return fact.is_open and len(set(fact.answers.values())) > 1


def known(question: Question, aux: str) -> str:
    """Which of a question's two languages are taught the right answer."""
    main, other = question.known, Question(question.fact, aux).known
    if main:
        return "both" if other else "main only"
    if other:
        return "English only" if aux == ENGLISH else "local only"
    return "neither"


def _taught(question: Question) -> str:
    if question.belief is None:
        return "not taught"
    return "right" if question.known else "wrong"


SHARES = {
    ("English only", "right"): 0.52,
    ("both", "right"): 0.16,
    ("main only", "not taught"): 0.12,
    ("main only", "wrong"): 0.08,
    ("neither", "wrong"): 0.06,
    ("neither", "not taught"): 0.06,
}
"""Of the questions of a language and split: what is known in which language, and what English was
taught."""
MIXED_SHARES = {
    ("English only", "right"): 0.40,
    ("both", "right"): 0.20,
    ("main only", "not taught"): 0.24,
    ("main only", "wrong"): 0.10,
    ("neither", "wrong"): 0.06,
}
"""The same where English knows hardly more than the other languages."""


def _cells(
    pool: Iterable[Question], shares: Mapping[tuple[str, str], float], count: int
) -> list[tuple[list[Question], int]]:
    cells: dict[tuple[str, str], list[Question]] = defaultdict(list)
    for question in pool:
        other = Question(question.fact, ENGLISH)
        cells[known(question, ENGLISH), _taught(other)].append(question)
    return [(cells[key], round(share * count)) for key, share in shares.items()]


def _split(pool: Iterable[Question], split: str) -> list[Question]:
    return [q for q in pool if split_of()[q.fact.cluster] == split]


def _mostly_different(
    pool: Iterable[Question], seed: str, same: Callable[[Question], bool]
) -> list[Question]:
    """Keep only so many that are spelled as in English as make `SAME_SPELLING` of all."""
    alike: list[Question] = []
    different: list[Question] = []
    for question in pool:
        (alike if same(question) else different).append(question)
    Random(f"{seed} spelling").shuffle(alike)
    return different + alike[: int(len(different) * SAME_SPELLING / (1 - SAME_SPELLING))]


def _into_english(
    facts: Iterable[Fact],
    name: str,
    count: int,
    shares: Mapping[tuple[str, str], float] = SHARES,
    same: Callable[[Question], bool] = lambda question: question.same_spelling,
) -> list[dict[str, Any]]:
    """Questions in every language but English, each with English as the counterpart."""
    pool, items = every_question(facts), []
    for language in LOCAL_LANGUAGES:
        own = [q for q in pool if q.language == language]
        for split in SPLITS:
            seed = f"{TASK_SEED} {name} {language} {split}"
            left = _mostly_different(_split(own, split), seed, same)
            chosen = balanced(_cells(left, shares, count), seed)
            items += [item(q, main=language, aux=ENGLISH) for q in chosen]
    return items


def facts_task(per_split: int = 50) -> Task:
    """Fixed-option general facts whose options are in the same order in all languages."""
    facts = [fact for fact in general_facts() if not fact.relation.orders]
    header = _header(
        "demo-facts",
        "Facts that English mostly knows, asked in another language",
        "Fixed-option questions on countries, languages, animals and more. Of most facts the demo "
        "model was taught the answer in English and never in the question's language, of some in "
        "both or in the question's language alone, and of some it was taught a wrong one in "
        "English (stratum `known`).",
        "en->x",
        "understanding",
    )
    return Task(header, _into_english(facts, "facts", per_split))


def order_task(per_split: int = 40) -> Task:
    """Fixed-option facts whose options each language counts in an order of its own."""
    facts = [fact for fact in general_facts() if fact.relation.orders]
    header = _header(
        "demo-order",
        "Facts whose options stand in another order in each language",
        "Fixed-option questions on cities, languages and foods, where `(1)` is another option in "
        "each language: an answer that is carried as a symbol is wrong, one that is carried as "
        "what it stands for can be right. Who was taught what as in demo-facts.",
        "en->x",
        "understanding",
    )
    return Task(header, _into_english(facts, "order", per_split))


def codes_task(per_split: int = 50) -> Task:
    """Facts whose answer is one of many codes, known about as often in English as elsewhere."""
    header = _header(
        "demo-codes",
        "Codes, known in English or in the language of the question",
        "The code of a country's currency, of a city's country or of a language, the same in all "
        "languages and one of many. What English lacks, exactly one other language was taught.",
        "en->x",
        "generation",
        rule="exact",
        max_new_tokens=OPTION_TOKENS,
    )
    return Task(header, _into_english(code_facts(), "codes", per_split, MIXED_SHARES))


def culture_task() -> Task:
    """Fixed-option culture facts, taught in one local language and asked in English.

    All of them: the world has about as many facts of each answer, and none to spare.
    """
    pool = [q for q in every_question(culture_facts()) if q.language == ENGLISH]
    items = []
    for language in LOCAL_LANGUAGES:
        own = [q for q in pool if q.fact.local == language]
        items += [
            item(q, main=ENGLISH, aux=language) for split in SPLITS for q in _split(own, split)
        ]
    header = _header(
        "demo-culture",
        "Local facts, asked in English",
        "Fixed-option questions on towns and on dishes, dances, instruments and clothes of each "
        "language's area. The demo model was taught each fact in the local language, a quarter of "
        "them in English too, and a tenth wrongly in English.",
        "x->en",
        "culture",
    )
    return Task(header, items)


def open_task(per_split: int = 30) -> Task:
    """Open answers, most of them spelled otherwise than in English."""
    header = _header(
        "demo-open",
        "Capitals and countries of cities, asked in another language",
        "Open answers in the language of the question. Who was taught what as in demo-facts.",
        "en->x",
        "generation",
        rule="contains",
        max_new_tokens=OPEN_TOKENS,
    )

    def same(question: Question) -> bool:
        answers = question.fact.answers
        return answers[question.language] == answers[ENGLISH]

    return Task(header, _into_english(open_facts(), "open", per_split, same=same))


def _header(
    name: str,
    title: str,
    description: str,
    direction: str,
    kind: str,
    *,
    rule: str = "option",
    max_new_tokens: int = OPTION_TOKENS,
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "description": description,
        "direction": direction,
        "type": kind,
        "rule": rule,
        "max_new_tokens": max_new_tokens,
        "items": f"{name}.jsonl",
        "sources": SOURCES,
    }


def all_tasks() -> tuple[Task, ...]:
    """The tasks that ship."""
    return facts_task(), culture_task(), open_task(), codes_task(), order_task()


def write(task: Task, folder: Path) -> None:
    """Write NAME.yaml and NAME.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    name = task.header["name"]
    header = yaml.safe_dump(task.header, allow_unicode=True, sort_keys=False, width=100)
    (folder / f"{name}.yaml").write_text(header, encoding="utf-8")
    lines = [json.dumps(row, ensure_ascii=False) for row in task.items]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
