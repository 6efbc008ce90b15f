"""Texts by language, what is kept, and every method on questions that it can answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crosslatent import load_task
from crosslatent.core.plugins import METHOD_KINDS
from crosslatent.methods.learning import (
    Once,
    central_of,
    languages_of,
    read_all,
    some_layers,
    texts_by_language,
)
from crosslatent.methods.method import Bench
from crosslatent.model import shipped_model
from support.planted_languages import bench_of, items
from support.rows import wrapped

NAMES = [
    name for name in METHOD_KINDS.own if name.partition("-")[0] in ("langvec", "incline", "clas")
]
LEARN, ASKED = 12, 6


@pytest.fixture(scope="module")
def shipped():
    task = load_task("demo-facts")
    langs = ("sw", "es", "id")
    pilot = [item for item in task.items if item.split == "pilot"]
    learn = [item for lang in langs for item in [one for one in pilot if one.lang == lang][:LEARN]]
    return Bench(shipped_model(), task, tuple(learn), task.max_new_tokens, quick=True)


@pytest.fixture(scope="module")
def asked(shipped):
    unseen = [item for item in shipped.task.items if item.split == "unseen" and item.lang == "sw"]
    return unseen[:ASKED]


def nothing(_count):
    pass


@pytest.mark.parametrize("name", NAMES)
def test_every_method_answers_questions(name, shipped, asked):
    method = METHOD_KINDS[name]()
    assert method.league == "none"
    assert method.title
    assert method.about.endswith(".")
    assert "arXiv" in method.source
    assert method.refusal(shipped) == ""
    way = method.fit(shipped, ["sw"], method.settings(shipped)[0], 0)
    english = replace(asked[0], id="english", lang="en", main=asked[0].aux)
    found = list(way.answers(shipped, [*asked, english], nothing))
    assert [one.item for one in found] == [*(item.id for item in asked), "english"]
    assert not any(one.failure for one in found)
    assert all(one.record and one.tokens for one in found)
    # They share batches: one path for all, and the fastest.
    assert {one.record["path"] for one in found} == {"shared-prefix"}


def test_texts_are_prompts_and_counterparts_each_once():
    bench = replace(bench_of(wrapped(), items(5)), texts={"up": ["ABC"], "xx": ["hm"]})
    assert central_of(bench) == "en"
    assert languages_of(bench) == ("en", "up", "no", "xx")
    texts = texts_by_language(bench, ["up", "no", "en", "xx"])
    assert {lang: len(some) for lang, some in texts.items()} == {
        "en": 5, "up": 6, "no": 5, "xx": 1,
    }  # fmt: skip
    assert texts["en"] == tuple(item.aux for item in bench.learn[:5])
    assert texts["up"][-1] == "ABC"
    assert texts_by_language(bench, ["xx"]) == {"xx": ("hm",)}
    assert {lang: len(ids) for lang, ids in read_all(bench).items()} == {
        "en": 5, "up": 6, "no": 5, "xx": 1,
    }  # fmt: skip


def test_questions_of_the_central_language_are_texts_in_it():
    own = replace(items(1)[0], id="own", lang="en", main="an english one", aux="")
    bench = bench_of(wrapped(), [*items(2), own])
    assert texts_by_language(bench, ["en"])["en"][-1] == "an english one"
    assert len(texts_by_language(bench, ["en"])["en"]) == 3


def test_only_the_last_thing_is_kept():
    once, made = Once(), []

    def make():
        made.append(1)
        return len(made)

    assert [once((key,), make) for key in ("a", "a", "b", "b", "a")] == [1, 1, 2, 2, 3]


def test_layers_at_shares_of_the_depth():
    assert some_layers(32, (0.5, 0.25, 0.75)) == [16, 8, 23]
    assert some_layers(1, (0.5, 0.25)) == [0]
