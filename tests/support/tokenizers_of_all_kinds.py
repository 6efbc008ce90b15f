"""Small tokenizers of every kind, trained on a few lines so that words and punctuation merge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>"]
BLANK = "▁"
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LINES = [
    "Sky?\nA blue\nB red\nAnswer:\n", "Answer:A", "Answer: A", "Answer:B", "Jibu: (1)",
    "Jibu:(2)", "(A) (B) (C)", "（1）（2）", "答案：是", "答案是的", "答案：不是",
    "Year: 1963", "19 62", "उत्तर: हाँ", "उत्तर: नहीं", "الجواب: نعم", "الجواب:لا",
    "คำตอบ: ใช่", "คำตอบไม่ใช่", "playing", "unhappy", "Ответ: да", "Ответ:нет",
    "e\u0301te\u0301", "Answer: yes", "Answer: no", "  A", " B ",
]  # fmt: skip
_LLAMA_3 = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _bytes() -> list[str]:
    return [f"<0x{byte:02X}>" for byte in range(256)]


def _letters() -> list[str]:
    return sorted({letter for line in LINES for letter in line if not letter.isspace()})


def _begun(backend: Tokenizer) -> None:
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )


def _ended(backend: Tokenizer) -> None:
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )


def _trained(backend: Tokenizer, trainer: Any) -> Tokenizer:
    backend.train_from_iterator(LINES * 3, trainer)
    return backend


def _sentencepiece_bpe(pre: Any, normalizer: Any, decoder: Any) -> Tokenizer:
    """BPE with a blank as a letter of its own, and bytes for what it does not know."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if pre is not None:
        backend.pre_tokenizer = pre
    if normalizer is not None:
        backend.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=560,
        special_tokens=[*SPECIAL, *_bytes()],
        initial_alphabet=[BLANK, *_letters()],
        show_progress=False,
    )
    _trained(backend, trainer)
    # The bytes are pieces like others, and no special tokens that are looked for in a text.
    found = backend.to_str()
    backend = Tokenizer.from_str(found)
    backend.decoder = decoder
    return backend


def _fused(strip: int) -> Any:
    return decoders.Sequence(
        [
            decoders.Replace(BLANK, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", strip, 0),
        ]
    )


def _metaspace(scheme: str, *, split: bool = True) -> Callable[[], Tokenizer]:
    def make() -> Tokenizer:
        strip = 0 if scheme == "never" else 1
        pre = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
        return _sentencepiece_bpe(pre, None, _fused(strip))

    return make


def _llama_2() -> Tokenizer:
    normalizer = normalizers.Sequence([normalizers.Prepend(BLANK), normalizers.Replace(" ", BLANK)])
    backend = _sentencepiece_bpe(None, normalizer, _fused(1))
    _begun(backend)
    return backend


def _byte_level(pattern: str | None = None, *, blank: bool = False) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=blank, use_regex=pattern is None)
    backend.pre_tokenizer = (
        level
        if pattern is None
        else pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(pattern), behavior="isolated"), level]
        )
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(
        backend,
        trainers.BpeTrainer(
            vocab_size=480,
            special_tokens=SPECIAL,
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )


def _begun_bytes() -> Tokenizer:
    backend = _byte_level(_LLAMA_3)
    _begun(backend)
    return backend


def _ended_bytes() -> Tokenizer:
    backend = _byte_level()
    _ended(backend)
    return backend


def _written_words(normalizer: Any, pre: Any) -> list[str]:
    """Words of `LINES` in the order of their letters.

    Some trainers read the words in the order of a hash table, which differs between processes, and
    break ties (BPE whose pieces differ within a word, WordPiece) or add up (Unigram) by it: these
    tokenizers are written down instead.
    """
    lines = (normalizer.normalize_str(line) for line in LINES)
    return sorted({word for line in lines for word, _ in pre.pre_tokenize_str(line)})


def _wordpiece() -> Tokenizer:
    normalizer = normalizers.BertNormalizer(lowercase=False)
    pre = pre_tokenizers.BertPreTokenizer()
    pieces = [*SPECIAL, *_letters(), *(f"##{letter}" for letter in _letters())]
    pieces += ["un", "play", "##ing", "##happy", *_written_words(normalizer, pre)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return backend


def _unigram(*, strip: bool) -> Tokenizer:
    pre = pre_tokenizers.Metaspace(prepend_scheme="always")
    words = [word for word in _written_words(normalizers.NFC(), pre) if len(word) > 2]
    letters = ["\n", BLANK, *_letters()]
    pieces = [(name, 0.0) for name in SPECIAL]
    # A word as a whole is likelier than its letters.
    pieces += [(letter, -8.0) for letter in letters] + [(word, -9.0) for word in words]
    backend = Tokenizer(models.Unigram(list(dict(pieces).items()), unk_id=0))
    if strip:
        backend.normalizer = normalizers.Sequence(
            [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(left=False, right=True)]
        )
    backend.pre_tokenizer = pre
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return backend


def _t5() -> Tokenizer:
    backend = _unigram(strip=True)
    _ended(backend)
    return backend


def _words() -> Tokenizer:
    backend = Tokenizer(models.WordLevel(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    return _trained(backend, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))


def _ends_of_words() -> Tokenizer:
    """Pieces at the end of a word are others than those within it."""
    normalizer, pre, end = normalizers.NFC(), pre_tokenizers.BertPreTokenizer(), "</w>"
    pieces = [*SPECIAL, *_letters(), *(letter + end for letter in _letters())]
    merges: list[tuple[str, str]] = []
    for word in _written_words(normalizer, pre):
        left, *rest = [*word[:-1], word[-1] + end]
        pieces += [left, *rest]
        for right in rest:
            merges.append((left, right))
            left += right
            pieces.append(left)
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(
        models.BPE(
            vocabulary, list(dict.fromkeys(merges)), unk_token="<unk>", end_of_word_suffix=end
        )
    )
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre
    backend.decoder = decoders.BPEDecoder(suffix=end)
    return backend


KINDS: Mapping[str, Callable[[], Tokenizer]] = {
    "llama-2": _llama_2,
    "metaspace-always": _metaspace("always"),
    "metaspace-first": _metaspace("first"),
    "metaspace-never": _metaspace("never"),
    "metaspace-whole": _metaspace("always", split=False),
    "metaspace-first-whole": _metaspace("first", split=False),
    "byte-level": _byte_level,
    "byte-level-blank": lambda: _byte_level(blank=True),
    "byte-level-llama-3": _begun_bytes,
    "byte-level-ended": _ended_bytes,
    "wordpiece": _wordpiece,
    "unigram": lambda: _unigram(strip=False),
    "unigram-t5": _t5,
    "words": _words,
    "ends-of-words": _ends_of_words,
}
"""Fast tokenizers by kind."""

SLOW = ("byt5", "sentencepiece-slow")
"""Those written in Python."""


@cache
def tokenizer_of(kind: str) -> PreTrainedTokenizerBase:
    """A tokenizer of a kind of `KINDS` or `SLOW`, with a chat template."""
    made: Any
    if kind == "byt5":
        made = ByT5Tokenizer()
    elif kind == "sentencepiece-slow":
        made = _slow_sentencepiece()
    else:
        backend = KINDS[kind]()
        backend.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
        made = PreTrainedTokenizerFast(
            tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
        )
    made.chat_template = CHAT
    return made


def _slow_sentencepiece() -> PreTrainedTokenizerBase:
    import tempfile

    import sentencepiece as spm
    from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

    folder = Path(tempfile.mkdtemp())
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 3),
        model_prefix=str(folder / "pieces"),
        model_type="bpe",
        vocab_size=520,
        byte_fallback=True,
        user_defined_symbols=["<|user|>", "<|assistant|>"],
        minloglevel=2,
    )
    return SentencePieceBackend(
        vocab_file=str(folder / "pieces.model"),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )
