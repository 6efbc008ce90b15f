"""Methods that change the prompt: their exact prompts, word by word, are kept in golden files.

A change on purpose: ``python tests/methods/test_prompts.py`` writes them anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crosslatent.answering import prompts_of
from crosslatent.core.plugins import METHOD_KINDS
from crosslatent.methods.kinds.xlt import KEY
from crosslatent.methods.method import Bench
from crosslatent.model import load
from crosslatent.tasks import Item, Task, task_of
from support.models import save_tiny

GOLDEN = Path(__file__).parent / "golden" / "prompts.json"
NAMES = ("few-shot-en", "few-shot-parallel", "few-shot-x", "oracle-en", "pim", "vanilla", "xlt")
ANIMALS = (
    ("swala", "antelope", "(1)"),
    ("kuku", "chicken", "(2)"),
    ("papa", "shark", "(3)"),
    ("nyoka", "snake", "(4)"),
    ("nzi", "fly", "(5)"),
    ("simba", "lion", "(1)"),
)


def items() -> list[Item]:
    """Six animals in Swahili, with English counterparts."""
    return [
        Item(
            id=f"{english}:sw",
            lang="sw",
            aux_lang="en",
            main=f"Mnyama: {own}. Ni wa kundi gani? Jibu:",
            aux=f"Animal: {english}. What kind of animal is it? Answer:",
            answer=answer,
            options=("(1)", "(2)", "(3)", "(4)", "(5)"),
            cluster=english,
        )
        for own, english, answer in ANIMALS
    ]


def bench(folder: Path) -> Bench:
    """A bench that learns from five of them."""
    model = load(str(save_tiny(folder)), device="cpu", dtype="float32")
    task: Task = task_of(items())
    return Bench(model=model, task=task, learn=tuple(items()[:5]), new_tokens=4)


def prompts(on: Bench) -> dict[str, dict[str, object]]:
    """The prompt of the last animal by each method, and what is right there."""
    asked = items()[-1]
    found: dict[str, dict[str, object]] = {}
    for name in NAMES:
        method = METHOD_KINDS[name]()
        one = method.fit(on, ("sw",), method.settings(on)[0], 0).asked(asked)
        found[name] = {
            "prompt": prompts_of(one)[0].plain(),
            "lang": one.lang,
            "answer": one.answer,
        }
    return found


@pytest.fixture(scope="module")
def on(tmp_path_factory) -> Bench:
    return bench(tmp_path_factory.mktemp("model") / "tiny")


def test_prompts_are_those_of_the_golden_file(on):
    assert prompts(on) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_a_question_is_never_shown_with_one_about_its_own_fact(on):
    for name in ("few-shot-en", "few-shot-x", "few-shot-parallel"):
        method = METHOD_KINDS[name]()
        way = method.fit(on, ("sw",), {}, 0)
        for item in on.learn:
            shown = way.asked(item).shots
            assert len(shown) == 4
            assert all(item.main not in one.main and item.aux not in one.main for one in shown)


def test_seeds_draw_other_demonstrations(on):
    method = METHOD_KINDS["few-shot-x"]()
    asked = items()[-1]
    drawn = {
        tuple(shot.main for shot in method.fit(on, ("sw",), {}, seed).asked(asked).shots)
        for seed in range(6)
    }
    assert len(drawn) > 1


@pytest.mark.parametrize(
    ("output", "read"),
    [
        (f"Restated.\n{KEY} (2)\nmore", "(2)"),
        (f"{KEY} (1)\nNo: {KEY} (3)", "(3)"),
        ("no key (2)", ""),
    ],
)
def test_what_follows_the_last_key_is_judged(on, output, read):
    way = METHOD_KINDS["xlt"]().fit(on, ("sw",), {}, 0)
    assert way.read(output) == read
    assert way.new_tokens(on) == 256


def test_the_whole_output_is_kept_and_a_part_is_judged(on):
    tokens = on.tokens(items())
    item = items()[1]
    scorer = on.scorer(item, tokens, lambda output: output.rpartition(KEY)[2])
    judged = scorer._judge(f"It is (1). {KEY} (2)")
    assert judged.verdicts[on.task.rule].prediction == "(2)"


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        found = prompts(bench(Path(folder) / "tiny"))
    GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
