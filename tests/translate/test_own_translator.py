from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from crosslatent import engine
from crosslatent.core.errors import ModelError
from crosslatent.core.specs import Chat
from crosslatent.engine.oracle import run_rows
from crosslatent.model import Model, wrap
from crosslatent.translate import OwnTranslator
from support.models import tiny_model

TEXTS = ("Jibu lako ni nini", "Habari", "Mji mkuu wa Kenya ni upi?", "Mto")
TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def _model(context: int = 1024, ends: str = "") -> Model:
    """A tiny model; random ones hardly ever end, unless many tokens are end tokens."""
    hf, tokenizer = tiny_model("llama", max_position_embeddings=context)
    tokenizer = copy.deepcopy(tokenizer)  # the tests change it
    if ends:
        marks = tokenizer(ends)["input_ids"]
        hf.generation_config.eos_token_id = [tokenizer.eos_token_id, *marks]
    return wrap(hf, tokenizer)


@pytest.fixture(scope="module")
def model() -> Model:
    return _model(ends="ABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&()*+,-./0123456789;<=>?@[]^_{|}~")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], int]]:
    """Prompts and new tokens that the engine is asked for."""
    calls: list[tuple[list[str], int]] = []
    run = engine.run

    def spy(model: Model, requests: list, *, max_new_tokens: int) -> Iterator[engine.Answered]:
        calls.append(([model.text_of(list(each.main)) for each in requests], max_new_tokens))
        assert all(each.rows == ((),) for each in requests), "one unmodified row each"
        return run(model, requests, max_new_tokens=max_new_tokens)

    monkeypatch.setattr(engine, "run", spy)
    return calls


def test_it_says_what_the_oracle_says(model: Model) -> None:
    found = OwnTranslator(model).translate(TEXTS, "sw", "en")
    assert any(found)
    for text, translation in zip(TEXTS, found, strict=True):
        prompt = f"Translate from Swahili to English.\nSwahili: {text}\nEnglish:"
        ids = model.tokenizer(prompt)["input_ids"]
        (alone,) = run_rows(model, ids, [()], max_new_tokens=96)
        answer = model.text_of(list(alone.ids))
        whole = "\n" in answer or len(alone.ids) < 96
        assert translation == (answer.partition("\n")[0].strip() if whole else "")


def test_batched_equals_one_by_one(model: Model) -> None:
    translator = OwnTranslator(model)
    together = translator.translate(TEXTS, "sw", "en")
    assert together == [translator.translate([text], "sw", "en")[0] for text in TEXTS]
    assert len(set(together)) > 1


def test_languages_are_named_in_english(model: Model, asked: list[tuple[list[str], int]]) -> None:
    OwnTranslator(model).translate(["今天"], "zh", "pt-BR")
    prompt = "Translate from Chinese to Portuguese (Brazil).\nChinese: 今天\nPortuguese (Brazil):"
    assert asked[0][0] == [prompt]


def test_braces_are_text(model: Model, asked: list[tuple[list[str], int]]) -> None:
    OwnTranslator(model).translate(["Jina {name} {0}"], "sw", "en")
    assert "Swahili: Jina {name} {0}\n" in asked[0][0][0]


def test_texts_of_one_length_are_asked_together(
    model: Model, asked: list[tuple[list[str], int]]
) -> None:
    OwnTranslator(model).translate(["Mto", "Mji", "neno " * 20, "Jua"], "sw", "en")
    assert [(len(prompts), new) for prompts, new in asked] == [(3, 32), (1, 320)]


def test_a_text_that_does_not_fit_is_left_out(asked: list[tuple[list[str], int]]) -> None:
    model = _model(context=256)
    prompt = len("Translate from Swahili to English.\nSwahili: \nEnglish:")
    longest = (256 - prompt - 16) // 4  # a text, three times as much to answer it, and 16
    texts = ["a" * longest, "a" * (longest + 1)]
    OwnTranslator(model).translate(texts, "sw", "en")
    assert [(len(prompts), new) for prompts, new in asked] == [(1, 256 - prompt - longest)]
    assert OwnTranslator(model).translate(texts[1:], "sw", "en") == [""]


@pytest.mark.parametrize(
    ("answer", "chat", "budget", "expected"),
    [
        (" river\nSwahili: mto", False, 99, "river"),
        (" river", False, 99, "river"),
        (" river", False, 6, ""),  # no end within the budget
        (" river\n", False, 7, "river"),  # the line has ended, if the answer has not
        ("\nriver", False, 99, ""),
        ("\n\nriver\n", True, 99, "river"),
        ("", False, 99, ""),
    ],
)
def test_an_answer_is_read_up_to_its_first_line_break(
    answer: str, chat: bool, budget: int, expected: str
) -> None:
    model = _model()
    model.tokenizer.chat_template = TEMPLATE
    ids = tuple(model.tokenizer(answer)["input_ids"]) if answer else ()
    assert OwnTranslator(model, chat)._read(ids, budget) == expected


def test_chat_asks_through_the_template(asked: list[tuple[list[str], int]]) -> None:
    model = _model(ends="abcdefgh")
    model.tokenizer.chat_template = TEMPLATE
    OwnTranslator(model, chat=True).translate(["Mto"], "sw", "en")
    (prompt,) = asked[0][0]
    assert prompt.startswith("<user>Translate this text from Swahili to English.")
    assert prompt.endswith("\n\nMto<assistant>")


def test_chat_needs_a_template() -> None:
    with pytest.raises(ModelError, match="has no chat template"):
        OwnTranslator(_model(), chat=True)


def test_identity_is_what_decides_the_translation() -> None:
    model = _model()
    model.tokenizer.chat_template = TEMPLATE
    plain, chat = OwnTranslator(model), OwnTranslator(model, chat=True)
    assert plain.identity["model"] == model.identity
    assert plain.identity == OwnTranslator(model).identity != chat.identity
    assert plain.name == f"{model.name} itself"


def test_what_the_template_is_told_tells_translators_apart():
    model = _model()
    plain = OwnTranslator(model).identity
    model.tokenizer.chat_template = TEMPLATE
    known = OwnTranslator(model, chat=True).identity
    days = [Chat(now=f"2026-03-0{day}T12:00:00") for day in (1, 2)]
    # A template that does not ask for the time: what is in the cache stays known.
    assert [OwnTranslator(model, chat=day).identity for day in days] == [known, known]
    assert known != plain
    model.tokenizer.chat_template = "{{ strftime_now('%d') }}{{ quick }}" + TEMPLATE
    first, second = (OwnTranslator(model, chat=day).identity for day in days)
    assert first != second
    assert first == OwnTranslator(model, chat=Chat(now="2026-04-01")).identity  # the same text
    assert first != OwnTranslator(model, chat=Chat({"quick": True}, days[0].now)).identity
