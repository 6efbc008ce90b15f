"""The demo model's world, prompts and tasks; nothing is trained here."""

from collections import Counter, defaultdict

import pytest

from recipes.demo_model import documents, tasks
from recipes.demo_model.curriculum import all_facts, questions, split_of, taught
from recipes.demo_model.prompts import document, prompt
from recipes.demo_model.schema import ENGLISH, LANGUAGES, LOCAL_LANGUAGES, SPLITS, TAUGHT_SHARE
from recipes.demo_model.world import culture_facts, general_facts


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
            for order in (False, True):
                text = prompt(fact, language, question_first=order)
                assert text.endswith(":")
                assert len(text) < 260
                assert document(fact, language, question_first=order).startswith(text)


def test_each_language_is_taught_its_share():
    for language, share in TAUGHT_SHARE.items():
        known = [(fact.cluster, language) in taught() for fact in general_facts()]
        assert sum(known) / len(known) == pytest.approx(share, abs=0.05)
    assert all((fact.cluster, ENGLISH) in taught() for fact in general_facts())


def test_culture_facts_are_taught_in_their_language_and_mostly_not_in_english():
    in_english = [(fact.cluster, ENGLISH) in taught() for fact in culture_facts()]
    assert 0.2 < sum(in_english) / len(in_english) < 0.4
    assert all((fact.cluster, fact.local) in taught() for fact in culture_facts())


def test_no_held_out_question_is_in_the_documents():
    corpus = set(documents.documents(seed=1, mix=documents.Mix(documents=40_000)))
    held_out = questions(all_facts(), held_out=True)
    for question in held_out:
        for order in (False, True):
            text = document(question.fact, question.language, question_first=order)
            assert text not in corpus
    asked = {prompt(q.fact, q.language) for q in held_out}
    assert not [text for text in corpus if text.rsplit(":", 1)[0] + ":" in asked]


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


def test_items_are_held_out_and_taught_in_the_other_language(all_tasks):
    for task in all_tasks.values():
        for item in task.items:
            assert (item["cluster"], item["lang"]) not in taught()
            assert (item["cluster"], item["aux_lang"]) in taught()


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
