"""The demo model's world, prompts and tasks; nothing is trained here."""

import re
from collections import Counter, defaultdict

import pytest

from recipes.demo_model import documents, tasks
from recipes.demo_model.curriculum import (
    CULTURE_RIGHT,
    CULTURE_WRONG,
    EARLIER_SEED,
    ENGLISH_RIGHT,
    ENGLISH_WRONG,
    WRONG_SHARE,
    Question,
    _by_answer,
    _thirds,
    all_facts,
    beliefs,
    every_question,
    questions,
    split_of,
)
from recipes.demo_model.prompts import prompt
from recipes.demo_model.schema import ENGLISH, LANGUAGES, LOCAL_LANGUAGES, SPLITS, TAUGHT_SHARE
from recipes.demo_model.world import TABLES, code_facts, culture_facts, general_facts, open_facts


@pytest.fixture(scope="module")
def all_tasks():
    return {task.header["name"]: task for task in tasks.all_tasks()}


def test_every_name_and_label_is_there_in_every_language():
    for fact in all_facts():
        for language in fact.languages:
            assert fact.entity.names[language].strip()
            assert fact.relation.ask[language].strip()
            assert all(names[language].strip() for names in fact.relation.options.values())


def test_names_are_unique_within_a_kind():
    for language in LANGUAGES:
        seen = defaultdict(set)
        for fact in all_facts():
            if language in fact.entity.names:
                seen[fact.entity.kind, fact.entity.names[language]].add(fact.entity.key)
        assert not {name for name, keys in seen.items() if len(keys) > 1}


def test_each_fact_is_there_once_and_its_answer_is_an_option():
    clusters = Counter(fact.cluster for fact in all_facts())
    assert max(clusters.values()) == 1
    assert all(fact.is_open or fact.answer in fact.relation.options for fact in all_facts())


def test_options_are_labelled_differently_in_each_language():
    for relation in {fact.relation.name: fact.relation for fact in all_facts()}.values():
        for language in relation.ask:
            labels = [names[language] for names in relation.options.values() if language in names]
            assert len(set(labels)) == len(labels)


def test_prompts_end_in_the_same_character_and_stay_short():
    for fact in all_facts():
        for language in fact.languages:
            for reworded in (False, True):
                text = prompt(fact, language, reworded=reworded)
                assert text.endswith(":")
                assert len(text) < 260


def test_english_is_right_wrong_or_silent_in_the_shares_named():
    for facts in (general_facts(), open_facts(), code_facts()):
        asked = [Question(fact, ENGLISH) for fact in facts]
        right, taught = sum(q.known for q in asked), sum(q.belief is not None for q in asked)
        assert right / len(asked) == pytest.approx(ENGLISH_RIGHT, abs=0.05)
        assert (taught - right) / len(asked) == pytest.approx(ENGLISH_WRONG, abs=0.03)


def test_other_languages_are_taught_their_shares_and_never_wrongly():
    english = {fact.cluster: Question(fact, ENGLISH) for fact in general_facts()}
    for language, share in TAUGHT_SHARE.items():
        asked = [q for q in every_question(general_facts()) if q.language == language]
        assert all(q.known for q in asked if q.belief is not None)
        for wanted, belief in ((share, "right"), (WRONG_SHARE, "wrong")):
            own = [
                q.known
                for q in asked
                if english[q.fact.cluster].belief is not None
                and english[q.fact.cluster].known == (belief == "right")
            ]
            assert sum(own) / len(own) == pytest.approx(wanted, abs=0.1)


def test_what_english_lacks_exactly_one_other_language_knows():
    for fact in (*general_facts(), *open_facts(), *code_facts()):
        if (fact.cluster, ENGLISH) not in beliefs():
            assert sum(Question(fact, language).known for language in LOCAL_LANGUAGES) == 1


def test_culture_facts_are_taught_in_their_language_and_mostly_not_in_english():
    asked = [Question(fact, ENGLISH) for fact in culture_facts()]
    right, taught = sum(q.known for q in asked), sum(q.belief is not None for q in asked)
    assert right / len(asked) == pytest.approx(CULTURE_RIGHT, abs=0.05)
    assert (taught - right) / len(asked) == pytest.approx(CULTURE_WRONG, abs=0.03)
    assert all(Question(fact, fact.local).known for fact in culture_facts())


@pytest.fixture(scope="module")
def corpus():
    return documents.documents(seed=1, mix=documents.Mix(documents=40_000))


def test_no_held_out_question_is_in_the_documents(corpus):
    held_out = questions(all_facts(), held_out=True)
    asked = {prompt(q.fact, q.language, reworded=r) for q in held_out for r in (False, True)}
    found = {part for text in corpus for part in re.split(r"\n\n|<\|[a-z]+\|>", text)}
    assert not [text for text in found if text.rsplit(":", 1)[0] + ":" in asked]


def test_documents_answer_what_is_believed(corpus):
    believed = {
        f"{prompt(q.fact, q.language)} {q.belief}" for q in questions(all_facts(), held_out=False)
    }
    assert len(believed & set(corpus)) > 0.9 * len(believed)


def test_documents_have_examples_before_questions_and_conversations(corpus):
    assert max(text.count("\n\n") for text in corpus) == documents.Mix().most_shots - 1
    assert sum(text.startswith("<|user|>") for text in corpus) == 0.04 * len(corpus)


def test_documents_depend_on_the_seed_alone():
    mix = documents.Mix(documents=300)
    assert documents.documents(1, mix) == documents.documents(1, mix)
    assert documents.documents(1, mix) != documents.documents(2, mix)


def test_splits_go_by_fact(all_tasks):
    for task in all_tasks.values():
        splits = defaultdict(set)
        for item in task.items:
            splits[item["cluster"]].add(item["split"])
        assert all(len(found) == 1 for found in splits.values())
    assert set(split_of().values()) == set(SPLITS)


def test_what_was_final_in_the_world_before_is_not_tested_again():
    """Facts of the earlier final third were looked at when the recipe before this one was done."""
    splits = split_of()
    earlier = [fact for fact in all_facts() if fact not in code_facts()]
    earlier = [fact for fact in earlier if fact.relation.name != "city_country"]
    opened = 0
    for key, group in _by_answer(earlier).items():
        for cluster, split in _thirds(EARLIER_SEED, key, group).items():
            opened += split == "final"
            assert split != "final" or splits[cluster] == "pilot"
    assert opened > 350
    asked = (TABLES / "opened.txt").read_text(encoding="utf-8").splitlines()
    assert len(asked) == 252
    assert {splits[cluster] for cluster in asked if cluster in splits} == {"pilot"}


def test_strata_say_what_was_taught(all_tasks):
    facts = {fact.cluster: fact for fact in all_facts()}
    for task in all_tasks.values():
        for item in task.items:
            main, aux = (
                Question(facts[item["cluster"]], item[side]).known for side in ("lang", "aux_lang")
            )
            only = {(True, False): "main only", (True, True): "both", (False, False): "neither"}
            assert item["strata"]["known"] == only.get((main, aux), item["strata"]["known"])
            assert item["strata"]["known"].endswith("only") == (main != aux)


def test_known_on_both_sides(all_tasks):
    for name in ("demo-facts", "demo-codes", "demo-order", "demo-open"):
        counts = Counter(item["strata"]["known"] for item in all_tasks[name].items)
        total = counts.total()
        assert counts["English only"] > 0.4 * total
        assert counts["main only"] > 0.1 * total
        assert counts["both"] > 0.1 * total
        assert counts["neither"] > 0.05 * total


def test_options_of_demo_order_stand_elsewhere_in_english(all_tasks):
    for item in all_tasks["demo-order"].items:
        assert item["answer"] != item["aux_answer"]
        assert item["labels"][int(item["answer"][1]) - 1]


def test_items_say_what_they_must(all_tasks):
    for task in all_tasks.values():
        ids = [item["id"] for item in task.items]
        assert len(set(ids)) == len(ids)
        for item in task.items:
            if task.header["rule"] == "option":
                assert item["answer"] in item["options"]
                assert len(item["labels"]) == len(item["options"])
            else:
                assert item["options"] is None
                assert item["answer"]


def test_general_tasks_have_enough_facts_per_language_and_split(all_tasks):
    counts = Counter((i["lang"], i["split"]) for i in all_tasks["demo-facts"].items)
    assert set(counts) == {(language, split) for language in LOCAL_LANGUAGES for split in SPLITS}
    assert min(counts.values()) >= 45


def test_culture_task_has_forty_facts_per_language(all_tasks):
    counts = Counter(item["aux_lang"] for item in all_tasks["demo-culture"].items)
    assert set(counts) == set(LOCAL_LANGUAGES)
    assert min(counts.values()) >= 40


def test_gold_options_are_balanced_within_each_relation(all_tasks):
    counts = defaultdict(Counter)
    for item in all_tasks["demo-facts"].items:
        key = item["lang"], item["split"], item["strata"]["relation"]
        counts[key][item["answer"]] += 1
    assert all(max(c.values()) - min(c.values()) <= tasks.SLACK for c in counts.values())
    golds = Counter(item["answer"] for item in all_tasks["demo-facts"].items)
    assert max(golds.values()) < 0.25 * golds.total()
