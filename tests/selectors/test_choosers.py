"""A chooser answers many questions as it answers each of them alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import crosslatent as xl
from crosslatent.analysis.other_ways import ALWAYS
from crosslatent.api import choosers
from crosslatent.core.errors import PromptError, TaskError, UsageError
from crosslatent.core.specs import TransplantSpec
from crosslatent.selectors.base import FixedPairs
from crosslatent.selectors.kinds.confidence import FittedConfidence
from crosslatent.selectors.kinds.untransplanted import FittedPlain
from crosslatent.selectors.kinds.vote import FittedVote
from crosslatent.selectors.kinds.ways import FittedWays
from crosslatent.selectors.saved import SavedSelector, save
from crosslatent.selectors.signals import Curve
from support.choosing import answered
from support.rows import wrapped

PAIRS = tuple(TransplantSpec("ffn", s, t) for s in (0, 3) for t in (0, 2))
SPEC = {"components": ["ffn"], "max_new_tokens": 4, "strength": 1.0, "positions": 1}
ITEMS = [
    {
        "main": f"{'Mji mkuu' if n % 3 else 'Swali'} wa {'Kenya ' * (n % 4)}{n} ni upi? Jibu:",
        "aux": f"What is {'the capital of ' * (n % 2)}{n}? Answer:",
        "lang": "sw",
        **({"options": ["a", "b", "c"][: 2 + n % 2]} if n % 2 else {}),
    }
    for n in range(9)
]


def curve(slope: float) -> Curve:
    return Curve("logistic", np.array([0.0, 1.0]), np.array([0.0, slope]))


FITTED = {
    "fixed": FixedPairs(PAIRS[1], {"sw": PAIRS[2]}),
    "steps": FittedConfidence("margin", PAIRS, 6.0),
    "attribution": FittedConfidence("margin", PAIRS, 5.0, top=2),
    "answers": FittedVote(PAIRS, np.array([0.4, 0.5, 0.3, 0.6]), 1.0),
    "ways": FittedWays(
        FittedConfidence("margin", PAIRS, 6.0), (curve(1.0), curve(1.1), curve(0.9))
    ),
    "surer": FittedPlain(0.0),
    "aux": FittedPlain(ALWAYS),
}


def saved(name: str) -> SavedSelector:
    origin = {"model": {"n_layers": 4}, "task": {"rule": "option"}, "spec": SPEC}
    return SavedSelector(name, "about", FITTED[name], origin)


@pytest.mark.parametrize("name", FITTED)
def test_many_questions_are_answered_as_each_alone(name, monkeypatch):
    monkeypatch.setattr(choosers, "CHUNK", 4)
    model = wrapped()
    found = xl.Chooser(saved(name)).answer(model, ITEMS)
    alone = []
    for item in ITEMS:
        about = {name: item[name] for name in ("lang", "options") if name in item}
        one = answered(model, saved(name), main=item["main"], aux=item["aux"], about=about)
        alone.append(one)
    assert found == alone
    if name == "aux":
        assert {one.way for one in found} == {"other"}
    if name in ("ways", "surer"):
        assert len({one.way for one in found}) > 1


def test_answers_come_chunk_by_chunk(monkeypatch):
    monkeypatch.setattr(choosers, "CHUNK", 3)
    asked = []
    real = choosers.ask
    monkeypatch.setattr(choosers, "ask", lambda *a, **k: asked.append(1) or real(*a, **k))
    found = xl.Chooser(saved("fixed")).answers(wrapped(), ITEMS)
    assert isinstance(found, Iterator)
    next(found)
    assert len(asked) == 1
    assert len(list(found)) == 8
    assert len(asked) == 3


def test_a_chooser_is_read_from_the_file_of_select(tmp_path):
    save(saved("ways"), tmp_path / "chooser.json")
    chooser = xl.load_chooser(tmp_path / "chooser.json")
    pairs = [(item["main"], item["aux"]) for item in ITEMS[:2]]
    model = wrapped()
    assert chooser.answer(model, pairs) == xl.Chooser(saved("ways")).answer(model, pairs)
    with pytest.raises(UsageError, match="Cannot read the selector"):
        xl.load_chooser(tmp_path / "none.json")


@pytest.mark.parametrize("name", ["fixed", "ways"])
def test_generate_is_the_users_own(name):
    model, chooser = wrapped(), xl.Chooser(saved(name))
    for item in ITEMS[::2]:
        prompt = item["main"], item["aux"]
        (found,) = chooser.answer(model, [prompt], max_new_tokens=4)
        ids = chooser.generate(model, prompt, max_new_tokens=4, do_sample=False)
        asked = item["aux"] if found.way == "other" else item["main"]
        new = ids[0, len(model.tokenizer(asked)["input_ids"]) :].tolist()
        assert new[: len(found.output_ids)] == list(found.output_ids)
    sampled = chooser.generate(
        model, prompt, max_new_tokens=2, do_sample=True, num_return_sequences=3
    )
    assert sampled.shape[0] == 3


def test_generate_refuses_what_it_would_do_otherwise():
    origin = {"model": {"n_layers": 4}, "spec": SPEC | {"positions": 2}}
    chooser = xl.Chooser(SavedSelector("two", "about", FITTED["fixed"], origin))
    with pytest.raises(UsageError, match="use answer"):
        chooser.generate(wrapped(), (ITEMS[0]["main"], ITEMS[0]["aux"]))


def test_mistakes_are_said_before_anything_is_answered():
    model, chooser = wrapped(), xl.Chooser(saved("steps"))
    with pytest.raises(TaskError, match="item 2"):
        chooser.answer(model, [ITEMS[0], {"main": "a"}])
    with pytest.raises(TaskError, match="no items"):
        chooser.answer(model, [])
    with pytest.raises(PromptError, match="main prompt"):
        chooser.answer(model, [("word " * 5000, "b")])
    other = SavedSelector("x", "about", FITTED["fixed"], {"model": {"n_layers": 12}, "spec": SPEC})
    with pytest.raises(UsageError, match="12 blocks, but this one has 4"):
        xl.Chooser(other).answer(model, ITEMS)


def test_another_model_is_refused_or_marked():
    model = wrapped()
    origin = {"model": dict(model.identity) | {"n_layers": 4, "name": "mine"}, "spec": SPEC}
    chooser = xl.Chooser(SavedSelector("x", "about", FITTED["fixed"], origin))
    assert chooser.answer(model, ITEMS[:1])[0].warnings == ()
    other = wrapped(seed=1)
    with pytest.raises(UsageError, match=r"another model \(mine; other weights\).*--force"):
        chooser.answer(other, ITEMS[:1])
    with pytest.raises(UsageError, match="another model"):
        chooser.generate(other, (ITEMS[0]["main"], ITEMS[0]["aux"]))
    (found,) = chooser.answer(other, ITEMS[:1], force=True)
    assert "another model (mine; other weights)" in found.warnings[0]


class Reversing:
    """A translator that turns texts round."""

    name, identity = "reversing", {"kind": "test"}

    def translate(self, texts, source, target):
        assert (source, target) == ("sw", "en")
        return [text[::-1] for text in texts]


def test_counterparts_that_questions_lack_are_made():
    model, lacking = wrapped(), [{"main": f"Swali {n} gani", "lang": "sw"} for n in range(3)]
    chooser = xl.Chooser(saved("fixed"))
    with pytest.raises(TaskError, match="'aux'"):
        chooser.answer(model, lacking)
    given = [one | {"aux": one["main"][::-1], "aux_lang": "en"} for one in lacking]
    found = chooser.answer(model, lacking, translator=Reversing())
    assert [one.output for one in found] == [one.output for one in chooser.answer(model, given)]
    with pytest.raises(TaskError, match="1 questions cannot be translated"):
        chooser.answer(model, [{"main": "Hello there", "lang": "en"}], translator=Reversing())
