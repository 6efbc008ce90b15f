from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from packaging.version import Version
from transformers import (
    GenerationConfig,
    MarianConfig,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    PreTrainedModel,
)

from crosslatent.core.errors import ModelError
from crosslatent.tasks import Item
from crosslatent.translate import (
    Seq2SeqTranslator,
    add_counterparts,
    load_translator,
    wrap_translator,
)
from crosslatent.translate.translators import LEAST_TRANSFORMERS

# transformers recommends a package that normalises punctuation; the models do without.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses"),
    pytest.mark.skipif(
        Version(transformers.__version__) < Version(LEAST_TRANSFORMERS),
        reason="tokenizers of older versions keep the source language of the text before",
    ),
]

FAMILIES = ("NLLB", "M2M100", "mBART-50", "MADLAD", "Marian", "Marian, one pair")
TEXTS = (
    "What is the answer to the question",
    "Which city",
    "We went to the market to buy some bread",
    "the land",
)


@pytest.fixture(params=FAMILIES)
def translator(request: pytest.FixtureRequest, translation_folders: dict[str, Path]) -> Any:
    return _finishing(load_translator(translation_folders[request.param], device="cpu"))


def _finishing(translator: Seq2SeqTranslator) -> Seq2SeqTranslator:
    """Random models do not end what they say: end it for them, after 13 tokens."""
    generate = translator.hf.generate

    def ending(**settings: Any) -> torch.Tensor:
        rows = generate(**settings)
        rows[:, 14:] = translator.hf.generation_config.eos_token_id
        return rows

    translator.hf.generate = ending
    return translator


class Spy:
    """Keeps what `generate` is given, and what comes out."""

    def __init__(self, hf: PreTrainedModel) -> None:
        self.given: list[dict[str, Any]] = []
        self.out: list[torch.Tensor] = []
        self._generate = hf.generate
        hf.generate = self

    def __call__(self, **settings: Any) -> torch.Tensor:
        self.given.append(settings)
        self.out.append(self._generate(**settings))
        return self.out[-1]


def test_every_family_translates(translator: Seq2SeqTranslator) -> None:
    found = translator.translate(TEXTS, "en", "sw")
    assert len(found) == len(TEXTS)
    assert all(found)
    assert len(set(found)) > 2, "alike: the tests would not see which text was read"


def test_batched_equals_one_by_one(translator: Seq2SeqTranslator) -> None:
    together = translator.translate(TEXTS, "en", "sw")
    alone = [translator.translate([text], "en", "sw")[0] for text in TEXTS]
    assert together == alone
    assert translator.translate(TEXTS, "en", "sw") == together


def test_order_of_texts_is_kept(translator: Seq2SeqTranslator) -> None:
    forwards = translator.translate(TEXTS, "en", "sw")
    assert translator.translate(TEXTS[::-1], "en", "sw") == forwards[::-1]


@pytest.mark.parametrize(
    ("family", "source", "target"),
    [
        ("NLLB", "eng_Latn", "swh_Latn"),
        ("M2M100", "__en__", "__sw__"),
        ("mBART-50", "en_XX", "sw_KE"),
    ],
)
def test_source_and_target_are_told_as_tokens(
    translation_folders: dict[str, Path], family: str, source: str, target: str
) -> None:
    translator = load_translator(translation_folders[family], device="cpu")
    spy = Spy(translator.hf)
    translator.translate(TEXTS, "en", "sw")
    tokenizer = translator.tokenizer
    first = [tokenizer.convert_ids_to_tokens(row)[0] for row in spy.given[0]["input_ids"].tolist()]
    assert set(first) == {source}
    start, forced = spy.out[0][:, 0], spy.out[0][:, 1]
    assert set(start.tolist()) == {translator.hf.generation_config.decoder_start_token_id}
    assert {tokenizer.convert_ids_to_tokens(token) for token in forced.tolist()} == {target}
    translator.translate(TEXTS, "sw", "fr")
    last = tokenizer.convert_ids_to_tokens(spy.given[-1]["input_ids"][0].tolist())
    assert last[0] == target, "the source language of the last call is still set"


@pytest.mark.parametrize(
    ("family", "target", "prefix"),
    [
        ("MADLAD", "sw", "<2sw>"),
        ("MADLAD", "he", "<2iw>"),
        ("MADLAD", "zh", "<2zh>"),
        ("Marian", "sw", ">>swh<<"),
        ("Marian", "zh", ">>cmn_Hans<<"),
    ],
)
def test_the_target_is_told_as_a_prefix(
    translation_folders: dict[str, Path], family: str, target: str, prefix: str
) -> None:
    translator = load_translator(translation_folders[family], device="cpu")
    spy = Spy(translator.hf)
    translator.translate(TEXTS, "en", target)
    number = translator.tokenizer.convert_tokens_to_ids(prefix)
    assert number == translator.known[prefix.strip("<>2")]
    for row in spy.given[0]["input_ids"].tolist():
        assert number in row[:2]
    assert "forced_bos_token_id" not in spy.given[0]


def test_a_model_of_one_pair_is_told_nothing(translation_folders: dict[str, Path]) -> None:
    translator = load_translator(translation_folders["Marian, one pair"], device="cpu")
    spy = Spy(translator.hf)
    translator.translate(["Which city"], "en", "sw")
    assert spy.given[0]["input_ids"].tolist() == [translator.tokenizer("Which city")["input_ids"]]
    with pytest.raises(ModelError, match=r"'sw' \(Swahili\) as its target language, not 'fr'"):
        translator.translate(["Which city"], "en", "fr")
    with pytest.raises(ModelError, match=r"'eng' \(English\) as its source language, not 'de'"):
        translator.translate(["Which city"], "de", "sw")


def test_the_target_language_makes_a_difference(translation_folders: dict[str, Path]) -> None:
    for family in ("NLLB", "M2M100", "mBART-50", "MADLAD", "Marian"):
        translator = _finishing(load_translator(translation_folders[family], device="cpu"))
        other = "zh" if family in {"MADLAD", "Marian"} else "fr"
        found = [translator.translate(TEXTS, "en", target) for target in ("sw", other)]
        assert found[0] != found[1], family


def test_language_tokens_are_no_text(translation_folders: dict[str, Path]) -> None:
    translator = load_translator(translation_folders["M2M100"], device="cpu")
    tokenizer = translator.tokenizer
    swahili, end = tokenizer.convert_tokens_to_ids("__sw__"), tokenizer.eos_token_id
    words = tokenizer("Jibu lako", add_special_tokens=False)["input_ids"]
    assert "__sw__" in tokenizer.decode([swahili, *words], skip_special_tokens=True)
    assert translator._read([swahili, *words, end, swahili], 99) == "Jibu lako"


def test_a_translation_without_an_end_is_none(translation_folders: dict[str, Path]) -> None:
    translator = load_translator(translation_folders["NLLB"], device="cpu")
    words = translator.tokenizer("Jibu lako", add_special_tokens=False)["input_ids"]
    row = [*words, translator.tokenizer.eos_token_id]
    assert translator._read(row, len(row)) == "Jibu lako"
    assert translator._read(row, len(words)) == ""
    assert translator._read(words, 99) == ""


def test_a_text_that_is_too_long_is_left_out(translation_folders: dict[str, Path]) -> None:
    translator = _finishing(load_translator(translation_folders["mBART-50"], device="cpu"))
    short, long = "Which city", "Which city is the capital " * 9
    found = translator.translate([long, short], "en", "sw")
    assert found[0] == ""
    assert found[1] == translator.translate([short], "en", "sw")[0] != ""


def test_decoding_is_plain_and_greedy(translation_folders: dict[str, Path]) -> None:
    translator = load_translator(translation_folders["Marian"], device="cpu")
    settings = translator.hf.generation_config
    pad = translator.hf.config.pad_token_id
    assert (settings.num_beams, settings.do_sample) == (1, False)
    assert settings.bad_words_ids == [[pad]]
    # The model's own setting forces an end at the last token, and so would hide that there is none.
    assert MarianConfig().forced_eos_token_id is not None
    assert settings.forced_eos_token_id is None


def test_a_batch_that_is_too_large_is_halved(
    translation_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = _finishing(load_translator(translation_folders["NLLB"], device="cpu"))
    whole = translator.translate(TEXTS, "en", "sw")
    generate, sizes = translator.hf.generate, []

    def short_of_memory(**settings: Any) -> torch.Tensor:
        sizes.append(len(settings["input_ids"]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**settings)

    translator.hf.generate = short_of_memory
    most = 1
    assert translator.translate(TEXTS, "en", "sw") == whole
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    most = 0
    with pytest.raises(ModelError, match="Memory does not suffice to translate one text"):
        translator.translate(TEXTS, "en", "sw")


def test_a_batch_holds_so_many_tokens_and_the_longest_come_first(
    translation_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = _finishing(load_translator(translation_folders["NLLB"], device="cpu"))
    whole = translator.translate(TEXTS, "en", "sw")
    monkeypatch.setattr("crosslatent.translate.translators.MOST_TOKENS", {"cpu": 50})
    spy = Spy(translator.hf)
    assert translator.translate(TEXTS, "en", "sw") == whole
    shapes = [tuple(given["input_ids"].shape) for given in spy.given]
    assert [rows for rows, _ in shapes] == [1, 1, 2]
    assert shapes == sorted(shapes, key=lambda shape: -shape[1])


def test_prompts_get_counterparts(translation_folders: dict[str, Path]) -> None:
    translator = _finishing(load_translator(translation_folders["M2M100"], device="cpu"))
    main = "What is the answer:\n(1) the land\n(2) the city\nanswer:"
    item = Item(id="q", lang="en", aux_lang="sw", main=main, aux="")
    (made,) = add_counterparts([item], translator).items
    assert re.fullmatch(r"[^\n]+:\n\(1\) [^\n]+\n\(2\) [^\n]+\n[^\n]+:", made.aux)
    unknown = Item(id="q", lang="en", aux_lang="kl", main=main, aux="")
    failures = add_counterparts([unknown], translator).failures
    assert "does not know the language 'kl'" in failures["q"]


def test_other_errors_are_not_taken_for_missing_memory(
    translation_folders: dict[str, Path],
) -> None:
    translator = load_translator(translation_folders["NLLB"], device="cpu")

    def broken(**settings: Any) -> torch.Tensor:
        raise RuntimeError("shapes do not fit")

    translator.hf.generate = broken
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        translator.translate(TEXTS, "en", "sw")


@pytest.mark.parametrize("family", ["NLLB", "M2M100", "mBART-50", "MADLAD", "Marian"])
def test_a_language_that_is_not_known_is_named(
    translation_folders: dict[str, Path], family: str
) -> None:
    translator = load_translator(translation_folders[family], device="cpu")
    pattern = r"does not know the language 'kl' \(Kalaallisut; tried .*kl.*\): it knows "
    with pytest.raises(ModelError, match=pattern) as error:
        translator.translate(TEXTS, "en", "kl")
    shown = str(error.value).partition("it knows ")[2]
    assert any(code in shown for code in translator.known)


def test_a_tokenizer_that_cuts_its_language_token_is_refused(
    translation_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = load_translator(translation_folders["MADLAD"], device="cpu")
    monkeypatch.setitem(translator.known, "sw", 10_000)
    with pytest.raises(ModelError, match="does not read its own token '<2sw>' as one"):
        translator.translate(TEXTS, "en", "sw")


def test_identity_tells_models_apart(translation_folders: dict[str, Path]) -> None:
    identities = [
        load_translator(folder, device="cpu").identity for folder in translation_folders.values()
    ]
    assert all(identities.count(identity) == 1 for identity in identities)
    used = load_translator(translation_folders["NLLB"], device="cpu")
    before = dict(used.identity)
    used.translate(TEXTS, "fr", "sw")
    again = load_translator(translation_folders["NLLB"], device="cpu").identity
    assert used.identity == before == again


def test_a_causal_model_is_refused_with_the_way_out(tiny_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"causal language model \(type 'llama'\).*use `self`"):
        load_translator(tiny_folder)


def test_a_model_that_is_no_translator_is_refused(
    translation_folders: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import BertConfig

    folder = _copy(translation_folders["NLLB"], tmp_path / "bert")
    BertConfig().save_pretrained(folder)
    with pytest.raises(ModelError, match="type 'bert'"):
        load_translator(folder)


def test_a_model_without_language_tokens_is_refused(
    translation_folders: dict[str, Path],
) -> None:
    madlad = load_translator(translation_folders["MADLAD"], device="cpu")
    nllb = load_translator(translation_folders["NLLB"], device="cpu")
    with pytest.raises(ModelError, match=r"'my-t5' \(type 't5'\) does not tell how it takes"):
        wrap_translator(madlad.hf, nllb.tokenizer, name="my-t5")


def test_the_first_mbart_is_refused() -> None:
    """Its tokenizer puts the language after the text; the one of mBART-50, before it."""
    tokenizer = MBartTokenizer()
    small = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 1, "decoder_attention_heads": 1, "decoder_ffn_dim": 8}
    config = MBartConfig(vocab_size=len(tokenizer), **small, **heads)
    with pytest.raises(ModelError, match="does not tell how it takes languages"):
        wrap_translator(MBartForConditionalGeneration(config), tokenizer, name="mbart")


def test_pickled_weights_are_refused(translation_folders: dict[str, Path], tmp_path: Path) -> None:
    folder = _copy(translation_folders["NLLB"], tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights only"):
        load_translator(folder)


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(
    translation_folders: dict[str, Path], tmp_path: Path, lost: str
) -> None:
    folder = _copy(translation_folders["M2M100"], tmp_path / "lacking")
    (folder / lost).unlink()
    with pytest.raises(ModelError):
        load_translator(folder)


def _copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(level)


def test_an_old_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(load_translator.__globals__, "LEAST_TRANSFORMERS", "99.1")
    with pytest.raises(ModelError, match=r"need transformers 99.1 or newer, and this is 5\."):
        load_translator(tmp_path)


def test_a_model_that_is_given_is_left_as_it_was(translation_folders: dict[str, Path]) -> None:
    loaded = load_translator(translation_folders["NLLB"], device="cpu")
    expected = loaded.translate(TEXTS, "en", "sw")
    hf = loaded.hf
    own = GenerationConfig(num_beams=4, repetition_penalty=1.8, no_repeat_ngram_size=1)
    own.eos_token_id = hf.config.eos_token_id
    own.decoder_start_token_id = hf.config.decoder_start_token_id
    own.forced_eos_token_id = 2
    hf.generation_config = own
    for module in hf.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.5
    hf.train()
    wrapped = wrap_translator(hf, loaded.tokenizer, name="given")
    for _ in range(2):
        assert wrapped.translate(TEXTS, "en", "sw") == expected
        assert hf.generation_config is own
        assert all(module.training for module in hf.modules())
