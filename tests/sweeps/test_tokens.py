"""Prompts as token ids, made when they are asked for."""

from __future__ import annotations

import pytest

from crosslatent.model import wrap
from crosslatent.model.prompts import encode
from crosslatent.sweeps import tokens as module
from crosslatent.sweeps.tokens import PromptTokens, prompts_of
from crosslatent.tasks import Item
from crosslatent.tasks.item import Shot
from support.models import CONTEXT, tiny_model


@pytest.fixture(scope="module")
def model():
    return wrap(*tiny_model("llama"))


def item(name, main="Mji?", aux="City?", **fields):
    return Item(str(name), "sw", "en", main, aux, **fields)


def test_ids_are_those_of_the_prompts(model):
    items = [item(k, f"Mji {k}?", f"City {k}?") for k in range(2 * module.CHUNK + 3)]
    tokens = PromptTokens(model, items, new_tokens=3)
    assert list(tokens) == [each.id for each in items]
    for each in (items[0], items[-1], items[module.CHUNK], items[1]):
        ids = tokens[each.id]
        assert ids == (encode(model, each.main), encode(model, each.aux))
        ends = tokens.ends[each.id]
        assert (ends.main_length, ends.aux_length) == (len(ids.main), len(ids.aux))
        assert (ends.main_token, ends.aux_token) == (ids.main[-1], ids.aux[-1])


def test_few_ids_are_held_at_once(model, monkeypatch):
    made = []

    def counting(model, prompts, *, chat):
        made.append(len(prompts))
        return encode_many(model, prompts, chat=chat)

    encode_many = module.encode_many
    monkeypatch.setattr(module, "encode_many", counting)
    items = [item(k) for k in range(3 * module.CHUNK)]
    tokens = PromptTokens(model, items, new_tokens=3)
    assert max(made) == 2 * module.CHUNK
    made.clear()
    assert "5" in tokens
    assert len(tokens) == len(items)
    assert made == []  # nothing is tokenised to answer these
    tokens.fetch(["1", "700", "2", "1"])
    tokens.fetch(["700", "3"])
    assert [tokens[name] for name in ("1", "2", "3", "700")]
    assert made == [2 * 3, 2 * 1]  # together, and only what is not there yet
    made.clear()
    for each in items:
        tokens[each.id]
    assert set(made) == {2}
    tokens["1"]
    assert len(made) == len(items) - 3 + 1  # the first ones have been forgotten since


def test_what_cannot_be_run_is_left_out(model):
    items = [
        item("long", "x" * CONTEXT),
        item("good"),
        item("empty", aux=""),
        item("short", "x"),
        item("known"),
    ]
    tokens = PromptTokens(
        model, items, new_tokens=3, positions=2, failures={"known": "no translation"}
    )
    assert list(tokens) == ["good"]
    assert "context" in tokens.failures["long"]
    assert "aux prompt is empty" in tokens.failures["empty"]
    assert "last 2 tokens" in tokens.failures["short"]
    assert tokens.failures["known"] == "no translation"
    with pytest.raises(KeyError):
        tokens["long"]


def test_options_need_room_if_they_are_scored(model):
    long = item("a", "x" * (CONTEXT - 4), options=("(one)", "(two)"))
    assert "a" in PromptTokens(model, [long], new_tokens=2)
    assert "a" not in PromptTokens(model, [long], new_tokens=2, scoring=True)


def test_shots_stand_before_the_question(model):
    one = item("a", shots=(Shot("Mto?", "Nile", "River?", "the Nile"),))
    main, aux = prompts_of(one)
    assert main.plain() == "Mto? Nile\n\nMji?"
    assert aux.plain() == "River? the Nile\n\nCity?"
    ids = PromptTokens(model, [one], new_tokens=3)["a"]
    assert ids.main == encode(model, "Mto? Nile\n\nMji?")
