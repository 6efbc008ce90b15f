"""A tokenizer is compared with the tokenizer.json of where it comes from."""

from __future__ import annotations

import copy
import json
import warnings

import pytest
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    ByT5Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

import crosslatent as xl
from crosslatent import contracts
from crosslatent.core.errors import ModelError
from crosslatent.model import tokenizers
from crosslatent.model.loading import read_ahead
from crosslatent.model.prompts import encode
from crosslatent.model.tokenizers import TokenizerWarning, difference, load_tokenizer
from support.models import byte_tokenizer, tiny_model

HINDI = "केन्या की राजधानी क्या है?"
CORPUS = [
    HINDI, "मेरा नाम हिन्दी है और मैं दिल्ली में रहता हूँ",
    "The capital of Kenya, since 1963",
    "Столица Кении — Найроби", "肯尼亚的首都", "ما هي عاصمة كينيا",
    "เมืองหลวง", "케냐의 수도", "naïve café",
]  # fmt: skip
SPECIAL = ["<pad>", "<eos>", "<unk>"]
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level(pre=None, normalizer=None, post=None):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre or pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.normalizer = normalizer
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator(CORPUS * 9, trainer)
    made.post_processor = post
    return made


def cut(regex):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def as_qwen():
    return byte_level(cut(QWEN), normalizers.NFC())


def by_blanks():
    """Combining vowels stay with their words, as no class of transformers has it."""
    return byte_level(cut(r"\s?\S+|\s+"), normalizers.NFC())


def without_normalizer():
    return byte_level(cut(QWEN))


def lower_case():
    return byte_level(cut(QWEN), normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]))


def numbers_whole():
    return byte_level(cut(QWEN.replace(r"\p{N}|", r"\p{N}+|")), normalizers.NFC())


def like_gpt2():
    return byte_level()


def pieces():
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    made.decoder = decoders.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=250, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(CORPUS * 9, trainer)
    return made


def folder_of(path, made, model_type="qwen2", tokenizer_class="Qwen2Tokenizer", **said):
    path.mkdir(parents=True, exist_ok=True)
    PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(path)
    file = path / "tokenizer_config.json"
    config = json.loads(file.read_text()) | {"tokenizer_class": tokenizer_class} | said
    if tokenizer_class is None:
        del config["tokenizer_class"]
    file.write_text(json.dumps(config))
    (path / "config.json").write_text(json.dumps({"model_type": model_type}))
    return path


def with_model(path, made, **said):
    folder = folder_of(path, made, **said)
    hf, _ = tiny_model("qwen2", vocab_size=made.get_vocab_size())
    hf.save_pretrained(folder)
    return folder


def said_of(path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tokenizer = load_tokenizer(path)
    return tokenizer, [str(one.message) for one in caught if one.category is TokenizerWarning]


def same(tokenizer, path):
    file = Tokenizer.from_file(str(path / "tokenizer.json"))
    return all(
        tokenizer(text, add_special_tokens=False)["input_ids"]
        == file.encode(text, add_special_tokens=False).ids
        for text in CORPUS
    )


OTHERS = [by_blanks, without_normalizer, lower_case, numbers_whole, like_gpt2]


@pytest.mark.parametrize("make", OTHERS)
@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "qwen2_moe", "qwen3_moe"])
def test_a_class_that_reads_texts_otherwise_is_said(tmp_path, make, model_type):
    folder = folder_of(tmp_path / "m", make(), model_type)
    tokenizer, (said,) = said_of(folder)
    assert type(tokenizer) is Qwen2Tokenizer
    assert "AutoTokenizer makes a Qwen2Tokenizer" in said
    assert "is not the tokenizer of its tokenizer.json" in said
    assert '"tokenizer_class": "PreTrainedTokenizerFast"' in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("model_type", "name"),
    [("gemma", "GemmaTokenizer"), ("gpt2", "GPT2Tokenizer"), ("llama", "LlamaTokenizer"),
     ("gpt_neox", "GPTNeoXTokenizer"), ("cohere", "CohereTokenizer"), ("opt", "GPT2Tokenizer"),
     ("xglm", "XGLMTokenizer"), ("t5", "T5Tokenizer")],
)  # fmt: skip
def test_other_types_and_pieces_of_sentences(tmp_path, model_type, name):
    folder = folder_of(tmp_path / "m", pieces(), model_type, name)
    _, (said,) = said_of(folder)
    assert "tokenizer.json" in said


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "TokenizersBackend"])
@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama", "gemma", "gpt2", "t5"])
@pytest.mark.parametrize("make", [by_blanks, pieces])
def test_a_folder_that_names_its_own_file_is_taken_at_its_word(tmp_path, model_type, name, make):
    folder = folder_of(tmp_path / "m", make(), model_type, name)
    tokenizer, said = said_of(folder)
    assert same(tokenizer, folder)
    auto = AutoTokenizer.from_pretrained(folder)
    assert len(said) == (not same(auto, folder))
    for sentence in said:
        assert "the file is used" in sentence
    assert tokenizer.eos_token == "<eos>"


@pytest.mark.parametrize("make", [as_qwen])
@pytest.mark.parametrize("name", ["Qwen2Tokenizer", "TokenizersBackend", None])
@pytest.mark.parametrize("model_type", ["qwen2", "qwen3"])
def test_what_reads_alike_is_not_said(tmp_path, make, name, model_type):
    tokenizer, said = said_of(folder_of(tmp_path / "m", make(), model_type, name))
    assert said == []
    assert same(tokenizer, tmp_path / "m")


def test_padding_truncation_and_added_tokens_are_the_users(tmp_path):
    made = as_qwen()
    made.enable_padding(length=40, pad_id=0, pad_token="<pad>")
    made.enable_truncation(12)
    folder = folder_of(tmp_path / "m", made, extra_special_tokens=["<image>", "the"])
    tokenizer, said = said_of(folder)
    assert said == []
    tokenizer.add_tokens(["Kenya"])
    tokenizer.pad_token = "<eos>"
    assert difference(tokenizer, folder / "tokenizer.json") is None


def test_what_stands_around_a_text_is_the_folders(tmp_path):
    begun = processors.TemplateProcessing(single="<eos> $A", special_tokens=[("<eos>", 1)])
    folder = folder_of(tmp_path / "m", byte_level(cut(QWEN), normalizers.NFC(), begun))
    assert said_of(folder)[1] == []
    tokenizer = load_tokenizer(folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    found = difference(tokenizer, folder / "tokenizer.json")
    assert "another post-processor" in found
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"add_bos_token": False}))
    assert difference(tokenizer, folder / "tokenizer.json") is None


def test_a_class_that_cannot_read_the_file_is_an_error_of_one_sentence(tmp_path):
    made = byte_level()
    folder = folder_of(tmp_path / "m", made, "gemma", "GemmaTokenizer")
    file = folder / "tokenizer.json"
    data = json.loads(file.read_text())
    for token in ("<unk>", "<pad>", "<bos>"):
        data["model"]["vocab"].pop(token, None)
    data["added_tokens"] = [each for each in data["added_tokens"] if each["content"] == "<eos>"]
    file.write_text(json.dumps(data))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GemmaTokenizer"}')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            load_tokenizer(folder)
        except ModelError as error:
            told = str(error)
        else:
            (told,) = [str(one.message) for one in caught if one.category is TokenizerWarning]
    assert "tokenizer.json" in told
    assert '"tokenizer_class": "PreTrainedTokenizerFast"' in told


def test_loading_says_so_and_so_does_reading_ahead(tmp_path):
    folder = with_model(tmp_path / "m", by_blanks(), tokenizer_class="Qwen2Tokenizer")
    with pytest.warns(TokenizerWarning, match="another pre-tokenizer"):
        model = xl.load(folder, device="cpu")
    with pytest.warns(TokenizerWarning, match="another pre-tokenizer"):
        read_ahead(folder)
    found = contracts.found(model)
    assert found.tokenizer == "Qwen2Tokenizer"
    assert "is not the tokenizer of its tokenizer.json" in found.tokenizer_differs


def test_taught_in_the_folders_tokens_asked_in_them(tmp_path):
    folder = with_model(tmp_path / "m", by_blanks(), tokenizer_class="TokenizersBackend")
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        model = xl.load(folder, device="cpu")
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert encode(model, HINDI) == file.encode(HINDI).ids
    class_of_the_type = Qwen2Tokenizer.from_pretrained(folder)
    assert class_of_the_type(HINDI)["input_ids"] != file.encode(HINDI).ids


def test_wrapping_a_tokenizer_of_a_folder(tmp_path):
    folder = with_model(tmp_path / "m", by_blanks())
    hf = AutoModelForCausalLM.from_pretrained(folder)
    with pytest.warns(TokenizerWarning, match="another pre-tokenizer"):
        xl.wrap(hf, Qwen2Tokenizer.from_pretrained(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("error", TokenizerWarning)
        xl.wrap(hf, PreTrainedTokenizerFast.from_pretrained(folder))
        alone = copy.deepcopy(byte_tokenizer())
        xl.wrap(tiny_model("llama")[0], alone)


def test_a_copy_of_the_hubs_is_looked_at(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "m", by_blanks())
    tokenizer = Qwen2Tokenizer.from_pretrained(folder)
    tokenizer.name_or_path = "somebody/something"
    assert tokenizers.difference_from_source(tokenizer) is None  # nothing of it is here
    asked = []

    def cached(name, file, **options):
        asked.append((name, file, options["local_files_only"]))
        return str(folder / file)

    monkeypatch.setattr(tokenizers, "cached_file", cached)
    assert "pre-tokenizer" in tokenizers.difference_from_source(tokenizer)
    assert asked == [("somebody/something", "tokenizer.json", True)]


def test_a_tokenizer_without_a_file_is_not_compared(tmp_path):
    slow = ByT5Tokenizer()
    slow.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    tokenizer, said = said_of(tmp_path)
    assert isinstance(tokenizer, ByT5Tokenizer)
    assert said == []


def test_llama_tokenizers_that_read_bytes(tmp_path):
    made = like_gpt2()
    folder = folder_of(tmp_path / "m", made, "llama", "LlamaTokenizer")
    tokenizer, said = said_of(folder)
    assert len(said) == isinstance(tokenizer, LlamaTokenizer)
    assert bool(said) != same(tokenizer, folder)
